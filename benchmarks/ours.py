"""The steps by kdgan: method, players and optimizers of a piece of work, as any user puts them together."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks.measure import Contestant
from benchmarks.work import CLASSES, Work
from kdgan import methods, models, optim, parallel
from kdgan.game import Method, fold_in_name
from kdgan.metrics import cost
from kdgan.state import TrainState, initialise
from kdgan.step import make_train_step

Variables = dict[str, dict[str, Any]]  # player -> {"params": tree, "batch_stats": tree or absent}


def make_method(work: Work) -> Method:
    return methods.build(work.game, **work.hyperparameters)


def modules(work: Work) -> dict[str, nn.Module]:
    return {name: models.build(model.name, **model.fields) for name, model in work.models.items()}


def optimizer_fields(work: Work, player: str) -> dict[str, Any]:
    """A player's optimizer as `kdgan.optim` and a config name it."""
    optimizer = work.optimizers[player]
    first = "b1" if optimizer.name == "adam" else "momentum"
    return {"name": optimizer.name, "learning_rate": optimizer.learning_rate, first: optimizer.momentum}


def optimizers(work: Work) -> dict[str, optax.GradientTransformation]:
    return {name: optim.make_optimizer(**optimizer_fields(work, name)) for name in work.trained}


def example(work: Work) -> dict[str, Any]:
    """Shapes of a batch."""
    image = jax.ShapeDtypeStruct((work.batch, *work.image), jnp.float32)
    if work.game == "restore":
        return {"image": image, "target": image}
    whole = jax.ShapeDtypeStruct((work.batch,), jnp.int32)
    return {"image": image, "label": whole, **({"index": whole} if work.game == "crd" else {})}


def frozen_players(work: Work, seed: int = 1) -> Variables:
    """Fresh variables of the players that the method does not train."""
    found = {}
    for i, name in enumerate(name for name in work.models if name not in work.trained):
        shape = (1, work.hyperparameters["latent"]) if work.game == "generator_distill" else (1, *work.image)
        inputs = ((jax.ShapeDtypeStruct(shape, jnp.float32),), {})
        found[name] = initialise(modules(work)[name], inputs, jax.random.fold_in(jax.random.key(seed), i))
    return found


def make_state(
    work: Work, *, seed: int = 0, rules: Mapping[str, optax.GradientTransformation] | None = None
) -> TrainState:
    """The state before the first step; `rules` other than the work's optimizers."""
    frozen = frozen_players(work)
    state = TrainState.create(
        make_method(work), modules(work), rules or optimizers(work), example(work), key=jax.random.key(seed),
        lambdas=work.lambdas, params={name: own["params"] for name, own in frozen.items()},
        model_state={name: rest for name, own in frozen.items() if (rest := _without_params(own))},
    )  # fmt: skip
    return state if work.game != "restore" else state.replace(params=filled(state.params, seed))


def filled(params: Any, seed: int = 0) -> Any:
    """Parameters whose kernels of zeros are random numbers.

    A restorer starts as the image itself, by a last kernel of zeros: then all networks give the same output, and every
    gradient before it is 0, so that nothing could be seen to differ. The residual stays small, for pixels beyond [0, 1]
    become the same bytes whatever the network makes of them.
    """
    generator = np.random.default_rng(seed)  # on the host: what a fresh process compiles is the step alone

    def fill(leaf):
        if leaf.ndim < 2 or np.any(leaf):
            return leaf
        return jnp.asarray(generator.normal(0, 0.1 / np.prod(leaf.shape[:-1]) ** 0.5, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, params)


def _without_params(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if name != "params"}


def variables_of(state: TrainState) -> Variables:
    """Every player's variables on the host: what the others start from."""
    return jax.device_get(
        {name: {"params": params, **state.model_state.get(name, {})} for name, params in state.params.items()}
    )


def pure_step(work: Work, rules: Mapping[str, optax.GradientTransformation] | None = None, **kwargs: Any) -> Callable:
    """`step(state, batch) -> (state, metrics)`, not compiled; `kwargs` of `make_train_step`."""
    return make_train_step(make_method(work), modules(work), rules or optimizers(work), **kwargs)


def flops(work: Work, state: TrainState) -> float | None:
    """Floating-point operations of one step, as XLA counts those of kdgan's."""
    return cost.flops(pure_step(work), state, example(work))


def losses(metrics: Mapping[str, Any], work: Work) -> dict[str, float]:
    """Player that leads a move -> its objective at the last step."""
    return {name: float(np.ravel(metrics[f"{name}/loss"])[-1]) for name in work.lambdas}


def make_steps(work: Work, state: TrainState, batches: Sequence[Any], *, per_call: int = 1) -> Contestant:
    """Steps on batches that lie on the device, over and over; `per_call` of them in each compiled call."""
    step = pure_step(work)
    step = parallel.jit(parallel.many_steps(step) if per_call > 1 else step)
    # Copied, for the step donates it, and others start from the same.
    return _contestant(work, step, jax.tree.map(jnp.copy, state), jax.device_put(grouped(batches, per_call)), per_call)


def make_split_steps(work: Work, state: TrainState, batches: Sequence[Any], devices: Sequence[Any]) -> Contestant:
    """The same, each batch split over devices by `pmap`."""
    step = parallel.pmap(pure_step(work, axis_name=parallel.BATCH_AXIS), devices=devices)
    return _contestant(work, step, parallel.replicate(state, devices), batches, 1)


def _contestant(work: Work, step: Callable, state: TrainState, batches: Sequence[Any], per_call: int) -> Contestant:
    kept: list[Any] = [state, {}]
    feed = itertools.cycle(batches)

    def steps(count: int) -> None:
        state, metrics = kept
        for _ in range(count // per_call):
            state, metrics = step(state, next(feed))
        kept[:] = jax.block_until_ready([state, metrics])

    return Contestant(
        steps, lambda: losses(kept[1], work), lambda: {n: kept[0].params[n] for n in work.trained}, per_call=per_call
    )


def grouped(batches: Sequence[Any], per_call: int) -> list[Any]:
    """Batches as a call of `per_call` steps takes them: where it makes several, with an axis of steps first."""
    if per_call == 1:
        return list(batches)
    one_after_another = itertools.islice(itertools.cycle(batches), per_call * len(batches))
    groups = itertools.zip_longest(*[one_after_another] * per_call)
    return [jax.tree.map(lambda *leaves: np.stack(leaves), *group) for group in groups]


def gradients(work: Work, state: TrainState, batch: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """(leading player -> loss, moving player -> gradient) of every move of kdgan's step, all of them at `state`."""
    return gradients_of_each(work, state, [batch])[0]


def gradients_of_each(
    work: Work, state: TrainState, batches: Sequence[Any]
) -> list[tuple[dict[str, float], dict[str, Any]]]:
    """`gradients` on each of some batches.

    The step itself runs, with optimizers that keep the gradient and change nothing, so that every move sees the same
    parameters.
    """
    keep = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradient, _, params=None: (jax.tree.map(jnp.zeros_like, gradient), gradient),
    )
    rules = dict.fromkeys(work.trained, keep)
    opt_state = {name: keep.init(state.params[name]) for name in work.trained}
    step = parallel.compiled(pure_step(work, rules))
    found = [step(state.replace(opt_state=opt_state), batch) for batch in batches]
    return [(losses(metrics, work), jax.device_get(after.opt_state)) for after, metrics in found]


def draws(work: Work, state: TrainState) -> dict[str, tuple[Any, ...]]:
    """The random numbers that kdgan's step at `state` draws, by the player that moves, as `bare.draw` has them."""
    key = jax.random.fold_in(state.key, state.step)
    found: dict[str, tuple[Any, ...]] = {}
    for i, player in enumerate(work.lambdas):
        own = fold_in_name(jax.random.fold_in(jax.random.fold_in(key, i), 0), "terms")
        if work.game in ("kd", "fsp", "restore"):
            found[player] = ()
        elif work.game == "crd":
            others = work.hyperparameters["examples"] - 1
            shape = (work.batch, work.hyperparameters["negatives"])
            found[player] = (jax.random.randint(own, shape, 0, others, jnp.int32),)
        elif work.game == "kdgan":
            keys = jax.random.split(own) if player == "discriminator" else [own]
            found[player] = tuple(_gumbel(work, jax.random.split(each, 1)[0]) for each in keys)
        else:
            shape = (work.batch, work.hyperparameters["latent"])
            found[player] = (jax.random.normal(fold_in_name(own, "noise"), shape),)
    return found


def _gumbel(work: Work, key: Any) -> Any:
    return jax.random.gumbel(key, (work.batch, CLASSES))
