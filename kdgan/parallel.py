"""Ways to run a pure step: the only file that names jit, pmap, scan over steps, vmap over members, process start-up.

All of them give the same numbers to float32 rounding. `jit` and `pmap` run one member; a `Runner` runs a population:
its members in turn through one compiled step, a seed's arms one behind the other in one program, side by side under `vmap`,
or one on each device. A step may take further arguments behind the batch (a data set on the device): they are shared by all
members and devices.

Frozen players are kept apart from what a step changes: they are neither donated nor copied, and under `vmap` or unrolled
the arms of one seed share one frozen teacher, so that it runs once for all of them.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.state import TrainState

BATCH_AXIS = "batch"

# YNNPACK, which XLA takes for convolutions on a CPU, computes each in a single thread. Left out of its list, they go to
# Eigen, which uses all cores (benchmarks/README.md has what that gains).
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}

Step = Callable[..., tuple[TrainState, Any]]


def check_platform() -> None:
    """Find out now whether JAX has a device.

    Raises:
      ValueError: the platform that $JAX_PLATFORMS names is not there.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter for a platform whose plugin is not installed
        reason = (str(error).strip().splitlines() or ["no such platform is installed"])[0]
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX_PLATFORMS={asked}: {reason}; name a platform that this machine has, as JAX_PLATFORMS=cpu, or none"
        ) from error


def start_processes(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None):
    """Join the processes of a run on several hosts; call before anything touches a device.

    From arguments, or from `KDGAN_COORDINATOR` (host:port), `KDGAN_NUM_PROCESSES` and `KDGAN_PROCESS_ID`; on a TPU pod
    or under SLURM `coordinator="auto"` lets JAX find them. Nothing given: one process, nothing is done.

    Raises:
      ValueError: some of the three are given, and not all.
    """
    given = (
        coordinator or os.environ.get("KDGAN_COORDINATOR"),
        num_processes if num_processes is not None else _integer("KDGAN_NUM_PROCESSES"),
        process_id if process_id is not None else _integer("KDGAN_PROCESS_ID"),
    )
    if given == (None, None, None):
        return
    if given[0] == "auto":
        jax.distributed.initialize()
        return
    if None in given:
        raise ValueError(
            f"coordinator, num_processes, process_id = {given}: give all three, or coordinator='auto' alone"
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # of use on CPU only, harmless elsewhere
    jax.distributed.initialize(*given)


def _integer(variable: str) -> int | None:
    text = os.environ.get(variable)
    return None if text is None else int(text)


def keep_compiled(folder: str | os.PathLike) -> None:
    """Keep what this process compiles for the next one, in $JAX_COMPILATION_CACHE_DIR where that is set, else in `folder`.

    What takes less than a third of a second to compile is not kept. Everything in the folder may be deleted.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", os.fspath(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def is_writer() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def share_of_batch(batch_size: int) -> slice:
    """The positions of a global batch that this process reads."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def check_batch_size(batch_size: int, num_devices: int) -> None:
    if batch_size % num_devices:
        below = batch_size // num_devices * num_devices
        raise ValueError(
            f"batch_size = {batch_size} does not divide over {num_devices} devices;"
            f" nearest are {below or num_devices} and {below + num_devices} (or set parallel.devices)"
        )


def many_steps(step: Step) -> Step:
    """`step` over the leading axis of every leaf of the batch in one call; metrics are stacked along it."""

    def steps(state, batches, *shared):
        return jax.lax.scan(lambda state, batch: step(state, batch, *shared), state, batches)

    return steps


def compiled(function: Callable, *, donate: tuple[int, ...] = ()) -> Callable:
    """A function compiled for one device, to be called from outside of any other; `donate` are `jax.jit`'s argnums."""
    return jax.jit(function, donate_argnums=donate, compiler_options=_compiler_options())


@functools.cache
def _compiler_options() -> dict[str, Any] | None:
    """XLA's options for the default backend.

    Those of a CPU are left away where this XLA does not know them, or XLA_FLAGS has them.
    """
    if jax.default_backend() != "cpu" or any(name in os.environ.get("XLA_FLAGS", "") for name in CPU_OPTIONS):
        return None
    try:
        jax.jit(lambda x: x, compiler_options=CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return CPU_OPTIONS


def _on_split(step: Step) -> Callable:
    """`step` on a state in its two halves, returning only the half that changes."""

    def split_step(moving, frozen, batch, *shared):
        state, metrics = step(moving.join(frozen), batch, *shared)
        return state.split()[0], metrics

    return split_step


def _rejoin(program: Callable) -> Step:
    @functools.wraps(program)
    def step(state: TrainState, batch, *shared):
        moving, frozen = state.split()
        moving, metrics = program(moving, frozen, batch, *shared)
        return moving.join(frozen), metrics

    step.compiled = program  # type: ignore[attr-defined]  # for cost analysis and for counting compilations
    return step


def jit(step: Step, *, donate: bool = True) -> Step:
    """`step` compiled for one device; it is called from outside of any other compiled function.

    The trained half of the state is donated: do not use it after the call.
    """
    return _rejoin(compiled(_on_split(step), donate=(0,) if donate else ()))


def pmap(
    step: Step, *, devices: Sequence[Any] | None = None, batch_axis: int = 0, shared: int = 0, donate: bool = True
) -> Step:
    """`step`, built with `axis_name=BATCH_AXIS`, over devices: the batch is split, the state stays unstacked.

    Args:
      step: a train step that averages over `BATCH_AXIS`.
      devices: of this process, where it is the only one; all devices of all processes by default.
      batch_axis: axis of the examples in each leaf of the batch (1 where `many_steps` leads with an axis of steps).
      shared: number of further arguments that every device gets whole.
      donate: as in `jit`.

    Raises:
      ValueError: at the call, where the batch does not divide over the devices.
    """
    count = len(devices) if devices is not None else jax.local_device_count()
    program = jax.pmap(
        _on_split(step), axis_name=BATCH_AXIS, devices=devices,
        in_axes=(None, None, batch_axis, *[None] * shared), out_axes=(None, None),
        donate_argnums=(0,) if donate else (),
    )  # fmt: skip
    rejoined = _rejoin(program)

    def split_batch(leaf):
        check_batch_size(leaf.shape[batch_axis], count)
        shape = (*leaf.shape[:batch_axis], count, -1, *leaf.shape[batch_axis + 1 :])
        return leaf.reshape(shape)

    def pmapped(state, batch, *shared):
        return rejoined(state, jax.tree.map(split_batch, batch), *shared)

    pmapped.compiled = program  # type: ignore[attr-defined]
    return pmapped


def replicate(tree: Any, devices: Sequence[Any] | None = None) -> Any:
    """`tree` whole on each device, where `pmap` expects what it does not split: placed once, not at every call."""
    return _place(tree, devices, jax.sharding.PartitionSpec())


def _place(tree: Any, devices: Sequence[Any] | None, spec: jax.sharding.PartitionSpec) -> Any:
    devices = list(devices if devices is not None else jax.local_devices())
    mesh = jax.sharding.Mesh(np.array(devices), (BATCH_AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))


def local(tree: Any) -> Any:
    """Arrays that lie on several devices of this process, split or whole on each, as arrays on the first device."""
    first = jax.local_devices()[0]
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf, first) if isinstance(leaf, jax.Array) and len(leaf.devices()) > 1 else leaf,
        tree,
    )


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


def unrolled(step: Step, *, seeds: int, arms: int, arms_per_chunk: int | None = None) -> Runner:
    """A seed's arms one behind the other in one program, which computes once what they have in common: batch and teacher.

    Unlike under `vmap`, their convolutions stay as they are; unlike in turn, the program grows with the arms.

    Args:
      step: pure step of one member.
      seeds: number of seeds.
      arms: number of arms.
      arms_per_chunk: how many arms are in one program (all by default); a divisor of `arms`, so that one program serves.
    """
    size = arms_per_chunk or arms
    if arms % size:
        raise ValueError(f"arms_per_chunk = {size} must divide the {arms} arms")
    one = _on_split(step)

    def each(moving, frozen, batch, *shared):
        found = [one(own, frozen, batch, *shared) for own in moving]
        return [own for own, _ in found], [metrics for _, metrics in found]

    program = compiled(each, donate=(0,))

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
        unpack_metrics=lambda metrics: [dict(own) for own in metrics],
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
        over_arms = jax.vmap(_on_split(step), in_axes=(0, None, None, *nothing))
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
            own = {
                kind: {
                    name: tree if name in common else jax.tree.map(lambda leaf, s=s: leaf[s], tree)
                    for name, tree in players.items()
                }
                for kind, players in frozen.items()
            }
            states += [jax.tree.map(lambda leaf, s=s, a=a: leaf[s, a], moving).join(own) for a in range(arms)]
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
    """One member on each device; more members than devices go in rounds, the last filled up with repeats."""
    devices = list(devices if devices is not None else jax.local_devices())
    members = seeds * arms
    width = min(len(devices), members)
    program = jax.pmap(
        _on_split(step), axis_name=BATCH_AXIS, devices=devices[:width], in_axes=(0, 0, 0, *[None] * shared),
        donate_argnums=(0,) if donate else (),
    )  # fmt: skip
    fill = lambda items: [*items, *[items[0]] * (width - len(items))]

    def unpack(packed):
        host = [jax.tree.map(lambda leaf, i=i: leaf[i], packed) for i in range(width)]
        return local(host)

    return Runner(
        chunks=tuple(tuple(range(i, min(i + width, members))) for i in range(0, members, width)),
        pack=lambda states: _place(_stack(fill(states)), devices[:width], jax.sharding.PartitionSpec(BATCH_AXIS)),
        unpack=unpack,
        pack_batch=lambda batches: _stack_host(fill(batches)),
        step=_rejoin(program),
        unpack_metrics=lambda metrics: [{name: value[i] for name, value in metrics.items()} for i in range(width)],
    )


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process; every process must ask at the same point."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """The largest of the processes' numbers, in all of them; every process must ask at the same point."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.asarray(number))))
