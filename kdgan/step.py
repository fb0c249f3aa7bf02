"""make_train_step and make_eval_step: the pure functions that every way of running wraps. The only pmean of gradients.

A step makes the method's moves in order. Each move differentiates its objective, the λ-weighted sum of its terms, with
respect to the moving players' parameters only, and each moving player applies its own optax chain.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from kdgan import game, term_gradients
from kdgan.player import MAIN, Names, PlayerInputs, cached_players
from kdgan.state import TrainState

Metrics = dict[str, Any]


def make_train_step(
    method: game.Method,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    schedules: Mapping[str, Mapping[str, optax.Schedule]] | None = None,
    ema: Mapping[str, float] | None = None,
    compute_dtype: Any = None,
    axis_name: str | None = None,
    inputs: Names | None = None,
    gradients: bool = False,
) -> Callable[[TrainState, game.Batch], tuple[TrainState, Metrics]]:
    """The step of a method: `step(state, batch) -> (state, metrics)`, pure; it composes with jit, vmap, scan and pmap.

    Args:
      method: moves, in order.
      modules: player -> Flax module.
      optimizers: trained player -> optax chain.
      schedules: leading player -> term -> optax schedule of the step; multiplies that term's λ.
      ema: player -> decay of its moving average, `ema ← decay·ema + (1−decay)·params`, with the usual start-up
        min(decay, (1+n)/(10+n)) so that the first steps are not remembered for long. Its mutable collections (batch
        statistics) are averaged alike: those of the last step are of other parameters. Whole numbers are the last step's.
      compute_dtype: e.g. `jnp.bfloat16`: players compute in it on float32 parameters; losses stay float32.
      axis_name: name of the mapped device axis under pmap: gradients, metrics and mutable collections are averaged
        over it, and random numbers differ by device.
      inputs: player -> the fields of the batch that it is given where the method passes `batch["image"]`, e.g.
        `{"teacher": ("image", "text")}`; a player that is not named is given what the method passes.
      gradients: whether the metrics have the norm of every term's gradient and the cosine of each two of a move, too
        (`kdgan/term_gradients.py`), at the parameters from which the move, or its last repetition, is made: a forward
        pass and a backward pass of each term more. The state is the same.

    A player whose outputs the batch carries (`kdgan/player.py`) is not run, and need not be in the state.

    Returns:
      The step. Its metrics are float32 scalars: `{player}/{term}` (unweighted), `{player}/loss` (the objective) and
      `lambda/{player}/{term}` for scheduled λ's; with `gradients` also
      `{player}/gradient/{term}` and `{player}/cosine/{term},{term}`.
    """
    schedules, ema = schedules or {}, ema or {}
    trained = method.trained

    def mean_over_devices(tree):
        return tree if axis_name is None else jax.tree.map(lambda leaf: _over_devices(leaf, axis_name), tree)

    def make_move(move: game.Move, state: TrainState, lambdas, given: PlayerInputs, cached, key, measured: bool):
        lead = move.players[0]  # under whose name the move's λ's and metrics stand
        still = {name: tree for name, tree in state.params.items() if name not in move.players}

        def terms_of(moving):
            players = game.bind(
                modules, {**still, **moving}, state.model_state, step=state.step, key=key, trained=trained,
                moving=move.players, compute_dtype=compute_dtype, cached=cached, inputs=given, lambdas=lambdas,
            )  # fmt: skip
            terms = {
                name: jnp.mean(value.astype(jnp.float32))
                for name, value in move.terms(players, given.batch, game.fold_in_name(key, "terms")).items()
            }
            return terms, {name: players[name].model_state for name in move.players if name in state.model_state}

        def objective(moving):
            terms, updates = terms_of(moving)
            loss = sum((lambdas[lead][name] * value for name, value in terms.items()), jnp.float32(0))
            return loss, (terms, updates)

        moving = {name: state.params[name] for name in move.players}
        (loss, (terms, updates)), slopes = jax.value_and_grad(objective, has_aux=True)(moving)
        slopes, updates = mean_over_devices((slopes, updates))
        params, opt_state = dict(state.params), dict(state.opt_state)
        for name in move.players:
            change, opt_state[name] = optimizers[name].update(slopes[name], opt_state[name], params[name])
            params[name] = optax.apply_updates(params[name], change)
        metrics = {f"{lead}/{name}": value for name, value in {**terms, "loss": loss}.items()}
        if measured:
            of_terms = mean_over_devices(term_gradients.of_terms(lambda moving: terms_of(moving)[0], moving))
            metrics |= term_gradients.metrics(lead, of_terms)
        state = dataclasses.replace(
            state, params=params, opt_state=opt_state, model_state={**state.model_state, **updates}
        )
        return state, metrics

    def train_step(state: TrainState, batch: game.Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        lambdas, metrics = scheduled(state.lambdas, schedules, state.step)
        given = PlayerInputs(batch, inputs)
        cached = cached_players(given, modules, trained, state.params)
        start = state
        for i, move in enumerate(method.moves):
            for repeat in range(move.repeats):
                move_key = jax.random.fold_in(jax.random.fold_in(key, i), repeat)
                measured = gradients and repeat == move.repeats - 1  # earlier repetitions' metrics are not kept
                state, found = make_move(move, state, lambdas, given, cached, move_key, measured)
                metrics |= mean_over_devices(found)
        averaged = lambda before, now: {
            name: _moving_average(before[name], now[name], decay, start.step)
            for name, decay in ema.items()
            if name in before
        }
        return dataclasses.replace(
            state,
            step=start.step + 1,
            ema={**start.ema, **averaged(start.ema, state.params)},
            ema_state={**start.ema_state, **averaged(start.ema_state, state.model_state)},
        ), metrics

    return train_step


def _over_devices(leaf, axis_name: str):
    """The mean over devices; of whole numbers, which all of them count alike, the largest."""
    return (jax.lax.pmean if jnp.issubdtype(leaf.dtype, jnp.inexact) else jax.lax.pmax)(leaf, axis_name)


def on_raw(step: Callable, prepare: Callable) -> Callable:
    """`step(state, raw, arrays)`: the step on the batch that `prepare(raw, arrays)` gives, in one program."""

    def prepared_step(state, raw, arrays):
        return step(state, prepare(raw, arrays))

    return prepared_step


def measuring(step: Callable) -> Callable:
    """A step with `gradients` as `(state, batch) -> (the same state, what it measured of gradients)`."""

    def measure(state, batch):
        _, metrics = step(state, batch)
        return state, {name: value for name, value in metrics.items() if term_gradients.parsed(name)}

    return measure


def scheduled(lambdas, schedules, step) -> tuple[dict, Metrics]:
    """(λ's at this step, those that a schedule moves as metrics)."""
    now = {player: dict(terms) for player, terms in lambdas.items()}
    metrics: Metrics = {}
    for player, terms in schedules.items():
        for term, schedule in terms.items():
            now[player][term] = now[player][term] * schedule(step)
            metrics[f"lambda/{player}/{term}"] = now[player][term]
    return now, metrics


def _moving_average(average, params, decay: float, step):
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def mixed(mean, value):
        if not jnp.issubdtype(value.dtype, jnp.inexact):
            return value
        return (rate * mean + (1.0 - rate) * value).astype(value.dtype)

    return jax.tree.map(mixed, average, params)


def make_eval_step(
    modules: Mapping[str, nn.Module],
    measure: Callable[[Mapping[str, Any], game.Batch], Any],
    *,
    compute_dtype: Any = None,
    inputs: Names | None = None,
    features: Names | None = None,
) -> Callable[[Mapping[str, Any], game.Batch], Any]:
    """`eval_step(variables, batch) -> measure(outputs, batch)`, every player in evaluation mode.

    Args:
      modules: player -> Flax module.
      measure: of `{player: output on its inputs}` and the batch; sums over a batch are exact where they are
        weighed by `batch["mask"]`.
      compute_dtype: as in `make_train_step`.
      inputs: as in `make_train_step`; without them players are given `batch["image"]`.
      features: player -> module paths: its output is then `(output, {path: feature})`.

    Returns:
      The step; its `variables` are `{player: {"params": tree, "model_state": tree}}`.
    """

    def run(name: str, variables: Mapping[str, Any], given: PlayerInputs):
        player = game.Player(
            name, modules[name], variables["params"], variables.get("model_state", {}), key=None, train=False,
            moves=False, compute_dtype=compute_dtype, inputs=given,
        )  # fmt: skip
        return player(given.batch[MAIN], features=(features or {}).get(name, ()))

    def eval_step(variables, batch):
        given = PlayerInputs(batch, inputs)
        return measure({name: run(name, variables[name], given) for name in modules}, batch)

    return eval_step
