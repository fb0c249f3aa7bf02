"""A player: a Flax module bound to its variables for one evaluation of a move, and what it is given of the batch.

`players.student(x)` runs the bound module in the right mode, draws its own random numbers and records updates of mutable
collections (batch statistics) without the method seeing them.

A method writes `players.teacher(batch["image"])`, whatever the teacher takes. `batch["image"]` is the data's main input: the
field `image`, or, where the data have none, the first field of the first player that has inputs. A player whose inputs are
other fields is called with these in its place, `module(*[batch[field] for field in inputs])`; further arguments stay behind
them. Every other array is passed as it is.

A batch may hold under "unlabelled" a second one without labels; both together stand under "all", labelled examples first. In
each part a frozen player's outputs may come under "cached", {player: outputs [b, ...] on its inputs in that part, in
evaluation mode}, and features under "cached_features", {player: {module path: [b, ...]}}. The step then needs no parameters
of that player, and none of its operations.
"""

import copy
import functools
import inspect
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan.cached_player import CachedPlayer, Known

Tree = Any  # a pytree of arrays
Names = Mapping[str, Sequence[str]]  # player -> the fields that it is given
MAIN, UNLABELLED, ALL = "image", "unlabelled", "all"
CACHED, CACHED_FEATURES = "cached", "cached_features"


def fields_of(inputs: Names | None) -> dict[str, tuple[str, ...]]:
    """Player -> its fields; a single one may stand without a tuple.

    Raises:
      ValueError: a player without fields.
    """
    fields = {name: (own,) if isinstance(own, str) else tuple(own) for name, own in (inputs or {}).items()}
    empty = [name for name, own in fields.items() if not own]
    if empty:
        raise ValueError(f"inputs.{empty[0]} = (): name one field or more, or leave {empty[0]} out")
    return fields


def main_field(batch: Mapping[str, Any], inputs: Names | None) -> str:
    """The field that is the main input of a batch."""
    first = next(iter(fields_of(inputs).values()), (MAIN,))[0]
    return MAIN if MAIN in batch or first not in batch else first


class PlayerInputs:
    """A batch as methods see it, and what each player is given of it; made inside of the traced step.

    Attributes:
      batch: the batch with its main input under "image", and with its labelled and unlabelled examples under "all".
      fields: player -> its fields.

    Args:
      batch: arrays by field; they are matched by identity.
      inputs: player -> its fields; a player that is not named is given what a method passes.
    """

    def __init__(self, batch: Mapping[str, Any], inputs: Names | None):
        self.fields, self._main = fields_of(inputs), main_field(batch, inputs)
        self.batch = self._with_main(batch)
        if UNLABELLED in batch:
            extra = self._with_main(batch[UNLABELLED])
            self.batch |= {UNLABELLED: extra, ALL: _both(self.batch, extra)}
        self._parts = [self.batch, *(self.batch[name] for name in (UNLABELLED, ALL) if name in self.batch)]

    def _with_main(self, part: Mapping[str, Any]) -> dict[str, Any]:
        if self._main == MAIN or self._main not in part:
            return dict(part)
        # A copy, so that the field passed by its name is another array than the main input.
        return {**part, MAIN: jnp.array(part[self._main], copy=True)}

    def given(self, player: str, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """(arguments, keyword arguments) of a player's module, where a method passes these.

        Raises:
          ValueError: the batch lacks one of the player's inputs; or a changed main input cannot stand for all of them.
        """
        own = self.fields.get(player)
        if own is None or self._part_by_names(own, args) is not None:
            return args, dict(kwargs)
        parts = [self._part_by_main(value) for value in args]
        keywords = {name: self._part_by_main(value) for name, value in kwargs.items()}
        if all(part is None for part in (*parts, *keywords.values())):
            self._check_changed(player, own, args)
        values: list[Any] = []
        for value, part in zip(args, parts, strict=True):
            values += [value] if part is None else self._values(player, own, part)
        named = {n: kwargs[n] if part is None else self._only(player, own, part, n) for n, part in keywords.items()}
        return tuple(values), named

    def known(self, player: str, args: tuple) -> Known | None:
        """What is cached of the player, where `args` are its inputs in one part of the batch; else None."""
        part = self._part_by_main(args[0]) if len(args) == 1 else None
        own = self.fields.get(player, (MAIN,))
        if part is None and len(args) == len(own):
            part = self._part_by_names(own, args)
        if part is None or player not in part.get(CACHED, {}):
            return None
        return Known(part[CACHED][player], part.get(CACHED_FEATURES, {}).get(player, {}))

    def _part_by_main(self, value: Any) -> Mapping[str, Any] | None:
        """The part whose main input this array is."""
        return next((part for part in self._parts if MAIN in part and value is part[MAIN]), None)

    def _part_by_names(self, own: tuple[str, ...], args: tuple) -> Mapping[str, Any] | None:
        """The part of which the first arguments are the player's fields, passed by their names."""
        if len(args) < len(own):
            return None
        for part in self._parts:
            if all(self._is_field(value, field, part) for value, field in zip(args, own, strict=False)):
                return part
        return None

    def _is_field(self, value: Any, field: str, part: Mapping[str, Any]) -> bool:
        return field in part and (value is part[field] or (field == self._main and value is part[MAIN]))

    def _values(self, player: str, own: tuple[str, ...], part: Mapping[str, Any]) -> list[Any]:
        absent = [field for field in own if field not in part]
        if absent:
            fields = ", ".join(name for name, value in part.items() if hasattr(value, "shape"))
            which = "unlabelled examples have" if part is not self.batch else "batch has"
            raise ValueError(f"players.{player} is given {', '.join(own)}; the {which} no {absent[0]!r}, but {fields}")
        return [part[field] for field in own]

    def _only(self, player: str, own: tuple[str, ...], part: Mapping[str, Any], name: str) -> Any:
        if len(own) > 1:
            raise ValueError(
                f"players.{player}({name}=batch[{MAIN!r}]): it is given {', '.join(own)}, which one keyword cannot hold;"
                " pass the main input by its place"
            )
        return self._values(player, own, part)[0]

    def _check_changed(self, player: str, own: tuple[str, ...], args: tuple) -> None:
        """A main input that a method has changed (or made) does not silently stand for other fields."""
        main = self.batch.get(MAIN)
        if main is None or own == (MAIN,) or (jnp.ndim(main) < 3 and len(own) > 1):
            return  # vectors are not told from logits by their shape; where some are missing, the module itself says so
        others = [value for part in self._parts for field, value in part.items() if field not in own]
        shapes = [_of_example(value) for value in args if not any(value is other for other in others)]
        wanted = [_of_example(self.batch[field]) for field in own if field in self.batch]
        fits = any(shapes[i : i + len(own)] == wanted for i in range(len(shapes)))
        if _of_example(main) in shapes and not fits:
            call = ", ".join(["changed", *(f'batch["{field}"]' for field in own if field != self._main)])
            raise ValueError(
                f"players.{player} is given {', '.join(own)}, and a method passes it an array of shape"
                f" {next(jnp.shape(a) for a in args if _of_example(a) == _of_example(main))} that is not batch[{MAIN!r}]"
                f" itself, for which these stand; pass all of them, as players.{player}({call})"
            )


def _both(labelled: Mapping[str, Any], unlabelled: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that both parts have, labelled examples first."""
    both: dict[str, Any] = {}
    for name in unlabelled:
        if name in labelled and isinstance(unlabelled[name], Mapping):
            both[name] = _both(labelled[name], unlabelled[name])
        elif name in labelled and jnp.ndim(unlabelled[name]):
            both[name] = jnp.concatenate([labelled[name], unlabelled[name]])
    return both


def _of_example(value: Any) -> tuple[Any, ...]:
    """Shape of one example and whether its values are floating-point; of no array nothing."""
    if not hasattr(value, "shape"):
        return ()
    return tuple(value.shape[1:]), jnp.issubdtype(jnp.result_type(value), jnp.floating)


def cached_players(
    inputs: PlayerInputs, modules: Mapping[str, Any], trained: Collection[str], params: Mapping[str, Any],
    note: Callable[[str], Any] = lambda name: None,
) -> dict[str, CachedPlayer]:  # fmt: skip
    """The players whose outputs a batch carries; `note` is told of which of them parameters are read.

    Raises:
      ValueError: one of them is trained, so that its outputs change; or inputs are of a player that there is none of.
    """
    names = inputs.batch.get(CACHED, {})
    unknown = [name for name in inputs.fields if name not in modules and name not in names]
    if unknown:
        players = ", ".join(sorted({*modules, *names})) or "none"
        raise ValueError(f"inputs.{unknown[0]}: there is no such player; the players are: {players}")
    changing = [name for name in names if name in trained]
    if changing:
        raise ValueError(f"{changing[0]} is trained by this method; only the outputs of a frozen player can be cached")
    return {
        name: CachedPlayer(name, modules.get(name), functools.partial(inputs.known, name), params.get(name), note)
        for name in names
    }


class MissingPlayerError(AttributeError):
    """A method asked for a role that the stage does not have."""


def fold_in_name(key, name: str):
    """A key of its own for each name: adding a player changes no other player's numbers."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


class Player:
    """A Flax module bound to its variables for one evaluation of a move.

    Calling it runs the module: in training mode where the method trains this player, in evaluation mode where it is
    frozen (`train=` overrides). Updates of mutable collections are recorded only where the player itself moves.
    Compute runs in `compute_dtype` on parameters kept in float32; outputs come back as float32. A module that says
    `in_float32` computes in that. Where it is given the batch's main input its own inputs stand for it (`PlayerInputs`).
    """

    def __init__(self, name, module, params, model_state, *, key, train, moves, compute_dtype=None, inputs=None):
        self.name, self.module, self.params, self.model_state = name, module, params, model_state
        self._inputs: PlayerInputs | None = inputs
        self._key, self._train, self._moves, self._calls = key, train, moves, 0
        self._dtype = None if getattr(module, "in_float32", False) else compute_dtype

    def __call__(self, *args, train: bool | None = None, features: Sequence[str] = (), **kwargs):
        """Output, or `(output, {path: feature})` where features are asked for by module path ("block3/conv1").

        `method="decode"` calls that function of the module, once the player itself was called in the same move.
        """
        output, updates, found = self._run(args, kwargs, train, features)
        if self._moves and updates:
            kept = {name: jax.tree.map(jax.lax.stop_gradient, value) for name, value in updates.items()}
            self.model_state = {**self.model_state, **kept}
        return (output, found) if features else output

    def stateless(self, *args, train: bool | None = None, features: Sequence[str] = (), **kwargs):
        """The same, recording nothing: the form to use inside `jax.grad`, `jax.vmap` and other inner transforms."""
        output, _, found = self._run(args, kwargs, train, features)
        return (output, found) if features else output

    def at(self, params: Tree) -> Callable[..., Any]:
        """The same player on other parameters of the same shapes, recording nothing: for steps inside of a move."""
        other = copy.copy(self)
        other.params = params
        return other.stateless

    def _run(self, args, kwargs, train, features):
        if self._inputs is not None:
            args, kwargs = self._inputs.given(self.name, args, kwargs)
        train = self._train if train is None else train
        self._calls += 1
        rng = jax.random.fold_in(self._key, self._calls) if train else None
        params = self.params
        if self._dtype is not None:
            params, args = cast_floats(params, self._dtype), cast_floats(args, self._dtype)
        output, updates, found = call_module(
            self.module,
            {"params": params, **self.model_state},
            *args,
            train=train,
            rng=rng,
            mutable=list(self.model_state) if train else False,
            features=tuple(features),
            **kwargs,
        )
        if self._dtype is not None:
            output, found = cast_floats(output, jnp.float32), cast_floats(found, jnp.float32)
            updates = jax.tree.map(
                lambda new, old: new.astype(old.dtype), updates, {k: self.model_state[k] for k in updates}
            )
        return output, updates, found


class Players:
    """The players of a stage by role: `players.student(x)`, `players["teacher_b"](x)`; `players.step` counts steps."""

    def __init__(self, bound: Mapping[str, Any], step: Any, lambdas: Mapping[str, Mapping[str, Any]] | None = None):
        self._bound = dict(bound)
        self._lambdas = lambdas or {}
        self.step = step

    def lambda_of(self, lead: str, term: str) -> Any:
        """λ of a term at this step, for a method that takes gradients of its own; 1 while shapes are traced."""
        return self._lambdas.get(lead, {}).get(term, 1.0)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self._bound:
            raise MissingPlayerError(
                f"the method needs a player {name!r}; the players are: {', '.join(sorted(self._bound)) or 'none'}"
                " (config.players)"
            )
        return self._bound[name]

    def __iter__(self):
        return iter(self._bound)


def bind(
    modules, params, model_state, *, step, key, trained, moving, compute_dtype=None, cached=None, inputs=None,
    lambdas=None,
) -> Players:  # fmt: skip
    """The players of one move: `trained` run in training mode, `moving` record their updates, `cached` do not run."""
    bound = {}
    for name in (name for name in params if name not in (cached or {})):
        bound[name] = Player(
            name, modules[name], params[name], model_state.get(name, {}), key=fold_in_name(key, name),
            train=name in trained, moves=name in moving, compute_dtype=compute_dtype, inputs=inputs,
        )  # fmt: skip
    return Players({**bound, **(cached or {})}, step, lambdas)


# How a Linen module may call its training switch, and what it is then given.
_MODES: Mapping[str, Callable[[bool], bool]] = {
    **dict.fromkeys(("train", "training", "is_training"), lambda train: train),
    **dict.fromkeys(("deterministic", "use_running_average"), lambda train: not train),
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
    if not features and not mutable:
        return module.apply(variables, *args, rngs=rngs, **kwargs), {}, {}
    if not features:
        return *module.apply(variables, *args, rngs=rngs, mutable=mutable, **kwargs), {}
    output, updates = module.apply(
        variables, *args, rngs=rngs, mutable=[*(mutable or ()), "intermediates"],
        capture_intermediates=lambda m, method: method == "__call__" and "/".join(m.path) in features, **kwargs,
    )  # fmt: skip
    updates, found = dict(updates), {}
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
