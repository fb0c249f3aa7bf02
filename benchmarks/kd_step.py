"""What the abstraction costs: a distillation step of kdgan beside a hand-written one of the same work, in one process.

    python -m benchmarks.kd_step

The work: a student MLP 784-800-800-10 with Adam learns from a frozen LeNet 32/64/1024 by 0.1·CE + 0.9·T²·KL, T = 4, on
batches of 64 random images of MNIST's shape. The bare step is what one would write for this and nothing else: two Flax
modules, `value_and_grad`, optax, `jit` with the student donated. That both compute the same is checked first. Then they
take turns in short blocks, so that whatever else the machine does meets both; each pair of neighbouring blocks gives
one ratio.

    step     parallel.jit(make_train_step(...)) on batches that lie on the device
    modules  the same, beside the bare step with kdgan's two modules in it: what is left is the abstraction alone
    run      a run's loop (data set on the device, batches drawn by the step's number, every metric fetched), beside a
             bare loop over random indices with the same data set on the device
    control  the bare step beside itself: the spread that the same work has here
    host     the same as `step` with players of a few parameters, where what is left is the host's part of a call

Prints a table and writes benchmarks/results/<device>.json.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from configs import common
from kdgan import data, methods, models, parallel
from kdgan.data import splits
from kdgan.run import inputs as run_inputs
from kdgan.run import stage as stages
from kdgan.run import starts
from kdgan.run.config import resolve
from kdgan.run.files import write_json
from kdgan.run.population import Population
from kdgan.state import TrainState
from kdgan.step import make_train_step

RESULTS = pathlib.Path(__file__).parent / "results"
TEMPERATURE, CE, KD, LEARNING_RATE = 4.0, 0.1, 0.9, 1e-3


class Contestant(NamedTuple):
    """One of two that do the same work.

    Attributes:
      steps: makes so many steps and returns when the last is done.
      state: (the student's parameters, loss of the last step).
    """

    steps: Callable[[int], None]
    state: Callable[[], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Work:
    """Sizes of a step.

    Attributes:
      hidden: widths of the student.
      features: channels of the teacher.
      dense: width of the teacher's dense layer.
      image: (h, w, c).
      batch: examples.
    """

    hidden: tuple[int, ...] = (800, 800)
    features: tuple[int, ...] = (32, 64)
    dense: int = 1024
    image: tuple[int, int, int] = (28, 28, 1)
    batch: int = 64


TOY = Work(hidden=(2, 2), features=(1, 1), dense=2, image=(4, 4, 1), batch=1)


# By hand: nothing of kdgan below this line and above the next.


class Student(nn.Module):
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(width, name=f"dense{i}")(x))
        return nn.Dense(10, name="head")(x)


class Teacher(nn.Module):
    features: Sequence[int]
    dense: int

    @nn.compact
    def __call__(self, x):
        for i, features in enumerate(self.features, start=1):
            x = nn.max_pool(nn.relu(nn.Conv(features, (5, 5), name=f"conv{i}")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(self.dense, name="dense1")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="head")(x)


def bare_update(student: nn.Module, teacher: nn.Module) -> tuple[Callable, optax.GradientTransformation]:
    """`update(params, opt_state, frozen, image, label) -> (params, opt_state, loss)`, not compiled, and its optimizer."""
    optimizer = optax.adam(LEARNING_RATE)

    def objective(params, frozen, image, label):
        s: Any = student.apply({"params": params}, image)
        t: Any = teacher.apply({"params": frozen}, image)
        ce = optax.softmax_cross_entropy_with_integer_labels(s, label)
        log_q, log_p = jax.nn.log_softmax(s / TEMPERATURE), jax.nn.log_softmax(t / TEMPERATURE)
        kl = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
        return CE * ce.mean() + KD * TEMPERATURE**2 * kl.mean()

    def update(params, opt_state, frozen, image, label):
        loss, gradients = jax.value_and_grad(objective)(params, frozen, image, label)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    return update, optimizer


def bare_modules(work: Work) -> tuple[nn.Module, nn.Module]:
    return Student(work.hidden), Teacher(work.features, work.dense)


def bare_step(modules: tuple[nn.Module, nn.Module], params, frozen, batches) -> Contestant:
    """Steps on batches that lie on the device, over and over."""
    update, optimizer = bare_update(*modules)
    step = jax.jit(update, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, params)
    state = [params, optimizer.init(params), None]
    feed = itertools.cycle(batches)

    def steps(count: int) -> None:
        params, opt_state, loss = state
        for _ in range(count):
            batch = next(feed)
            params, opt_state, loss = step(params, opt_state, frozen, batch["image"], batch["label"])
        state[:] = jax.block_until_ready([params, opt_state, loss])

    return Contestant(steps, lambda: (state[0], state[2]))


def bare_run(work: Work, params, frozen, image, label, indices: Iterator[np.ndarray] | None = None) -> Contestant:
    """Steps on batches of a data set on the device, by random indices; the losses are fetched."""
    update, optimizer = bare_update(*bare_modules(work))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, frozen, images, labels, index):
        return update(params, opt_state, frozen, images[index].astype(jnp.float32) / 255, labels[index])

    def shuffled():
        generator = np.random.default_rng(0)
        while True:
            order = generator.permutation(len(image)).astype(np.int32)
            yield from order[: len(order) // work.batch * work.batch].reshape(-1, work.batch)

    params = jax.tree.map(jnp.copy, params)
    state = [params, optimizer.init(params), None]
    images, labels = jnp.asarray(image), jnp.asarray(label)
    feed = indices or shuffled()

    def steps(count: int) -> None:
        params, opt_state, _ = state
        losses = []
        for _ in range(count):
            params, opt_state, loss = step(params, opt_state, frozen, images, labels, next(feed))
            losses.append(loss)
        state[:] = params, opt_state, jax.device_get(losses)[-1]

    return Contestant(steps, lambda: (state[0], state[2]))


# By kdgan.


def our_modules(work: Work) -> dict[str, nn.Module]:
    return {
        "student": models.build("mlp", hidden=work.hidden),
        "teacher": models.build("kdgan_lenet", features=work.features, dense=work.dense),
    }


def our_state(work: Work) -> tuple[Callable, TrainState]:
    """The compiled step and the state before the first."""
    modules = our_modules(work)
    method, optimizers = methods.build("kd", temperature=TEMPERATURE), {"student": optax.adam(LEARNING_RATE)}
    example = {"image": jnp.zeros((1, *work.image)), "label": jnp.zeros(1, jnp.int32)}
    teacher = jax.jit(modules["teacher"].init)(jax.random.key(1), example["image"])["params"]
    state = TrainState.create(
        method, modules, optimizers, example, key=jax.random.key(0), lambdas={"student": {"ce": CE, "kd": KD}},
        params={"teacher": teacher},
    )  # fmt: skip
    return parallel.jit(make_train_step(method, modules, optimizers)), state


def our_step(step: Callable, state: TrainState, batches) -> Contestant:
    # Copied, for the step donates it, and the bare one starts from the same.
    kept = [jax.tree.map(jnp.copy, state), {}]
    feed = itertools.cycle(batches)

    def steps(count: int) -> None:
        state, metrics = kept
        for _ in range(count):
            state, metrics = step(state, next(feed))
        kept[:] = jax.block_until_ready([state, metrics])

    return Contestant(steps, lambda: (kept[0].params["student"], kept[1]["student/loss"]))


def our_run(work: Work, state: TrainState, image, label) -> tuple[Contestant, Iterator[np.ndarray], int]:
    """A run's population of one -> (itself, the indices it draws, steps per compiled call)."""
    config = common.get_config()
    config.players = common.named(
        teacher=dict(model="kdgan_lenet", model_args=dict(features=work.features, dense=work.dense)),
        student=dict(model="mlp", model_args=dict(hidden=work.hidden), optimizer=dict(learning_rate=LEARNING_RATE)),
    )
    config.stage.batch_size, config.stage.steps = work.batch, 1_000_000
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0))),
        distill=dict(
            method=dict(name="kd", temperature=TEMPERATURE), start=dict(teacher="teacher"),
            lambdas=dict(student=dict(ce=CE, kd=KD)),
        ),
    )  # fmt: skip
    run = resolve(config)
    dataset = data.from_arrays(image, label, 10)
    rows = splits.partition(dataset.label)
    inputs = run_inputs.Inputs(run.data, dataset, dataset, {0: rows}, on_device=True)
    stage = run.stages[1]
    (program,) = stages.build(run, stage, inputs)
    started = {"teacher": {"params": state.params["teacher"], "model_state": {}}}
    first = starts.create_state(program, stage, "main", 0, started)
    first = dataclasses.replace(first, params=jax.tree.map(jnp.copy, state.params))
    population = Population(run, stage, program, inputs, inputs.device_arrays(), [first])
    metrics: list[dict] = [{}]

    def steps(count: int) -> None:
        (metrics[0],) = population.advance(population.step + count)

    last = lambda: (population.states()[0].params["student"], metrics[0]["student/loss"][-1])
    batches = run_inputs.batches(inputs, seed=0, stage=stage.index, batch_size=work.batch, start=0, steps=stage.steps)
    return Contestant(steps, last), (batch["index"] for batch in batches), population.steps_per_call


# Measuring.


def check_same(ours: Contestant, bare: Contestant, steps: int) -> float:
    """Make `steps` steps by both, and the largest difference between the parameters, which are of order 0.03.

    Raises:
      AssertionError: loss or parameters are not the same to rounding.
    """
    ours.steps(steps)
    bare.steps(steps)
    (a, our_loss), (b, bare_loss) = ours.state(), bare.state()
    np.testing.assert_allclose(our_loss, bare_loss, rtol=1e-5)
    # Adam divides by √v: a gradient that is nothing but rounding may move a weight by a part of the learning rate.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=steps * LEARNING_RATE / 50), a, b)
    return max(float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def measure(ours: Contestant, bare: Contestant, blocks: int, steps: int) -> dict[str, Any]:
    """Seconds per step of both by alternating blocks, and the ratio of each pair of neighbours."""

    def seconds(contestant: Contestant) -> float:
        start = time.perf_counter()
        contestant.steps(steps)
        return (time.perf_counter() - start) / steps

    seconds(ours)
    seconds(bare)
    pairs = []
    for block in range(blocks):
        if block % 2:  # the other goes first, so that a steady drift cancels
            of_bare = seconds(bare)
            pairs.append((seconds(ours), of_bare))
        else:
            of_ours = seconds(ours)
            pairs.append((of_ours, seconds(bare)))
    times = np.array(pairs)
    ratios = times[:, 0] / times[:, 1]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    # Of the median, by order statistics: nothing is assumed of how the ratios are spread.
    rank = max(int(blocks / 2 - 1.96 * np.sqrt(blocks) / 2), 0)
    interval = np.sort(ratios)[[rank, blocks - 1 - rank]].tolist()
    return {
        "kdgan_ms": 1e3 * float(np.median(times[:, 0])),
        "bare_ms": 1e3 * float(np.median(times[:, 1])),
        "ratio": {"median": float(middle), "interval95": interval, "quartiles": [float(low), float(high)]},
        "ratios": ratios.round(4).tolist(),
        "blocks": blocks,
        "steps_per_block": steps,
    }  # fmt: skip


def random_batches(work: Work, count: int = 8) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(jax.random.key(2), (count, 2))
    return [
        {
            "image": jax.random.uniform(k, (work.batch, *work.image)),
            "label": jax.random.randint(j, (work.batch,), 0, 10),
        }
        for k, j in keys
    ]


def compare_steps(work: Work, blocks: int, steps: int) -> dict[str, dict[str, Any]]:
    batches = random_batches(work)
    compiled, state = our_state(work)
    start = (state.params["student"], state.params["teacher"], batches)
    ours = our_step(compiled, state, batches)
    bare, again = (bare_step(bare_modules(work), *start) for _ in range(2))
    players = our_modules(work)
    alike = bare_step((players["student"], players["teacher"]), *start)
    difference = check_same(ours, bare, 1)
    return {
        "step": {**measure(ours, bare, blocks, steps), "difference_after_a_step": difference},
        "modules": measure(ours, alike, blocks, steps),
        "control": measure(again, bare, blocks, steps),
    }


def compare_runs(work: Work, blocks: int, steps: int) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    image = generator.integers(0, 256, (60_000, *work.image), np.uint8)
    label = np.arange(60_000, dtype=np.int32) % 10
    _, state = our_state(work)
    start = (state.params["student"], state.params["teacher"], image, label)
    ours, indices, per_call = our_run(work, state, image, label)
    difference = check_same(ours, bare_run(work, *start, indices=indices), per_call)
    found = measure(ours, bare_run(work, *start), blocks, -(-steps // per_call) * per_call)
    return {**found, "steps_per_call": per_call, "difference_after_a_call": difference}


def host_part(blocks: int) -> dict[str, Any]:
    compiled, state = our_state(TOY)
    batches = random_batches(TOY)
    ours = our_step(compiled, state, batches)
    bare = bare_step(bare_modules(TOY), state.params["student"], state.params["teacher"], batches)
    return measure(ours, bare, blocks, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each")
    parser.add_argument("--steps", type=int, default=30, help="steps in a block")
    arguments = parser.parse_args()
    work = Work()
    rows = compare_steps(work, arguments.blocks, arguments.steps)
    rows["run"] = compare_runs(work, arguments.blocks, arguments.steps)
    rows["host"] = host_part(arguments.blocks)
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}, {arguments.blocks} blocks each")
    print(f"{'':8s}{'kdgan':>12s}{'bare':>12s}{'ratio':>9s}  95 % interval of the median, quartiles of the ratio")
    for name, row in rows.items():
        ratio = row["ratio"]
        spans = ",  ".join("{:.3f} .. {:.3f}".format(*ratio[name]) for name in ("interval95", "quartiles"))
        print(f"{name:8s}{row['kdgan_ms']:9.3f} ms{row['bare_ms']:9.3f} ms{ratio['median']:9.3f}  {spans}")
    name = re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")
    path = RESULTS / f"{name}.json"
    versions = {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__}
    versions["python"] = platform.python_version()
    kind = {"device": device.device_kind, "platform": device.platform}
    write_json(path, {**kind, "versions": versions, "work": dataclasses.asdict(work), "rows": rows})
    print(f"written: {path.relative_to(pathlib.Path.cwd()) if path.is_relative_to(pathlib.Path.cwd()) else path}")


if __name__ == "__main__":
    main()
