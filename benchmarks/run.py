"""kdgan beside PyTorch and beside JAX by hand: the command of the benchmarks.

    python -m benchmarks.run --suite=kd --device=auto
    python -m benchmarks.run                              # all suites, each in a process of its own
    python -m benchmarks.run --quick                      # small sizes: only whether all of it works

Writes each suite's part into benchmarks/results/<device>.json, and the tables of benchmarks/README.md from it. A quick run
writes neither: its results go to runs/benchmarks.
"""

import argparse
import datetime
import importlib
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measure import QUICK, Effort, Setting

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUICK_RESULTS = ROOT / "runs" / "benchmarks"
PIECES = ("mlp", "mlp_lenet", "resnet20", "resnet8x4", "host")  # of the suites kd and population
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def suites() -> dict[str, Callable[[Setting, Callable[[str], None]], Any]]:
    """Suite -> what measures it, imported when it runs."""

    def step_suite(name):
        return lambda setting, say: importlib.import_module("benchmarks.steps").measure(name, setting, say)

    def suite(module):
        return lambda setting, say: importlib.import_module(f"benchmarks.{module}").measure(setting, say)

    return {
        **{name: step_suite(name) for name in ("kd", "kdgan", "gan")},
        "population": suite("populations"),
        **{name: suite(name) for name in ("features", "images", "epoch", "evaluate", "start", "scaling")},
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="all", help=f"some of {', '.join(suites())}, joined by commas; or all")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"), help="auto: what JAX finds")
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "tf32"), help="of matrix products, of all"
    )
    parser.add_argument("--blocks", type=int, default=Effort().blocks, help="blocks of each of a pair")
    parser.add_argument(
        "--block_seconds", type=float, default=Effort().block_seconds, help="what a block takes at least"
    )
    parser.add_argument("--pieces", default="", help="of the suites kd and population, say resnet20: other rows stand")
    parser.add_argument(
        "--no-fresh", action="store_true", help="without compile time and memory, which take a process each"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few blocks: whether all of it works")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results")
    chosen = parser.parse_args(arguments)
    chosen.suites = list(suites()) if chosen.suite == "all" else chosen.suite.split(",")
    if unknown := [name for name in chosen.suites if name not in suites()]:
        parser.error(f"--suite={unknown[0]}: accepted are {', '.join(suites())}, all")
    chosen.pieces = tuple(filter(None, chosen.pieces.split(",")))
    if unknown := [name for name in chosen.pieces if name not in PIECES]:
        parser.error(f"--pieces={unknown[0]}: accepted are {', '.join(PIECES)}")
    if chosen.pieces and (whole := [name for name in chosen.suites if name not in ("kd", "population")]):
        parser.error(f"--pieces={','.join(chosen.pieces)}: the suite {whole[0]} has no pieces to choose")
    if chosen.blocks < QUICK.blocks:
        parser.error(f"--blocks={chosen.blocks}: an interval wants at least {QUICK.blocks}")
    return chosen


def main() -> None:
    chosen = parse()
    if len(chosen.suites) > 1:
        run_each(chosen)
        return
    # Before JAX is imported. A GPU is shared with PyTorch, and FLOPs are counted on the CPU.
    platforms = {"cpu": "cpu", "gpu": "cuda,cpu"}
    if chosen.device in platforms:
        os.environ["JAX_PLATFORMS"] = platforms[chosen.device]
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
    (suite,) = chosen.suites
    setting = make_setting(chosen)
    path = (chosen.out or (QUICK_RESULTS if chosen.quick else RESULTS)) / f"{device_name()}.json"
    part = suites()[suite](setting, lambda line: print(line, flush=True))
    record(path, suite, part, setting)
    from benchmarks import steps, table

    print("\n" + table.of_suite(suite, part))
    if path.parent == RESULTS:
        table.write()
    print(f"written: {path}")
    if refused := steps.refused(part):
        sys.exit(f"error: these computed something else than kdgan: {'; '.join(refused)}")


def run_each(chosen: argparse.Namespace) -> None:
    """Every suite in a fresh process; those that fail are named at the end, and the others' results stand."""
    rest = [f"--device={chosen.device}", f"--precision={chosen.precision}", f"--blocks={chosen.blocks}"]
    rest += [f"--block_seconds={chosen.block_seconds}", f"--pieces={','.join(chosen.pieces)}"]
    rest += (
        ["--quick"] * chosen.quick + ["--no-fresh"] * chosen.no_fresh + ([f"--out={chosen.out}"] if chosen.out else [])
    )
    failed = []
    for suite in chosen.suites:
        print(f"--- {suite}", flush=True)
        if subprocess.run([sys.executable, "-m", "benchmarks.run", f"--suite={suite}", *rest], check=False).returncode:
            failed.append(suite)
    if failed:
        sys.exit(f"error: these suites did not end well: {', '.join(failed)}")


def make_setting(chosen: argparse.Namespace) -> Setting:
    """What is measured, on the device that JAX has; PyTorch is told the precision."""
    import jax

    from benchmarks import rivals

    effort = QUICK if chosen.quick else Effort(chosen.blocks, chosen.block_seconds)
    device = {"cpu": "cpu", "gpu": "cuda"}[jax.default_backend()]
    setting = Setting(effort, device, chosen.precision, chosen.quick, chosen.pieces, not chosen.no_fresh)
    rivals.set_precision(setting)
    return setting


def device_name() -> str:
    """The device as a file's name."""
    import jax

    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def record(path: pathlib.Path, suite: str, part: Any, setting: Setting) -> None:
    """Put a suite's part into the results of a device; those of other suites stay as they are."""
    import jax

    from kdgan.files import read_json, write_json

    results = read_json(path) if path.exists() else {}
    device = jax.devices()[0]
    former = results.get("suites", {}).get(suite, {}).get("measured", {})
    results |= {"device": device.device_kind, "platform": device.platform, "cores": os.cpu_count()}
    results["suites"] = {
        **results.get("suites", {}),
        suite: {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": {"python": platform.python_version(), **versions()},
            "precision": setting.precision,
            "quick": setting.quick,
            "measured": merged(former, part) if setting.pieces else part,
        },
    }
    write_json(path, results)


def merged(former: Any, part: Any) -> Any:
    """A suite's part with the rows of `former` that were not measured again."""
    if "rows" in part:
        again = {row["name"] for row in part["rows"]}
        return {"rows": [row for row in former.get("rows", []) if row["name"] not in again] + part["rows"]}
    return {**former, **part, "pieces": {**former.get("pieces", {}), **part["pieces"]}}


def versions() -> dict[str, str]:
    """Of the packages that are measured, those that are installed."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
