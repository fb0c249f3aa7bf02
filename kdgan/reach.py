"""How far an image-to-image function sees: its scale, receptive radius and period, found by probing it with small images.

Pixels on one side of a line are made NaN: outputs that are NaN may depend on them, and the farthest one is the radius. A
second probe changes the pixels instead, for functions in which NaN does not spread, such as `where(x > 0, x, 0)`. The period
is the smallest shift of the image that shifts the output and changes nothing else: the product of the strides. Statistics of
the whole image (`kdgan/whole_statistics.py`) are held fixed meanwhile.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel, whole_statistics
from kdgan.whole_statistics import Program, Statistic

# function(variables, image [1, h, w, c]) -> image [1, s·h, s·w, d]
Function = Callable[[Any, Any], Any]

# Sides are congruent to the image's by one of these; periods are its divisors.
BASES = (48, 64, 80, 112)
# What reaches far because it adds up neighbours, so that a larger probe is tried; anything else takes all of the image.
_OF_NEIGHBOURS = ("conv_general_dilated", "dot_general", "reduce_window", "pad", "slice", "concatenate", "gather")
LARGEST = 800  # side of a probe, in pixels: a radius of about 370 is found
MOST_BYTES = 2**30  # that a probe may take
CLOSE = 1e-5  # of the largest output: what two computations of the same float32 numbers may differ by


class CannotTileError(ValueError):
    """An image cannot be made of tiles, and why."""


class Reach(NamedTuple):
    """How far a function sees.

    Attributes:
      scale: sides of the output over sides of the image.
      period: pixels by which an image may be shifted.
      radius: pixels, to every side, that an output depends on.
      statistics: of the whole image, that it takes.
    """

    scale: int
    period: int
    radius: int
    statistics: tuple[Statistic, ...]

    @property
    def margin(self) -> int:
        """Pixels of a tile that are left out beside another tile: the radius in whole periods."""
        return -(-self.radius // self.period) * self.period

    @property
    def levels(self) -> int:
        """Passes over all tiles before the one that gives the output."""
        return 1 + max((one.level for one in self.statistics), default=-1)


def find(
    function: Function, variables: Any, channels: int, size: tuple[int, int], cut: tuple[bool, bool], *,
    close: float = CLOSE,
) -> Reach:  # fmt: skip
    """What a function does with images of this size, or of another one by a multiple of the period.

    Args:
      function: (variables, image [1, h, w, c] in [0, 1]) -> image [1, s·h, s·w, d], for any sides.
      variables: its first argument.
      channels: c.
      size: (height, width) in pixels.
      cut: whether rows, and columns, are to be divided into tiles; a side that is not is probed as it is.
      close: of the largest output, what rounding may change.

    Raises:
      CannotTileError: an output depends on all of the image in another way than by sums and extremes over rows and columns;
        shifting the image shifts no output; sides of the output are no multiple of those of the image.
    """
    for base in BASES:
        reach = _find(function, variables, channels, size, cut, base, close)
        if reach is not None:
            return reach
    raise CannotTileError("shifting the image by up to 112 pixels does not shift its output")


def scale_of(function: Function, variables: Any, channels: int, size: tuple[int, int]) -> int:
    """Sides of the output over sides of the image.

    Raises:
      CannotTileError: they are no whole multiple.
    """
    made = jax.eval_shape(function, variables, jax.ShapeDtypeStruct((1, *size, channels), jnp.float32))
    shape = getattr(made, "shape", None)
    if shape is None or len(shape) != 4:
        raise CannotTileError(f"it gives {shape or 'several arrays'} of an image, and no image [b, h, w, c]")
    scale = max(shape[1] // size[0], 1)
    if shape[1:3] != (scale * size[0], scale * size[1]):
        raise CannotTileError(
            f"it makes {shape[1]}×{shape[2]} pixels of {size[0]}×{size[1]}; a whole multiple of both sides is accepted"
        )
    return scale


def _find(
    function: Function, variables: Any, channels: int, size: tuple[int, int], cut: tuple[bool, bool], base: int,
    close: float,
) -> Reach | None:  # fmt: skip
    """None: it has no period that divides `base`."""
    least, culprit = 2 * base, ("", "")
    while least <= LARGEST:
        # Congruent to the image's sides.
        height, width = (least + (n - least) % base if of else n for n, of in zip(size, cut, strict=True))
        probe = _Probe(function, variables, channels, (height, width), base)
        if probe.bytes > MOST_BYTES and not culprit[0]:
            raise CannotTileError(f"{height}×{width} pixels take {probe.bytes / 2**30:.1f} GiB already")
        if probe.bytes > MOST_BYTES:
            break
        radius, culprit = _radius(probe, cut, close)
        if culprit[0] and not culprit[0].startswith(_OF_NEIGHBOURS):
            break
        period = 0 if radius is None else _period(probe, cut, radius, close)
        if radius is not None and period != 0:
            return None if period is None else Reach(probe.scale, period, radius, probe.per_period(period))
        least *= 2
    primitive, module = culprit
    inside = f" in {module}" if module else ""
    takes = f"its {primitive}{inside} takes" if primitive else f"pixels {least // 2 - base} and farther away take"
    raise CannotTileError(f"{takes} part in every pixel of the output")


class _Probe:
    """A function on images of one size, its statistics fixed to those of one of them."""

    def __init__(self, function: Function, variables: Any, channels: int, sides: tuple[int, int], base: int):
        self.sides, self.base = sides, base
        self.leaves, structure = jax.tree.flatten(variables)
        shapes = jax.eval_shape(lambda *given: given, *self.leaves)
        flat = lambda *given: function(jax.tree.unflatten(structure, given[:-1]), given[-1])

        def trace(height: int, width: int) -> Program:
            image = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
            return jax.make_jaxpr(flat)(*shapes, image)

        self.scale = scale_of(function, variables, channels, (sides[0], sides[1]))
        self.program = trace(*sides)
        self.statistics = whole_statistics.find(trace, (sides[0], sides[1]), base)
        shape = (1, *(side + base for side in sides), channels)
        self.larger = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        self.image = self.larger[:, : sides[0], : sides[1]]
        self.values: list[Any] = []
        if self.statistics:
            take = parallel.compiled(lambda *given: whole_statistics.values_of(self.program, given, self.statistics))
            self.values = take(*self.leaves, self.image)
        run = lambda values, *given: whole_statistics.operands(
            self.program, given, self.statistics, values, whole_statistics.spread_of_nan
        )
        compiled: Any = parallel.compiled(run)
        self._run = compiled.lower(self.values, *self.leaves, self.image).compile()

    @property
    def bytes(self) -> int:
        """Memory that a probe takes, as far as the backend says it."""
        return int(getattr(self._run.memory_analysis(), "temp_size_in_bytes", 0) or 0)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """(output, operands of the statistics)."""
        (output,), operands = self._run(self.values, *self.leaves, image)
        return np.asarray(output, np.float32), [np.asarray(operand, np.float32) for operand in operands]

    def culprit(self, image: np.ndarray) -> tuple[str, str]:
        """(primitive, module) of the operation in which pixels that are NaN reach everything."""
        return whole_statistics.takes_all(self.program, [*self.leaves, image], self.statistics, self.values)

    def per_period(self, period: int) -> tuple[Statistic, ...]:
        """The statistics, whose steps are those of a period.

        Raises:
          CannotTileError: one grows by less than a pixel for each period.
        """
        several = []
        for one in self.statistics:
            steps = one.steps[0] * period / self.base, one.steps[1] * period / self.base
            if any(step != int(step) for step in steps):
                raise CannotTileError(
                    f"a statistic of {one.module or 'it'} has no whole number of pixels for each period"
                )
            several.append(one._replace(steps=(int(steps[0]), int(steps[1]))))
        return tuple(several)


def _radius(probe: _Probe, cut: tuple[bool, bool], close: float) -> tuple[int | None, tuple[str, str]]:
    """The radius, or None and what takes all of the image: no output beside the line is free of it."""
    radius = 0
    clean = probe.run(probe.image)
    for axis in (axis for axis in (0, 1) if cut[axis]):
        line = probe.sides[axis] // 2 // probe.base * probe.base
        for before in (True, False):
            part = [slice(None)] * 4
            part[1 + axis] = slice(0, line) if before else slice(line, None)
            unknown, changed = probe.image.copy(), probe.image.copy()
            unknown[tuple(part)] = np.nan
            changed[tuple(part)] = 1 - changed[tuple(part)]
            spread, differs = probe.run(unknown), probe.run(changed)
            for pixel, axis_of, maps in _maps(probe, axis, clean, spread, differs, close):
                others = tuple(i for i in range(maps.ndim) if i != axis_of)
                reached = np.flatnonzero(maps.any(others))
                if not len(reached):
                    continue
                if reached[-1] == maps.shape[axis_of] - 1 if before else reached[0] == 0:
                    return None, probe.culprit(unknown)
                here, there = pixel
                last, first = -(-(reached[-1] + 1) * here // there), reached[0] * here // there
                radius = max(radius, int(last - line if before else line - first))
    return radius, ("", "")


def _maps(probe: _Probe, axis: int, clean: Any, spread: Any, differs: Any, close: float) -> Any:
    """Of the output and each operand ((a, b): a pixels are b of it; its axis; where it may depend on the line)."""
    output = (1, probe.scale), 1 + axis, _touched(clean[0], spread[0], differs[0], close)
    several = [
        ((probe.base, one.steps[axis]), (one.rows, one.columns)[axis], _touched(a, b, c, close))
        for one, a, b, c in zip(probe.statistics, clean[1], spread[1], differs[1], strict=True)
    ]
    return [output, *several]


def _touched(clean: np.ndarray, spread: np.ndarray, differs: np.ndarray, close: float) -> np.ndarray:
    return np.isnan(spread) | ~(np.abs(differs - clean) <= 0.1 * close * np.abs(clean).max())


def _period(probe: _Probe, cut: tuple[bool, bool], radius: int, close: float) -> int | None:
    """The smallest period of those that divide the base; 0: images are too small to tell; None: there is none."""
    s, (height, width) = probe.scale, probe.sides
    base_image, _ = probe.run(probe.image)
    largest = np.abs(base_image).max()
    for period in (n for n in range(1, probe.base + 1) if probe.base % n == 0):
        # The far border is no multiple of the period: what is padded there reaches up to a period farther.
        inner = tuple(
            slice(s * radius, s * (side - radius - period)) if of else slice(None)
            for side, of in zip(probe.sides, cut, strict=True)
        )
        if any(of and side < 2 * (radius + period) + 2 for side, of in zip(probe.sides, cut, strict=True)):
            return 0
        fits = True
        for axis in (axis for axis in (0, 1) if cut[axis]):
            by = (period, 0) if axis == 0 else (0, period)
            shifted, _ = probe.run(probe.larger[:, by[0] : by[0] + height, by[1] : by[1] + width])
            ours, theirs = (made[:, inner[0], inner[1]] for made in (base_image, shifted))
            ours = ours[:, s * by[0] :, s * by[1] :]
            theirs = theirs[:, : theirs.shape[1] - s * by[0], : theirs.shape[2] - s * by[1]]
            fits = fits and bool(np.abs(ours - theirs).max() <= close * largest)
        if fits:
            return period
    return None
