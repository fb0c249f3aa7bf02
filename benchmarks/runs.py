"""kdgan's own loop as a contestant: a stage's population as `kdgan.main` trains it, from a config, without its files.

Of a distillation step (game "kd"): a stage whose teacher an earlier one trained. The data set lies on the device and
batches are drawn by the step's number, or it streams; every metric is fetched.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import ours
from benchmarks.measure import Contestant
from benchmarks.work import CLASSES, Work, data_set
from kdgan import config as common
from kdgan import data, evaluators, parallel
from kdgan.data import splits
from kdgan.run import build, starts
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve
from kdgan.run.inputs import Inputs
from kdgan.run.population import Population
from kdgan.run.schema import Run
from kdgan.run.splits import Splits
from kdgan.run.totals import make_forward, make_totals
from kdgan.state import TrainState

STEPS = 1_000_000  # of a stage: more than are ever made


def make_config(work: Work, *, seeds: int = 1, rows: int = 1, way: str = "auto") -> Any:
    """The config of a run whose second stage is the work, of so many seeds and so many rows of λ's, run in this way."""
    config = common.get_config()
    config.players = common.named(
        **{
            name: dict(model=model.name, model_args=dict(model.fields), optimizer=_optimizer(work, name))
            for name, model in work.models.items()
        }
    )
    config.stage.batch_size, config.stage.steps = work.batch, STEPS
    config.population.seeds, config.parallel.members = seeds, way
    weights = work.lambdas["student"]
    # Rows differ in how much the soft labels weigh; the first is the work's own.
    arms = {
        f"row{i}": dict(lambdas=dict(student=dict(ce=weights["ce"] + 0.01 * i, kd=weights["kd"] - 0.01 * i)))
        for i in range(rows)
    }
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0))),
        distill=dict(
            method=dict(name=work.game, **work.hyperparameters),
            start=dict(teacher="teacher"),
            arms=common.named(**arms),
        ),
    )
    return config


def _optimizer(work: Work, player: str) -> dict[str, Any]:
    return ours.optimizer_fields(work, player) if player in work.optimizers else {}


def make_inputs(run: Run, image: np.ndarray, label: np.ndarray, *, on_device: bool = True) -> Inputs:
    """The same examples for every seed, to train on and as the test set."""
    examples = data.from_arrays(image, label, CLASSES)
    rows = splits.partition(examples.label)
    return Inputs(run.data, examples, examples, dict.fromkeys(run.seeds, rows), on_device=on_device)


def make_population(
    work: Work, state: TrainState, image: np.ndarray, label: np.ndarray, *, on_device: bool = True, **members: Any
) -> tuple[Population, Inputs]:
    """The work's population before its first step; every member's players start as those of `state`.

    Each seed has a frozen teacher of its own, as where an earlier stage trained one a seed; the rows of a seed share it.
    """
    run = resolve(make_config(work, **members))
    inputs = make_inputs(run, image, label, on_device=on_device)
    stage = run.stages[1]
    (program,) = build.stage_programs(run, stage, inputs)
    started = {
        name: {"params": state.params[name], "model_state": state.model_state.get(name, {})}
        for name in program.start[program.arms[0]]
    }
    states = []
    for seed, arm in itertools.product(run.seeds, program.arms):
        made = starts.create_state(program, stage, arm, seed, started)
        # Copied: what a step changes is donated.
        states.append(dataclasses.replace(made, params=jax.tree.map(jnp.copy, state.params)))
    return Population(run, stage, program, inputs, inputs.device_arrays(), states), inputs


def contestant(work: Work, population: Population) -> Contestant:
    """The population, advanced so many steps at a time."""
    metrics: list[Any] = [{}]

    def steps(count: int) -> None:
        metrics[0] = population.advance(population.step + count)[0]

    return Contestant(
        steps,
        lambda: ours.losses(metrics[0], work),
        lambda: {name: population.states()[0].params[name] for name in work.trained},
        per_call=population.steps_per_call,
        members=len(population.members),
    )


def indices(work: Work, population: Population, inputs: Inputs) -> Iterator[np.ndarray]:
    """The examples that the first seed's batches hold, step by step."""
    batches = run_inputs.batches(inputs, seed=0, stage=1, batch_size=work.batch, start=population.step, steps=STEPS)
    return (batch["index"] for batch in batches)


def make_evaluation(
    work: Work, player: str, variables: Any, size: int
) -> tuple[Callable[[], dict[str, float]], tuple[np.ndarray, np.ndarray, int]]:
    """(what measures a player on a test set as a run does, that set: images, labels, and how many in a batch)."""
    image, label = data_set(work, size)
    run = resolve(make_config(work))
    inputs = make_inputs(run, image, label)
    splits, judge = Splits(run, inputs), evaluators.build("classifier")
    assert judge.summarise is not None
    module = ours.modules(work)[player]
    own = jax.device_put(variables[player])
    collections = {name: tree for name, tree in own.items() if name != "params"}
    own = {"params": own["params"], "model_state": collections}

    forward = make_forward(module, inputs.config, None)
    totals = parallel.compiled(make_totals(module, (judge,), inputs.config, None, keep=False))

    def evaluate() -> dict[str, float]:
        key = jax.random.key(0)
        sums = [totals(own, batch, key, forward(own, batch), {})[0] for batch in splits.batches("test")]
        whole = functools.reduce(lambda some, more: jax.tree.map(np.add, some, more), jax.device_get(sums))
        measured = judge.summarise(whole["classifier"])
        return {"accuracy": measured["accuracy"], "nll": measured["nll"]}

    return evaluate, (image, label, min(run.evaluate.batch_size, size))
