"""What a method is: moves and their terms; and what it does with its players, found by tracing shapes.

A method is an ordered tuple of moves. A move says who moves and by which terms; its `terms` function is pure:
`terms(players, batch, key) -> {term: scalar or [b]}`. What a player is stands in `kdgan/player.py`; its names are here, too.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan.around import innermost
from kdgan.norms import Norm, recorded
from kdgan.player import (
    MissingPlayerError,
    Names,
    Player,
    PlayerInputs,
    Players,
    bind,
    cached_players,
    call_module,
    cast_floats,
    fold_in_name,
    mode_argument,
)

__all__ = [
    "Batch",
    "Inspection",
    "Method",
    "MissingPlayerError",
    "Move",
    "Player",
    "Players",
    "Terms",
    "bind",
    "call_module",
    "cast_floats",
    "check_lambdas",
    "fold_in_name",
    "inspect_method",
]

Tree = Any  # a pytree of arrays
Batch = Mapping[str, Any]
Terms = Mapping[str, Any]  # name -> scalar or per-example [b]


@dataclasses.dataclass(frozen=True)
class Move:
    """One update inside a step.

    Attributes:
      players: who moves: one name, or several that move together from one gradient evaluation. The first leads: the
        move's λ's and metrics stand under its name.
      terms: pure function `(players, batch, key) -> {term: scalar or [b]}`; each term is averaged over the batch.
      repeats: how many times per step the move is made, on the same batch with fresh random numbers.
      details: what an explanation prints behind a term, e.g. `{"kd": "T=4"}`.
      every: term -> k, of terms that are computed at each k-th step alone: counts of operations are means over k steps.
      alike: of a discriminator: `scores [n] -> {term: [n], its value where all scores are this one}`, by which a report
        says whether it learned nothing, or has won; None: nothing is said.
    """

    players: tuple[str, ...]
    terms: Callable[["Players", Batch, Any], Terms]
    repeats: int = 1
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    every: Mapping[str, int] = dataclasses.field(default_factory=dict)
    alike: Callable[[Any], Mapping[str, Any]] | None = None

    def __init__(
        self,
        players: str | Sequence[str],
        terms: Callable[["Players", Batch, Any], Terms],
        *,
        repeats: int = 1,
        details: Mapping[str, str] | None = None,
        every: Mapping[str, int] | None = None,
        alike: Callable[[Any], Mapping[str, Any]] | None = None,
    ):
        names = (players,) if isinstance(players, str) else tuple(players)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"Move(players={players!r}): name at least one player, each once")
        if repeats < 1:
            raise ValueError(f"Move({players!r}, repeats={repeats}): repeats must be at least 1")
        object.__setattr__(self, "players", names)
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "repeats", int(repeats))
        object.__setattr__(self, "details", dict(details or {}))
        object.__setattr__(self, "every", dict(every or {}))
        object.__setattr__(self, "alike", alike)

    @property
    def lead(self) -> str:
        return self.players[0]


@dataclasses.dataclass(frozen=True, init=False)
class Method:
    """An ordered tuple of moves: `Method(Move("discriminator", d, repeats=2), Move("student", s))`."""

    moves: tuple[Move, ...]

    def __init__(self, *moves: Move):
        if not moves or not all(isinstance(move, Move) for move in moves):
            raise ValueError(
                "Method(...) takes one or more Moves, in the order in which they are made; repeats of 0 leave a move out"
            )
        object.__setattr__(self, "moves", moves)

    @property
    def trained(self) -> tuple[str, ...]:
        """The players that some move names, in order of their first move; all the others are frozen."""
        return tuple(dict.fromkeys(name for move in self.moves for name in move.players))


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a method does with its players, found by tracing its shapes without any computation.

    A player whose outputs the batch carries (`kdgan/player.py`) is not run, and not among them.

    Attributes:
      inputs: player -> (args, kwargs) of its first call, as `jax.ShapeDtypeStruct`s: enough to initialise it.
      outputs: player -> shapes of its first output.
      terms: leading player -> its terms, in order. λ's stand under the same names.
      norms: player -> the normalising layers that it runs in training mode, at each call.
      features: player -> module path -> shape of the feature, of those that it is asked for.
      read: the players whose outputs the batch carries, and whose parameters are read all the same.
    """

    inputs: Mapping[str, tuple[tuple, Mapping]]
    outputs: Mapping[str, Any]
    terms: Mapping[str, tuple[str, ...]]
    norms: Mapping[str, Sequence[Norm]] = dataclasses.field(default_factory=dict)
    features: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    read: Collection[str] = ()


class _Unborn:
    """A player without parameters yet: notes how it is called and answers with a fresh module's output."""

    def __init__(self, name, module, given, inputs, outputs, norms, features, *, train):
        self.name, self.module, self._given, self._inputs, self._outputs = name, module, given, inputs, outputs
        self._norms, self._features, self._train = norms, features, train
        self.params: Tree = {}

    def __call__(self, *args, train=None, features=(), **kwargs):
        args, kwargs = self._given(self.name, args, kwargs)
        try:
            noting = recorded(self._norms) if (self._train if train is None else train) else nullcontext()
            output, found = self._call(args, kwargs, features, noting)
        except (TypeError, ValueError, AttributeError, nn.module.errors.FlaxError) as error:
            shapes = ", ".join(str(tuple(jnp.shape(a))) for a in jax.tree.leaves(args))
            raise ValueError(
                f"players.{self.name} ({type(self.module).__name__}) cannot take inputs of shape {shapes}: {error}"
            ) from error
        if kwargs.get("method") is None:
            self._inputs.setdefault(self.name, (jax.tree.map(_abstract, args), jax.tree.map(_abstract, kwargs)))
        elif self.name not in self._inputs:
            raise ValueError(
                f"players.{self.name}(..., method={kwargs['method']!r}) comes before any players.{self.name}(...):"
                " a player's first call is its own, which initialises all of it"
            )
        self._outputs.setdefault(self.name, jax.tree.map(_abstract, output))
        for path, feature in found.items():
            self._features.setdefault(self.name, {}).setdefault(path, jax.tree.map(_abstract, feature))
        return (output, found) if features else output

    stateless = __call__

    def at(self, params):
        """On other parameters it has the same shapes."""
        return self

    def _call(self, args, kwargs, features, noting):
        mode = mode_argument(self.module, kwargs.get("method"))
        key = jax.random.key(0)
        variables = self.module.init(key, *args, **kwargs)
        self.params = {**variables.get("params", {}), **self.params}
        empty = [path for path, leaf in jax.tree_util.tree_leaves_with_path(variables) if 0 in leaf.shape]
        if empty:
            raise ValueError(f"parameter {jax.tree_util.keystr(empty[0])} would be empty; the input is too small")
        with noting:
            output, _, found = call_module(
                self.module, variables, *args, train=mode is not None, rng=key,
                mutable=[name for name in variables if name != "params"], features=tuple(features), **kwargs,
            )  # fmt: skip
        return output, found


def _abstract(leaf):
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def inspect_method(
    method: Method, modules: Mapping[str, nn.Module], batch: Batch, *, inputs: Names | None = None,
    params: Mapping[str, Tree] | None = None,
) -> Inspection:  # fmt: skip
    """Trace every move's shapes on `batch` (arrays or `ShapeDtypeStruct`s), each player freshly initialised.

    `inputs` are the fields that players are given: as in `make_train_step`. `params` are shapes of the parameters of players
    whose outputs the batch carries, for methods that read them.

    Raises:
      MissingPlayerError: a move asks for, or names, a player that `modules` lacks.
      ValueError: a player cannot take what it is given; a move has no terms or a term's shape is neither () nor [b];
        a cached player is trained, or asked for what is not cached.
    """
    missing = [name for name in method.trained if name not in modules]
    if missing:
        raise MissingPlayerError(
            f"the method moves {missing[0]!r}; the players are: {', '.join(sorted(modules)) or 'none'} (config.players)"
        )
    for name in method.trained:
        if reason := getattr(innermost(modules[name]), "frozen_only", None):
            raise ValueError(f"the method trains {name}, {reason}; it is accepted as a frozen player, as a teacher is")
    called: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    terms: dict[str, dict[str, None]] = {}
    norms: dict[str, list[Norm]] = {name: [] for name in modules}
    features: dict[str, dict[str, Any]] = {}

    read: dict[str, None] = {}

    def run(batch, params):
        given, trained = PlayerInputs(batch, inputs), method.trained
        unborn = {
            name: _Unborn(name, module, given.given, called, outputs, norms[name], features, train=name in trained)
            for name, module in modules.items()
        }
        cached = cached_players(given, modules, trained, params, read.setdefault)
        players = Players({**unborn, **cached}, jnp.zeros((), jnp.int32))
        for move in method.moves:
            found = move.terms(players, given.batch, jax.random.key(0))
            if not isinstance(found, Mapping) or not found:
                raise ValueError(f"the terms of the move of {move.lead!r} must be a mapping with at least one term")
            for name, value in found.items():
                if jnp.ndim(value) > 1:
                    raise ValueError(
                        f"term {move.lead}/{name} has shape {jnp.shape(value)}; a term is a scalar or per-example [b]"
                    )
            terms.setdefault(move.lead, {}).update(dict.fromkeys(found))
        return 0.0

    jax.eval_shape(run, dict(batch), dict(params or {}))
    return Inspection(
        called, outputs, {lead: tuple(names) for lead, names in terms.items()}, norms, features, tuple(read)
    )


def check_lambdas(terms: Mapping[str, Sequence[str]], lambdas: Mapping[str, Mapping[str, Any]], trained) -> None:
    """Each term has its λ and each λ its term, or a ValueError that names both sides."""
    for player, weights in lambdas.items():
        if player not in terms:
            state = "leads no move of this method" if player in trained else "is frozen (no move names it)"
            raise ValueError(
                f"lambdas.{player} = {dict(weights)}: {player} {state}; λ's are accepted for {', '.join(terms)}"
            )
        unknown = [name for name in weights if name not in terms[player]]
        if unknown:
            raise ValueError(
                f"lambdas.{player}.{unknown[0]}: the method has no such term; its terms are {', '.join(terms[player])}"
            )
    for player, names in terms.items():
        absent = [name for name in names if name not in lambdas.get(player, {})]
        if absent:
            raise ValueError(
                f"lambdas.{player}.{absent[0]} is missing: term {absent[0]!r} needs a λ (0 switches it off);"
                f" the terms are {', '.join(names)}"
            )
