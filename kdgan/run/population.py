"""A stage's members while they train: which runner advances them, their states, batches and best-by-validation players."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import members, parallel
from kdgan.members import Runner
from kdgan.models import patches, rows
from kdgan.run import batches as run_batches
from kdgan.run import build, costs, on_host, players
from kdgan.run.inputs import Inputs
from kdgan.run.program import Program, Variables
from kdgan.run.schema import Run, Stage
from kdgan.run.teacher_outputs import Tables
from kdgan.run.trace import marks
from kdgan.state import TrainState

WORTH_SHARING = 0.25  # of a step's operations, done by frozen players: from there on a seed's arms share a program
COMPILING = 2e11  # operations that two cores do while they compile one more arm
MOST_UNROLLED = 12  # arms in one program: eleven λ from 0 to 1 share theirs


class Population:
    """The members (seeds × arms, seed-major) of one program.

    Attributes:
      program: what its members share.
      members: (seed, arm) of each.
      step: steps done by each of them.
      seconds: that training took, of all of them together; a resumed run goes on counting.
      data_seconds: of those, spent on making host batches.
      measured: of each member, what the last `advance` measured of its terms' gradients.
    """

    def __init__(
        self,
        run: Run,
        stage: Stage,
        program: Program,
        inputs: Inputs,
        arrays: Any,
        states: Sequence[TrainState],
        tables: Tables | None = None,
    ):
        self.program, self._run, self._stage, self._inputs, self._tables = program, run, stage, inputs, tables
        self.members = [(seed, arm) for seed in run.seeds for arm in program.arms]
        count = players.device_count(run)
        if chosen_members(run, program) == "devices":
            count = min(len(jax.local_devices()), len(self.members))
        self._arrays = arrays if count == 1 else parallel.replicate(arrays, jax.local_devices()[:count])
        self._waits = count > 1 and on_host.waits(program)
        self.seconds = self.data_seconds = 0.0
        self.measured: list[dict[str, np.ndarray]] = []
        self.load(states)

    def load(self, states: Sequence[TrainState]) -> None:
        """Put the members' states, in order, where the runner wants them; cached players stay on the host, if not read."""
        self._cached = jax.device_get([state.set_apart(self.program.cached)[1] for state in states])
        states = [state.set_apart(self.program.unused)[0] for state in states]
        self.step = int(states[0].step)
        self.steps_per_call = steps_per_call(self._run, self._stage, self.program, self.step)
        self.runner = make_runner(self._run, self.program, self._inputs, self.steps_per_call)
        self._measuring: Runner | None = None  # compiled where something is measured
        self._packed = [self.runner.pack([states[i] for i in chunk]) for chunk in self.runner.chunks]
        self._batches: list[list[Iterator]] = []  # of each chunk's seeds, opened at the first step

    def _seeds(self, chunk: Sequence[int]) -> list[int]:
        return list(dict.fromkeys(self.members[i][0] for i in chunk))

    def _open(self) -> list[list[Iterator]]:
        """The batches from this step on, after what they carry of cached players was computed."""
        cached = {} if self._tables is None else self._tables.of(self.program, self._cached_variables())
        make = functools.partial(
            run_batches.batches, self._inputs, stage=self._stage.index, batch_size=self.program.batch_size,
            start=self.step, steps=self.program.steps, views=self.program.views, spec=self.program.augment,
            first=self.program.windows_first, whole=self.program.whole,
        )  # fmt: skip
        return [
            [make(seed=seed, cached=cached.get(seed)) for seed in self._seeds(chunk)] for chunk in self.runner.chunks
        ]

    def _cached_variables(self) -> dict[int, dict[str, Variables]]:
        """Seed -> cached player -> its variables, which a seed's arms share."""
        return {
            seed: {
                name: {"params": apart["params"][name], "model_state": apart["model_state"].get(name, {})}
                for name in self.program.cached
            }
            for (seed, _), apart in zip(self.members, self._cached, strict=True)
        }

    def states(self) -> list[TrainState]:
        """The members' states, in order, on one device."""
        states: list[TrainState] = []
        for chunk, packed in zip(self.runner.chunks, self._packed, strict=True):
            states += self.runner.unpack(parallel.local(packed))[: len(chunk)]
        return [state.join(apart) for state, apart in zip(states, self._cached, strict=True)]

    def advance(
        self, target: int, on_step: Any = lambda count: None, stop: Any = lambda: False, *, gradients: bool = False
    ) -> list[dict[str, np.ndarray]]:
        """Train every member to step `target`; returns each member's metrics, one value per step made.

        Args:
          target: step to reach, at most the program's last.
          on_step: called with the number of member-steps just dispatched.
          stop: asked between calls; where it turns true before the first chunk is through, all stop at that step.
          gradients: whether to measure the terms' gradients in the last step (`measured`).
        """
        first, metrics, started = self.step, [], time.monotonic()
        self.measured = []
        self._batches = self._batches or self._open()
        for number, chunk in enumerate(self.runner.chunks):
            calls, step = [], first
            while step < target:
                asked = time.monotonic()
                batch = self._batch(number, chunk)
                self.data_seconds += time.monotonic() - asked
                if gradients and step + self.steps_per_call >= target:
                    self._measure(number, batch, len(chunk))
                self._packed[number], found = self.runner.step(self._packed[number], batch, self._arrays)
                if self._waits:
                    jax.block_until_ready(found)
                calls.append(found)
                step += self.steps_per_call
                on_step(self.steps_per_call * len(chunk))
                if number == 0 and stop():
                    gradients, target = gradients and step >= target, step
            metrics += self._fetch(calls, len(chunk))
            on_host.check_failures(self.program.modules.values())
        self.step = target
        self.seconds += time.monotonic() - started
        return metrics

    def _measure(self, number: int, batch: Any, count: int) -> None:
        """The terms' gradients in the last step of a call that is about to be made, of a chunk's members."""
        if self._measuring is None:
            self._measuring = make_runner(self._run, self.program, self._inputs, self.steps_per_call, gradients=True)
        _, metrics = self._measuring.step(self._packed[number], batch, self._arrays)
        self.measured += self._measuring.unpack_metrics(jax.device_get(metrics))[:count]

    def _batch(self, number: int, chunk: Sequence[int]) -> Any:
        by_seed = {}
        for seed, batches in zip(self._seeds(chunk), self._batches[number], strict=True):
            several = [next(batches) for _ in range(self.steps_per_call)]
            by_seed[seed] = several[0] if self.steps_per_call == 1 else jax.tree.map(lambda *x: np.stack(x), *several)
        return self.runner.pack_batch([by_seed[self.members[i][0]] for i in chunk])

    def _fetch(self, calls: list, count: int) -> list[dict[str, np.ndarray]]:
        per_call = [self.runner.unpack_metrics(call)[:count] for call in jax.device_get(calls)]
        return [
            {name: np.concatenate([np.atleast_1d(call[i][name]) for call in per_call]) for name in per_call[0][i]}
            for i in range(count)
        ]


def steps_per_call(run: Run, stage: Stage, program: Program, step: int) -> int:
    """Steps in one compiled call: as asked for, cut to a divisor of where it starts and where the host looks."""
    asked = run.parallel.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    common = math.gcd(*intervals(run, stage).values(), *marks(run, stage), program.steps, step)
    return max(k for k in range(1, min(asked, common) + 1) if common % k == 0)


def intervals(run: Run, stage: Stage) -> dict[str, int]:
    """Steps between logs, evaluations and checkpoints of a stage."""
    evaluate = run.evaluate.every or max(stage.steps // 10, 1)
    return {
        "log": run.log.every or max(stage.steps // 50, 1),
        "evaluate": evaluate,
        "checkpoint": run.checkpoint.every or evaluate,
    }


def chosen_members(run: Run, program: Program) -> str:
    """`parallel.members`, with auto decided.

    A single member runs as it is, members on an accelerator under vmap. On a CPU, where vmap turns convolutions into slow
    ones, they run in turn; a seed's arms unrolled into one program if what frozen players do, alike for all of them, is at
    least `WORTH_SHARING` of a step and in the whole stage more than what compiling the larger program takes.
    """
    if run.parallel.members != "auto":
        return run.parallel.members
    if jax.default_backend() != "cpu":
        return "in_turn" if len(run.seeds) * len(program.arms) == 1 else "vmap"
    if len(program.arms) == 1 or players.splits_batch(run):
        return "in_turn"
    share, whole = costs.frozen_share(run, program), costs.step_cost(run, program).flops or 0.0
    saved = share * whole * program.steps * len(run.seeds) * (1 - 1 / len(program.arms))  # for each arm
    return "unrolled" if share >= WORTH_SHARING and saved >= COMPILING else "in_turn"


def convolution(run: Run, program: Program) -> Callable | None:
    """`parallel.convolutions`, with auto decided; None: as XLA has it.

    Auto is by patches where kernels are mapped on a CPU, and none is quantised: patches and rows would be rounded by other
    scales than images. Rows are auto, with layers of few channels by rows on a CPU.
    """
    wanted = run.parallel.convolutions
    if wanted in ("direct", "patches"):
        return patches.convolve if wanted == "patches" else None
    arms = [arm for stage in run.stages if stage.name == program.stage for arm in stage.arms]
    rounded = any(player.quantise for arm in arms if arm.name in program.arms for player in arm.players.values())
    if rounded or jax.default_backend() != "cpu":
        return None
    mapped = patches.convolve if chosen_members(run, program) == "vmap" else None
    if wanted == "auto":
        return mapped
    return functools.partial(rows.convolve_few, otherwise=mapped) if mapped else rows.convolve_few


def how_members_run(run: Run, program: Program) -> str:
    """The same in words, with the reason where it was chosen."""
    arms = len(program.arms)
    words = {
        "in_turn": "in turn",
        "unrolled": "a seed's arms in one program",
        "vmap": "side by side (vmap)",
        "devices": "one on each device",
    }
    chosen = chosen_members(run, program)
    text = words[chosen]
    if run.parallel.members == "auto" and len(run.seeds) * arms > 1:
        why = jax.default_backend()
        if chosen == "unrolled":
            why += f", {costs.frozen_share(run, program):.0%} of a step is the same for them"
        text += f" (auto: {why})"
    count = players.device_count(run) * jax.process_count()
    return text + (f", each batch split over {count} devices" if count > 1 else "")


def seeds_per_chunk(run: Run, program: Program, inputs: Inputs) -> int:
    """`parallel.seeds_per_chunk`, or as many seeds as the device's memory is estimated to hold."""
    return run.parallel.seeds_per_chunk or costs.seeds_that_fit(run, program, inputs, costs.device_limit())


def arms_per_chunk(arms: int) -> int:
    """How many arms one program holds when unrolled: a divisor of their number, of which larger ones compile for long."""
    return max(n for n in range(1, min(arms, MOST_UNROLLED) + 1) if arms % n == 0)


def memory(run: Run, programs: Sequence[Program], inputs: Inputs) -> costs.Memory:
    """What each device needs for a stage: the states of all programs' members; those of one program step at a time."""
    each = [_memory(run, program, inputs) for program in programs]
    return costs.Memory(each[0].data, sum(of.states for of in each), max(of.working for of in each))


def _memory(run: Run, program: Program, inputs: Inputs) -> costs.Memory:
    seeds, arms = len(run.seeds), len(program.arms)
    held, chosen = seeds * arms, chosen_members(run, program)
    if chosen == "devices":
        held = -(-held // min(len(jax.local_devices()), held))
    together = {"vmap": lambda: seeds_per_chunk(run, program, inputs) * arms, "unrolled": lambda: arms_per_chunk(arms)}
    frozen = held // arms if chosen == "vmap" else held
    return costs.memory(run, program, inputs, held=held, frozen=frozen, together=together.get(chosen, lambda: 1)())


def make_runner(run: Run, program: Program, inputs: Inputs, k: int, *, gradients: bool = False) -> Runner:
    """The runner for `parallel.members`, `parallel.devices` and k steps per call.

    With `gradients` its calls give the state that they are given, and of the last step what `kdgan.term_gradients` measures.
    """
    step, donate = build.make_step(run, program), not gradients
    if gradients:
        measure = build.make_step(run, program, gradients=True)
        step = parallel.last_of_many(step, measure) if k > 1 else measure
    elif k > 1:
        step = parallel.many_steps(step)
    if convolve := convolution(run, program):
        step = patches.convolved_by(step, convolve)
    size: dict[str, Any] = {"seeds": len(run.seeds), "arms": len(program.arms)}
    axis = 1 if k > 1 else 0  # of the examples in a member's batch
    wrap, place = lambda step, batch_axis: parallel.jit(step, donate=donate), lambda state: state
    if players.splits_batch(run):
        devices = jax.local_devices()[: players.device_count(run)]
        chosen = devices if jax.process_count() == 1 else None  # several processes: every device of each
        wrap = lambda step, axis: parallel.pmap(step, devices=chosen, batch_axis=axis, shared=1, donate=donate)
        place = lambda state: parallel.replicate(state, devices)

    def in_turn():
        return members.in_turn(wrap(step, axis), place=place, **size)

    def unrolled():
        return members.unrolled(step, arms_per_chunk=arms_per_chunk(len(program.arms)), donate=donate, **size)

    def vmap():
        per_chunk = seeds_per_chunk(run, program, inputs)
        return members.side_by_side(
            step, seeds_per_chunk=per_chunk, wrap=lambda step: wrap(step, axis + 1), place=place, shared=1,
            common=program.shared, **size,
        )  # fmt: skip

    def devices_():
        return members.over_devices(step, shared=1, donate=donate, **size)

    ways = {"in_turn": in_turn, "unrolled": unrolled, "vmap": vmap, "devices": devices_}
    return ways[chosen_members(run, program)]()
