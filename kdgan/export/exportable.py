"""A trained player as one function of plain arrays, `uint8 images -> probabilities`: what every format is made of.

f = function(exportable)
probabilities = f(images)          # float32 [n, k] of uint8 images [n, h, w, c]
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import export as jax_export

from kdgan.data.batches import normalise as normalised
from kdgan.data.fields import Field
from kdgan.export.outputs import OUTPUTS, Pixels
from kdgan.game import call_module

BATCH = "n"  # the symbol of the first axis


@dataclasses.dataclass(frozen=True, eq=False)
class Exportable:
    """A trained player, and what a file of it has to know.

    Attributes:
      name: its role, of which the files' names are made.
      module: Flax module.
      variables: {"params": tree, "model_state": {collection: tree}}.
      inputs: what it is called with, in order; of what makes images of noise {"noise": Field("vector", (d,))}, and
        {"label": Field("class", (), size=k)} where it is conditioned.
      output: a key of `kdgan.export.outputs.OUTPUTS`.
      mean, std: of the data's pixels: the module sees (pixel/255 − mean)/std.
      class_names: a name for each class or tag.
      about: what it was trained on: metadata of every file.
      method: the module's function that is called, where that is not its call.
    """

    name: str
    module: nn.Module
    variables: Mapping[str, Any]
    inputs: Mapping[str, Field]
    output: str = "values"
    mean: Any = 0.0
    std: Any = 1.0
    class_names: tuple[str, ...] = ()
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    method: str | None = None

    def __post_init__(self):
        """Raises ValueError: an output that there is not, or no input."""
        if self.output not in OUTPUTS:
            raise ValueError(f"Exportable.output = {self.output!r}: accepted are {', '.join(OUTPUTS)}")
        if not self.inputs:
            raise ValueError("Exportable.inputs = {}: one field or more is accepted")

    @property
    def full(self) -> dict[str, Any]:
        """Its variables as `module.apply` takes them."""
        return {"params": self.variables["params"], **self.variables.get("model_state", {})}

    @property
    def makes_images_of_noise(self) -> bool:
        return "noise" in self.inputs


def function(exportable: Exportable, *, normalise: bool = True) -> Callable[..., Any]:
    """The player as a pure function of arrays, in the order of its inputs, in evaluation mode and float32.

    Args:
      exportable: the player.
      normalise: whether it takes images as uint8 (or floats in [0, 1]), and gives images in [0, 1]; else both are as
        the module has them, (pixel/255 − mean)/std.

    Returns:
      The function. Its parameters are constants of it.
    """
    variables = jax.tree.map(jnp.asarray, exportable.full)
    output = OUTPUTS[exportable.output]
    chosen: dict[str, Any] = {} if exportable.method is None else {"method": exportable.method}

    def see(field: Field, value: Any) -> Any:
        if field.kind != "image" or not normalise:
            return value
        return normalised(value, mean=exportable.mean, std=exportable.std)

    def call(*arrays: Any) -> Any:
        given = [
            see(field, jnp.asarray(value)) for field, value in zip(exportable.inputs.values(), arrays, strict=True)
        ]
        made, _, _ = call_module(exportable.module, variables, *given, train=False, **chosen)
        if not hasattr(made, "shape"):
            raise ValueError(f"{exportable.name} gives {', '.join(made)}; a player that gives one array is accepted")
        return output.of(made.astype(jnp.float32), _pixels(exportable, normalise))

    return call


def _pixels(exportable: Exportable, normalise: bool) -> Pixels:
    return (exportable.mean, exportable.std) if normalise else None


def back(exportable: Exportable, made: np.ndarray, *, normalise: bool = True) -> np.ndarray:
    """What the module would give, of what a file of it gave: logits of probabilities."""
    return OUTPUTS[exportable.output].back(made, _pixels(exportable, normalise))


def dtype_of(field: Field, normalise: bool) -> np.dtype:
    """The type in which a file takes a field."""
    return np.dtype(np.float32) if field.kind == "image" and not normalise else field.dtype


def shapes(exportable: Exportable, batch: int | None, *, normalise: bool = True) -> list[jax.ShapeDtypeStruct]:
    """Shapes of the inputs for so many examples; None: for any number, and where images have free sides for any size.

    Raises:
      ValueError: a number of examples for images of any size.
    """
    fields = exportable.inputs
    if batch is not None:
        free = [name for name, field in fields.items() if field.is_ragged]
        if free:
            raise ValueError(f"{exportable.name} takes images of any size in {free[0]!r}; one size is wanted")
        return [jax.ShapeDtypeStruct((batch, *field.shape), dtype_of(field, normalise)) for field in fields.values()]
    scope, built = jax_export.SymbolicScope(), []
    for place, field in enumerate(fields.values()):
        sides = [f"side{place}_{i}" if side is None else str(side) for i, side in enumerate(field.shape)]
        shape = jax_export.symbolic_shape(", ".join([BATCH, *sides]) + ("," if not sides else ""), scope=scope)
        built.append(jax.ShapeDtypeStruct(shape, dtype_of(field, normalise)))
    return built


def in_order(exportable: Exportable, given: Any) -> list[np.ndarray]:
    """Arrays in the order of the inputs, of one array, of a sequence, or of a mapping by their names.

    Raises:
      ValueError: a field is missing or unknown; numbers of examples differ, or there are none.
    """
    names = list(exportable.inputs)
    if isinstance(given, Mapping):
        wrong = [name for name in (*names, *given) if (name in names) != (name in given)]
        if wrong:
            what = "is missing" if wrong[0] in names else "is none of them"
            raise ValueError(f"{exportable.name} takes {', '.join(names)}; {wrong[0]!r} {what}")
        arrays = [np.asarray(given[name]) for name in names]
    else:
        several = list(given) if isinstance(given, list | tuple) and len(given) == len(names) > 1 else [given]
        if len(several) != len(names):
            raise ValueError(f"{exportable.name} takes {', '.join(names)}; give a mapping of them")
        arrays = [np.asarray(value) for value in several]
    counts = {len(array) for array in arrays}
    if len(counts) != 1 or 0 in counts:
        said = ", ".join(f"{name} {len(array):,}" for name, array in zip(names, arrays, strict=True))
        raise ValueError(f"examples of {exportable.name}: {said}; as many of each, and one or more, are accepted")
    return arrays


def as_taken(exportable: Exportable, arrays: Sequence[np.ndarray], *, normalise: bool = True) -> list[np.ndarray]:
    """Arrays of the data as a file takes them: floats in [0, 1] of images become bytes, or are normalised.

    Raises:
      ValueError: an array of another shape than the input has, or of a type that it cannot be made of.
    """
    taken = []
    for (name, field), array in zip(exportable.inputs.items(), arrays, strict=True):
        wanted = (None, *field.shape)
        if array.ndim != len(wanted) or any(s not in (None, a) for s, a in zip(wanted, array.shape, strict=True)):
            shape = ", ".join("n" if side is None else str(side) for side in wanted)
            raise ValueError(f"{name!r} has shape {list(array.shape)}; [{shape}] is accepted")
        if field.kind == "image":
            taken.append(_image(name, array, exportable, normalise))
            continue
        if array.dtype.kind not in {"b": "b", "i": "iu", "f": "iuf"}[field.dtype.kind]:
            raise ValueError(f"{name!r} is {array.dtype}; {field.dtype} is accepted")
        taken.append(array.astype(field.dtype))
    return taken


def _image(name: str, array: np.ndarray, exportable: Exportable, normalise: bool) -> np.ndarray:
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"{name!r} is {array.dtype}; uint8 in 0..255, or floating point in [0, 1], is accepted")
    if array.dtype != np.uint8 and array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN is neither
        raise ValueError(f"{name!r} has values {array.min():g}..{array.max():g}; floating-point images lie in [0, 1]")
    if not normalise:
        return np.asarray(normalised(array, mean=exportable.mean, std=exportable.std))
    return array if array.dtype == np.uint8 else np.round(255 * array).astype(np.uint8)


def metadata(exportable: Exportable, *, normalise: bool = True) -> dict[str, str]:
    """What every file says of itself, name -> text: what it takes and gives, its classes, what it was trained on."""
    inputs = {
        name: {"type": str(dtype_of(field, normalise)), "shape": ["n", *field.shape], "kind": field.kind}
        for name, field in exportable.inputs.items()
    }
    pixels = {"mean": np.asarray(exportable.mean).tolist(), "std": np.asarray(exportable.std).tolist()}
    inside = "inside: give pixels as they are" if normalise else "outside: give (pixel/255 - mean)/std"
    return {
        "player": exportable.name,
        "inputs": json.dumps(inputs),
        "output": OUTPUTS[exportable.output].name,
        "class_names": json.dumps(list(exportable.class_names), ensure_ascii=False),
        **({"normalisation": inside, **{name: json.dumps(value) for name, value in pixels.items()}}),
        **exportable.about,
    }
