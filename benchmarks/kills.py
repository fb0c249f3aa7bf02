"""Kills: a run that SIGKILL strikes again and again ends bitwise as one that nothing struck.

    python -m benchmarks.kills --kills=20

A small run (a teacher, then two arms of a student, two seeds, a checkpoint every third step) goes through twice
undisturbed, the second time showing that it is determined at all. Then it is started, killed and started again. Half of
the kills come at a moment drawn uniformly over the duration of a whole process: starting, training, writing the
summary. The other half come around a save, which is too short to be hit by chance. After every few kills the run is
left to end, and compared: metrics.jsonl byte by byte, each stage's last checkpoint and the evaluation's arrays bit by
bit, the summary up to its times. The exit code is 1 on any difference.

The processes share compiled programs through JAX's cache on the disk, for else most moments would be moments of
compiling; --no_cache does without.
"""

import argparse
import dataclasses
import math
import pathlib
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import watched
from benchmarks.watched import Place
from kdgan import config as common
from kdgan.files import read_json
from kdgan.run import checkpoint, monitor, train

EVERY = 3  # steps between checkpoints, and between evaluations
STAGES = ("teacher", "distill")
FILES = ("config.json", "explanation.txt", "metrics.jsonl")  # the same to the byte
TIMES = (
    "seconds",
    "train_seconds",
    "phases",
    "steps_per_second",
    "latency_ms",
    "empty_call_ms",
    "date",
)  # of a summary
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
PROGRAM = "import sys; from benchmarks import kills; kills.process(sys.argv[1], int(sys.argv[2]))"


def config(steps: int) -> Any:
    """A teacher, then students from scratch and by soft labels, `steps` steps each; with everything that is state:
    Adam's moments, a moving average, dropout and augmentation by the step's key.
    """  # fmt: skip
    config = common.get_config()
    config.data.labelled, config.data.validation = 40, 20
    config.data.augment = dict(affine=dict(rotate=10.0))
    config.players = common.named(
        teacher=dict(model="mlp", model_args=dict(hidden=(8,))),
        student=dict(model="mlp", model_args=dict(hidden=(4,), dropout=0.1), ema=0.9),
    )
    config.stage.batch_size, config.stage.steps = 8, steps
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0))),
        distill=dict(
            start=dict(teacher="teacher"),
            arms=common.named(
                scratch=dict(lambdas=dict(student=dict(ce=1.0))),
                kd=dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9))),
            ),
        ),
    )
    config.population.seeds = 2
    config.evaluate.every, config.evaluate.latency, config.checkpoint.every = EVERY, False, EVERY
    config.log.every, config.log.progress, config.log.tensorboard = 1, False, False
    return config


def process(workdir: str, steps: int) -> None:
    """What a process of the run does: train, and print where each stage starts (only it knows what it could restore)."""

    class Telling(monitor.Monitor):
        def start_stage(self, name, *, step=0, **totals):
            print(f"stage {name} at {step}", flush=True)
            super().start_stage(name, step=step, **totals)

    train.Monitor = Telling  # type: ignore[misc]
    train.train(config(steps), workdir)


@dataclasses.dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
      seconds: of the process's life.
      aim: "moment" or "save".
      started: where this process had taken the run up; None: it had not come so far.
      reached: of the last line of metrics.jsonl when it died; None: there was none yet.
      inside: what it left half done: "save", "removal" (of an old checkpoint), or "".
    """

    seconds: float
    aim: str
    started: Place | None
    reached: Place | None
    inside: str


@dataclasses.dataclass
class Outcome:
    """What came of the kills.

    Attributes:
      kills: in order.
      ends: where each process that was left to end, or came to its end before its kill, had taken the run up.
      damaged: warnings about checkpoints that could not be read.
      differences: of the killed runs from the undisturbed one.
      whole: workdir of the undisturbed run.
      killed: workdirs of the killed runs.
    """

    whole: pathlib.Path
    kills: list[Kill] = dataclasses.field(default_factory=list)
    ends: list[Place | None] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)
    differences: list[str] = dataclasses.field(default_factory=list)
    killed: list[pathlib.Path] = dataclasses.field(default_factory=list)

    @property
    def resumed(self) -> list[Place]:
        """Where processes took the run up, of those that did not start at its beginning."""
        places = [*(kill.started for kill in self.kills), *self.ends]
        return [place for place in places if place is not None and place != (STAGES[0], 0)]


def kill_and_resume(
    folder: pathlib.Path,
    *,
    kills: int,
    steps: int = 60,
    kills_per_run: int = 5,
    aims: Sequence[str] = ("moment", "save"),
    seed: int = 0,
    cache: bool = True,
    environment: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run once undisturbed, then with kills, and compare.

    Args:
      folder: where the runs' workdirs are made.
      kills: how many.
      steps: of each stage.
      kills_per_run: after so many a run is left to end; the next kills strike another.
      aims: of the kills, in turn: "moment", uniform over the duration of an undisturbed process, or "save": around one of
        the next saves, chosen so that a run's kills spread over all of it. Where that is a run's first kill, it is not
        the first save, so that there is something to resume from.
      seed: of the moments.
      cache: whether the processes share compiled programs.
      environment: variables of the processes, beside this one's.
      tell: takes a line on each kill and each run.

    Raises:
      RuntimeError: a process failed by itself or took longer than `watched.PATIENCE`; its last lines are in the message.
    """
    dice = random.Random(seed)
    outcome = Outcome(whole=folder / "whole")
    environment = dict(environment or {})
    if cache:
        environment |= {**CACHE, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    lengths = []
    for workdir in (outcome.whole, folder / "again") if "moment" in aims else (outcome.whole,):
        with watched.Process(workdir, PROGRAM, steps, environment) as running:
            lengths += list(watched.watch_saves(running))
            running.wait()
            duration = running.seconds  # of the last: with compiled programs, where there is a cache
        _compare(outcome, workdir, tell)
    save_seconds, saves = statistics.median(lengths), len(STAGES) * math.ceil(steps / EVERY)
    tell(f"undisturbed: {duration:.1f} s, {saves} saves of {1e3 * save_seconds:.0f} ms")
    while len(outcome.kills) < kills:
        workdir = folder / f"killed{len(outcome.killed)}"
        outcome.killed.append(workdir)
        first = len(outcome.kills)
        last = min(kills, first + kills_per_run)
        while not (workdir / "summary.json").exists():
            left = last - len(outcome.kills)
            aim = aims[len(outcome.kills) % len(aims)] if left else "end"
            with watched.Process(workdir, PROGRAM, steps, environment) as running:
                if aim == "moment":
                    running.wait(dice.uniform(0, duration))
                elif aim == "save":
                    done = sum(math.ceil(step / EVERY) for step in watched.checkpointed(workdir).values())
                    fewest = 2 if left == last - first else 1
                    watched.await_saves(running, dice.randint(fewest, max((saves - done) // left, fewest)))
                    running.wait(running.seconds + dice.uniform(0, 1.5 * save_seconds))
                else:
                    running.wait()
                # One that struck after the last file was written had nothing left to interrupt.
                killed = running.kill() and not (workdir / "summary.json").exists()
            outcome.damaged += running.said("damaged checkpoint|no checkpoint in")
            if killed:
                outcome.kills.append(
                    Kill(
                        running.seconds, aim, running.started(), watched.reached(workdir), watched.left_inside(running)
                    )
                )
                tell(_line(len(outcome.kills), outcome.kills[-1]))
            else:
                outcome.ends.append(running.started())
                tell(f"      went through from {_show(running.started())}")
        _compare(outcome, workdir, tell)
    return outcome


# Comparing.


def _compare(outcome: Outcome, workdir: pathlib.Path, tell: Callable[[str], None]) -> None:
    if workdir != outcome.whole:
        found = compare(outcome.whole, workdir)
        outcome.differences += [f"{workdir.name}: {difference}" for difference in found]
        tell(f"{workdir.name}: " + ("; ".join(found) or "bitwise as the undisturbed run"))


def compare(a: pathlib.Path, b: pathlib.Path) -> list[str]:
    """In what two workdirs of the same run differ, but for times; a line each."""
    found = [f"{name} differs" for name in FILES if (a / name).read_bytes() != (b / name).read_bytes()]
    if timeless(read_json(a / "summary.json")) != timeless(read_json(b / "summary.json")):
        found.append("summary.json differs in more than times")
    with np.load(a / "evaluation.npz") as x, np.load(b / "evaluation.npz") as y:
        found += [f"evaluation.npz: {difference}" for difference in _differing(dict(x), dict(y))]
    for stage in STAGES:
        x, y = (checkpoint.Checkpoints(workdir / "checkpoints" / stage).restore_latest() for workdir in (a, b))
        if x is None or y is None or x.step != y.step:
            found.append(f"{stage}: last checkpoints are of steps {x and x.step} and {y and y.step}")
        else:
            found += [f"{stage}, checkpoint: {difference}" for difference in _differing(x.tree, y.tree)]
    return found


def timeless(summary: Any) -> Any:
    """The content of summary.json without times."""
    if isinstance(summary, Mapping):
        return {name: timeless(value) for name, value in summary.items() if name not in TIMES}
    return [timeless(value) for value in summary] if isinstance(summary, list) else summary


def _differing(a: Any, b: Any) -> list[str]:
    """Paths of the arrays that are not the same to the bit."""
    a, b = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (a, b)
    )
    same = lambda x, y: x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    return [path for path in sorted({*a, *b}) if path not in a or path not in b or not same(a[path], b[path])]


# Telling.


def _show(place: Place | None) -> str:
    return "-" if place is None else f"{place[0]} {place[1]}"


def _line(number: int, kill: Kill) -> str:
    return (
        f"{number:4d}  {kill.seconds:5.1f} s  aimed at a {kill.aim:6s}  started at {_show(kill.started):10s}"
        f"  reached {_show(kill.reached):10s}  {'inside a ' + kill.inside if kill.inside else ''}".rstrip()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many")
    parser.add_argument("--steps", type=int, default=60, help="steps of each of the two stages")
    parser.add_argument("--kills_per_run", type=int, default=5, help="after so many a run is left to end")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="keep the runs here, in a new folder; else they are removed"
    )
    parser.add_argument("--no_cache", dest="cache", action="store_false", help="compile in each process anew")
    arguments = vars(parser.parse_args())
    folder = arguments.pop("folder")
    jax.config.update("jax_platforms", "cpu")  # for comparing only: the accelerator is the processes'
    with tempfile.TemporaryDirectory() as temporary:
        outcome = kill_and_resume(
            folder or pathlib.Path(temporary), **arguments, tell=lambda line: print(line, flush=True)
        )
    struck = {name: sum(kill.inside == name for kill in outcome.kills) for name in ("save", "removal")}
    print(
        f"{len(outcome.kills)} kills: {struck['save']} inside a save, {struck['removal']} inside the removal of an old"
        f" checkpoint, {sum(kill.started is None for kill in outcome.kills)} before anything was restored;"
        f" {len(outcome.resumed)} processes resumed, {len(outcome.damaged)} warnings of damaged checkpoints;"
        f" {len(outcome.killed)} runs compared, {len(outcome.differences)} differences"
    )
    for line in (*outcome.damaged, *outcome.differences):
        print(line)
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
