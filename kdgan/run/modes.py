"""What `--mode` names: train, evaluate, report, explain and sample, each on a config, a workdir, or both."""

import math
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdgan.run import files
from kdgan.run.config import ConfigError, plain

if TYPE_CHECKING:
    from kdgan.data import Dataset


def train(
    config: Any, workdir: str | pathlib.Path | None, *, data: Mapping[str, "Dataset"] | None = None
) -> dict[str, Any]:
    """Train what is not trained yet, evaluate, write summary and report; print the table. Returns the summary.

    Args:
      config: every field, as `kdgan.get_config()` makes them; None: the one that the workdir was made with.
      workdir: folder of the run; made where it is absent, gone on with where it holds a part of this run.
      data: {"train": ..., "test": ...} of data sets, as `kdgan.data.from_arrays` makes them, in place of what
        `config.data.name` names.

    Raises:
      ConfigError: a mistake in the config or the data, by its field, before anything compiles.
      DivergedError, Stopped: as `kdgan.run.train.train`.
    """
    from kdgan.run import inputs
    from kdgan.run import train as loop

    if workdir is None:
        raise ConfigError("--workdir is missing: name the folder of the run's files")
    workdir = pathlib.Path(workdir).expanduser()
    config = recorded_config(workdir) if config is None else config
    config = config if data is None else inputs.handed_over(config, data)
    if is_complete(workdir) and not loop.conflicts(workdir, plain(config)):
        print(f"The run in {workdir} is complete; nothing is left to train.")
        summary = files.read_json(workdir / "summary.json")
    else:
        keep_compiled(config)
        summary = loop.train(config, workdir, data=data)
    report(config, workdir)
    return summary


def evaluate(config: Any, workdir: pathlib.Path | None) -> None:
    """Measure the trained players of a workdir again, and write summary and report."""
    from kdgan.run import train as loop

    if workdir is None:
        raise ConfigError("--mode=evaluate needs --workdir: the folder of a trained run")
    config = recorded_config(workdir) if config is None else config
    keep_compiled(config)
    loop.train(config, workdir, only_evaluate=True)
    report(config, workdir)


def report(config: Any, workdir: pathlib.Path | None) -> None:
    """Print the table of a finished run and write its report.html; nothing is computed."""
    from kdgan import report as pages

    if workdir is None:
        raise ConfigError("--mode=report needs --workdir: the folder of a finished run")
    if not _is_writer():
        return
    if not is_complete(workdir):
        raise ConfigError(f"workdir {workdir} holds no finished run (no summary.json); run --mode=train first")
    print("\n" + pages.text(workdir))
    print(f"\nreport: {pages.write(workdir)}")


def explain(config: Any, workdir: pathlib.Path | None) -> None:
    """Print what a run would do, or does, and do nothing."""
    from kdgan.run import explain as explanation
    from kdgan.run import inputs, stage
    from kdgan.run.config import resolve

    if config is None and workdir is None:
        raise ConfigError("--mode=explain needs --config, or --workdir of a run")
    run = resolve(recorded_config(workdir) if config is None else config)
    loaded = inputs.load(run)
    print(explanation.explain(run, loaded, stage.build_all(run, loaded)))


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

    from kdgan.report import grids
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
    grids.save_png(path, grids.grid(draw(jax.random.key(seed), num, label), columns))
    print(f"{num} images: {path}")


def recorded_config(workdir: pathlib.Path | None) -> Any:
    """The config that a workdir was made with.

    Raises:
      ConfigError: there is none.
    """
    path = None if workdir is None else workdir / "config.json"
    if path is None or not path.exists():
        raise ConfigError(f"--config is missing, and workdir {workdir} holds no run that remembers one")
    return files.read_json(path)


def keep_compiled(config: Any) -> None:
    """Compiled programs go to the user's cache folder, unless the config says no."""
    from kdgan import parallel
    from kdgan.data import cache

    if plain(config).get("parallel", {}).get("keep_compiled", False):
        parallel.keep_compiled(cache.cache_dir() / "compiled")


def is_complete(workdir: pathlib.Path) -> bool:
    return (workdir / "summary.json").exists()


def _is_writer() -> bool:
    """Whether this process writes, without importing JAX where nothing else did (a report needs none)."""
    return "jax" not in sys.modules or sys.modules["jax"].process_index() == 0
