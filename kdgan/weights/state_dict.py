"""The layers of a PyTorch state dict: its arrays by the module that holds them; what is kept in parts is put together.

`layer1.0.conv1.weight` belongs to the layer `layer1.0.conv1`. Spectral norm keeps a weight and a vector, weight norm a
direction and a length, attention the three projections as one: they become layers as any other.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """A layer of a state dict: its name there, and its arrays by their last names (`weight`, `running_mean`)."""

    name: str
    arrays: Mapping[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(array.shape) for name, array in self.arrays.items()}


def layers_of(arrays: Mapping[str, np.ndarray]) -> list[Stored]:
    """The layers of a state dict, in its order; `num_batches_tracked` is left out."""
    held: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        # In new versions a parametrised weight lies deeper: X.parametrizations.weight.original, ...0._u.
        parametrised = re.fullmatch(r"(.*?)\.?parametrizations\.weight\.(\w+)(?:\.(\w+))?", name)
        layer, _, last = name.rpartition(".")
        if parametrised:
            layer, what, inside = parametrised.groups()
            last = {"original": "weight_orig", "original0": "weight_g", "original1": "weight_v"}.get(
                what, f"weight{inside}"
            )
        if last != "num_batches_tracked":
            held.setdefault(layer, {})[last] = np.asarray(array)
    layers = [one for name, own in held.items() for one in _plain(name, own)]
    # PyTorch's name of attention's last projection, as that of Linen's.
    fused = {name for name, own in held.items() if "in_proj_weight" in own}
    ends = {f"{name}.out_proj": f"{name}.out" for name in fused}
    return [Stored(ends.get(one.name, one.name), one.arrays) for one in layers]


def _plain(name: str, own: dict[str, np.ndarray]) -> list[Stored]:
    if "weight_orig" in own:
        rest = {key: value for key, value in own.items() if key not in ("weight_orig", "weight_u", "weight_v")}
        vector = [Stored(f"{name}.weight_u", {"u": own["weight_u"]})] if "weight_u" in own else []
        return [*vector, Stored(name, {"weight": own["weight_orig"], **rest})]
    if "weight_g" in own and "weight_v" in own:
        direction, length = own["weight_v"], own["weight_g"]
        axes = tuple(range(1, direction.ndim))
        norm = np.sqrt(np.square(direction.astype(np.float64)).sum(axes, keepdims=True))
        if length.shape == norm.shape:
            rest = {key: value for key, value in own.items() if key not in ("weight_g", "weight_v")}
            return [Stored(name, {"weight": (direction * (length / norm)).astype(direction.dtype), **rest})]
    if "in_proj_weight" in own and own["in_proj_weight"].ndim == 2 and len(own["in_proj_weight"]) % 3 == 0:
        weights = np.split(own["in_proj_weight"], 3)
        biases = np.split(own["in_proj_bias"], 3) if "in_proj_bias" in own else [None] * 3
        rest = {key: value for key, value in own.items() if key not in ("in_proj_weight", "in_proj_bias")}
        parts = [
            Stored(f"{name}.{part}", {"weight": weight} if bias is None else {"weight": weight, "bias": bias})
            for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True)
        ]
        return parts + ([Stored(name, rest)] if rest else [])
    return [Stored(name, own)]
