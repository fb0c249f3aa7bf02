"""One member's pure step, compiled: jit, pmap over devices, scan over steps; and the processes of a run.

All ways give the same numbers to float32 rounding. A step may take further arguments behind the batch (a data set on the
device): they are shared by all devices. Frozen players are kept apart from what a step changes: they are neither donated
nor copied. How several members run stands in `kdgan/members.py`.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
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


def last_of_many(step: Step, measure: Step) -> Step:
    """`step` over the axis of the batch but for its last entry, on which `measure` is: the state as given, its metrics."""

    def steps(state, batches, *shared):
        before, last = (jax.tree.map(lambda leaf, at=at: leaf[at], batches) for at in (slice(None, -1), -1))
        reached, _ = many_steps(step)(state, before, *shared)
        return state, measure(reached, last, *shared)[1]

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


def on_halves(step: Step) -> Callable:
    """`step` on a state in its two halves (`TrainState.split`), returning only the half that changes."""

    def halves_step(moving, frozen, batch, *shared):
        state, metrics = step(moving.join(frozen), batch, *shared)
        return state.split()[0], metrics

    return halves_step


def on_whole(program: Callable) -> Step:
    """The inverse of `on_halves`, of a compiled program."""

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
    return on_whole(compiled(on_halves(step), donate=(0,) if donate else ()))


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
        on_halves(step), axis_name=BATCH_AXIS, devices=devices,
        in_axes=(None, None, batch_axis, *[None] * shared), out_axes=(None, None),
        donate_argnums=(0,) if donate else (),
    )  # fmt: skip
    whole_step = on_whole(program)

    def split_batch(leaf):
        check_batch_size(leaf.shape[batch_axis], count)
        shape = (*leaf.shape[:batch_axis], count, -1, *leaf.shape[batch_axis + 1 :])
        return leaf.reshape(shape)

    def pmapped(state, batch, *shared):
        return whole_step(state, jax.tree.map(split_batch, batch), *shared)

    pmapped.compiled = program  # type: ignore[attr-defined]
    return pmapped


def replicate(tree: Any, devices: Sequence[Any] | None = None) -> Any:
    """`tree` whole on each device, where `pmap` expects what it does not split: placed once, not at every call."""
    return _place(tree, devices, jax.sharding.PartitionSpec())


def one_on_each(tree: Any, devices: Sequence[Any]) -> Any:
    """`tree` split along the leading axis of its leaves, of which each device gets one entry."""
    return _place(tree, devices, jax.sharding.PartitionSpec(BATCH_AXIS))


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


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process; every process must ask at the same point."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """The largest of the processes' numbers, in all of them; every process must ask at the same point."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.asarray(number))))
