"""TrainState: everything that changes while a stage trains, as one pytree of arrays. Everything static is closed over.

It is created from a method, the modules of its players and one batch: how each player is called is found by tracing the
method, so any signature (an image, logits and an image, noise) initialises without being described a second time.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from kdgan import game
from kdgan.around import innermost
from kdgan.player import Names

Tree = Any


@struct.dataclass
class TrainState:
    """All the players of a stage.

    Attributes:
      step: int32 scalar, steps done.
      key: the stage's random key; step n draws from `fold_in(key, n)`.
      params: player -> parameters (float32), trained and frozen alike.
      model_state: player -> mutable collections (batch statistics); players without any are absent.
      opt_state: trained player -> state of its optax chain. Its keys are the trained players.
      ema: player -> exponential moving average of its parameters, where asked for.
      ema_state: player -> the same of its mutable collections: batch statistics that fit the averaged parameters.
      lambdas: leading player -> term -> float32 scalar.
    """

    step: Any
    key: Any
    params: dict[str, Tree]
    model_state: dict[str, Tree]
    opt_state: dict[str, Tree]
    ema: dict[str, Tree]
    ema_state: dict[str, Tree]
    lambdas: dict[str, dict[str, Any]]

    @classmethod
    def create(
        cls,
        method: game.Method,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, optax.GradientTransformation],
        batch: game.Batch,
        *,
        key,
        lambdas: Mapping[str, Mapping[str, Any]],
        params: Mapping[str, Tree] | None = None,
        model_state: Mapping[str, Tree] | None = None,
        ema: Any = (),
        inspection: game.Inspection | None = None,
        inputs: Names | None = None,
    ) -> "TrainState":
        """Players that the method calls, initialised from `key` unless given in `params` (and `model_state`).

        Args:
          method: which players move, and by which terms.
          modules: player -> Flax module; players that the method never calls are left out of the state.
          optimizers: trained player -> optax chain; exactly the trained players.
          batch: one batch (arrays or shapes); only its shapes matter.
          key: random key of the stage.
          lambdas: leading player -> term -> λ.
          params: player -> parameters to start from. A frozen player needs them, unless it is a function without any.
          model_state: player -> mutable collections to start from.
          ema: names of the players whose parameters, and mutable collections, are averaged.
          inspection: what `game.inspect_method` found of the same method, modules, batch and inputs, where it is known.
          inputs: player -> the fields that it is given, as in `make_train_step`.

        Raises:
          ValueError: λ's do not match the terms, optimizers not the trained players, or given parameters not a module.
          game.MissingPlayerError: the method needs a player that is not in `modules`.
        """
        inspection = inspection or game.inspect_method(method, modules, batch, inputs=inputs)
        game.check_lambdas(inspection.terms, lambdas, method.trained)
        if set(optimizers) != set(method.trained):
            raise ValueError(
                f"optimizers for {sorted(optimizers)}, but the method trains {sorted(method.trained)}:"
                " give one chain per trained player"
            )
        given, given_state = dict(params or {}), dict(model_state or {})
        for name, called in inspection.inputs.items():
            frozen = name not in method.trained and name not in given
            if (
                frozen
                and not getattr(innermost(modules[name]), "brings_parameters", False)
                and jax.tree.leaves(variable_shapes(modules[name], called).get("params", {}))
            ):
                raise ValueError(f"{name!r} is frozen in this method: pass its parameters in params[{name!r}]")
        all_params, all_state = {}, {}
        for name in inspection.inputs:
            variables = initialise(
                modules[name],
                inspection.inputs[name],
                game.fold_in_name(key, name),
                given.get(name),
                given_state.get(name),
            )
            all_params[name] = variables.pop("params", {})
            if variables:
                all_state[name] = variables
        averaged = [name for name in ema if all_params[name]]  # a memory has no parameters
        return cls(
            step=jnp.zeros((), jnp.int32),
            key=key,
            params=all_params,
            model_state=all_state,
            opt_state={name: optimizers[name].init(all_params[name]) for name in method.trained},
            ema={name: jax.tree.map(jnp.copy, all_params[name]) for name in averaged},
            ema_state={name: jax.tree.map(jnp.copy, all_state[name]) for name in averaged if name in all_state},
            lambdas={p: {t: jnp.float32(value) for t, value in terms.items()} for p, terms in lambdas.items()},
        )

    @property
    def trained(self) -> tuple[str, ...]:
        return tuple(self.opt_state)

    def split(self) -> tuple["TrainState", dict[str, dict[str, Tree]]]:
        """(what a step changes, the frozen players): so that frozen arrays are neither copied, donated nor mapped."""
        return self.set_apart([name for name in self.params if name not in self.opt_state])

    def set_apart(self, names: Collection[str]) -> tuple["TrainState", dict[str, dict[str, Tree]]]:
        """(the state without these players, their parameters and mutable collections)."""
        parts = {"params": self.params, "model_state": self.model_state}
        apart = {kind: {n: tree for n, tree in part.items() if n in names} for kind, part in parts.items()}
        rest = {kind: {n: tree for n, tree in part.items() if n not in names} for kind, part in parts.items()}
        return dataclasses.replace(self, **rest), apart

    def join(self, frozen: Mapping[str, Mapping[str, Tree]]) -> "TrainState":
        """The inverse of `split` and `set_apart`."""
        return dataclasses.replace(
            self, params={**self.params, **frozen["params"]}, model_state={**self.model_state, **frozen["model_state"]}
        )


def initialise(
    module: nn.Module, inputs, key, given: Tree | None = None, given_state: Mapping[str, Tree] | None = None
) -> dict[str, Tree]:
    """Variables of `module` for inputs of these shapes; what is given of them replaces the fresh.

    Raises:
      ValueError: `given` differs from the module's parameters; the first differing path is named.
    """
    leaves, structure = jax.tree.flatten(inputs)
    own = getattr(innermost(module), "own_variables", None)
    init = lambda: _compiled_init(jax.default_backend() == "cpu")(module, structure, tuple(leaves), key)
    fresh = init if own is None else lambda: jax.tree.map(jnp.asarray, own())
    if given is None:
        return {**fresh(), **(given_state or {})}
    variables = variable_shapes(module, inputs)
    check_same_shapes(given, variables.get("params", {}), type(module).__name__)
    known = {**(given_state or {}), "params": jax.tree.map(jnp.asarray, given)}
    return {**({} if variables.keys() <= known.keys() else fresh()), **known}


def variable_shapes(module: nn.Module, inputs: Any) -> dict[str, Any]:
    """Shapes of a module's variables for inputs of these shapes; nothing is computed."""
    leaves, structure = jax.tree.flatten(inputs)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return dict(_variable_shapes(module, structure, shapes))


@functools.lru_cache(maxsize=128)  # a run asks for each player's many times, and tracing a deep one takes a second
def _variable_shapes(module: nn.Module, structure, leaves) -> dict[str, Any]:
    return jax.eval_shape(lambda: _init(module, structure, leaves, jax.random.key(0)))


def _init(module: nn.Module, structure, leaves, key):
    args, kwargs = jax.tree.unflatten(structure, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in leaves])
    return dict(module.init(key, *args, **kwargs))


@functools.cache
def _compiled_init(on_cpu: bool):
    """One compilation per module and input shapes: the members of a population differ in their key only."""
    # What runs once need not run fast: on a CPU the random draws of a small network take 3.7 s to optimise, 0.5 s not to.
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(_init, static_argnums=(0, 1, 2), compiler_options=options)


def check_same_shapes(given: Tree, expected: Tree, owner: str) -> None:
    """The two trees have the same paths and shapes, or a ValueError names the first that differs."""
    shapes = lambda tree: {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    have, want = shapes(given), shapes(expected)
    for path in sorted(have.keys() | want.keys()):
        if have.get(path) != want.get(path):
            raise ValueError(
                f"parameters given for {owner} do not fit it: {path} is {have.get(path, 'absent')},"
                f" expected {want.get(path, 'absent')}"
            )
