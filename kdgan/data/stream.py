"""Streaming: batches of a data set that does not fit in memory, read ahead by Grain in threads or worker processes."""

import atexit
import contextlib
import dataclasses
import pickle
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdgan.data.batches import indices_of_step
from kdgan.data.dataset import Dataset
from kdgan.data.errors import UnreadableImageWarning, tell_unreadable


def stream(
    dataset: Dataset,
    *,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    seed: int = 0,
    stage: int = 0,
    workers: int = 0,
    prefetch: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the steps `start_step` .. `start_step + steps − 1`, the examples being `indices_of_step` of each.

    The batch of a step is the same whatever the start, the workers and the read-ahead are, and equals
    `dataset.examples(indices_of_step(...))` of a set in memory. Each process reads only its share of the batch.

    Args:
        dataset: any; `dataset.take(partition.train)` for a part of one.
        batch_size: examples a step over all processes.
        steps: number of batches.
        start_step: the first step, counted from 0 in the stage.
        seed: the member's seed.
        stage: the stage's position in the run.
        workers: worker processes. 0 reads in threads of this process. Worker processes are started anew (not forked): a
            script that uses them needs the `if __name__ == "__main__":` guard.
        prefetch: batches read ahead, by each worker or by the threads; 0 with `workers=0` reads when asked.
        process_index: this process's number, `jax.process_index()`.
        process_count: number of processes, `jax.process_count()`; it must divide `batch_size`.

    Yields:
        the fields of the data set `[b, ...]` ("image" uint8 `[b, h, w, c]`, "label" int32 `[b]`), "index" int32 `[b]` (in
        the data set) and "position" int32 `[b]` (in the batch of all processes), with b = batch_size / process_count.

    Raises:
        ValueError: at the call, for a number below its bound or a batch that processes cannot share evenly.
        UnreadableImageError: at the step that needs it, for an image that cannot be read, where the data set lets no
            other stand in for it. It does so alike at every step and in every process, and a warning names each once.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("steps", steps, 0),
        ("start_step", start_step, 0),
        ("seed", seed, 0),
        ("stage", stage, 0),
        ("workers", workers, 0),
        ("prefetch", prefetch, 0),
        ("process_count", process_count, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index must lie in 0..{process_count - 1}, got {process_index}")
    if batch_size % process_count:
        raise ValueError(f"batch_size = {batch_size} is not divisible by the {process_count} processes")
    share = batch_size // process_count
    position = np.arange(process_index * share, (process_index + 1) * share, dtype=np.int32)
    batches = _iterate(_Steps(dataset, batch_size, steps, start_step, seed, stage, position), workers, prefetch)
    # A stream that is still open when the interpreter ends is closed before its modules are taken apart.
    atexit.register(_close, weakref.ref(batches))
    return batches


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """Grain's random-access source, an element of which is a step's whole batch: examples are read together."""

    dataset: Dataset
    batch_size: int
    steps: int
    start_step: int
    seed: int
    stage: int
    position: np.ndarray

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Any:
        """The batch, or the error that reading it ended with: raised in here it would come out wrapped in Grain's."""
        try:
            return self._batch(self.start_step + int(number))
        except (ValueError, OSError) as error:
            return error

    def _batch(self, step: int) -> dict[str, np.ndarray]:
        whole = indices_of_step(len(self.dataset), self.batch_size, seed=self.seed, stage=self.stage, step=step)
        index = whole[self.position]
        return {**self.dataset.examples(index), "index": index, "position": self.position.copy()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Pickled:
    """The batches as bytes, which workers send through a pipe, and the images that could not be read.

    Grain would send arrays through shared memory: it is limited to 64 MB in many containers, stays mapped for as long as a
    batch is held, and what is under way when a run ends early is left behind with a warning.
    """

    source: _Steps

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> bytes:
        warnings.simplefilter("ignore", UnreadableImageWarning)  # the process that asked says it, once for all workers
        batch = self.source[number]
        return pickle.dumps((batch, self.source.dataset.unreadable), protocol=5)


def _close(batches: weakref.ReferenceType) -> None:
    if (still_open := batches()) is not None:
        with contextlib.suppress(ValueError):  # another thread is just taking a batch
            still_open.close()


def _iterate(source: _Steps, workers: int, prefetch: int) -> Iterator[dict[str, np.ndarray]]:
    if not len(source):
        return
    import grain

    if workers:
        from absl import flags

        # Grain reads its flags when it starts workers; in a notebook or a test no absl app has parsed any.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=max(prefetch, 1))
        sequential = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        iterator = iter(grain.MapDataset.source(_Pickled(source)).to_iter_dataset(sequential).mp_prefetch(options))
    else:
        # A thread a batch: decoding by Pillow releases the interpreter's lock.
        threads = grain.ReadOptions(num_threads=prefetch, prefetch_buffer_size=prefetch)
        iterator = iter(grain.MapDataset.source(source).to_iter_dataset(threads))
    try:
        for batch in iterator:
            if workers:
                batch, unreadable = pickle.loads(batch)
                tell_unreadable(source.dataset.unreadable, unreadable)
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        iterator.close()  # threads and worker processes end here, not when the garbage collector comes by
