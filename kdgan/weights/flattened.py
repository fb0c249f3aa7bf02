"""In which order a module's arrays meet flattened images: [h, w, c] here, [c, h, w] in PyTorch.

A dense layer that reads a flattened image, a norm after it, and a dense layer whose output becomes an image, have an entry
for each pixel and channel. Which ones they are, and of what sides, is read off the module's program, followed from its
inputs: each axis of each value is known as pixels, as channels, as several of them flattened, or as neither.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from kdgan.player import call_module
from kdgan.state import variable_shapes
from kdgan.weights.tree import flat

# What an axis counts: ("s", 0) the first axis of pixels, ("c", 0) channels, ("out", path) the outputs of a dense layer, or
# None; with its size. An axis is made of segments, joined; a segment of factors, of which the last counts fastest.
Factor = tuple[tuple[str, Any] | None, int]
Segment = tuple[Factor, ...]
Axis = tuple[Segment, ...]
Axes = tuple[Axis, ...]
CHANNELS = ("c", 0)

_LOOPS = ("scan", "while", "cond")


class Order(NamedTuple):
    """The entries of an axis in another order than PyTorch's."""

    axis: Axis

    def of(self, size: int, path: str) -> np.ndarray:
        """The place in PyTorch's order, channels first, of each entry.

        An axis of another size has the same pixels, and other channels.

        Raises:
          ValueError: it has not.
        """
        axis, known = self.axis, _size(self.axis)
        if size != known:
            pixels = math.prod(n for token, n in axis[0] if token != CHANNELS)
            if len(axis) > 1 or size % pixels or not any(token == CHANNELS for token, _ in axis[0]):
                raise ValueError(
                    f"{path} reads a flattened image of {known} numbers; {size} are none of the same sides"
                )
            axis = (tuple((token, size // pixels if token == CHANNELS else n) for token, n in axis[0]),)
        starts = np.cumsum([0, *(math.prod(n for _, n in segment) for segment in axis)])
        return np.concatenate([start + _places(segment) for start, segment in zip(starts, axis, strict=False)])


class Orders(NamedTuple):
    """Of the arrays that need it, by path ("params/dense1/kernel"), the order of their entries.

    Attributes:
      rows: of a kernel's inputs.
      columns: of a kernel's outputs.
      vectors: of a bias, a scale or a statistic.
    """

    rows: Mapping[str, Order]
    columns: Mapping[str, Order]
    vectors: Mapping[str, Order]


def orders(module: nn.Module, inputs: Any) -> Orders:
    """The orders of a module's arrays, called in evaluation mode with inputs (args, kwargs) of these shapes."""
    shapes = variable_shapes(module, inputs)
    paths = [path for path, _ in flat(_in_order(shapes))]
    args, kwargs = inputs

    def forward(variables, args, kwargs):
        return call_module(module, variables, *args, train=False, **kwargs)[0]

    jaxpr = jax.make_jaxpr(forward)(shapes, args, kwargs).jaxpr
    walk = _Walk()
    for var, path in zip(jaxpr.invars, paths, strict=False):
        walk.labels[var] = {path: None}
    for var in jaxpr.invars[len(paths) :]:
        walk.axes[var] = _input_axes(var.aval.shape)
    walk.through(jaxpr)
    return walk.orders()


def _in_order(tree: Any) -> Any:
    """Keys sorted, as JAX takes a mapping apart."""
    return {name: _in_order(tree[name]) for name in sorted(tree)} if isinstance(tree, Mapping) else tree


def _input_axes(shape: Sequence[int]) -> Axes:
    if len(shape) < 4:
        return _plain(shape)
    pixels = tuple(_axis(("s", i), size) for i, size in enumerate(shape[1:-1]))
    return (_axis(None, shape[0]), *pixels, _axis(CHANNELS, shape[-1]))


def _axis(token: Any, size: int) -> Axis:
    return (((token, size),),)


def _plain(shape: Sequence[int]) -> Axes:
    return tuple(_axis(None, size) for size in shape)


def _size(axis: Axis) -> int:
    return sum(math.prod(size for _, size in segment) for segment in axis)


def _single(axis: Axis) -> Factor | None:
    """The factor of an axis that is one."""
    return axis[0][0] if len(axis) == 1 and len(axis[0]) == 1 else None


class _Walk:
    """Axes of each value that depends on the inputs, and, of those that do not, which arrays they are made of.

    `labels` has of a value array -> the axis that the array's only axis has become; None: the array itself, of any rank.
    """

    def __init__(self) -> None:
        self.axes: dict[Any, Axes] = {}
        self.labels: dict[Any, dict[str, int | None]] = {}
        self.rows: dict[str, Axis] = {}
        self.vectors: dict[str, Axis] = {}
        self.splits: dict[str, Segment] = {}

    def through(self, jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            inner = self._inner(equation)
            if inner is not None:
                self._call(equation, inner)
            elif any(self._axes(var) is not None for var in equation.invars):
                self._data(equation)
            else:
                self._constants(equation)

    def orders(self) -> Orders:
        changed = lambda axes: {path: Order(axis) for path, axis in axes.items() if any(map(_is_reordered, axis))}
        resolved = lambda axes: {path: tuple(map(self._resolved, axis)) for path, axis in axes.items()}
        columns = {path: (segment,) for path, segment in self.splits.items()}
        return Orders(changed(resolved(self.rows)), changed(columns), changed(resolved(self.vectors)))

    def _axes(self, var: Any) -> Axes | None:
        return None if isinstance(var, jax.extend.core.Literal) else self.axes.get(var)

    def _labels(self, var: Any) -> dict[str, int | None]:
        return {} if isinstance(var, jax.extend.core.Literal) else self.labels.get(var, {})

    def _inner(self, equation: Any) -> Any:
        """The program inside a call: of jit, a custom derivative, a checkpoint."""
        if equation.primitive.name in _LOOPS:
            return None
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and len(inner.invars) == len(equation.invars):
                return inner
        return None

    def _call(self, equation: Any, inner: Any) -> None:
        for outside, inside in zip(equation.invars, inner.invars, strict=True):
            # The same program may be called twice: what the first call left is forgotten.
            self.axes.pop(inside, None)
            self.labels.pop(inside, None)
            if (axes := self._axes(outside)) is not None:
                self.axes[inside] = axes
            elif labels := self._labels(outside):
                self.labels[inside] = labels
        for inside_equation in inner.eqns:
            for var in inside_equation.outvars:
                self.axes.pop(var, None)
                self.labels.pop(var, None)
        self.through(inner)
        for outside, inside in zip(equation.outvars, inner.outvars, strict=True):
            if (axes := self._axes(inside)) is not None:
                self.axes[outside] = axes
            elif labels := self._labels(inside):
                self.labels[outside] = labels

    def _constants(self, equation: Any) -> None:
        """What is made of arrays alone stays known as them where each entry stays one entry."""
        name, (out, *others) = equation.primitive.name, equation.outvars
        if others or not equation.invars:
            return
        shape, made = tuple(out.aval.shape), {}
        for var in equation.invars:
            for path, axis in self._labels(var).items():
                before = tuple(var.aval.shape)
                if len(before) > 1 and axis is None:
                    made |= {path: None} if before == shape else {}
                    continue
                axis = axis or 0
                size = before[axis] if before else 1
                if name == "broadcast_in_dim":
                    made[path] = equation.params["broadcast_dimensions"][axis] if before else None
                elif before == shape:
                    made[path] = axis
                elif name in ("reshape", "squeeze") and size in shape and math.prod(shape) == size:
                    made[path] = shape.index(size)
        if made:
            self.labels[out] = made

    def _data(self, equation: Any) -> None:
        name, params = equation.primitive.name, equation.params
        first = next(axes for var in equation.invars if (axes := self._axes(var)) is not None)
        shapes = [tuple(var.aval.shape) for var in equation.outvars]
        if name == "reshape":
            out = self._reshaped(first, shapes[0])
        elif name == "transpose":
            out = tuple(first[i] for i in params["permutation"])
        elif name == "squeeze":
            gone = {d % len(first) for d in params["dimensions"]}
            out = tuple(axis for i, axis in enumerate(first) if i not in gone)
        elif name == "broadcast_in_dim":
            out = _broadcast(first, shapes[0], params["broadcast_dimensions"])
        elif name in ("argmax", "argmin") or (name.startswith("reduce_") and "axes" in params):
            out = tuple(axis for i, axis in enumerate(first) if i not in params["axes"])
        elif name == "conv_general_dilated":
            out = _convolved(shapes[0], params["dimension_numbers"].out_spec)
        elif name == "dot_general":
            out = self._product(equation)
        elif name == "concatenate":
            out = self._joined(equation)
        else:
            self._note_vectors(equation)
            for var, shape in zip(equation.outvars, shapes, strict=True):
                self.axes[var] = self._alike(equation, shape)
            return
        self.axes[equation.outvars[0]] = out
        for var, shape in zip(equation.outvars[1:], shapes[1:], strict=True):
            self.axes[var] = _plain(shape)

    def _note_vectors(self, equation: Any) -> None:
        """Arrays that meet a value entry by entry have its order."""
        for other in equation.invars:
            for path, axis in self._labels(other).items():
                for var in equation.invars:
                    axes = self._axes(var)
                    if axes is None or len(axes) != len(other.aval.shape) or (axis is None and len(axes) != 1):
                        continue
                    met = axes[axis or 0]
                    if _size(met) == other.aval.shape[axis or 0]:
                        self.vectors.setdefault(path, met)

    def _alike(self, equation: Any, shape: tuple[int, ...]) -> Axes:
        """Of a result that has the axes of an argument: entry by entry, cut, padded, pooled."""
        for var in equation.invars:
            axes = self._axes(var)
            if axes is not None and len(axes) == len(shape) and len(var.aval.shape) == len(shape):
                return tuple(_resized(axis, size) for axis, size in zip(axes, shape, strict=True))
        return _plain(shape)

    def _reshaped(self, axes: Axes, shape: tuple[int, ...]) -> Axes:
        if tuple(size for size in map(_size, axes) if size > 1) == tuple(size for size in shape if size > 1):
            left = [axis for axis in axes if _size(axis) > 1]
            return tuple(left.pop(0) if size > 1 else _axis(None, 1) for size in shape)
        if any(len(axis) > 1 for axis in axes) or 0 in shape:
            return _plain(shape)
        left = [factor for axis in axes for factor in axis[0] if factor[1] > 1]
        out: list[Axis] = []
        while len(out) < len(shape):
            size, taken = shape[len(out)], []
            while math.prod(n for _, n in taken) < size and left:
                taken.append(left.pop(0))
            total = math.prod(n for _, n in taken)
            if total == size:
                out.append((tuple(taken) or ((None, 1),),))
            elif len(taken) == 1 and (sides := _sides(shape[len(out) :], total)):
                out += self._split(taken[0], sides, len(shape))
            else:
                return _plain(shape)
        return tuple(out)

    def _split(self, factor: Factor, sides: tuple[int, ...], rank: int) -> list[Axis]:
        """An axis that becomes several: of the outputs of a dense layer the pixels and channels of an image."""
        token, _ = factor
        if token is None or token[0] != "out" or len(sides) < 3 or rank < 4:
            return list(_plain(sides))
        factors: Segment = (*((("s", i), n) for i, n in enumerate(sides[:-1])), (CHANNELS, sides[-1]))
        self.splits.setdefault(token[1], factors)
        return [((one,),) for one in factors]

    def _product(self, equation: Any) -> Axes:
        (contracted, batched) = equation.params["dimension_numbers"]
        shape = tuple(equation.outvars[0].aval.shape)
        sides = []
        for i in (0, 1):
            var = equation.invars[i]
            rank = len(var.aval.shape)
            free = [d for d in range(rank) if d not in contracted[i] and d not in batched[i]]
            kernel = [path for path, axis in self._labels(var).items() if axis is None and rank > 1]
            sides.append((self._axes(var), free, kernel))
        (left, free_left, kernel_left), (right, free_right, kernel_right) = sides
        if left is not None and right is None:
            met = [left[d] for d, _ in sorted(zip(contracted[0], contracted[1], strict=True), key=lambda pair: pair[1])]
            rest = [left[d] for d in (*batched[0], *free_left)]
            return (*rest, *self._made(kernel_right, met, rest, len(free_right), shape[len(rest) :]))
        if right is not None and left is None:
            met = [right[d] for _, d in sorted(zip(*contracted, strict=True))]
            rest = [right[d] for d in (*batched[1], *free_right)]
            count = len(batched[0])
            new = self._made(kernel_left, met, rest, len(free_left), shape[count : count + len(free_left)])
            return (*rest[:count], *new, *rest[count:])
        return _plain(shape)

    def _made(
        self, kernels: Sequence[str], met: Sequence[Axis], rest: Sequence[Axis], count: int, sizes: Sequence[int]
    ) -> list[Axis]:
        """The axes of a product that come from the other side; notes in which order a kernel's rows are read."""
        token: Any = None
        single = _single(met[0]) if len(met) == 1 else None
        if kernels:
            if len(met) == 1 or all(len(axis) == 1 for axis in met):
                together = tuple(factor for axis in met for factor in axis[0])
                self.rows.setdefault(kernels[0], met[0] if len(met) == 1 else (together,))
            token = ("out", kernels[0])
        if single is not None and single[0] is not None and single[0][0] in "sc":
            # A 1×1 convolution, or scaling along one axis.
            has_pixels = any((f := _single(axis)) is not None and f[0] is not None and f[0][0] == "s" for axis in rest)
            token = single[0] if has_pixels or not kernels else token
        return [_axis(token if count == 1 else None, size) for size in sizes]

    def _joined(self, equation: Any) -> Axes:
        dimension = equation.params["dimension"]
        shape = tuple(equation.outvars[0].aval.shape)
        parts = [self._axes(var) or _plain(var.aval.shape) for var in equation.invars]
        known = next(self._axes(var) for var in equation.invars if self._axes(var) is not None)
        single = [_single(axes[dimension]) for axes in parts]
        if all(one is not None for one in single) and len({one[0] for one in single if one is not None}) == 1:
            joined = _axis(single[0][0] if single[0] else None, shape[dimension])
        else:
            joined = tuple(segment for axes in parts for segment in axes[dimension])
        return tuple(joined if i == dimension else axis for i, axis in enumerate(known or ()))

    def _resolved(self, segment: Segment) -> Segment:
        """The outputs of a dense layer as the pixels and channels that they became."""
        token = segment[0][0] if len(segment) == 1 else None
        return self.splits.get(token[1], segment) if token is not None and token[0] == "out" else segment


def _theirs(segment: Segment) -> list[int]:
    """The factors of a segment in PyTorch's order, channels before pixels; as they are where they are not of an image."""
    tokens = [token for token, size in segment if size > 1]
    same = list(range(len(segment)))
    if any(token is None or token[0] not in "sc" for token in tokens) or len({*tokens}) < len(tokens):
        return same
    # "c" sorts before "s", and the axes of pixels by their number; where an axis has one entry does not matter.
    return sorted(same, key=lambda i: segment[i][0] or ("", 0))


def _is_reordered(segment: Segment) -> bool:
    return [i for i in _theirs(segment) if segment[i][1] > 1] != [i for i, (_, n) in enumerate(segment) if n > 1]


def _places(segment: Segment) -> np.ndarray:
    theirs = _theirs(segment)
    places = np.arange(math.prod(n for _, n in segment)).reshape([segment[i][1] for i in theirs])
    return places.transpose(np.argsort(theirs)).reshape(-1)


def _sides(shape: Sequence[int], total: int) -> tuple[int, ...]:
    """The leading sizes whose product this is; () where there are none."""
    for count in range(2, len(shape) + 1):
        if math.prod(shape[:count]) == total:
            return tuple(shape[:count])
    return ()


def _resized(axis: Axis, size: int) -> Axis:
    if _size(axis) == size:
        return axis
    factor = _single(axis)
    return _axis(factor[0] if factor is not None and (factor[0] or ("",))[0] != "out" else None, size)


def _broadcast(axes: Axes, shape: tuple[int, ...], dimensions: Sequence[int]) -> Axes:
    out = list(_plain(shape))
    for axis, dimension in zip(axes, dimensions, strict=True):
        if _size(axis) == shape[dimension]:
            out[dimension] = axis
    return tuple(out)


def _convolved(shape: tuple[int, ...], out_spec: Sequence[int]) -> Axes:
    out = list(_plain(shape))
    out[out_spec[1]] = _axis(CHANNELS, shape[out_spec[1]])
    for i, dimension in enumerate(out_spec[2:]):
        out[dimension] = _axis(("s", i), shape[dimension])
    return tuple(out)
