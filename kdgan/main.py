"""The command line: `python -m kdgan.main --config=configs/x.py --workdir=runs/x`, and other modes on the same workdir.

Exit codes: 0, everything asked for is done; 1, it cannot be done, or diverged, and the message says why; 130, stopped by
Ctrl-C; 143, stopped by SIGTERM. A run that was stopped has saved everything, in all of its processes.
"""

import functools
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from kdgan import files
from kdgan.run import command_line, interrupt
from kdgan.run.config import ConfigError

CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the run; a workdir remembers its own.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run's files; made where it is absent.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "report", "explain", "sample", "export", "apply"],
    "train: train what is not yet trained, evaluate, report. evaluate: measure a trained run again. report: write"
    " report.html again. explain: print what a run would do, and do nothing. sample: draw from a trained generator."
    " export: write a trained player as files of other programs, and judge each as the player is judged."
    " apply: run a trained player that makes an image of an image on a photograph, or on a folder of them."
    " Exit code 130 after Ctrl-C and 143 after SIGTERM, when everything is saved.",
)
RESET = flags.DEFINE_list(
    "reset", [], "train: stages to train anew; what there is of them, and of what started from them, is put aside."
)
ACCEPT_CHANGED_INPUTS = flags.DEFINE_bool(
    "accept_changed_inputs",
    False,
    "train, evaluate: go on though data or start checkpoints are not what they were when the run began; the report says so.",
)
FEATURES = flags.DEFINE_enum(
    "features",
    "outer",
    ["outer", "all", "none"],
    "explain: which modules of the networks are listed, by the paths under which a method asks for features, with shapes.",
)
NUM = flags.DEFINE_integer("num", 64, "sample: number of images.")
GRID = flags.DEFINE_string(
    "grid", None, "sample: the PNG that they are drawn into; grid.png in the workdir by default."
)
COLUMNS = flags.DEFINE_integer("columns", None, "sample: images in a row; about as many as rows by default.")
INPUT = flags.DEFINE_string("input", None, "apply: an image, or a folder of them with its sub-folders.")
OUTPUT = flags.DEFINE_string(
    "output", None, "apply: the file that is made, whose suffix says the format; or a folder, of PNG files."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "apply: replace files that are there.")
TILE = flags.DEFINE_integer("tile", None, "apply: longest side of a tile in pixels; chosen by memory by default.")
COLOUR = flags.DEFINE_enum(
    "colour",
    "luma",
    ["luma", "channels", "grey"],
    "apply: what a player of grey images does with colours. luma: restores the luma and keeps its colours. channels:"
    " restores each channel. grey: makes it grey.",
)
STYLE = flags.DEFINE_list(
    "style", None, "apply: of a player of several styles a class, 3, or a weight for each, 0.5,0.5,0."
)
PLAYER = flags.DEFINE_string(
    "player",
    None,
    "sample: whose images; the last trained generator's by default. export: whose files. apply: who runs.",
)
STAGE = flags.DEFINE_string("stage", None, "sample, export, apply: the stage that trained it; the last by default.")
ARM = flags.DEFINE_string(
    "arm",
    None,
    "sample: the arm of that stage; the last by default. export, apply: of several that have it the best by validation.",
)
MEMBER = flags.DEFINE_integer(
    "member", None, "sample, export, apply: the seed of the run that trained it; the first by default."
)
FORMAT = flags.DEFINE_list(
    "format", None, "export: of onnx, stablehlo, litert, safetensors, msgpack and page those to write; onnx by default."
)
QUANTISE = flags.DEFINE_string(
    "quantise",
    None,
    "export: int8, to write files of 8-bit weights and activations, too, calibrated on training images.",
)
BATCH = flags.DEFINE_integer("batch", None, "export: examples of a call, of a LiteRT file; 1 by default.")
OUT = flags.DEFINE_string("out", None, "export: the folder of the files; exported/ in the workdir by default.")
NORMALISE = flags.DEFINE_bool("normalise", True, "export: files take pixels as they are; else (pixel/255 - mean)/std.")
BEST = flags.DEFINE_bool("best", False, "export, apply: the parameters that were best on the validation split.")
UNFINISHED = flags.DEFINE_bool("unfinished", False, "export: take a player whose training is not finished, too.")
JUDGE = flags.DEFINE_bool("judge", True, "export: run each file on the test split, for which the data are loaded.")
SEED = flags.DEFINE_integer("seed", 0, "sample: of the noise.")
LABEL = flags.DEFINE_integer("label", None, "sample: the class, of a conditional generator; all in turn by default.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0 of a run on several hosts, or 'auto'.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of a run on several hosts.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process, 0 .. num_processes-1.")


def main(arguments) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected arguments {arguments[1:]}; every option starts with --")
    logging.getLogger("jax").setLevel(logging.WARNING)  # not which plugins it looked for
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # nor that it looked for fonts
    try:
        places = (WORKDIR.value, GRID.value, OUT.value)
        workdir, grid, out = (None if place is None else files.folder(place) for place in places)
        if OUT.value == "":
            raise ValueError("--out=: the name is empty; a folder, or a new name, is accepted")
        if workdir is not None:
            check_workdir(WORKDIR.value or "", workdir)
        if MODE.value != "report":
            start_jax()
        elif PROCESS_ID.value or int(os.environ.get("KDGAN_PROCESS_ID") or 0):
            return  # a report needs no JAX, and process 0 writes it
    except ValueError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    # Imported here, so that --help and a misspelt flag answer at once.
    from kdgan.run import modes
    from kdgan.run.interrupt import DivergedError, Stopped

    sample = functools.partial(
        modes.sample, num=NUM.value, grid=grid, columns=COLUMNS.value,
        seed=SEED.value, label=LABEL.value, player=PLAYER.value, stage=STAGE.value, arm=ARM.value, member=MEMBER.value,
    )  # fmt: skip
    export = functools.partial(
        modes.export, out=out, formats=FORMAT.value, quantise=QUANTISE.value, batch=BATCH.value,
        normalise=NORMALISE.value, best=BEST.value, unfinished=UNFINISHED.value, judge=JUDGE.value,
        player=PLAYER.value, stage=STAGE.value, arm=ARM.value, member=MEMBER.value,
    )  # fmt: skip
    apply = functools.partial(
        modes.apply, source=INPUT.value, target=OUTPUT.value, tile=TILE.value, colour=COLOUR.value, style=STYLE.value,
        overwrite=OVERWRITE.value, best=BEST.value, player=PLAYER.value, stage=STAGE.value, arm=ARM.value,
        member=MEMBER.value,
    )  # fmt: skip
    accept: dict[str, Any] = {"accept_changed_inputs": ACCEPT_CHANGED_INPUTS.value}
    run: dict[str, Callable] = {
        "train": functools.partial(modes.train, reset=RESET.value, **accept),
        "evaluate": functools.partial(modes.evaluate, **accept),
        "report": modes.report,
        "explain": functools.partial(modes.explain, reset=RESET.value, features=FEATURES.value, **accept),
        "sample": sample,
        "export": export,
        "apply": apply,
    }
    try:
        run[MODE.value](CONFIG.value, workdir)
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:  # before the first step, or asked a second time
        print("interrupted; what was saved before is kept", flush=True)
        sys.exit(130)
    except (ConfigError, DivergedError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # a full or read-only disk, a folder that may not be read
        sys.exit(f"error: {' '.join(str(error).split())}")


def check_workdir(given: str, workdir: pathlib.Path) -> None:
    """Refuse a name under which no folder can be made."""
    there = next((path for path in (workdir, *workdir.parents) if path.exists()), workdir)
    if not given or not there.is_dir():
        what = f"{there} is a file" if given else "the name is empty"
        raise ValueError(f"--workdir={given}: {what}; a folder, or a new name, is accepted")


def start_jax() -> None:
    """Join the other processes of a run, and look for a device.

    Raises:
      ValueError: a variable JAX_... of the environment has a value that JAX does not take, or flags do not fit together.
    """
    from kdgan import parallel

    parallel.start_processes(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    parallel.check_platform()


def parse_flags(arguments: list[str]) -> list[str]:
    """The usual parsing, where a mistake in --config or in one of its fields is one line and no traceback."""
    flags.FLAGS["config"].parser = command_line.ConfigParser()
    given = command_line.overridden(arguments)
    if given and not any(re.match(r"--?config(=|$)", argument) for argument in arguments):
        sys.exit(f"error: --config.{given[0]}: name the file of the config before its fields, --config=FILE")
    try:
        return flags.FLAGS(arguments)
    except (command_line.CommandLineError, flags.Error) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    interrupt.end_at_once()
    app.run(main, flags_parser=parse_flags)
