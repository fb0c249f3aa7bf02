"""What programs cost, known before anything is compiled: operations and memory of players, of steps, of whole stages."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan.data import windows
from kdgan.game import call_module
from kdgan.metrics import cost
from kdgan.run import build, on_host, players, teacher_outputs
from kdgan.run.inputs import Inputs
from kdgan.run.program import Program
from kdgan.run.schema import Run
from kdgan.state import TrainState, variable_shapes

MEMORY_SHARE = 0.8  # of a device's memory that may be planned for; the rest is fragments, libraries, evaluation


def player_cost(program: Program, name: str) -> tuple[int, float | None]:
    """(parameters, floating-point operations per example of the forward pass) of a player as this program calls it."""
    leaves, structure = jax.tree.flatten(_inputs(program, name, 1))
    variables = variable_shapes(program.local_modules[name], program.inspection.inputs[name])
    counted = on_host.is_counted(program.local_modules[name])
    operations = _operations(program.local_modules[name], structure, tuple(leaves)) if counted else None
    return cost.parameters(variables.get("params", {})), operations


def output_pixels(program: Program, name: str) -> int:
    """Pixels of the image that a player makes of one, as this program calls it; 0 of others."""
    args, output = program.inspection.inputs[name][0], program.inspection.outputs[name]
    makes = len(getattr(output, "shape", ())) == 4 and bool(args) and len(getattr(args[0], "shape", ())) == 4
    return output.shape[1] * output.shape[2] if makes else 0


def parameter_bytes(program: Program, name: str) -> int:
    """Bytes of a player's parameters."""
    variables = variable_shapes(program.local_modules[name], program.inspection.inputs[name])
    return cost.size(variables.get("params", {}))


def forward_of(program: Program, name: str, examples: int) -> tuple[Callable, tuple]:
    """(`forward(variables, args, kwargs)` in evaluation mode, both of these as zeros) for so many examples."""
    return _forward(program.local_modules[name], *_inputs(program, name, examples))


def _inputs(program: Program, name: str, examples: int) -> Any:
    """Shapes of (positional, keyword) arguments for so many examples."""
    inputs = program.inspection.inputs[name]
    batch = next((leaf.shape[0] for leaf in jax.tree.leaves(inputs) if leaf.shape), None)

    def shape(leaf):
        # What has no axis of examples is the same for any number of them.
        return leaf.shape if not leaf.shape or leaf.shape[0] != batch else (examples, *leaf.shape[1:])

    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(shape(leaf), leaf.dtype), inputs)


def _forward(module: nn.Module, args: Any, kwargs: Any) -> tuple[Callable, tuple]:
    given = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (args, kwargs))
    return lambda variables, args, kwargs: call_module(module, variables, *args, train=False, **kwargs)[0], given


@functools.lru_cache(maxsize=128)  # the arms of a table share their players, and the summary asks again
def _operations(module: nn.Module, structure, leaves) -> float | None:
    args, kwargs = jax.tree.unflatten(structure, leaves)
    forward, given = _forward(module, args, kwargs)
    return cost.flops(forward, variable_shapes(module, (args, kwargs)), *given)


class StepCost(NamedTuple):
    """What a step of one member costs on one device.

    Attributes:
      flops: floating-point operations, as XLA counts them.
      moving: bytes of the state that the step changes.
      frozen: bytes of the frozen players.
      working: bytes beside both while it runs: activations, gradients, the prepared batch.
    """

    flops: float | None
    moving: int
    frozen: int
    working: int


def step_cost(run: Run, program: Program) -> StepCost:
    """What a step of one of the program's members costs, without its augmentation."""
    return _step_cost(program, run.parallel.compute, players.device_count(run) if players.splits_batch(run) else 1)


def measuring_cost(run: Run, program: Program) -> StepCost:
    """The same of a step that changes nothing and measures the gradients of terms (`log.gradients`)."""
    devices = players.device_count(run) if players.splits_batch(run) else 1
    return _step_cost(program, run.parallel.compute, devices, gradients=True)


@functools.lru_cache(maxsize=128)  # asked for by the explanation, by the choice of chunks and by the summary
def _step_cost(program: Program, compute: str, devices: int, *, gradients: bool = False) -> StepCost:
    step = build.make_prepared_step(program, program.local_modules, compute, gradients=gradients)

    def halves(moving, frozen, batch):
        state, metrics = step(moving.join(frozen), batch)
        return metrics if gradients else state.split()[0]

    state, _ = state_shapes(program).set_apart(program.unused)
    moving, frozen = state.split()
    share = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((leaf.shape[0] // devices, *leaf.shape[1:]), leaf.dtype),
        program.step_example,
    )
    sizes = cost.size(moving), cost.size(frozen)
    whole = None if on_host.waits(program) else _mean_flops(program, halves, moving, frozen, share)
    working = cost.peak_memory(halves, moving, frozen, share) - sum(sizes)
    return StepCost(None if whole is None else whole * devices, *sizes, working)


def _mean_flops(program: Program, step: Callable, moving: TrainState, *given: Any) -> float | None:
    """Operations of `step(moving, *given)`: the mean over steps, where some terms are not due at each (`Move.every`)."""
    every = [k for move in program.method.moves for k in move.every.values()]
    if not every:
        return cost.flops(step, moving, *given)
    numbers: dict[tuple[bool, ...], list[int]] = {}  # which terms are due -> at which steps of a period
    for number in range(math.lcm(*every)):
        numbers.setdefault(tuple(number % k == 0 for k in every), []).append(number)

    def at(number: int) -> float | None:
        # A step that is known when it is traced leaves out what is not due; XLA counts a conditional by its dearer side.
        known = lambda moving, *given: step(dataclasses.replace(moving, step=number), *given)
        return cost.flops(known, moving, *given)

    total = 0.0
    for alike in numbers.values():
        operations = at(alike[0])
        if operations is None:
            return None
        total += len(alike) * operations
    return total / math.lcm(*every)


def frozen_share(run: Run, program: Program) -> float:
    """Which part of a step's operations frozen players do, that are computed in it; 0 where XLA gives no count."""
    idle = (*program.method.trained, *program.cached, *program.beside)
    frozen = [name for name in program.modules if name not in idle]
    each = [player_cost(program, name)[1] or 0.0 for name in frozen]
    whole = step_cost(run, program).flops
    return program.batch_size * sum(each) / whole if whole else 0.0


def state_shapes(program: Program) -> TrainState:
    """Shapes of a member's state."""
    each = {
        name: variable_shapes(module, program.inspection.inputs[name]) for name, module in program.local_modules.items()
    }
    params = {name: variables.get("params", {}) for name, variables in each.items()}
    model_state = {
        name: {kind: tree for kind, tree in variables.items() if kind != "params"} for name, variables in each.items()
    }

    def create(params, model_state):
        return TrainState.create(
            program.method, program.local_modules, program.optimizers, program.example, key=jax.random.key(0),
            lambdas=program.lambdas[program.arms[0]], params=params, model_state=model_state,
            ema=tuple(program.ema), inspection=program.inspection,
        )  # fmt: skip

    return jax.eval_shape(create, params, model_state)


def training_flops(run: Run, program: Program, inputs: Inputs) -> float | None:
    """Floating-point operations of training one member to the last step, as XLA counts those of a step.

    What is cached counts whole for each member, though several may share it; what `log.gradients` takes is not in it.
    """
    per_step = step_cost(run, program).flops
    count = len(teacher_outputs.drawn(inputs, program, run.seeds[:1])) if program.cached else 0
    made = [teacher_outputs.flops(run, program, inputs, name, count) for name in program.cached]
    return None if per_step is None or None in made else per_step * program.steps + sum(filter(None, made))


class Memory(NamedTuple):
    """Bytes on a device while a stage trains.

    Attributes:
      data: the training set, where it lies there.
      states: of all members that the device has, and their frozen players.
      working: of those that step together.
    """

    data: int
    states: int
    working: int


def memory(run: Run, program: Program, inputs: Inputs, *, held: int, frozen: int, together: int) -> Memory:
    """What a device needs that holds some of the program's members.

    Args:
      run: whose members.
      program: that they run.
      inputs: the run's data.
      held: members whose states lie on the device.
      frozen: copies of the frozen players there.
      together: members that step at once.
    """
    one = step_cost(run, program)
    working = one.working
    if run.log.gradients:  # its steps leave the state as it is, beside the one that they reach
        working = max(working, measuring_cost(run, program).working + one.moving)
    data = windows.held_bytes(inputs.train) if inputs.on_device else 0
    return Memory(data, held * one.moving + frozen * one.frozen, together * working)


def device_limit() -> int | None:
    """Bytes of a device that may be planned for; None where it is unknown."""
    limit = _device_memory("bytes_limit")
    return None if limit is None else int(MEMORY_SHARE * limit)


def device_peak() -> int | None:
    """The most bytes a device had in use since the process began; None where it is unknown."""
    return _device_memory("peak_bytes_in_use")


def _device_memory(name: str) -> int | None:
    return (jax.local_devices()[0].memory_stats() or {}).get(name)


def seeds_that_fit(run: Run, program: Program, inputs: Inputs, limit: int | None) -> int:
    """Seeds whose members step side by side within so many bytes: a divisor of all of them, which it is without a limit."""
    seeds, arms = len(run.seeds), len(program.arms)
    need = lambda n: sum(memory(run, program, inputs, held=seeds * arms, frozen=seeds, together=n * arms))
    divisors = [n for n in range(seeds, 0, -1) if seeds % n == 0]
    return next((n for n in divisors if limit is None or need(n) <= limit), 1)
