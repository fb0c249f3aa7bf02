"""A network's first parameters from those of one with fewer classes: all that they share, and a head that grows.

Classes are numbered from 0 and new ones come last, so that the small network's outputs are the first of the large one's.
"""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any  # a pytree of arrays


def grow(small: Tree, like: Tree) -> Tree:
    """Parameters for the network that `like` belongs to: those of `small`, and fresh ones where it has none.

    A leaf of one shape in both is copied. One whose last axis, a layer's outputs, is longer in `like` gets the small one's
    entries first, θ[..., :n] = θ_small, and keeps its own fresh ones behind them: of a head [i, k] and its bias [k] these
    are the classes to come, so that the logits of the n old classes are the small network's, for any input. Only last axes
    grow. A wider layer inside is refused by the layer that reads it: it would change what that one sees.

    Works while tracing, and under `vmap` over members.

    Args:
      small: parameters, or whole variables: a nested mapping of arrays (JAX's or NumPy's).
      like: the large network's, freshly initialised.

    Returns:
      A tree of `like`'s structure, shapes and dtypes. Nothing in it shares memory with `small`.

    Raises:
      ValueError: a path of `like` that `small` has not, or one that differs in more than a longer last axis, with both
        shapes; a leaf that grows is a shape without a value.
    """
    given = {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(small)}

    def fill(path, leaf):
        name, want = _path(path), tuple(leaf.shape)
        if name not in given:
            raise ValueError(f"{name} {want} has no counterpart in the smaller network")
        have = tuple(given[name].shape)
        if have == want:
            return jnp.array(given[name], leaf.dtype)  # a copy, for a step donates its parameters' memory
        if len(have) != len(want) or have[:-1] != want[:-1] or have[-1] > want[-1]:
            raise ValueError(
                f"{name} has shape {want}, and {have} in the smaller network; a longer last axis is accepted, that of a"
                " head with more classes"
            )
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise ValueError(f"{name} {want} grows from {have}: it is a shape without fresh values to keep")
        return jnp.asarray(leaf).at[..., : have[-1]].set(jnp.asarray(given[name], leaf.dtype))

    return jax.tree_util.tree_map_with_path(fill, like)


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
