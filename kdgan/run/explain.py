"""A run explains itself before it starts: players, moves as equations, data, population, memory. Nothing is compiled."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan import optim
from kdgan.data.dataset import Dataset
from kdgan.run import costs, ranges, teacher_outputs
from kdgan.run.inputs import Inputs
from kdgan.run.population import how_members_run, intervals, memory, steps_per_call
from kdgan.run.program import Program
from kdgan.run.schema import Arm, Optimizer, Run, Stage

LABEL = 10  # width of the first column
MOST_CLASSES = 12  # whose counts are all shown, in a row of no more than
MOST_CHARACTERS = 110


def explain(run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]) -> str:
    """The text of a run, as printed before the first step and kept in explanation.txt and the report."""
    stages = [_stage(run, stage, programs[stage.name], inputs) for stage in run.stages]
    blocks = [_data(inputs), *stages, _device()]
    return "\n".join(blocks)


def _lines(label: str, rows: Sequence[str]) -> str:
    return "\n".join(f"{label if i == 0 else '':<{LABEL}}{row}".rstrip() for i, row in enumerate(rows))


def _data(inputs: Inputs) -> str:
    partition = next(iter(inputs.partitions.values()))
    data = inputs.config
    label = inputs.train.fields.get("label")
    chosen = "all labelled" if data.labelled is None else "labelled (drawn by seed)"
    if inputs.has_classes:
        what = f"{inputs.num_classes} class" + ("" if inputs.num_classes == 1 else "es")
        chosen = chosen.replace("(drawn", "(class-balanced, drawn")
    elif label is not None:
        what = f"label {label}"
    else:
        what = "no labels"
        chosen = "without labels" if data.labelled is None else "without labels (drawn by seed)"
    shape = "×".join("?" if side is None else str(side) for side in inputs.train.image_shape)
    trained = f"train {len(partition.train):,} {chosen}, validation {len(partition.validation):,}"
    rows = [
        f"{data.name}: {what}{f', images {shape}' if shape else ''};"
        f" {trained if inputs.has_training else 'no training split is opened'}, test {len(inputs.test):,}",
        "fields: " + ", ".join(f"{name} ({field}, {field.dtype})" for name, field in inputs.train.fields.items()),
    ]
    if inputs.lacking:
        rows.append(f"the test split alone has {' and '.join(inputs.lacking)}")
    if data.unlabelled_batch_size:
        rows.append(f"{len(partition.unlabelled):,} unlabelled, {data.unlabelled_batch_size} per step")
    if data.degrade:
        noises = f", {_count(data.noises, 'fixed noise')} of each image" if data.noises else ""
        rows.append(f"degraded: {inputs.degradation}{noises}; the clean image is the field 'target'")
    if data.augment:
        rows.append("augmentation: " + ", ".join(_call(name, fields) for name, fields in data.augment.items()))
    if inputs.has_training:
        rows.append("on the device" if inputs.on_device else f"streamed with {data.workers} workers")
    if inputs.has_training and inputs.has_classes:
        rows += [_class_counts(inputs), *_of_classes(inputs), *_unequal_shares(inputs)]
    rows += [f"{split}: {note}" for split, dataset in _splits(inputs).items() for note in dataset.notes]
    return _lines("data", rows)


def _splits(inputs: Inputs) -> dict[str, Dataset]:
    of_training = {f"split {inputs.config.train}": inputs.train} if inputs.has_training else {}
    return {**of_training, f"split {inputs.config.test}": inputs.test}


def _class_counts(inputs: Inputs) -> str:
    """Examples of each class of the training split; of many classes those of the smallest and the largest."""
    names, counts = inputs.train.class_names, _counts(inputs, np.arange(len(inputs.train)))
    if len(names) <= MOST_CLASSES:
        row = "examples of each class: " + ", ".join(f"{n} {c:,}" for n, c in zip(names, counts, strict=True))
        if len(row) <= MOST_CHARACTERS:
            return row
    if np.ptp(counts) == 0:
        return f"examples of each class: {counts[0]:,}"
    return f"examples of a class: {_extremes(inputs, counts, np.arange(len(counts)))}"


def _of_classes(inputs: Inputs) -> list[str]:
    """The classes of training examples, and the number of exemplars of others, where the config restricts them."""
    data, partition = inputs.config, next(iter(inputs.partitions.values()))
    if data.classes is None:
        return []
    counts = _counts(inputs, partition.train)
    named = lambda numbers: _listed([inputs.class_names[number] for number in numbers])
    rows = [f"trained on: {sum(counts[n] for n in data.classes):,} examples of {named(data.classes)}"] * bool(
        data.classes
    )
    if data.exemplars_of:
        total = data.exemplars * len(data.exemplars_of)
        each = f"{data.exemplars:,} of each of {named(data.exemplars_of)}, drawn by seed"
        if (times := data.exemplar_repeats) > 1:
            each += f", each {times:,} times in an epoch"
        rows.append(f"exemplars: {each}: {total * times:,} of {len(partition.train):,} training examples")
    return rows


def _listed(names: Sequence[str]) -> str:
    """All names, or of many the first and the last one."""
    return ", ".join(names) if len(names) <= MOST_CLASSES else f"{len(names)} classes, {names[0]} to {names[-1]}"


def _unequal_shares(inputs: Inputs) -> list[str]:
    """Of subsets that classes share equally where they can: a row where one is too small for it."""
    partition = next(iter(inputs.partitions.values()))
    subsets = {"validation": partition.validation}
    if inputs.config.labelled is not None:
        subsets["labelled"] = partition.train
    counts = {name: _counts(inputs, rows) for name, rows in subsets.items() if len(rows)}
    named = inputs.config.classes
    among = np.arange(inputs.num_classes) if named is None else np.asarray(named, np.int64)
    present = among[_counts(inputs, np.arange(len(inputs.train)))[among] > 0]
    return [
        f"{name}: {_extremes(inputs, of_classes, among)} examples of a class, since small classes cannot give an equal share"
        for name, of_classes in counts.items()
        if len(present) and np.ptp(of_classes[present]) > 1
    ]


def _counts(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    return np.bincount(inputs.train.label[rows], minlength=inputs.num_classes)


def _extremes(inputs: Inputs, counts: np.ndarray, among: np.ndarray) -> str:
    names, low, high = inputs.train.class_names, among[np.argmin(counts[among])], among[np.argmax(counts[among])]
    return f"{counts[low]:,} ({names[low]}) to {counts[high]:,} ({names[high]})"


def _call(name: str, fields: Mapping[str, Any]) -> str:
    shown = (f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in fields.items())
    return f"{name}({', '.join(shown)})"


def _stage(run: Run, stage: Stage, programs: Sequence[Program], inputs: Inputs) -> str:
    seeds, arms = len(run.seeds), len(stage.arms)
    compiled = f"{len(programs)} compiled step" + ("s" if len(programs) > 1 else "")
    head = f"{stage.name}: {stage.steps:,} steps of {stage.arms[0].batch_size}"
    if shorter := [f"{arm.name}: {arm.steps:,}" for arm in stage.arms if arm.steps != stage.steps]:
        head += f" ({', '.join(shorter)})"
    if (views := max(program.views or 1 for program in programs)) > 1:
        head += f", each example in {views} views"
    rows, of_run, inputs = [head], inputs, inputs.of(stage.name)
    if not inputs.has_training:
        rows.append(
            "without data: no training split is opened, nothing is validated or selected; it stops by its steps"
        )
    own = [_data(inputs)] if stage.name in of_run.stages and inputs.test is not of_run.test else []
    blocks = ["", _lines("stage", rows), *own, _lines("players", _players(stage, programs, inputs))]
    blocks.append(_lines("inputs", _taken(programs)))
    blocks.append(_lines("moves", _moves(programs)))
    if cached := _cached(run, programs, inputs):
        blocks.append(_lines("cached", cached))
    ways = " or ".join(dict.fromkeys(how_members_run(run, program) for program in programs))
    population = f"{_count(seeds, 'seed')} × {_count(arms, 'arm')}, {ways}"
    blocks.append(_lines("members", [f"{population}; {compiled}", *_costs(run, stage, programs, inputs)]))
    return "\n".join(blocks)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _players(stage: Stage, programs: Sequence[Program], inputs: Inputs) -> list[str]:
    rows: dict[tuple, str] = {}
    for program in programs:
        for name in program.modules:
            trained = name in program.method.trained
            source = _sources(program, name)
            count, operations = costs.player_cost(program, name)
            learns = _optimizer(stage, program, name) if count else "written in its moves"
            fate = f"{learns}{_together(program, name)}" if trained else "frozen"
            flops = "?" if operations is None else f"{operations / 1e6:.3g}"
            model = _arm(stage, program).players[name].model
            row = f"{name:<14} {model:<18} {count:>12,} parameters {flops:>8} MFLOP   {fate}{source}"
            if row not in rows.values():
                rows[program.arms, name] = (
                    row if name not in {n for _, n in rows} else f"{row} [{', '.join(program.arms)}]"
                )
    return list(dict.fromkeys([*rows.values(), *_ranges(programs, inputs)]))


def _together(program: Program, name: str) -> str:
    """`, learns with student`, of a player that leads no move."""
    moves = [move for move in program.method.moves if name in move.players]
    leads = dict.fromkeys(move.lead for move in moves)
    return "" if name in leads else f", learns with {' and '.join(leads)}"


def _taken(programs: Sequence[Program]) -> list[str]:
    """What each player is called with: fields of the data by their names, else types and shapes."""
    rows: dict[str, list[str]] = {}
    for program in programs:
        for name in program.modules:
            rows.setdefault(f"{name:<14} {', '.join(_arguments(program, name))}", []).extend(program.arms)
    names = [row.split()[0] for row in rows]
    return [row if names.count(row.split()[0]) == 1 else f"{row} [{', '.join(arms)}]" for row, arms in rows.items()]


def _arguments(program: Program, name: str) -> list[str]:
    args, kwargs = program.inspection.inputs[name]
    given = program.places_of_inputs(name)
    shown: list[str] = []
    for i, value in enumerate(args):
        if given is not None and i in range(given.start, given.stop):
            value = program.example[program.inputs_of(name)[i - given.start]]
            shown.append(f"{program.inputs_of(name)[i - given.start]} {_shape(value)}")
        else:
            shown += [_shape(leaf) for leaf in jax.tree.leaves(value)]
    return [*shown, *(f"{key}={_shape(leaf)}" for key, value in kwargs.items() for leaf in jax.tree.leaves(value))]


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype} [{', '.join(map(str, ('b', *leaf.shape[1:])))}]" if leaf.shape else str(leaf.dtype)


def _ranges(programs: Sequence[Program], inputs: Inputs) -> list[str]:
    """Generators whose images are not compared with the data's pixels, as their range is not read off their program."""
    arms: dict[str, list[str]] = {}
    for program in programs:
        shape = ranges.image_shape(program.example, inputs.train)
        for name in ranges.unknown(program.inspection, program.local_modules, shape):
            row = f"range of {name}'s images: not known; its module states it by output_range = (low, high)"
            arms.setdefault(row, []).extend(program.arms)
    return _with_arms(arms, programs)


def _sources(program: Program, name: str) -> str:
    """` (from teacher/main)`; arms that start it elsewhere are named."""
    found: dict[str, list[str]] = {}
    for arm in program.arms:
        start = program.start[arm].get(name)
        source = program.sources.get(arm, {}).get(name)
        where = "fresh" if start is None else f"from {source.folder if source else f'{start.stage}/{start.arm}'}"
        if start is not None and start.player != name:
            where += f", {start.player}"
        if source is not None and (whose := source.whose(name)):
            where += f", {whose}"
        if source is not None and source.said:
            where += f"; {source.said}"
        if start is not None and start.transfer is not None:
            where += f", transfer {start.transfer}" + (f", scale {start.scale:g}" if start.scale else "")
        found.setdefault(where, []).append(arm)
    if len(found) == 1:
        where = next(iter(found))
        return "" if where == "fresh" else f" ({where})"
    return " (" + "; ".join(f"{', '.join(arms)}: {where}" for where, arms in found.items()) + ")"


def _arm(stage: Stage, program: Program) -> Arm:
    return next(arm for arm in stage.arms if arm.name == program.arms[0])


def _optimizer(stage: Stage, program: Program, name: str) -> str:
    arm = _arm(stage, program)
    own = arm.optimizers.get(name, {})
    field = lambda key: own.get(key, getattr(arm.players[name].optimizer, key))
    rate = f"{field('learning_rate'):g}"
    shape = "" if field("schedule") == "constant" else f" {field('schedule')}"
    average = "" if name not in program.ema else f", average {program.ema[name]:g}"
    return f"{field('name')}{shape} {rate}{_fields_of_rule(field)}{average}"


def _fields_of_rule(field: Callable[[str], Any]) -> str:
    """`, b1 0.5`: of the fields that only some rules have those that are set to something; and which the rule ignores."""
    rule, defaults = field("name"), Optimizer()
    changed = {key: field(key) for key in optim.OF_RULES if field(key) not in (None, getattr(defaults, key))}
    used, ignored = (
        [f"{key} {value if isinstance(value, bool) else format(value, 'g')}" for key, value in changed.items()
         if (rule in optim.OF_RULES[key]) == has]
        for has in (True, False)
    )  # fmt: skip
    note = f" (of no use to {rule}: {', '.join(ignored)})" if ignored else ""
    return "".join(f", {text}" for text in used) + note


def _moves(programs: Sequence[Program]) -> list[str]:
    """Each arm's moves in order, as `student  0.1·ce + 0.9·kd(T=4)`."""
    named = [(arm, program) for program in programs for arm in program.arms]
    width = 0 if named[0][0] == "main" else 2 + max(len(arm) for arm, _ in named)
    rows = []
    for arm, program in named:
        for i, move in enumerate(program.method.moves):
            terms = [
                f"{_weight(program, arm, move.lead, term)}·{term}"
                + (f"({move.details[term]})" if term in move.details else "")
                for term in program.inspection.terms[move.lead]
            ]
            who = "+".join(move.players) + (f" ×{move.repeats}" if move.repeats > 1 else "")
            rows.append(f"{arm if i == 0 and width else '':<{width}}{who:<14} {' + '.join(terms)}")
    return rows


def _cached(run: Run, programs: Sequence[Program], inputs: Inputs) -> list[str]:
    """What each cached player's outputs, and features, take, and what they cost to make."""
    arms: dict[str, list[str]] = {}
    for program in programs:
        for name in program.cached:
            # A player of each seed has a table of its own.
            count, seeds = (1, run.seeds) if name in program.shared else (len(run.seeds), run.seeds[:1])
            places = teacher_outputs.drawn(inputs, program, seeds)
            images = len(places)
            size = count * teacher_outputs.size(program, inputs, name, places, programs)
            where = "in the workdir" if teacher_outputs.lies_on_disk(run, size) else "in memory"
            operations = teacher_outputs.flops(run, program, inputs, name, count * images)
            made = "" if operations is None else f", made by {operations / 1e6:.3g} MFLOP before the first step"
            what = f"{images:,} whole images" if program.whole else f"{images:,} images"
            kept = teacher_outputs.shapes_of(program, name, programs)
            features = ", ".join(path for path in kept if path != teacher_outputs.OUTPUT)
            what += f" with the features {features}" if features else ""
            row = f"{name:<14} {_count(count, 'table')} of {what}, {_bytes(size)} {where}{made}"
            arms.setdefault(row, []).extend(program.arms)
    return _with_arms(arms, programs)


def _with_arms(rows: Mapping[str, Sequence[str]], programs: Sequence[Program]) -> list[str]:
    """Each row with the arms that it is of, where it is not of all."""
    everyone = [arm for program in programs for arm in program.arms]
    return [row if list(arms) == everyone else f"{row} [{', '.join(arms)}]" for row, arms in rows.items()]


def _weight(program: Program, arm: str, player: str, term: str) -> str:
    schedule = program.schedules.get(player, {}).get(term)
    if schedule is None:
        return f"{program.lambdas[arm][player][term]:g}"
    return f"({float(schedule(0)):.3g}→{float(schedule(program.steps - 1)):.3g})"


def _costs(run: Run, stage: Stage, programs: Sequence[Program], inputs: Inputs) -> list[str]:
    """Operations of a step, and memory; what measuring gradients takes."""
    steps = sorted(step for program in programs if (step := costs.step_cost(run, program).flops) is not None)
    extremes = dict.fromkeys(_operations(step) for step in (*steps[:1], *steps[-1:]))
    operations = ["a member's step: " + " to ".join(extremes)] if steps else []
    needed = memory(run, programs, inputs)
    named = {"data": needed.data, "states": needed.states, "a step's own": needed.working}
    shown = " + ".join(f"{_bytes(size)} {name}" for name, size in named.items() if size)
    total, limit = sum(needed), costs.device_limit()
    rows = ["; ".join([*operations, f"memory about {_bytes(total)}: {shown}"])]
    rows += _gradients(run, stage, programs) if run.log.gradients else []
    if limit is not None and total > limit:
        rows.append(
            f"more than the {_bytes(limit)} that may be planned for on this device: lower stage.batch_size,"
            " population.seeds, or train the arms in runs of their own"
        )
    return rows


def _gradients(run: Run, stage: Stage, programs: Sequence[Program]) -> list[str]:
    """What `log.gradients` takes: a second program, whose calls end in a step with a backward pass of each term."""
    every, parts = intervals(run, stage)["log"], []
    for program in programs:
        step, measured = costs.step_cost(run, program).flops, costs.measuring_cost(run, program).flops
        if step is None or measured is None:
            continue
        call = measured + (steps_per_call(run, stage, program, 0) - 1) * step
        logged = -(-program.steps // every)
        parts.append((call, logged * call / (program.steps * step)))
    row = f"gradients of terms, every {_count(every, 'step')}, by a program of its own"
    if not parts:
        return [row]
    (call, share), most = max(parts), "at most " if len(parts) > 1 else ""
    return [f"{row}: {most}{_operations(call)} each time, {share:.1%} more operations in the stage"]


def _operations(n: float) -> str:
    return f"{n / 1e6:.3g} MFLOP" if n < 1e9 else f"{n / 1e9:.3g} GFLOP"


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1000 or unit == "GiB":
            return f"{n:.3g} {unit}"
        n /= 1024
    return ""


def _device() -> str:
    device = jax.devices()[0]
    where = f"{_count(jax.device_count(), 'device')} ({device.device_kind}, {device.platform})"
    processes = "" if jax.process_count() == 1 else f" in {jax.process_count()} processes"
    return "\n" + _lines("device", [f"{where}{processes}; jax {jax.__version__}, Python {platform.python_version()}"])
