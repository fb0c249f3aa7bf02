"""An image-to-image function on images of any size, in tiles of one shape, equal to one pass over the whole image.

Tiles have sides congruent to the image's by the function's period, begin at multiples of it, and overlap by its radius
(`kdgan/reach.py`); the last one ends where the image ends. So a stride, or what is padded to an odd side, falls on the same
pixels as in one pass, and the image's border is a tile's border. Of each tile its core is kept: the cores are the image.

    tiler = Tiler(function, variables, channels=3)
    plan = tiler.plan((3000, 4000))
    for rows, columns, block in tiler.blocks(plan, lambda rows, columns: image[rows, columns], np.uint8):
        output[rows, columns] = block
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel, reach, whole_statistics
from kdgan.reach import CLOSE, CannotTileError, Function, Reach
from kdgan.whole_statistics import Statistic

SIDE = 512  # of a tile, in pixels, where nothing is said
SMALLEST = 64
MEMORY = 384 * 2**20  # bytes that the program of a tile may take beside its input and output
WHOLE = 2**30  # likewise of a whole image that cannot be divided


class Axis(NamedTuple):
    """The tiles along rows, or along columns.

    Attributes:
      side: of a tile, in pixels of the image.
      starts: first pixel of each tile.
      edges: the core of tile i is from edge i to edge i + 1.
    """

    side: int
    starts: tuple[int, ...]
    edges: tuple[int, ...]


class Plan(NamedTuple):
    """The tiles of an image.

    Attributes:
      rows, columns: of each direction.
      scale: sides of the output over sides of the image.
      reach: of the function; None where the image is one tile.
    """

    rows: Axis
    columns: Axis
    scale: int
    reach: Reach | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.scale * self.rows.edges[-1], self.scale * self.columns.edges[-1]

    @property
    def tiles(self) -> int:
        """Tiles that are computed, of all passes."""
        passes = 1 if self.reach is None else 1 + self.reach.levels
        return passes * len(self.rows.starts) * len(self.columns.starts)


Read = Callable[[slice, slice], np.ndarray]  # (rows, columns) -> these pixels of the image [h, w, c]
Block = tuple[slice, slice, np.ndarray]  # rows and columns of the output, and what stands there


class Tiler:
    """A function of images, and what is compiled and known of it.

    Args:
      function: (variables, image [1, h, w, c] in [0, 1]) -> image [1, s·h, s·w, d], for any sides; it is traced.
      variables: its first argument.
      channels: c.
      close: of the largest output, what rounding may change: more than the default for a function in bfloat16.
    """

    def __init__(self, function: Function, variables: Any, channels: int, *, close: float = CLOSE):
        self.function, self.variables, self.channels, self.close = function, jax.device_put(variables), channels, close
        self._signature = _signature(self.variables)
        self._known: list[tuple[tuple[int, int], tuple[bool, bool], Reach]] = []
        self._compiled: dict[Any, Any] = {}
        self._plans: dict[Any, Plan] = {}

    def of(self, variables: Any) -> "Tiler":
        """The same function with other variables; what is compiled and known is shared."""
        other = copy.copy(self)
        other.variables = jax.device_put(variables)
        other._signature = _signature(other.variables)
        return other

    def plan(self, size: tuple[int, int], tile: int | None = None) -> Plan:
        """The tiles of an image.

        Args:
          size: (height, width) in pixels.
          tile: the longest side of a tile; by default 512, or less where the function takes much memory. An image that is
            no larger is one tile.

        Raises:
          CannotTileError: the image is larger than a tile and cannot be divided; by default it is then one tile, as far as
            memory allows.
          ValueError: such a tile has no core.
        """
        key = size, tile, self._signature
        if key not in self._plans:
            self._plans[key] = self._planned(size, tile)
        return self._plans[key]

    def _planned(self, size: tuple[int, int], tile: int | None) -> Plan:
        side = tile or SIDE
        while True:
            try:
                plan = self._divided(size, side)
            except CannotTileError:
                if tile is None and self._bytes(size) <= WHOLE:
                    return self._divided(size, max(size))
                raise
            if tile is not None or self._bytes((plan.rows.side, plan.columns.side)) <= MEMORY:
                return plan
            margin = 0 if plan.reach is None else plan.reach.margin
            if side // 2 < max(SMALLEST, 6 * margin):
                return plan
            side //= 2

    def blocks(
        self, plan: Plan, read: Read, dtype: Any, advance: Callable[[int], None] = lambda count: None
    ) -> Iterator[Block]:
        """What stands where in the output, tile by tile; in bytes where `dtype` is uint8, else float32 in [0, 1].

        Args:
          plan: the tiles.
          read: gives pixels of the image, uint8 or float32 in [0, 1].
          dtype: of the blocks.
          advance: is told of each tile that is done.
        """
        values: list[Any] = []
        for level in range(0 if plan.reach is None else plan.reach.levels):
            values += self._pass(plan, level, values, read, advance)
        last: tuple[Any, int, int] | None = None
        for i, j in itertools.product(range(len(plan.rows.starts)), range(len(plan.columns.starts))):
            given = _tile(plan, i, j, read)
            made = self._program(plan, given, np.dtype(dtype))(self.variables, values, given)
            if last is not None:  # fetched while the next one is computed
                yield _core(plan, *last)
                advance(1)
            last = made, i, j
        assert last is not None
        yield _core(plan, *last)
        advance(1)

    def _divided(self, size: tuple[int, int], side: int) -> Plan:
        cut = size[0] > side, size[1] > side
        if not any(cut):
            scale = reach.scale_of(self.function, self.variables, self.channels, size)
            return Plan(_one(size[0]), _one(size[1]), scale, None)
        known = self._reach(size, cut)
        rows, columns = (_axis(n, side, known) if of else _one(n) for n, of in zip(size, cut, strict=True))
        return Plan(rows, columns, known.scale, known)

    def _reach(self, size: tuple[int, int], cut: tuple[bool, bool]) -> Reach:
        for other, divided, known in self._known:
            if divided == cut and all((a - b) % known.period == 0 for a, b in zip(size, other, strict=True)):
                return known
        known = reach.find(self.function, self.variables, self.channels, size, cut, close=self.close)
        self._check(known, size, cut)
        self._known.append((size, cut, known))
        return known

    def _check(self, known: Reach, size: tuple[int, int], cut: tuple[bool, bool]) -> None:
        """Compare tiles with one pass, on a small image of random pixels with sides congruent to those of `size`.

        Raises:
          CannotTileError: they differ.
        """
        period, axes = known.period, []
        for n, of in zip(size, cut, strict=True):
            least = 2 * known.margin + max(period, 16) + period
            side = least + (n - least) % period
            axes.append(_axis(side + 2 * (side - side % period - 2 * known.margin), side, known) if of else _one(n))
        plan = Plan(axes[0], axes[1], known.scale, known)
        shape = plan.rows.edges[-1], plan.columns.edges[-1], self.channels
        image = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
        expected = np.asarray(parallel.compiled(self.function)(self.variables, image[None])[0], np.float32)
        apart = 0.0
        for rows, columns, block in self.blocks(plan, lambda rows, columns: image[rows, columns], np.float32):
            apart = max(apart, float(np.abs(block - np.clip(expected[rows, columns], 0, 1)).max()))
        # A statistic is summed up in another order, and then divided by its own small spread.
        if not apart <= self.close * (10 if known.statistics else 1) * max(1.0, float(np.abs(expected).max())):
            raise CannotTileError(
                f"its tiles, which overlap by {known.margin} pixels, differ from one pass by up to {apart:.2g}"
            )

    def _pass(
        self, plan: Plan, level: int, values: list[Any], read: Read, advance: Callable[[int], None]
    ) -> list[np.ndarray]:
        """The values of the statistics of a level, by adding up all tiles."""
        assert plan.reach is not None
        wanted = [one for one in plan.reach.statistics if one.level == level]
        totals: list[Any] = [None] * len(wanted)
        pixels = [0] * len(wanted)
        for i, j in itertools.product(range(len(plan.rows.starts)), range(len(plan.columns.starts))):
            given = _tile(plan, i, j, read)
            spans = [
                [_span(axis, k, one.steps[which], plan.reach.period) for one in wanted]
                for which, (axis, k) in enumerate(((plan.rows, i), (plan.columns, j)))
            ]
            parts = jax.device_get(self._partial(plan, given, level)(self.variables, values, given, *spans))
            for k, (part, count) in enumerate(parts):
                totals[k] = whole_statistics.joined(wanted[k], totals[k], part)
                pixels[k] += int(count)
            advance(1)
        return [whole_statistics.value(*one) for one in zip(wanted, totals, pixels, strict=True)]

    def _program(self, plan: Plan, given: np.ndarray, dtype: np.dtype) -> Any:
        """`program(variables, values, tile) -> output`, compiled."""
        statistics = self._ordered(plan)
        return self._once(
            ("output", given.shape, given.dtype, dtype, statistics), lambda: _output(self, statistics, dtype)
        )

    def _partial(self, plan: Plan, given: np.ndarray, level: int) -> Any:
        statistics = self._ordered(plan)
        return self._once(
            ("partial", given.shape, given.dtype, level, statistics), lambda: _partial(self, statistics, level)
        )

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if (key, self._signature) not in self._compiled:
            self._compiled[key, self._signature] = parallel.compiled(make())
        return self._compiled[key, self._signature]

    def _ordered(self, plan: Plan) -> tuple[Statistic, ...]:
        """The statistics as their values come, level by level."""
        return () if plan.reach is None else tuple(sorted(plan.reach.statistics, key=lambda one: one.level))

    def _bytes(self, sides: tuple[int, int]) -> int:
        """Memory that the program of a tile of bytes takes; 0 where the backend does not say it."""
        tile, kind = jax.ShapeDtypeStruct((*sides, self.channels), np.uint8), np.dtype(np.uint8)
        key = ("output", tile.shape, kind, kind, ()), self._signature
        program: Any = self._compiled.get(key)
        if not hasattr(program, "memory_analysis"):
            program = parallel.compiled(_output(self, (), kind))
            program = self._compiled[key] = program.lower(self.variables, [], tile).compile()
        return int(getattr(program.memory_analysis(), "temp_size_in_bytes", 0) or 0)


def _signature(variables: Any) -> Any:
    """Structure, shapes and types of variables."""
    leaves, structure = jax.tree.flatten(variables)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _one(n: int) -> Axis:
    return Axis(n, (0,), (0, n))


def _axis(n: int, side: int, known: Reach) -> Axis:
    """The tiles along a side of n pixels.

    Raises:
      ValueError: tiles of this side have no core.
    """
    period, margin = known.period, known.margin
    side = n - -(-(n - side) // period) * period  # the longest that is congruent to n
    step = side - side % period - 2 * margin
    if step < period:
        least = 2 * (margin + period)
        raise ValueError(
            f"tiles of {side} pixels: an output sees {known.radius} pixels to every side; at least {least} are accepted"
        )
    starts = (*range(0, n - side, step), n - side)
    return Axis(side, starts, (0, *(start + step + margin for start in starts[:-1]), n))


def _span(axis: Axis, i: int, step: int, period: int) -> tuple[int, int]:
    """(first, end) of the core of tile i in an operand that has `step` pixels for each period."""
    first, end = ((edge - axis.starts[i]) * step // period for edge in axis.edges[i : i + 2])
    return first, end if i + 1 < len(axis.starts) else np.iinfo(np.int32).max


def _tile(plan: Plan, i: int, j: int, read: Read) -> np.ndarray:
    (top, left) = plan.rows.starts[i], plan.columns.starts[j]
    return np.ascontiguousarray(read(slice(top, top + plan.rows.side), slice(left, left + plan.columns.side)))


def _core(plan: Plan, made: Any, i: int, j: int) -> Block:
    """The core of a tile's output, and where it stands."""
    whole, inside = [], []
    for axis, k in ((plan.rows, i), (plan.columns, j)):
        first, end = (plan.scale * edge for edge in axis.edges[k : k + 2])
        whole.append(slice(first, end))
        inside.append(slice(first - plan.scale * axis.starts[k], end - plan.scale * axis.starts[k]))
    return whole[0], whole[1], np.asarray(made)[inside[0], inside[1]]


def _output(tiler: Tiler, statistics: tuple[Statistic, ...], dtype: np.dtype) -> Callable:
    """`(variables, values of the statistics, tile [h, w, c]) -> its output [s·h, s·w, d]`, clipped to [0, 1]."""

    def output(variables, values, tile):
        image = _unit(tile)[None]
        if statistics:
            (made,), _ = whole_statistics.operands(*_traced(tiler.function, variables, image), statistics, values)
        else:
            made = tiler.function(variables, image)
        made = jnp.clip(made[0].astype(jnp.float32), 0.0, 1.0)
        return jnp.round(255 * made).astype(jnp.uint8) if dtype == np.uint8 else made

    return output


def _partial(tiler: Tiler, statistics: tuple[Statistic, ...], level: int) -> Callable:
    """`(variables, values, tile, rows, columns) -> [(what the tile adds, of how many pixels)]` of a level's statistics."""
    known = [one for one in statistics if one.level < level]
    wanted = [one for one in statistics if one.level == level]

    def partial(variables, values, tile, rows, columns):
        traced = _traced(tiler.function, variables, _unit(tile)[None])
        return whole_statistics.partial(*traced, known, values, wanted, rows, columns)

    return partial


def _traced(function: Function, variables: Any, image: Any) -> tuple[Any, list[Any]]:
    """A function's program, and its arguments."""
    leaves, structure = jax.tree.flatten(variables)
    flat = lambda *given: function(jax.tree.unflatten(structure, given[:-1]), given[-1])
    return jax.make_jaxpr(flat)(*leaves, image), [*leaves, image]


def _unit(tile: Any) -> Any:
    """Pixels in [0, 1]."""
    return tile.astype(jnp.float32) / 255 if tile.dtype == jnp.uint8 else tile
