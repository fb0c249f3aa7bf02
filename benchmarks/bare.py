"""The steps as one writes them by hand in JAX: modules, `value_and_grad`, optax, `jit` with what is trained donated.

Nothing of kdgan is imported. `variables` are player -> {"params": tree, "batch_stats": tree or absent}, `draws` the random
numbers of a step by the player that moves, so that a check can give what kdgan drew.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks import bare_models
from benchmarks.measure import Contestant
from benchmarks.work import CLASSES, Work

Variables = dict[str, dict[str, Any]]


def init(work: Work, seed: int = 0) -> Variables:
    """Fresh variables of every player."""
    modules = bare_models.modules(work)
    return {
        name: dict(jax.jit(module.init)(jax.random.key(seed + i), example(work, name)))
        for i, (name, module) in enumerate(modules.items())
    }


def example(work: Work, player: str) -> Any:
    """Zeros of the shape of what a player is given, one of them."""
    generates = work.models[player].name == "dcgan_generator"
    return jnp.zeros((1, work.hyperparameters["latent"]) if generates else (1, *work.image))


def optimizers(work: Work) -> dict[str, optax.GradientTransformation]:
    make = {
        "adam": lambda o: optax.adam(o.learning_rate, b1=o.momentum),
        "sgd": lambda o: optax.sgd(o.learning_rate, momentum=o.momentum),
    }
    return {name: make[optimizer.name](optimizer) for name, optimizer in work.optimizers.items()}


def draw(work: Work, key) -> dict[str, Any]:
    """The random numbers of a step: Gumbel noise of drawn labels, or the generators' noise."""
    if work.game in ("kd", "restore"):
        return {"student": ()}
    if work.game == "kdgan":
        first, second, teacher, student = jax.random.gumbel(key, (4, work.batch, CLASSES))
        return {"discriminator": (first, second), "teacher": (teacher,), "student": (student,)}
    first, second = jax.random.normal(key, (2, work.batch, work.hyperparameters["latent"]))
    return {"discriminator": (first,), "student": (second,)}


def kd_objectives(work: Work, run: Callable) -> dict[str, Callable]:
    weight, temperature = work.lambdas["student"], work.hyperparameters["temperature"]

    def student(variables, batch, noise):
        s, stats = run("student", variables, batch["image"], train=True)
        t, _ = run("teacher", variables, batch["image"])
        ce = optax.softmax_cross_entropy_with_integer_labels(s, batch["label"])
        log_q, log_p = jax.nn.log_softmax(s / temperature), jax.nn.log_softmax(t / temperature)
        kl = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
        return weight["ce"] * ce.mean() + weight["kd"] * temperature**2 * kl.mean(), stats

    return {"student": student}


def restore_objectives(work: Work, run: Callable) -> dict[str, Callable]:
    def student(variables, batch, noise):
        made, stats = run("student", variables, batch["image"], train=True)
        return work.lambdas["student"]["pixel"] * jnp.square(made - batch["target"]).mean(), stats

    return {"student": student}


def kdgan_objectives(work: Work, run: Callable) -> dict[str, Callable]:
    weights, temperature = work.lambdas, work.hyperparameters["concrete_temperature"]

    def label_of(logits, gumbel):
        relaxed = jax.nn.softmax((logits + gumbel) / temperature)
        drawn = jax.nn.one_hot(jnp.argmax(logits + gumbel, -1), CLASSES)
        return drawn + relaxed - jax.lax.stop_gradient(relaxed)

    def discriminator(variables, batch, noise):
        scores, stats = run("discriminator", variables, batch["image"], train=True)
        student, _ = run("student", variables, batch["image"], train=True)
        teacher, _ = run("teacher", variables, batch["image"], train=True)
        fake = jax.nn.softplus(scores)
        real = jnp.take_along_axis(jax.nn.softplus(-scores), batch["label"][:, None], 1)
        of_student = jnp.sum(label_of(student, noise[0]) * fake, -1)
        of_teacher = jnp.sum(label_of(teacher, noise[1]) * fake, -1)
        w = weights["discriminator"]
        return w["real"] * real.mean() + w["student"] * of_student.mean() + w["teacher"] * of_teacher.mean(), stats

    def against(me, other):
        def objective(variables, batch, noise):
            own, stats = run(me, variables, batch["image"], train=True)
            target, _ = run(other, variables, batch["image"], train=True)
            scores, _ = run("discriminator", variables, batch["image"], train=True)
            ce = optax.softmax_cross_entropy_with_integer_labels(own, batch["label"])
            distance = 0.5 * jnp.sum((own - target) ** 2, -1)
            adv = jnp.sum(label_of(own, noise[0]) * -jax.nn.softplus(scores), -1)
            w = weights[me]
            return w["ce"] * ce.mean() + w["kd"] * distance.mean() + w["adv"] * adv.mean(), stats

        return objective

    return {
        "discriminator": discriminator,
        "teacher": against("teacher", "student"),
        "student": against("student", "teacher"),
    }


def generator_objectives(work: Work, run: Callable) -> dict[str, Callable]:
    weights = work.lambdas

    def discriminator(variables, batch, noise):
        image, _ = run("student", variables, noise[0], train=True)
        target, _ = run("teacher", variables, noise[0])
        real, stats = run("discriminator", variables, batch["image"], train=True)
        taught, _ = run("discriminator", variables, target, train=True)
        made, _ = run("discriminator", variables, image, train=True)
        w = weights["discriminator"]
        terms = (
            w["real"] * jax.nn.softplus(-real).mean(),
            w["teacher"] * jax.nn.softplus(-taught).mean(),
            w["fake"] * jax.nn.softplus(made).mean(),
        )
        return sum(terms), stats

    def student(variables, batch, noise):
        image, stats = run("student", variables, noise[0], train=True)
        target, _ = run("teacher", variables, noise[0])
        scores, _ = run("discriminator", variables, image, train=True)
        pixel = jnp.abs(image - target).mean()
        return weights["student"]["adv"] * jax.nn.softplus(-scores).mean() + weights["student"]["pixel"] * pixel, stats

    return {"discriminator": discriminator, "student": student}


def objectives(work: Work, modules: Mapping[str, nn.Module]) -> dict[str, Callable]:
    """Moving player -> `objective(params, variables, batch, noise) -> (loss, its batch statistics)`."""

    def run(player, variables, x, train=False):
        own = variables[player]
        if train and "batch_stats" in own:
            output, new = modules[player].apply(own, x, train=True, mutable=["batch_stats"])
            return output, new["batch_stats"]
        return modules[player].apply(own, x, train=train), own.get("batch_stats")

    def of_params(player, objective):
        def changed(params, variables, batch, noise):
            return objective({**variables, player: {**variables[player], "params": params}}, batch, noise)

        return changed

    games = {
        "kd": kd_objectives, "kdgan": kdgan_objectives, "generator_distill": generator_objectives,
        "restore": restore_objectives,
    }  # fmt: skip
    return {player: of_params(player, objective) for player, objective in games[work.game](work, run).items()}


def gradients(
    work: Work, variables: Variables, batch, draws, modules: Mapping[str, nn.Module] | None = None
) -> tuple[dict[str, float], dict[str, Any]]:
    """(moving player -> loss, moving player -> gradient) of every move, all of them at `variables`."""
    losses, found = {}, {}
    for player, objective in objectives(work, modules or bare_models.modules(work)).items():
        both = jax.jit(jax.value_and_grad(objective, has_aux=True))
        (loss, _), found[player] = both(variables[player]["params"], variables, batch, draws[player])
        losses[player] = float(loss)
    return losses, jax.device_get(found)


def make_update(work: Work, modules: Mapping[str, nn.Module]) -> Callable:
    """`update(moving, frozen, batch) -> (moving, losses)`, not compiled; `moving` as `start` makes it."""
    rules, moves = optimizers(work), objectives(work, modules)

    def update(moving, frozen, batch):
        variables, opt_state = {**moving["variables"], **frozen}, dict(moving["opt_state"])
        key, now = jax.random.split(moving["key"])
        draws, losses = draw(work, now), {}
        for player, objective in moves.items():
            params = variables[player]["params"]
            both = jax.value_and_grad(objective, has_aux=True)
            (losses[player], stats), gradient = both(params, variables, batch, draws[player])
            change, opt_state[player] = rules[player].update(gradient, opt_state[player])
            variables[player] = {"params": optax.apply_updates(params, change)}
            if stats is not None:
                variables[player]["batch_stats"] = stats
        trained = {player: variables[player] for player in moves}
        return {"variables": trained, "opt_state": opt_state, "key": key}, losses

    return update


def start(work: Work, variables: Variables) -> tuple[dict[str, Any], Variables]:
    """(what a step changes, the frozen players), copied: a step donates the first."""
    copied = jax.tree.map(jnp.array, variables)
    trained = {name: copied[name] for name in work.trained}
    opt_state = {name: rule.init(trained[name]["params"]) for name, rule in optimizers(work).items()}
    frozen = {name: own for name, own in copied.items() if name not in trained}
    return {"variables": trained, "opt_state": opt_state, "key": jax.random.key(0)}, frozen


def make_steps(
    work: Work, variables: Variables, batches: Sequence[Any], modules: Mapping[str, nn.Module] | None = None
) -> Contestant:
    """Steps on batches that lie on the device, over and over; `modules` other than those written by hand."""
    step = jax.jit(make_update(work, modules or bare_models.modules(work)), donate_argnums=0)
    return contestant(step, *start(work, variables), batches)


def contestant(step: Callable, moving: dict[str, Any], frozen: Variables, batches: Sequence[Any]) -> Contestant:
    """Steps `step(moving, frozen, batch) -> (moving, losses)` over and over."""
    state = [moving, {}]
    feed = itertools.cycle(jax.device_put(list(batches)))

    def steps(count: int) -> None:
        moving, losses = state
        for _ in range(count):
            moving, losses = step(moving, frozen, next(feed))
        state[:] = jax.block_until_ready([moving, losses])

    return _contestant(steps, state)


def make_epochs(
    work: Work, variables: Variables, image: np.ndarray, label: np.ndarray, indices: Iterator[np.ndarray] | None = None
) -> Contestant:
    """Steps on batches of a data set on the device, by random indices; the losses are fetched."""
    update = make_update(work, bare_models.modules(work))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(moving, frozen, images, labels, index):
        return update(moving, frozen, {"image": images[index].astype(jnp.float32) / 255, "label": labels[index]})

    def shuffled():
        generator = np.random.default_rng(0)
        while True:
            order = generator.permutation(len(image)).astype(np.int32)
            yield from order[: len(order) // work.batch * work.batch].reshape(-1, work.batch)

    moving, frozen = start(work, variables)
    state = [moving, {}]
    images, labels = jnp.asarray(image), jnp.asarray(label)
    feed = indices or shuffled()

    def steps(count: int) -> None:
        moving, losses = state[0], []
        for _ in range(count):
            moving, found = step(moving, frozen, images, labels, next(feed))
            losses.append(found)
        state[:] = moving, jax.device_get(losses)[-1]

    return _contestant(steps, state)


def make_evaluation(work: Work, player: str, variables: Variables, image: np.ndarray, label: np.ndarray, batch: int):
    """A function that measures a player on a whole test set -> {"accuracy", "nll"}."""
    module = bare_models.modules(work)[player]

    @jax.jit
    def sums(own, x, y):
        logits = module.apply(own, x.astype(jnp.float32) / 255)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(logits.argmax(-1) == y), jnp.sum(nll)

    own = jax.device_put(variables[player])
    parts = [jax.device_put((image[i : i + batch], label[i : i + batch])) for i in range(0, len(image), batch)]

    def evaluate() -> dict[str, float]:
        right, nll = np.sum(jax.device_get([sums(own, *part) for part in parts]), axis=0)
        return {"accuracy": float(right) / len(image), "nll": float(nll) / len(image)}

    return evaluate


def _contestant(steps: Callable[[int], None], state: list) -> Contestant:
    return Contestant(
        steps,
        losses=lambda: {player: float(loss) for player, loss in state[1].items()},
        params=lambda: {player: own["params"] for player, own in state[0]["variables"].items()},
    )
