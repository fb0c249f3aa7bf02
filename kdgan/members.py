"""A population's members (seeds × arms) through one compiled step: in turn, unrolled, side by side, or one on each device.

All ways give the same numbers to float32 rounding. Under `vmap` or unrolled the arms of one seed share one frozen teacher,
so that it runs once for all of them. The only file that maps over members; one member's step is compiled in
`kdgan/parallel.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.parallel import BATCH_AXIS, Step, compiled, jit, local, on_halves, on_whole, one_on_each
from kdgan.state import TrainState


class Runner(NamedTuple):
    """One way of running the members (seeds × arms) of a population through one compiled step.

    Attributes:
      chunks: members, as indices into seed-major order, that are advanced together.
      pack: states of a chunk's members -> what `step` takes.
      unpack: the inverse.
      pack_batch: batches of a chunk's members (members of one seed share theirs) -> what `step` takes.
      step: `(packed, batch, *shared) -> (packed, metrics)`.
      unpack_metrics: what `step` gave as metrics of a chunk, fetched to the host -> one dict per member.
    """

    chunks: tuple[tuple[int, ...], ...]
    pack: Callable[[Sequence[TrainState]], Any]
    unpack: Callable[[Any], list[TrainState]]
    pack_batch: Callable[[Sequence[Any]], Any]
    step: Callable
    unpack_metrics: Callable[[Any], list[dict[str, np.ndarray]]]


def _only(items: Sequence[Any]) -> Any:
    return items[0]


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _stack_host(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def in_turn(step: Step, *, seeds: int, arms: int, place: Callable[[Any], Any] = lambda state: state) -> Runner:
    """Members one after another through one compiled step (of `jit` or `pmap`): what suits a CPU.

    Args:
      step: compiled step of one member.
      seeds: number of seeds.
      arms: number of arms.
      place: puts a state where the step wants it (`replicate` under `pmap`).
    """
    return Runner(
        chunks=tuple((i,) for i in range(seeds * arms)),
        pack=lambda states: place(_only(states)),
        unpack=lambda packed: [packed],
        pack_batch=_only,
        step=step,
        unpack_metrics=lambda metrics: [dict(metrics)],
    )


def unrolled(step: Step, *, seeds: int, arms: int, arms_per_chunk: int | None = None, donate: bool = True) -> Runner:
    """A seed's arms unrolled into one program, which computes once what they have in common: batch and teacher.

    Unlike under `vmap`, their convolutions stay as they are; unlike in turn, the program grows with the arms.

    Args:
      step: pure step of one member.
      seeds: number of seeds.
      arms: number of arms.
      arms_per_chunk: how many arms are in one program (all by default); a divisor of `arms`, so that one program serves.
      donate: as in `kdgan.parallel.jit`.
    """
    size = arms_per_chunk or arms
    if arms % size:
        raise ValueError(f"arms_per_chunk = {size} must divide the {arms} arms")
    one = on_halves(step)

    def all_arms(moving, frozen, batch, *shared):
        results = [one(arm, frozen, batch, *shared) for arm in moving]
        return [arm for arm, _ in results], [metrics for _, metrics in results]

    program = compiled(all_arms, donate=(0,) if donate else ())

    def advance(packed, batch, *shared):
        moving, frozen = packed
        moving, metrics = program(moving, frozen, batch, *shared)
        return (moving, frozen), metrics

    advance.compiled = program  # type: ignore[attr-defined]

    def pack(states):
        halves = [state.split() for state in states]
        return [moving for moving, _ in halves], halves[0][1]

    return Runner(
        chunks=tuple(tuple(range(i, i + size)) for i in range(0, seeds * arms, size)),
        pack=pack,
        unpack=lambda packed: [moving.join(packed[1]) for moving in packed[0]],
        pack_batch=_only,
        step=advance,
        unpack_metrics=lambda metrics: [dict(of_arm) for of_arm in metrics],
    )


def side_by_side(
    step: Step,
    *,
    seeds: int,
    arms: int,
    seeds_per_chunk: int | None = None,
    wrap: Callable[[Step], Step] = jit,
    place: Callable[[Any], Any] = lambda state: state,
    shared: int = 0,
    common: Sequence[str] = (),
) -> Runner:
    """Members under `vmap`: seeds outside, arms inside; the arms of a seed share its batch and its frozen players.

    Args:
      step: pure step of one member.
      seeds: number of seeds.
      arms: number of arms.
      seeds_per_chunk: how many seeds run together (all by default); a divisor of `seeds`, so that one program serves.
      wrap: `jit`, or a `pmap` over devices that splits each member's batch.
      place: puts a packed state where the step wants it (`replicate` under `pmap`).
      shared: number of further arguments.
      common: frozen players that are the same for every seed (from one checkpoint): they run once for all.
    """
    per_chunk = seeds_per_chunk or seeds
    if seeds % per_chunk:
        raise ValueError(f"seeds_per_chunk = {per_chunk} must divide the {seeds} seeds")

    def member_axes(frozen):
        return {kind: {name: None if name in common else 0 for name in players} for kind, players in frozen.items()}

    def population_step(state: TrainState, batch, *shared_arguments):
        moving, frozen = state.split()
        nothing = (None,) * shared
        over_arms = jax.vmap(on_halves(step), in_axes=(0, None, None, *nothing))
        over_seeds = jax.vmap(over_arms, in_axes=(0, member_axes(frozen), 0, *nothing))
        moving, metrics = over_seeds(moving, frozen, batch, *shared_arguments)
        return moving.join(frozen), metrics

    def pack(states):
        halves = [state.split() for state in states]
        by_seed = [_stack([moving for moving, _ in halves[i : i + arms]]) for i in range(0, len(halves), arms)]
        firsts = [frozen for _, frozen in halves[::arms]]
        frozen = {
            kind: {
                name: firsts[0][kind][name] if name in common else _stack([f[kind][name] for f in firsts])
                for name in firsts[0][kind]
            }
            for kind in firsts[0]
        }
        return place(_stack(by_seed).join(frozen))

    def unpack(packed):
        moving, frozen = packed.split()
        states = []
        for s in range(per_chunk):
            of_seed = {
                kind: {
                    name: tree if name in common else jax.tree.map(lambda leaf, s=s: leaf[s], tree)
                    for name, tree in players.items()
                }
                for kind, players in frozen.items()
            }
            states += [jax.tree.map(lambda leaf, s=s, a=a: leaf[s, a], moving).join(of_seed) for a in range(arms)]
        return states

    size = per_chunk * arms
    return Runner(
        chunks=tuple(tuple(range(i, i + size)) for i in range(0, seeds * arms, size)),
        pack=pack,
        unpack=unpack,
        pack_batch=lambda batches: _stack_host(batches[::arms]),
        step=wrap(population_step),
        unpack_metrics=lambda metrics: [
            {name: value[s, a] for name, value in metrics.items()} for s in range(per_chunk) for a in range(arms)
        ],
    )


def over_devices(
    step: Step, *, seeds: int, arms: int, devices: Sequence[Any] | None = None, shared: int = 0, donate: bool = True
) -> Runner:
    """One member on each device; more members than devices go in rounds, the last padded with repeats."""
    devices = list(devices if devices is not None else jax.local_devices())
    members = seeds * arms
    width = min(len(devices), members)
    program = jax.pmap(
        on_halves(step), axis_name=BATCH_AXIS, devices=devices[:width], in_axes=(0, 0, 0, *[None] * shared),
        donate_argnums=(0,) if donate else (),
    )  # fmt: skip
    fill = lambda items: [*items, *[items[0]] * (width - len(items))]

    def unpack(packed):
        host = [jax.tree.map(lambda leaf, i=i: leaf[i], packed) for i in range(width)]
        return local(host)

    return Runner(
        chunks=tuple(tuple(range(i, min(i + width, members))) for i in range(0, members, width)),
        pack=lambda states: one_on_each(_stack(fill(states)), devices[:width]),
        unpack=unpack,
        pack_batch=lambda batches: _stack_host(fill(batches)),
        step=on_whole(program),
        unpack_metrics=lambda metrics: [{name: value[i] for name, value in metrics.items()} for i in range(width)],
    )
