"""Outputs of frozen players on every view that a stage can draw: computed once, before its first step, and looked up.

Of views a table is keyed by their places (`kdgan/data/views.py`): the number from which an image's augmentation is drawn is
the number by which the outputs are found, so that neither an order nor an augmentation can part the two. Outputs of whole
images, for stages that train on windows of them, go by the image and its noise (`run/whole_outputs.py`). Members whose
player has the same parameters share a table. What is larger than `data.memory_mb` lies in the workdir, in a file named by a
digest of all that its content follows from.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

import kdgan
from kdgan import files, parallel
from kdgan.data import fingerprint, views
from kdgan.metrics import cost
from kdgan.run import batches as run_batches
from kdgan.run import build, on_host, whole_outputs
from kdgan.run.batches import Lookup
from kdgan.run.inputs import Inputs, rows_of
from kdgan.run.program import Program, Variables, digest
from kdgan.run.progress import Progress, Silent
from kdgan.run.schema import Run
from kdgan.run.totals import as_players_see
from kdgan.state import variable_shapes
from kdgan.step import make_eval_step

FINGERPRINT = 1024  # images by which a set that is not in memory is known, beside all of its labels
SILENT_SECONDS = 2.0  # tables that are made sooner show no progress


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A player's outputs by the places of views.

    Attributes:
      places: int64 [n], ascending.
      outputs: float32 [n, ...], one of each place; in memory, or mapped from a file.
    """

    places: np.ndarray
    outputs: np.ndarray

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Outputs [b, ...] of these places [b].

        Raises:
          LookupError: one of them is not in the table.
        """
        row = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        if not np.array_equal(self.places[row], places):
            missing = np.asarray(places)[self.places[row] != places][0]
            raise LookupError(f"view {missing} is not among the {len(self.places):,} that were computed")
        return np.asarray(self.outputs[row])


class Tables:
    """The tables of a stage, each made once; its programs share them.

    Args:
      run: the run.
      inputs: its data.
      folder: where tables lie that are larger than `data.memory_mb`.
      progress: is told how far a table is that takes long; nothing is printed by default.
    """

    def __init__(self, run: Run, inputs: Inputs, folder: pathlib.Path, progress: Progress | None = None):
        self._run, self._inputs, self._folder, self._progress = run, inputs, folder, progress or Silent()
        self._made: dict[str, Any] = {}

    def of(self, program: Program, variables: Mapping[int, Mapping[str, Variables]]) -> dict[int, dict[str, Lookup]]:
        """Seed -> cached player -> its outputs, computed where they are not known yet.

        Args:
          program: whose players, views and steps.
          variables: seed -> cached player -> its variables.
        """
        found: dict[int, dict[str, Lookup]] = {seed: {} for seed in variables}
        for name in program.cached:
            seeds_of: dict[str, list[int]] = {}
            for seed, own in variables.items():
                seeds_of.setdefault(digest(program.local_modules[name], own[name]), []).append(seed)
            places = {player: drawn(self._inputs, program, seeds) for player, seeds in seeds_of.items()}
            sizes = (size(program, self._inputs, name, each) for each in places.values())
            on_disk = lies_on_disk(self._run, sum(sizes))
            for player, seeds in seeds_of.items():
                own = variables[seeds[0]][name]
                table = self._table(program, name, player, own, places[player], on_disk)
                for seed in seeds:
                    found[seed][name] = table
        return found

    def _table(
        self, program: Program, name: str, player: str, variables: Variables, places: np.ndarray, on_disk: bool
    ) -> Lookup:
        if program.whole:
            return self._whole(program, name, player, variables, places, on_disk)
        others = [program.inputs[name]] if name in program.inputs else []
        augmented = json.dumps([program.augment, self._run.parallel.compute, *others], sort_keys=True, default=str)
        key = hashlib.sha256(f"{player} {augmented} ".encode() + places.tobytes()).hexdigest()
        if key not in self._made:
            blocks = lambda: self._told(name, len(places), self._outputs(program, name, variables, places))
            shape = (len(places), *program.inspection.outputs[name].shape[1:])
            outputs = self._from_file(key, shape, blocks) if on_disk else np.concatenate(list(blocks()))
            self._made[key] = Table(places, outputs)
        return self._made[key]

    def _whole(
        self, program: Program, name: str, player: str, variables: Variables, places: np.ndarray, on_disk: bool
    ) -> whole_outputs.Whole:
        """The table of outputs on whole images, one for each place."""
        config = self._inputs.config
        others = [config.degrade, config.noises, self._run.parallel.compute, program.inputs_of(name)]
        content = json.dumps(others, sort_keys=True, default=str)
        key = hashlib.sha256(f"whole {player} {content} ".encode() + places.tobytes()).hexdigest()
        order = whole_outputs.in_order(program, self._inputs, name, places)
        if key not in self._made:
            whole = lambda: self._outputs_of_whole(program, name, variables, places[order])
            blocks = lambda: (block.reshape(-1) for block in self._told(name, len(places), whole()))
            length = size(program, self._inputs, name, places) // 4
            self._made[key] = self._from_file(key, (length,), blocks) if on_disk else np.concatenate(list(blocks()))
        return whole_outputs.table(program, self._inputs, name, places, order, self._made[key])

    def _outputs_of_whole(
        self, program: Program, name: str, variables: Variables, places: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Outputs of whole images at the places, in this order, by batches of those of one size."""
        apply, data, module = forward(self._run, program, name), self._inputs.config, program.local_modules[name]
        see = lambda raw: as_players_see(data, raw)
        see = parallel.compiled(see) if on_host.runs_outside(module) else see
        run = on_host.compiled(module, lambda own, raw: apply(own, see(raw)))
        own, count = jax.device_put(variables), self._run.evaluate.batch_size
        for raw, counting in whole_outputs.batches(program, self._inputs, name, places, count):
            outputs = np.asarray(run(own, raw), np.float32)
            on_host.check_failures([module])
            yield outputs[:counting]

    def _outputs(self, program: Program, name: str, variables: Variables, places: np.ndarray) -> Iterator[np.ndarray]:
        """Outputs at the places, in order, by batches of the evaluation's size."""
        apply = forward(self._run, program, name)
        module, prepare = program.local_modules[name], lambda raw: program.prepare(raw, {})
        # Of what runs outside of programs the batch alone is made by one.
        prepare = parallel.compiled(prepare) if on_host.runs_outside(module) else prepare
        run = on_host.compiled(module, lambda own, raw: apply(own, prepare(raw)))
        count = min(self._run.evaluate.batch_size, len(places))
        own = jax.device_put(variables)
        for start in range(0, len(places), count):
            chunk = places[start : start + count]
            filled = np.concatenate([chunk, np.repeat(chunk[:1], count - len(chunk))])
            raw = run_batches.view_batch(self._inputs, filled, program.augment, first=program.windows_first)
            outputs = np.asarray(run(own, raw), np.float32)
            on_host.check_failures([module])
            yield outputs[: len(chunk)]

    def _told(self, name: str, total: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks of outputs; where they take long, how many of `total` are made is shown."""
        began, done, is_shown = time.monotonic(), 0, False
        for block in blocks:
            done += len(block)
            if is_shown:
                self._progress.advance(len(block))
            elif time.monotonic() - began > SILENT_SECONDS:
                self._progress.start(f"outputs of {name}", total, done)
                is_shown = True
            yield block
        if is_shown:
            self._progress.end()

    def _from_file(self, key: str, shape: tuple[int, ...], blocks: Callable[[], Iterator[np.ndarray]]) -> np.ndarray:
        """The outputs mapped from their file, which is written, whole or not at all, where there is none."""
        content = f"{key} {self._data()} {kdgan.__version__}"
        path = self._folder / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.npy"
        with contextlib.suppress(OSError, ValueError):  # absent, or damaged
            outputs = np.load(path, mmap_mode="r", allow_pickle=False)
            if outputs.shape == shape:
                return outputs
        files.write_atomic(path, _npy(shape, blocks()))
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _data(self) -> str:
        """A digest of the training set as it is read and normalised."""
        train, config = self._inputs.train, self._inputs.config
        found = hashlib.sha256(f"{config.name} {config.train} {config.mean} {config.std} ".encode())
        some = np.unique(np.linspace(0, len(train) - 1, FINGERPRINT).astype(np.int64))
        for part in fingerprint.parts(train, None if train.in_memory else some):
            found.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
        return found.hexdigest()


def _npy(shape: tuple[int, ...], blocks: Iterator[np.ndarray]) -> Iterator[bytes]:
    """A .npy file of float32, piece by piece: it need not fit in memory."""
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    yield header.getvalue()
    for block in blocks:
        yield block.astype("<f4").tobytes()


def forward(run: Run, program: Program, name: str) -> Callable[[Variables, Any], Any]:
    """`forward(variables, batch) -> outputs [b, ...]` of a player on its inputs, in evaluation mode."""
    step = make_eval_step(
        {name: program.local_modules[name]}, lambda outputs, batch: outputs[name],
        compute_dtype=build.COMPUTE[run.parallel.compute], inputs={name: program.inputs_of(name)},
    )  # fmt: skip
    return lambda variables, batch: step({name: variables}, batch)


def drawn(inputs: Inputs, program: Program, seeds: Sequence[int]) -> np.ndarray:
    """The places, ascending, that members of these seeds can draw: labelled, and unlabelled where batches have such."""
    forms = (inputs.forms if program.whole else program.views) or 1
    each = [
        views.drawn(rows, count, views=forms, steps=program.steps, size=len(inputs.train))
        for seed in seeds
        for rows, count in rows_of(inputs, seed, program.batch_size)
    ]
    return np.unique(np.concatenate(each))


def size(program: Program, inputs: Inputs, name: str, places: np.ndarray) -> int:
    """Bytes of a player's outputs at these places."""
    if program.whole:
        return whole_outputs.size(program, inputs, name, places)
    return 4 * len(places) * math.prod(program.inspection.outputs[name].shape[1:])


def lies_on_disk(run: Run, size: int) -> bool:
    """Whether outputs of so many bytes, of all members, are kept in the workdir."""
    return size > run.data.memory_mb * 2**20


def flops(run: Run, program: Program, inputs: Inputs, name: str, places: int) -> float | None:
    """Floating-point operations of a player on the images of so many places, as XLA counts them on those of a batch."""
    if not on_host.is_counted(program.local_modules[name]):
        return None
    shapes = variable_shapes(program.local_modules[name], program.inspection.inputs[name])
    model_state = {kind: tree for kind, tree in shapes.items() if kind != "params"}
    variables = {"params": shapes.get("params", {}), "model_state": model_state}
    fields = {field: program.example[field] for field in program.inputs_of(name)}
    example = {field: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype) for field, leaf in fields.items()}
    one = cost.flops(forward(run, program, name), variables, example)
    share = whole_outputs.share(program, inputs, name) if program.whole else 1
    return None if one is None else one * places * share
