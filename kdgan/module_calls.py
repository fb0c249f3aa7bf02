"""How a Linen module is called, whatever it names its training switch: in a mode, for updates, for features by path."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Tree = Any  # a pytree of arrays

# How a Linen module may call its training switch, and what it is then given.
_MODES: Mapping[str, Callable[[bool], bool]] = {
    "train": lambda train: train,
    "training": lambda train: train,
    "is_training": lambda train: train,
    "deterministic": lambda train: not train,
    "use_running_average": lambda train: not train,
}


def mode_argument(module: nn.Module, method: str | None = None) -> str | None:
    """The name of a module's training switch; None where it has none."""
    function = getattr(type(module), method or "__call__", None)
    if function is None:
        raise ValueError(f"{type(module).__name__} has no function {method!r}")
    parameters = inspect.signature(function).parameters
    return next((name for name in _MODES if name in parameters), None)


def call_module(
    module: nn.Module, variables, *args, train: bool, rng=None, mutable=False, features=(), method=None, **kwargs
):
    """`module.apply` in training or evaluation mode -> (output, updated collections, {path: feature}).

    `method` names another function of the module than `__call__` (`"decode"`).
    """
    mode = mode_argument(module, method)
    if mode is not None:
        kwargs = {mode: _MODES[mode](train), **kwargs}
    if method is not None:
        kwargs["method"] = method
    rngs = None if rng is None else {"params": rng}  # Linen falls back to this stream for every other one
    if not features:
        if not mutable:
            return module.apply(variables, *args, rngs=rngs, **kwargs), {}, {}
        output, updates = module.apply(variables, *args, rngs=rngs, mutable=mutable, **kwargs)
        return output, updates, {}
    output, updates = module.apply(
        variables,
        *args,
        rngs=rngs,
        mutable=[*(mutable or ()), "intermediates"],
        capture_intermediates=lambda m, method: method == "__call__" and "/".join(m.path) in features,
        **kwargs,
    )
    updates = dict(updates)
    found = {}
    intermediates = updates.pop("intermediates", {})
    for path in features:
        node = functools.reduce(lambda tree, part: tree.get(part, {}), path.split("/"), intermediates)
        if "__call__" not in node:
            raise ValueError(f"features={features}: {type(module).__name__} has no module at path {path!r}")
        found[path] = node["__call__"][-1]
    return output, updates, found


def cast_floats(tree: Tree, dtype) -> Tree:
    """Every floating-point leaf in `dtype`, all others as they are."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf, tree
    )
