"""What `--mode` names: train, evaluate, report, explain, sample, export and apply, each on a config, a workdir, or both."""

import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdgan import files
from kdgan.run import formats
from kdgan.run.config import ConfigError, plain

if TYPE_CHECKING:
    pass

# Fields whose change asks for nothing to be trained or measured again.
FREE = ("log", "checkpoint", "profile", "report", "parallel")
FREE_DATA = ("data_dir", "memory_mb", "workers", "prefetch")


def train(
    config: Any, workdir: str | pathlib.Path | None, *, data: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None, reset: Sequence[str] = (), accept_changed_inputs: bool = False,
    show: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train what is not trained yet, evaluate, write summary and report; print the table. Returns the summary.

    Args:
      config: every field, as `kdgan.get_config()` makes them; None: the one that the workdir was made with.
      workdir: folder of the run; made where it is absent, gone on with where it holds a part of this run.
      data: {"train": ..., "test": ...} of data sets, as `kdgan.data.from_arrays` makes them, in place of what
        `config.data.name` names; and under the name of a stage the same for data of its own.
      models: Flax modules that players name, handed over in Python: {"python:mine": module}, and a player's
        `model="python:mine"`. The name stands for the module when the run goes on.
      reset: stages to train anew.
      accept_changed_inputs: go on though data or start checkpoints are not what they were.
      show: print the table.

    Raises:
      ConfigError: a mistake in the config or the data, by its field, before anything compiles.
      DivergedError, Stopped: as `kdgan.run.train.train`.
    """
    from kdgan.run import stage_data
    from kdgan.run import train as loop
    from kdgan.run.prepare import prepare

    if workdir is None:
        raise ConfigError("--workdir is missing: name the folder of the run's files")
    workdir = files.folder(workdir)
    config = recorded_config(workdir) if config is None else config
    config = config if data is None else stage_data.handed_over(config, data)
    complete = is_complete(workdir) and not reset and not accept_changed_inputs
    formats.read(workdir)
    if complete and _asks(config) == _asks(recorded_config(workdir)):
        if data is not None:  # a name says nothing of arrays
            prepare(config, workdir, data=data, models=models, accept_changed_inputs=accept_changed_inputs)
        print(f"The run in {workdir} is complete; nothing is left to train.")
        summary = files.read_json(workdir / "summary.json")
    else:
        keep_compiled(config)
        summary = loop.train(
            config, workdir, data=data, models=models, reset=reset, accept_changed_inputs=accept_changed_inputs
        )
    report(config, workdir, show=show)
    return summary


def _asks(config: Any) -> dict[str, Any]:
    """What of a config is asked for; `parallel.compute` is the only field of its kind that numbers follow from."""
    raw = plain(config)
    asked = {name: value for name, value in raw.items() if name not in FREE}
    data = {name: value for name, value in raw.get("data", {}).items() if name not in FREE_DATA}
    return asked | {"data": data, "compute": raw.get("parallel", {}).get("compute")}


def evaluate(config: Any, workdir: pathlib.Path | None, *, accept_changed_inputs: bool = False) -> None:
    """Measure the trained players of a workdir again, and write summary and report."""
    from kdgan.run import train as loop

    if workdir is None:
        raise ConfigError("--mode=evaluate needs --workdir: the folder of a trained run")
    config = recorded_config(workdir) if config is None else config
    keep_compiled(config)
    loop.train(config, workdir, only_evaluate=True, accept_changed_inputs=accept_changed_inputs)
    report(config, workdir)


def report(config: Any, workdir: pathlib.Path | None, *, show: bool = True) -> None:
    """Write report.html of a run, and print its table; of an unfinished one what is known. Nothing is computed."""
    from kdgan import report as pages

    if workdir is None:
        raise ConfigError("--mode=report needs --workdir: the folder of a run")
    if not _is_writer():
        return
    formats.read(workdir)
    try:
        text = pages.text(workdir)
    except ValueError as error:
        raise ConfigError(f"{error}; run --mode=train first") from error
    if show:
        print("\n" + text)
    print(f"\nreport: {pages.write(workdir)}")


def explain(
    config: Any, workdir: pathlib.Path | None, *, reset: Sequence[str] = (), accept_changed_inputs: bool = False,
    features: str = "none",
) -> None:  # fmt: skip
    """Print what a run would do, or does, and do nothing; what training would refuse is refused.

    Args:
      config: as `train`.
      workdir: as `train`; None: the run is explained as one that begins.
      reset: as `train`.
      accept_changed_inputs: as `train`.
      features: which modules of the networks are listed with their shapes: "none", "outer" or "all".

    Raises:
      ConfigError: as `train`, but for a workdir that is in use.
    """
    from kdgan.run import explain_features
    from kdgan.run.prepare import prepare

    if config is None and workdir is None:
        raise ConfigError("--mode=explain needs --config, or --workdir of a run")
    config = recorded_config(workdir) if config is None else config
    prepared = prepare(config, workdir, reset=reset, accept_changed_inputs=accept_changed_inputs)
    print(prepared.explanation())
    if features != "none" and (listed := explain_features.explain(prepared.programs, every=features == "all")):
        print(f"\n{listed}")


MAX_SIDE = 16_384  # pixels of a grid


def sample(
    config: Any, workdir: pathlib.Path | None, *, num: int, grid: pathlib.Path | None, columns: int | None, seed: int,
    label: int | None, **which: Any,
) -> None:  # fmt: skip
    """Draw `num` images from a trained generator of a workdir into one PNG.

    Raises:
      ConfigError: no such generator, or a grid that is empty or too large.
    """
    if workdir is None:
        raise ConfigError("--mode=sample needs --workdir: the folder of a trained run")
    if num < 1 or (columns is not None and not 1 <= columns <= num):
        raise ConfigError(f"--num={num}, --columns={columns}: at least one image, and 1 to {max(num, 1)} columns")
    path = grid or workdir / "grid.png"
    if path.suffix != ".png":
        raise ConfigError(f"--grid={path}: a name that ends in .png is wanted")
    import jax

    from kdgan import pictures
    from kdgan.run import sampling

    keep_compiled(recorded_config(workdir))
    columns = columns or math.ceil(math.sqrt(num))
    draw = sampling.load(workdir, **which)
    height, width = draw(jax.random.key(seed), 1, label).shape[1:3]
    size = (math.ceil(num / columns) * height, columns * width)
    if max(size) > MAX_SIDE:
        raise ConfigError(
            f"--num={num}: a grid of {size[1]}×{size[0]} pixels; up to {MAX_SIDE:,} a side are accepted: fewer images, or"
            " another --columns"
        )
    images = draw(jax.random.key(seed), num, label)
    files.write_atomic(path, pictures.png(pictures.grid(images, columns)))
    print(f"{num} images: {path}")


def export(config: Any, workdir: pathlib.Path | None, *, out: pathlib.Path | None, **which: Any) -> None:
    """Write a trained player's files, and print the table of what they measure.

    Raises:
      ConfigError: as `kdgan.run.export.export`.
    """
    if workdir is None:
        raise ConfigError("--mode=export needs --workdir: the folder of a trained run")
    if not _is_writer():
        return
    from kdgan.run import claim
    from kdgan.run import export as exports

    claim.remembered(workdir)  # says what is no workdir of a run
    keep_compiled(recorded_config(workdir))
    exported = exports.export(workdir, out, **which)
    for artefact in exported.artefacts:
        print(f"{artefact.path} ({artefact.bytes:,} bytes)")
    if exported.table:
        print(f"\n{exported.table}\n\ntable: {exported.artefacts[0].path.parent / exports.TABLE}")


def apply(
    config: Any, workdir: pathlib.Path | None, *, source: str | None, target: str | None, style: Sequence[str] | None,
    tile: int | None, colour: str, overwrite: bool, player: str | None, stage: str | None, arm: str | None, **which: Any,
) -> None:  # fmt: skip
    """Run a trained player that makes an image of an image on a file, or on a folder of them.

    Raises:
      ConfigError: no such player; what cannot be read or written; of a folder once all other files are done.
    """
    if workdir is None:
        raise ConfigError("--mode=apply needs --workdir: the folder of a trained run")
    if not source or not target:
        missing = "output" if source else "input"
        raise ConfigError(
            f"--{missing} is missing: an image, or a folder of them, as --input=photo.jpg --output=out.png"
        )
    if not _is_writer():
        return
    from kdgan.run import claim, progress, restoring
    from kdgan.run.export import chosen_arm

    claim.remembered(workdir)  # says what is no workdir of a run
    keep_compiled(recorded_config(workdir))
    chosen = chosen_arm(workdir, player, stage) if arm is None else None
    arm = arm if chosen is None else chosen.arm
    restore = restoring.load(workdir, player=player, stage=stage, arm=arm, **which)
    why = "" if chosen is None or chosen.of < 2 else f" ({chosen.words}, of {chosen.of} arms)"
    print(f"{restore.about}{why}", flush=True)
    is_folder = files.folder(source).is_dir()
    shown = progress.choose(unit="files" if is_folder else "tiles")
    made = restore.apply(
        source, target, style=restoring.style_of(style), tile=tile, colour=colour, overwrite=overwrite, progress=shown
    )
    print(f"{len(made)} files: {target}" if is_folder else f"{made[0]}")


def recorded_config(workdir: pathlib.Path | None) -> Any:
    """The config that a workdir was made with.

    Raises:
      ConfigError: there is none.
    """
    path = None if workdir is None else workdir / "config.json"
    if path is None or not path.exists():
        raise ConfigError(f"--config is missing, and workdir {workdir} holds no run that remembers one")
    try:
        return files.read_json(path)
    except ValueError as error:
        raise ConfigError(f"workdir {workdir}: {error}") from error


def keep_compiled(config: Any) -> None:
    """Compiled programs go to the user's cache folder, unless the config says no."""
    from kdgan import parallel
    from kdgan.data import cache

    if plain(config).get("parallel", {}).get("keep_compiled", False):
        parallel.keep_compiled(cache.cache_dir() / "compiled")


def is_complete(workdir: pathlib.Path) -> bool:
    """Whether a workdir has the summary of the run that claimed it last."""
    summary, config = workdir / "summary.json", workdir / "config.json"
    if not summary.exists() or not config.exists():
        return summary.exists()
    try:
        written = files.read_json(summary)
    except ValueError:  # damaged: it is written again
        return False
    return isinstance(written, Mapping) and written.get("config") == files.read_json(config)


def _is_writer() -> bool:
    """Whether this process writes, without importing JAX where nothing else did (a report needs none)."""
    return "jax" not in sys.modules or sys.modules["jax"].process_index() == 0
