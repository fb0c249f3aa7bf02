"""What a file of weights holds, before it is anybody's: arrays by name, and in whose manner they are named and laid out."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

FLAX, PYTORCH = "flax", "pytorch"
MOST_CHARACTERS = 300  # of a name

# Last parts of names that only one of the two has.
_OF_PYTORCH = {"weight", "running_mean", "running_var", "num_batches_tracked", "in_proj_weight", "in_proj_bias"}
_OF_FLAX = {"kernel", "scale", "embedding", "mean", "var"}
_COLLECTIONS = {"params", "batch_stats"}


@dataclasses.dataclass(frozen=True, eq=False)
class Tree:
    """The arrays of a file.

    Attributes:
      path: of the file, as it was given.
      kind: "flax" (nested, kernels [h, w, in, out]) or "pytorch" (names with dots, weights [out, in, h, w]).
      arrays: nested mappings of arrays, or of "pytorch" name -> array in the order of the file.
      form: what kind of file it is, in words: "PyTorch .pth".
      in_order: whether the file has the order in which PyTorch registered its layers.
    """

    path: str
    kind: str
    arrays: Mapping[str, Any]
    form: str
    in_order: bool = False


def of_names(path: str, arrays: Mapping[str, np.ndarray], form: str, *, in_order: bool) -> Tree:
    """The tree of a file that has arrays by name: whose manner it is, its names say."""
    names = list(arrays)
    if odd := next((name for name in names if len(name) > MOST_CHARACTERS or not name.isprintable()), None):
        raise ValueError(f"it has an array of the name {odd[:80]!r}{'...' * (len(odd) > 80)}, which is no layer's")
    last = {name.replace("/", ".").rpartition(".")[2] for name in names}
    first = {name.replace("/", ".").partition(".")[0] for name in names}
    slashes = any("/" in name for name in names)
    # Biases alone are in either manner; slashes are Flax's, unless every array is called as PyTorch or Caffe call theirs.
    theirs = "weight" in last and last <= _OF_PYTORCH | {"bias"} and not first & _COLLECTIONS
    is_flax = bool(last & _OF_FLAX or first & _COLLECTIONS or slashes) and not (last & _OF_PYTORCH and not slashes)
    if is_flax and not theirs:
        return Tree(path, FLAX, nested(arrays, "/" if slashes else "."), form)
    arrays = {name.replace("/", "."): array for name, array in arrays.items()} if theirs else dict(arrays)
    return Tree(path, PYTORCH, arrays, form, in_order and registered(list(arrays)))


def registered(names: list[str]) -> bool:
    """Whether names may stand in the order in which PyTorch registered them: a layer's weight comes before its bias."""
    place = {name: i for i, name in enumerate(names)}
    pairs = [
        (place[name], place[other])
        for name in names
        if name.rpartition(".")[2] == "weight"
        for other in (f"{name.removesuffix('weight')}bias", f"{name.removesuffix('weight')}running_mean")
        if other in place
    ]
    return all(weight < other for weight, other in pairs) if pairs else names != sorted(names)


def nested(arrays: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Name -> array, as mappings of mappings.

    Raises:
      ValueError: a name is also the beginning of another one.
    """
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split(separator)
        inside = root
        for part in folders:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise ValueError(f"{name!r} goes on where another array ends")
        if last in inside:
            raise ValueError(f"{name!r} is both an array and the beginning of other names")
        inside[last] = array
    return root


def flat(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(path with "/", array) of each leaf, in order."""
    for name, value in tree.items():
        path = f"{where}/{name}" if where else str(name)
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value
