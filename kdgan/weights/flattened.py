"""In which order a module's arrays meet flattened images: [h, w, c] here, [c, h, w] in PyTorch.

A dense layer that reads a flattened image, a norm after it, and a dense layer whose output becomes an image, have an entry
for each pixel and channel. Which ones they are, and of what sides, is read off the module's program, followed from its
inputs: each axis of each value is known as pixels, as channels, as several of them flattened, or as neither.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from kdgan.player import call_module
from kdgan.state import variable_shapes
from kdgan.weights.axes import (
    CHANNELS,
    Axes,
    Axis,
    Factor,
    Order,
    Segment,
    axis_of,
    broadcast,
    convolved,
    input_axes,
    is_reordered,
    leading_sides,
    plain,
    resized,
    single,
    size_of,
)
from kdgan.weights.tree import flat

_LOOPS = ("scan", "while", "cond")


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

    jaxpr: Any = jax.make_jaxpr(forward)(shapes, args, kwargs).jaxpr
    walk = _Walk()
    for var, path in zip(jaxpr.invars, paths, strict=False):
        walk.labels[var] = {path: None}
    for var in jaxpr.invars[len(paths) :]:
        walk.axes[var] = input_axes(var.aval.shape)
    walk.through(jaxpr)
    return walk.orders()


def _in_order(tree: Any) -> Any:
    """Keys sorted, as JAX takes a mapping apart."""
    return {name: _in_order(tree[name]) for name in sorted(tree)} if isinstance(tree, Mapping) else tree


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
        changed = lambda axes: {path: Order(axis) for path, axis in axes.items() if any(map(is_reordered, axis))}
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
        shape = tuple(out.aval.shape)
        made: dict[str, int | None] = {}
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
            out = broadcast(first, shapes[0], params["broadcast_dimensions"])
        elif name in ("argmax", "argmin") or (name.startswith("reduce_") and "axes" in params):
            out = tuple(axis for i, axis in enumerate(first) if i not in params["axes"])
        elif name == "conv_general_dilated":
            out = convolved(shapes[0], params["dimension_numbers"].out_spec)
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
            self.axes[var] = plain(shape)

    def _note_vectors(self, equation: Any) -> None:
        """Arrays that meet a value entry by entry have its order."""
        for other in equation.invars:
            for path, axis in self._labels(other).items():
                for var in equation.invars:
                    axes = self._axes(var)
                    if axes is None or len(axes) != len(other.aval.shape) or (axis is None and len(axes) != 1):
                        continue
                    met = axes[axis or 0]
                    if size_of(met) == other.aval.shape[axis or 0]:
                        self.vectors.setdefault(path, met)

    def _alike(self, equation: Any, shape: tuple[int, ...]) -> Axes:
        """Of a result that has the axes of an argument: entry by entry, cut, padded, pooled."""
        for var in equation.invars:
            axes = self._axes(var)
            if axes is not None and len(axes) == len(shape) and len(var.aval.shape) == len(shape):
                return tuple(resized(axis, size) for axis, size in zip(axes, shape, strict=True))
        return plain(shape)

    def _reshaped(self, axes: Axes, shape: tuple[int, ...]) -> Axes:
        if tuple(size for size in map(size_of, axes) if size > 1) == tuple(size for size in shape if size > 1):
            same = iter([axis for axis in axes if size_of(axis) > 1])
            return tuple(next(same) if size > 1 else axis_of(None, 1) for size in shape)
        if any(len(axis) > 1 for axis in axes) or 0 in shape:
            return plain(shape)
        left = [factor for axis in axes for factor in axis[0] if factor[1] > 1]
        out: list[Axis] = []
        while len(out) < len(shape):
            size = shape[len(out)]
            taken: list[Factor] = []
            while math.prod(n for _, n in taken) < size and left:
                taken.append(left.pop(0))
            total = math.prod(n for _, n in taken)
            if total == size:
                out.append((tuple(taken) or ((None, 1),),))
            elif len(taken) == 1 and (sides := leading_sides(shape[len(out) :], total)):
                out += self._split(taken[0], sides, len(shape))
            else:
                return plain(shape)
        return tuple(out)

    def _split(self, factor: Factor, sides: tuple[int, ...], rank: int) -> list[Axis]:
        """An axis that becomes several: of the outputs of a dense layer the pixels and channels of an image."""
        token, _ = factor
        if token is None or token[0] != "out" or len(sides) < 3 or rank < 4:
            return list(plain(sides))
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
        return plain(shape)

    def _made(
        self, kernels: Sequence[str], met: Sequence[Axis], rest: Sequence[Axis], count: int, sizes: Sequence[int]
    ) -> list[Axis]:
        """The axes of a product that come from the other side; notes in which order a kernel's rows are read."""
        token: Any = None
        one = single(met[0]) if len(met) == 1 else None
        if kernels:
            if len(met) == 1 or all(len(axis) == 1 for axis in met):
                together = tuple(factor for axis in met for factor in axis[0])
                self.rows.setdefault(kernels[0], met[0] if len(met) == 1 else (together,))
            token = ("out", kernels[0])
        if one is not None and one[0] is not None and one[0][0] in "sc":
            # A 1×1 convolution, or scaling along one axis.
            has_pixels = any((f := single(axis)) is not None and f[0] is not None and f[0][0] == "s" for axis in rest)
            token = one[0] if has_pixels or not kernels else token
        return [axis_of(token if count == 1 else None, size) for size in sizes]

    def _joined(self, equation: Any) -> Axes:
        dimension = equation.params["dimension"]
        shape = tuple(equation.outvars[0].aval.shape)
        parts = [self._axes(var) or plain(var.aval.shape) for var in equation.invars]
        known = next(self._axes(var) for var in equation.invars if self._axes(var) is not None)
        singles = [single(axes[dimension]) for axes in parts]
        if all(one is not None for one in singles) and len({one[0] for one in singles if one is not None}) == 1:
            joined = axis_of(singles[0][0] if singles[0] else None, shape[dimension])
        else:
            joined = tuple(segment for axes in parts for segment in axes[dimension])
        return tuple(joined if i == dimension else axis for i, axis in enumerate(known or ()))

    def _resolved(self, segment: Segment) -> Segment:
        """The outputs of a dense layer as the pixels and channels that they became."""
        token = segment[0][0] if len(segment) == 1 else None
        return self.splits.get(token[1], segment) if token is not None and token[0] == "out" else segment
