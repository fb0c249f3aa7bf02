"""A pytree as arrays on the host by path, with a record of what each was; and back into a tree of the same structure.

Paths are `params/student/Dense_0/kernel`: keys of dicts, fields of dataclasses and named tuples, indices of tuples.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any
Record = dict[str, Any]  # JSON: what `snapshot` says of each leaf

NAMED = 5  # differences that an error names


def snapshot(tree: Tree) -> tuple[dict[str, np.ndarray], Record]:
    """Copies of all leaves on the host by path, and the record of them; nothing of it shares memory with `tree`.

    Raises:
      ValueError: a leaf that is no number, or split over processes, or has no usable path; it is named.
    """
    named = named_leaves(tree)
    hosts = {name: _own_part(name, leaf) if isinstance(leaf, jax.Array) else leaf for name, leaf in named.items()}
    for leaf in hosts.values():
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    # NumPy's view of a CPU array shares the buffer that a donation hands to the next step: it has to be copied.
    arrays = {name: np.array(leaf, order="C", copy=True) for name, leaf in hosts.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject or array.dtype.kind in "SUMm":
            raise ValueError(f"{name} is a {type(named[name]).__name__} of dtype {array.dtype}: only numbers are saved")
    return arrays, {
        "leaves": {name: _describe(leaf) for name, leaf in named.items()},
        "stored": {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()},
        "keys": {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)},
        "empty": _empty_dicts(tree),
    }


def _own_part(name: str, leaf: Any) -> Any:
    """What this process holds of an array, the data of random keys; no computation that others would have to join."""
    if not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            raise ValueError(f"{name} is split over processes: bring it together before saving")
        leaf = leaf.addressable_data(0)
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Path -> leaf. None, empty containers and masked nodes are no leaves.

    Raises:
      ValueError: a key that is no name in a path, or two leaves of one path.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = _name(path)
        if name in found:
            raise ValueError(f"two leaves are named {name!r} (keys that are the same once they are strings)")
        found[name] = leaf
    return found


def _name(path: tuple) -> str:
    parts = [jax.tree_util.keystr((entry,), simple=True) for entry in path]
    if not parts or any(not part or "/" in part for part in parts):
        raise ValueError(f"path {parts} of a leaf: give keys, that are not empty and have no '/'")
    return "/".join(parts)


def _empty_dicts(tree: Tree) -> list[str]:
    is_empty = lambda node: isinstance(node, Mapping) and not node
    nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_empty)
    return [_name(path) for path, node in nodes if is_empty(node) and path]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> dict[str, Any]:
    """JSON of what a leaf is: a random key by its implementation, everything else by its dtype."""
    if _is_key(leaf):
        return {"key": leaf.dtype.name, "shape": list(leaf.shape)}
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return {"dtype": np.dtype(leaf.dtype).name, "shape": list(leaf.shape)}


def checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> value, as a dict of dicts."""
    root: dict[str, Any] = {}
    for name, value in named.items():
        *folders, last = name.split("/")
        inside = root
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[last] = value
    return root


def rebuild(arrays: Mapping[str, np.ndarray], record: Record, template: Tree, owner: str) -> Tree:
    """The inverse of `snapshot`, in the structure and on the devices of `template`; None: a nested dict of the arrays.

    Args:
      arrays: path -> array.
      record: what `snapshot` said of them.
      template: pytree of arrays, numbers and `jax.ShapeDtypeStruct`s, or None.
      owner: what the arrays are called in an error.

    Raises:
      ValueError: paths, shapes, dtypes or kinds of random keys differ from the template's; the first are named.
    """
    if template is None:
        return nested({**arrays, **{name: {} for name in record["empty"]}})
    named, stored = named_leaves(template), record["leaves"]
    expected = {name: _describe(leaf) for name, leaf in named.items()}
    differing = [
        f"{name} is {_words(stored.get(name))}, expected {_words(expected.get(name))}"
        for name in [*expected, *(name for name in stored if name not in expected)]
        if stored.get(name) != expected.get(name)
    ]
    if differing:
        more = f"; and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        raise ValueError(f"{owner} does not fit: {'; '.join(differing[:NAMED])}{more}")
    leaves = [_like(leaf, arrays[name], record["keys"].get(name)) for name, leaf in named.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _words(leaf: Mapping[str, Any] | None) -> str:
    if leaf is None:
        return "absent"
    return f"{leaf.get('dtype') or leaf['key']}[{','.join(map(str, leaf['shape']))}]"


def _like(template: Any, array: np.ndarray, implementation: str | None) -> Any:
    """`array` as the template's kind of leaf, where the template lies; `implementation` is that of a random key."""
    if isinstance(template, jax.Array | jax.ShapeDtypeStruct):
        placed = _place(template, array)
        return placed if implementation is None else jax.random.wrap_key_data(placed, impl=implementation)
    if isinstance(template, np.generic):
        return array[()]
    return array if isinstance(template, np.ndarray) else type(template)(array.item())


def _place(template: Any, array: np.ndarray) -> Any:
    sharding = template.sharding
    # An array that nobody placed stays free to follow the others; committed, it would make every step compile anew.
    if sharding is None or (isinstance(template, jax.Array) and not template.committed):
        return jnp.array(array) if array.dtype == jax.dtypes.canonicalize_dtype(array.dtype) else array
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
