"""The tables of benchmarks/README.md, from the results on the disk: no number there is typed by hand.

    python -m benchmarks.table

Every results/<device>.json gets its section between the two marks.
"""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import plot
from benchmarks.names import NAMES
from kdgan.files import read_json, write_atomic

FOLDER = pathlib.Path(__file__).parent
README, RESULTS = FOLDER / "README.md", FOLDER / "results"
BEGIN, END = "<!-- results: written by benchmarks/table.py -->", "<!-- end of results -->"
NOTHING = "Nothing is measured yet: `make bench`."


def write(readme: pathlib.Path = README, results: pathlib.Path = RESULTS) -> None:
    """Replace what stands between the marks of `readme`; plots are drawn beside the results."""
    sections = []
    for path in sorted(results.glob("*.json")):
        found = read_json(path)
        sections.append(section(path.stem, found))
        if scaling := found.get("suites", {}).get("scaling"):
            picture = path.with_name(f"{path.stem}-scaling.png")
            plot.draw(scaling["measured"], picture)
            sections.append(f"![Time against members, batch and devices](results/{picture.name})")
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    body = "\n\n".join(sections) or NOTHING
    write_atomic(readme, f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")


def section(name: str, results: Mapping[str, Any]) -> str:
    """A device's results: a table for each suite that was measured."""
    parts = [f"### {results['device']} ({results['platform']}), results/{name}.json"]
    for suite, part in results["suites"].items():
        versions = ", ".join(f"{package} {version}" for package, version in part["versions"].items())
        quick = "; **a quick run: not a result**" if part["quick"] else ""
        parts.append(f"#### {suite}\n\n{part['date']}; {part['precision']}; {versions}{quick}")
        parts.append(of_suite(suite, part["measured"]))
    return "\n\n".join(parts)


def of_suite(suite: str, measured: Mapping[str, Any]) -> str:
    """The tables of a suite's part."""
    tables = {
        "population": populations, "features": features, "images": images, "epoch": epoch, "evaluate": evaluate,
        "start": start, "scaling": scaling,
    }  # fmt: skip
    return tables.get(suite, steps)(measured)


def steps(measured: Mapping[str, Any]) -> str:
    """Of the suites kd, kdgan, gan, images and features: ratios, then what a fresh process takes."""
    peak = measured["peak"]["flops_per_second"]
    rows, fresh = [], []
    for row in measured["pieces"].values():
        label = f"{row['title']} (batch {row['batch']})"
        ours = None
        for name, found in row["rivals"].items():
            ours = ours or found.get("kdgan_ms")
            parity = found["parity"].get("gradient")
            rows.append([label, NAMES[name], *_comparison(found), "" if parity is None else f"{parity:.0e}"])
            label = ""
        by_rounding = f"by rounding {row['rounding']:.0e}"
        rows.append(["", "control: JAX by hand twice", *_comparison(row["control"]), by_rounding])
        if "one_step_a_call" in row:
            rows.append(["", "JAX by hand, kdgan one step a call", *_comparison(row["one_step_a_call"]), ""])
        if ours and row["flops"]:
            rate = row["flops"] / (ours / 1e3)
            rows.append(["", f"{rate / 1e9:.3g} GFLOP/s, {rate / peak:.0%} of the peak", "", "", "", "", "", ""])
        fresh += [
            [row["title"], NAMES[way], *(f"{one[k]:.1f}" for k in ("compile_seconds", "to_first_step_seconds")),
             *(f"{one[k]:.0f}" for k in ("peak_mib", "before_mib"))]
            for way, one in row["fresh"].items()
        ]  # fmt: skip
    head = [
        "step",
        "beside",
        "kdgan, ms",
        "other, ms",
        "times as fast",
        "95 % interval",
        "quartiles",
        "gradients apart",
    ]
    found = (
        _table(head, rows) + f"\n\nPeak: {peak / 1e9:.4g} GFLOP/s, a product of {measured['peak']['size']}² matrices."
    )
    head = ["step", "fresh process", "compilation, s", "to the first step, s", "peak memory, MiB", "of it before, MiB"]
    return found + ("\n\n" + _table(head, fresh) if fresh else "")


def features(measured: Mapping[str, Any]) -> str:
    """Steps as of the other suites; then soft labels of networks that are asked for features, too."""
    asked = measured["asked"]
    program = "the same program" if asked["same_program"] else "another program"
    row = [f"soft labels, with {', '.join(asked['features'])} asked for and not read: {program}", "soft labels"]
    head = ["kdgan's step", "beside", "asked, ms", "other, ms", "times as fast", "95 % interval", "quartiles"]
    return "\n\n".join((steps(measured), _table(head, [[*row, *_comparison(asked)]])))


def images(measured: Mapping[str, Any]) -> str:
    """Steps as of the other suites; then the distilled step, and images a second."""
    cached, whole = measured["cached"], measured["inference"]
    per_second = lambda found: (
        "" if "error" in found else f"{1e3 / found['kdgan_ms']:.3g}, {1e3 / found['other_ms']:.3g}"
    )
    rows = [
        [
            f"{whole['title']}, one of {whole['side']}×{whole['side']}",
            NAMES[name],
            *_comparison(found),
            per_second(found),
        ]
        for name, found in whole["rivals"].items()
    ]
    head = ["restored image", "beside", "kdgan, ms", "other, ms", "times as fast", "95 % interval", "quartiles"]
    distilled = [["cached teacher and clean targets", "clean targets alone", *_comparison(cached)]]
    step = ["kdgan's step", "beside", "distilled, ms", "other, ms", "times as fast", "95 % interval", "quartiles"]
    tables = _table(step, distilled), _table([*head, "images a second"], rows)
    return "\n\n".join((steps(measured), *tables))


def populations(measured: Mapping[str, Any]) -> str:
    rows = [
        [row["title"], row["kind"], str(row["members"]), row["way"].replace("_", " "), NAMES[name], *_comparison(found)]
        for row in measured["rows"]
        for name, found in row["rivals"].items()
    ]
    head = ["members' step", "kind", "members", "way", "beside", "kdgan, ms", "other, ms", "times as fast"]
    return _table([*head, "95 % interval", "quartiles"], rows)


def epoch(measured: Mapping[str, Any]) -> str:
    rows = [
        [pipeline.replace("_", " "), NAMES[name], *_comparison(found), f"{found['whole']:.3g}"]
        for pipeline, rivals in measured["pipelines"].items()
        for name, found in rivals.items()
    ]
    head = ["pipeline", "beside", "kdgan, ms a step", "other, ms", "times as fast", "95 % interval", "quartiles"]
    return f"{measured['title']}, epochs of {measured['examples']:,} examples\n\n" + _table([*head, "summed"], rows)


def evaluate(measured: Mapping[str, Any]) -> str:
    rows = [
        [row["title"], f"{row['examples']:,}", str(row["batch"]), NAMES[name], *_comparison(found)]
        for row in measured.values()
        for name, found in row["rivals"].items()
    ]
    head = ["network", "examples", "batch", "beside", "kdgan, ms", "other, ms", "times as fast", "95 % interval"]
    return _table([*head, "quartiles"], rows)


def start(measured: Mapping[str, Any]) -> str:
    parts = ("import_seconds", "build_seconds", "first_call_seconds", "to_first_step_seconds")
    rows = [
        [row["title"], NAMES[way], kind, *(f"{found[part]:.2f}" for part in parts)]
        for row in measured.values()
        for way, kinds in row["ways"].items()
        for kind, found in kinds.items()
    ]
    return _table(["step", "by", "cache", "imports, s", "building, s", "first step, s", "from start to it, s"], rows)


def scaling(measured: Mapping[str, Any]) -> str:
    tables = []
    for axis in ("members", "batch", "devices"):
        curves = measured[axis]
        places = [point[axis] for point in next(iter(curves.values()))]
        rows = [
            [NAMES.get(name, name.replace("_", " ")), *(f"{p['ms']:.3g}" for p in points)]
            for name, points in curves.items()
        ]
        tables.append(_table([f"{axis}: ms a step of all", *(f"{place:,}" for place in places)], rows))
    return f"{measured['title']}\n\n" + "\n\n".join(tables)


def _comparison(found: Mapping[str, Any]) -> list[str]:
    """[kdgan's time, the other's, their ratio, its interval, the ratios' quartiles]."""
    if "error" in found:
        return ["", "", found["error"].replace("|", "/")[:80], "", ""]
    ratio = found["speedup"]
    spans = ["{:.3g} .. {:.3g}".format(*ratio[name]) for name in ("interval95", "quartiles")]
    return [f"{found['kdgan_ms']:.3g}", f"{found['other_ms']:.3g}", f"**{ratio['median']:.3g}**", *spans]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(re.sub(r"\s+", " ", cell) for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    write()
