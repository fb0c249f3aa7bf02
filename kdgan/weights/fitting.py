"""A file's arrays as the variables of a module: `fit(tree, module)`, with a map that says which layer came from which."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan.around import innermost
from kdgan.state import variable_shapes
from kdgan.weights import conversion, flattened, flax_tree, refusal, state_dict
from kdgan.weights.layers import DENSE, Layer, layers_of
from kdgan.weights.matching import match
from kdgan.weights.tree import FLAX, PYTORCH, Tree, flat, nested

# Sides of images that are tried where nobody says how large they are, the commonest first.
_SIDES = (32, 28, 64, 96, 224, 8, 16, 48, 128, 256, 299)
_TOKENS = 16

_COLLECTIONS = {"params", "batch_stats", "buffers"}

Wanted = Callable[[str], bool]  # of a parameter's path, "conv1/kernel"


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer of the map.

    Attributes:
      name: of the module's layer.
      other: of the file's.
      how: it was told: "given", "name", "shape" or "order".
      shapes: leaf -> shape, as the module has it.
    """

    name: str
    other: str
    how: str
    shapes: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Map:
    """Which layer of a module came from which of a file; `str` of it has a line for each."""

    form: str
    rows: tuple[Row, ...]
    of: str = "layer"  # what a row is of; of files whose names are the module's own an array

    @property
    def summary(self) -> str:
        """As "PyTorch .pth: 43 layers, 3 by name, 40 by order"."""
        count = f"{len(self.rows)} {self.of}" + ("" if len(self.rows) == 1 else "s")
        how = Counter(row.how for row in self.rows)
        words = {"given": "as given", "name": "by name", "shape": "by shape", "order": "by order"}
        return f"{self.form}: {count}" + "".join(f", {how[one]} {text}" for one, text in words.items() if how[one])

    def __str__(self) -> str:
        widths = [max((len(getattr(row, name)) for row in self.rows), default=0) for name in ("name", "other")]
        lines = [
            f"{row.name:<{widths[0]}} <- {row.other:<{widths[1]}}  {'by ' * (row.how != 'given')}{row.how:<5}  "
            + ", ".join(f"{leaf} {list(shape)}" for leaf, shape in row.shapes.items())
            for row in self.rows
        ]
        return "\n".join([self.summary, *lines])


def fit(
    tree: Tree,
    module: nn.Module,
    example: Any = None,
    *,
    names: Mapping[str, str] | None = None,
    player: str | None = None,
    any_size: Wanted | None = None,
    partial: bool = False,
) -> tuple[dict[str, Any], Map]:
    """A module's variables out of a file's arrays.

    Args:
      tree: as `read` gives it.
      module: a Linen module. One that has `from_state_dict`, {name: array} -> variables, reads a state dict itself; one that
        has `rename_state_dict`, {name: array} -> {name: array}, says which names of published files are its own.
      example: what it is called with, an array, a shape, or a tuple of them; found from the file where it can be.
      names: layer of the module -> layer of the state dict, where it cannot be told.
      player: which part of the file, where several fit.
      any_size: parameters that may have another size than the module's, or be missing.
      partial: whether a whole collection, as "batch_stats", may be missing; then it is left out.

    Returns:
      ({"params": ..., "batch_stats": ...}, map).

    Raises:
      ValueError: the arrays do not fit: what is missing, left over or of another shape is named, in one line.
    """
    if hasattr(reader := innermost(module), "from_state_dict") and not tree.arrays.keys() & _COLLECTIONS:
        arrays = {name.replace("/", "."): array for name, array in flat(tree.arrays)}
        variables = reader.from_state_dict(arrays)
        return dict(variables), Map(tree.form, tuple(Row(name, name, "name", {}) for name in arrays), "array")
    if tree.kind == PYTORCH and hasattr(reader, "rename_state_dict"):
        tree = dataclasses.replace(tree, arrays=reader.rename_state_dict(tree.arrays))
    inputs = _inputs(example) if example is not None else _guessed(tree, module)
    shapes = variable_shapes(module, inputs)
    tree = _as_flax(tree, shapes)
    if tree.kind == FLAX:
        if names:
            raise ValueError(
                "names says which layer of PyTorch is which; these are Flax's, which have the module's names"
            )
        variables, map_ = _fit_flax(tree, module, shapes, player, any_size)
        lacking = [kind for kind, own in shapes.items() if jax.tree.leaves(own) and kind not in variables]
        if lacking and not partial:
            raise ValueError(f"it has no {' and no '.join(lacking)}, which {type(module).__name__} needs")
        return variables, map_
    return _fit_pytorch(tree, module, inputs, shapes, dict(names or {}), any_size)


def _as_flax(tree: Tree, shapes: Mapping[str, Any]) -> Tree:
    """A tree that has the module's own names is Flax's, whatever its names look like."""
    if tree.kind == FLAX:
        return tree
    own = [{path for path, _ in flat(of_kind)} for of_kind in shapes.values()]
    paths = {name.replace(".", "/") for name in tree.arrays}
    if paths in (own[0], set().union(*own)) and len(paths) == len(tree.arrays):
        return dataclasses.replace(tree, kind=FLAX, arrays=nested(tree.arrays, "."))
    return tree


def _fit_flax(
    tree: Tree, module: nn.Module, shapes: Mapping[str, Any], player: str | None, any_size: Wanted | None
) -> tuple[dict[str, Any], Map]:
    variables = flax_tree.choose(tree.arrays, shapes, player)
    given = {kind: {path: np.shape(leaf) for path, leaf in flat(of_kind)} for kind, of_kind in variables.items()}
    for kind, of_kind in shapes.items():
        if kind not in variables:
            continue
        wanted = {path: tuple(leaf.shape) for path, leaf in flat(of_kind)}
        if any_size is None and (problem := refusal.of_arrays(given[kind], wanted, scale=_scale_of(module))):
            what = "parameters" if kind == "params" else kind
            raise ValueError(f"its {what} do not fit {type(module).__name__}: {problem}")
    rows = [Row(path, path, "name", {path.rpartition("/")[2]: given["params"][path]}) for path in given["params"]]
    return {kind: _typed(of_kind, shapes.get(kind, {})) for kind, of_kind in variables.items()}, Map(
        tree.form, tuple(rows), "array"
    )


def _fit_pytorch(
    tree: Tree,
    module: nn.Module,
    inputs: Any,
    shapes: Mapping[str, Any],
    names: dict[str, str],
    any_size: Wanted | None,
) -> tuple[dict[str, Any], Map]:
    layers, stored = layers_of(module, inputs), state_dict.layers_of(tree.arrays)

    def loose(layer: Layer) -> bool:
        return any_size is not None and all(any_size(path) for kind, path in layer.places.values() if kind == "params")

    matched = match(layers, stored, names=names, in_order=tree.in_order, any_size=loose)
    here, there = {layer.name: layer for layer in layers}, {one.name: one for one in stored}
    missing = [here[name] for name in matched.missing if not loose(here[name])]
    last = next((layer.name for layer in reversed(layers) if layer.kind == DENSE), "")
    left = [there[name] for name in matched.left]
    if (missing or left) and (problem := refusal.of_layers(missing, left, last, scale=_scale_of(module))):
        raise ValueError(f"its layers do not fit {type(module).__name__}: {problem}")
    orders = flattened.orders(module, inputs)
    arrays: dict[str, dict[str, Any]] = {}
    for name, (other, _) in matched.pairs.items():
        for leaf, array in conversion.convert(here[name], there[other].arrays, orders).items():
            kind, path = here[name].places[leaf]
            arrays.setdefault(kind, {})[path] = array
    rows = [
        Row(layer.name, *matched.pairs[layer.name], layer.shapes) for layer in layers if layer.name in matched.pairs
    ]
    variables = {kind: _typed(nested(own, "/"), shapes.get(kind, {})) for kind, own in arrays.items()}
    return variables, Map(tree.form, tuple(rows))


def _scale_of(module: nn.Module) -> int | None:
    """By how much a network enlarges images, where it does."""
    scale = getattr(innermost(module), "scale", None)
    return scale if isinstance(scale, int) else None


def _typed(given: Any, shapes: Any) -> Any:
    """Arrays of the module's types: half precision and float64 become what the module has.

    Raises:
      ValueError: whole numbers where the module has others.
    """
    wanted = dict(flat(shapes))
    out = {}
    for path, leaf in flat(given):
        array = np.asarray(leaf)
        dtype = wanted[path].dtype if path in wanted else array.dtype
        floating = lambda of: jnp.issubdtype(of, jnp.floating)
        if floating(dtype) and not floating(array.dtype):
            raise ValueError(f"its {path} is of {array.dtype}, the module's of {dtype}")
        out[path] = np.array(array, dtype, order="C")
    return nested(out, "/")


def _inputs(example: Any) -> tuple[tuple, dict]:
    """(args, kwargs) of shapes, of an example as a user gives it."""
    if (
        isinstance(example, tuple)
        and len(example) == 2
        and isinstance(example[0], tuple)
        and isinstance(example[1], dict)
    ):
        args, kwargs = example
    elif isinstance(example, tuple) and example and all(isinstance(side, int) for side in example):
        return (jax.ShapeDtypeStruct(example, jnp.float32),), {}
    elif isinstance(example, tuple):
        args, kwargs = example, {}
    else:
        args, kwargs = (example,), {}
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), _dtype(leaf)), (tuple(args), dict(kwargs)))


def _dtype(leaf: Any) -> Any:
    dtype = getattr(leaf, "dtype", np.asarray(leaf).dtype if not hasattr(leaf, "shape") else jnp.float32)
    return jax.dtypes.canonicalize_dtype(dtype)


_AGREEING = 3  # sides for which a network has the same parameters: sides do not matter to it


def _guessed(tree: Tree, module: nn.Module) -> tuple[tuple, dict]:
    """Inputs for which the module has as many parameters as the file: images, vectors or tokens, of the file's channels.

    A module that takes a class beside its image, as conditional networks do, is given one. Where none has exactly the file's
    parameters, the nearest are given, so that what does not fit can be named.

    Raises:
      ValueError: there are none, and none are near: half of the parameters of another size, of sides that matter.
    """
    leaves = [np.shape(leaf) for _, leaf in flat(tree.arrays)]
    kernels = [shape for shape in leaves if len(shape) == 4]
    dense = [shape for shape in leaves if len(shape) == 2]
    channels = 2 if tree.kind == FLAX else 1
    tried: list[jax.ShapeDtypeStruct] = []
    image = lambda side, count: jax.ShapeDtypeStruct((1, side, side, count), jnp.float32)
    counts = list(dict.fromkeys(shape[channels] for shape in kernels)) or [1, 3]
    tried += [image(side, count) for count in counts for side in _SIDES]
    if not kernels:
        widths = {shape[0 if tree.kind == FLAX else 1] for shape in dense}
        tried = [each for each in tried if np.prod(each.shape) in widths]
        tried += [jax.ShapeDtypeStruct((1, width), jnp.float32) for width in sorted(widths, reverse=True)]
        tried += [jax.ShapeDtypeStruct((1, _TOKENS), jnp.int32)]
    sizes = Counter(int(np.prod(shape)) for shape in leaves)
    nearest: tuple[int, tuple] | None = None
    agreeing: Counter = Counter()
    for rest in ((), (jax.ShapeDtypeStruct((1,), jnp.int32),)):
        for one in tried:
            kind = (len(rest), one.dtype, len(one.shape), one.shape[-1])
            if agreeing[kind] == _AGREEING:
                continue
            try:
                params = variable_shapes(module, ((one, *rest), {})).get("params", {})
            except Exception:  # a module refuses what it is not made for in its own words
                continue
            wanted = Counter(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
            missing = (wanted - sizes).total()
            if not missing:
                return (one, *rest), {}
            known = (kind, tuple((path, leaf.shape) for path, leaf in flat(params)))
            agreeing[known] += 1
            if len(one.shape) == 4 and agreeing[known] == _AGREEING:
                agreeing[kind] = _AGREEING
            near = agreeing[kind] == _AGREEING or 2 * missing <= wanted.total()
            if near and (nearest is None or missing < nearest[0]):
                nearest = missing, (one, *rest)
    if nearest is not None:
        return nearest[1], {}
    raise ValueError(
        f"what {type(module).__name__} is called with cannot be told from the file: give example=, an array of the shape of"
        " its input, as example=(1, 32, 32, 3)"
    )
