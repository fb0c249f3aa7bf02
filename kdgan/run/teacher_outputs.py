"""Outputs of frozen players on every view that a stage can draw: computed once, before its first step, and looked up.

Of views a table is keyed by their places (`kdgan/data/views.py`): the number from which an image's augmentation is drawn is
the number by which the outputs are found, so that neither an order nor an augmentation can part the two. Outputs of whole
images, for stages that train on windows of them, go by the image and its noise (`run/whole_outputs.py`). Members whose
player has the same parameters share a table. What is larger than `data.memory_mb` lies in the workdir, in a file named by a
digest of all that its content follows from.

Features that a method asks of such a player, as found by tracing it, have tables like its outputs, one for each module path:
programs that ask for the same path share it, and those of all programs of a stage are made in one pass. Of whole images
there are none.
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
OUTPUT = ""  # the path of a network itself, beside those of its modules

Rows = Mapping[str, np.ndarray]  # module path -> [n, ...]
Blocks = Callable[[Sequence[str]], Iterator[Rows]]  # module paths -> their rows, some at a time, in order


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A player's outputs by the places of views.

    Attributes:
      places: int64 [n], ascending.
      outputs: float32 [n, ...], one of each place; in memory, or mapped from a file.
      features: module path -> table of that feature, of the same places.
    """

    places: np.ndarray
    outputs: np.ndarray
    features: Mapping[str, "Table"] = dataclasses.field(default_factory=dict)

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
      programs: those of the stage, whose features are made together.
    """

    def __init__(
        self, run: Run, inputs: Inputs, folder: pathlib.Path, progress: Progress | None = None,
        programs: Sequence[Program] = (),
    ):  # fmt: skip
        self._run, self._inputs, self._folder, self._progress = run, inputs, folder, progress or Silent()
        self._programs = programs
        self._made: dict[str, np.ndarray] = {}
        self._tables: dict[tuple[str, ...], Table] = {}

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
            sizes = (size(program, self._inputs, name, each, self._programs) for each in places.values())
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
        shapes, together = shapes_of(program, name), shapes_of(program, name, self._programs)
        others = [program.inputs[name]] if name in program.inputs else []
        augmented = json.dumps([program.augment, self._run.parallel.compute, *others], sort_keys=True, default=str)
        key = hashlib.sha256(f"{player} {augmented} ".encode() + places.tobytes()).hexdigest()
        keys = {path: hashlib.sha256(f"{key} {path}".encode()).hexdigest() if path else key for path in together}
        if (key, *shapes) not in self._tables:
            absent = {path: (len(places), *together[path]) for path in together if keys[path] not in self._made}
            blocks = lambda paths: self._told(name, len(places), self._rows(program, name, variables, places, paths))
            made = self._from_files(keys, absent, blocks) if on_disk else _in_memory(absent, blocks)
            self._made |= {keys[path]: rows for path, rows in made.items()}
            tables = {path: Table(places, self._made[keys[path]]) for path in shapes}
            output = tables.pop(OUTPUT)
            self._tables[key, *shapes] = dataclasses.replace(output, features=tables)
        return self._tables[key, *shapes]

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
            blocks = lambda paths: ({OUTPUT: b[OUTPUT].reshape(-1)} for b in self._told(name, len(places), whole()))
            length = {OUTPUT: (size(program, self._inputs, name, places) // 4,)}
            made = self._from_files({OUTPUT: key}, length, blocks) if on_disk else _in_memory(length, blocks)
            self._made[key] = made[OUTPUT]
        return whole_outputs.table(program, self._inputs, name, places, order, self._made[key])

    def _outputs_of_whole(
        self, program: Program, name: str, variables: Variables, places: np.ndarray
    ) -> Iterator[Rows]:
        """Outputs of whole images at the places, in this order, by batches of those of one size."""
        apply, data, module = forward(self._run, program, name), self._inputs.config, program.local_modules[name]
        see = lambda raw: as_players_see(data, raw)
        see = parallel.compiled(see) if on_host.runs_outside(module) else see
        run = on_host.compiled(module, lambda own, raw: apply(own, see(raw)))
        own, count = jax.device_put(variables), self._run.evaluate.batch_size
        for raw, counting in whole_outputs.batches(program, self._inputs, name, places, count):
            outputs = np.asarray(run(own, raw), np.float32)
            on_host.check_failures([module])
            yield {OUTPUT: outputs[:counting]}

    def _rows(
        self, program: Program, name: str, variables: Variables, places: np.ndarray, paths: Sequence[str]
    ) -> Iterator[Rows]:
        """Outputs and features at the places, in order, by batches of the evaluation's size."""
        features = tuple(path for path in paths if path != OUTPUT)
        apply = forward(self._run, program, name, features)
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
            output = run(own, raw)
            made = {OUTPUT: output[0], **output[1]} if features else {OUTPUT: output}
            rows = {path: np.asarray(made[path], np.float32)[: len(chunk)] for path in paths}
            on_host.check_failures([module])
            yield rows

    def _told(self, name: str, total: int, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """The blocks of outputs; where they take long, how many of `total` are made is shown."""
        began, done, is_shown = time.monotonic(), 0, False
        for block in blocks:
            count = len(next(iter(block.values())))
            done += count
            if is_shown:
                self._progress.advance(count)
            elif time.monotonic() - began > SILENT_SECONDS:
                self._progress.start(f"outputs of {name}", total, done)
                is_shown = True
            yield block
        if is_shown:
            self._progress.end()

    def _from_files(self, keys: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], blocks: Blocks) -> Rows:
        """The rows mapped from their files, which are written, each whole or not at all, where there are none."""
        content = {path: f"{keys[path]} {self._data()} {kdgan.__version__}" for path in shapes}
        digests = {path: hashlib.sha256(text.encode()).hexdigest()[:24] for path, text in content.items()}
        places = {path: self._folder / f"{name}.npy" for path, name in digests.items()}
        absent = [path for path, place in places.items() if _mapped(place, shapes[path]) is None]
        if absent:
            with contextlib.ExitStack() as stack:
                written = {path: stack.enter_context(files.writing(places[path])) for path in absent}
                for path, file in written.items():
                    file.write(_header(shapes[path]))
                for block in blocks(absent):
                    for path, file in written.items():
                        file.write(block[path].astype("<f4").tobytes())
        return {path: np.load(place, mmap_mode="r", allow_pickle=False) for path, place in places.items()}

    def _data(self) -> str:
        """A digest of the training set as it is read and normalised."""
        train, config = self._inputs.train, self._inputs.config
        found = hashlib.sha256(f"{config.name} {config.train} {config.mean} {config.std} ".encode())
        some = np.unique(np.linspace(0, len(train) - 1, FINGERPRINT).astype(np.int64))
        for part in fingerprint.parts(train, None if train.in_memory else some):
            found.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
        return found.hexdigest()


def _in_memory(shapes: Mapping[str, tuple[int, ...]], blocks: Blocks) -> Rows:
    """The rows of all blocks."""
    rows, done = {path: np.empty(shape, np.float32) for path, shape in shapes.items()}, 0
    for block in blocks(tuple(shapes)) if shapes else ():
        count = len(next(iter(block.values())))
        for path, values in block.items():
            rows[path][done : done + count] = values
        done += count
    return rows


def _mapped(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The rows of a file; None: it is absent, damaged, or of another shape."""
    with contextlib.suppress(OSError, ValueError):
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        return rows if rows.shape == shape else None
    return None


def _header(shape: tuple[int, ...]) -> bytes:
    """How a .npy file of float32 begins: its rows follow piece by piece, and need not fit in memory."""
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def forward(run: Run, program: Program, name: str, features: Sequence[str] = ()) -> Callable[[Variables, Any], Any]:
    """`forward(variables, batch) -> outputs [b, ...]` of a player on its inputs, in evaluation mode.

    With features, by module path, it gives `(outputs, {path: feature})`.
    """
    step = make_eval_step(
        {name: program.local_modules[name]}, lambda outputs, batch: outputs[name],
        compute_dtype=build.COMPUTE[run.parallel.compute], inputs={name: program.inputs_of(name)},
        features={name: features},
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


def shapes_of(program: Program, name: str, programs: Sequence[Program] = ()) -> dict[str, tuple[int, ...]]:
    """Shapes, of one example, of what is kept of a player: its output, and features by module path.

    With the programs of a stage, the features that any asks for of the same player on the same views.
    """
    alike = [other for other in programs if name in other.cached and _views_of(other, name) == _views_of(program, name)]
    kept = {OUTPUT: program.inspection.outputs[name]}
    for one in (program, *alike):
        kept |= one.features_of(name)
    return {path: leaf.shape[1:] for path, leaf in kept.items()}


def _views_of(program: Program, name: str) -> tuple[Any, ...]:
    """What a player's table follows from, of what arms of a stage may differ in."""
    starts = {repr(program.start[arm].get(name)) for arm in program.arms}
    drawn = program.views, program.steps, program.batch_size, program.augment, program.windows_first, program.whole
    return repr(program.local_modules[name]), program.inputs.get(name), starts, drawn


def size(program: Program, inputs: Inputs, name: str, places: np.ndarray, programs: Sequence[Program] = ()) -> int:
    """Bytes of a player's outputs and features, those of `shapes_of`, at these places."""
    if program.whole:
        return whole_outputs.size(program, inputs, name, places)
    return 4 * len(places) * sum(map(math.prod, shapes_of(program, name, programs).values()))


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
