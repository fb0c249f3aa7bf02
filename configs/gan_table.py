"""Tables and curves of distilled generators, from finished runs: results/gan_curves.json, .png, and Markdown. Not a config.

    python -m configs.gan_table runs/gan_curves runs/digits_conditional_gan runs/digits_sngan runs/mnist_gan_distill

A stage with arms is a point: of each arm the distance, precision, recall and coverage of the last step's student, the mean
with its 95 % interval, and differences of the distance, paired by seed, to a GAN of the student alone at equal operations
(`scratch_matched`), with intervals that hold for all arms of the point at once, and Holm's p. Before them these differences
of the points that have that arm stand in one table, those to the same GAN at equal steps (`scratch`) in another. Points of
gan_curves come first and keep their names; others are named by their workdir, and by their stage where it has several.
Points that results/gan_curves.json has of other runs stay; without that file the tables begin anew.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from configs import gan_curves
from configs.tables import compared, differences, origin, shown
from kdgan import files
from kdgan.metrics.intervals import mean_ci
from kdgan.report import numbers

FILE = pathlib.Path(__file__).parent.parent / "results" / "gan_curves.json"
MEASURES = {"fd": 2, "precision": 2, "recall": 2, "coverage": 2}  # measure -> decimals
AGAINST = "scratch_matched"
AXES = {  # panel of the picture -> its points by what they vary
    "student's width, as a part of the teacher's": {
        1 / 2: "width_2",
        1 / 4: "width_4",
        1 / 8: "width_8",
        1 / 16: "width_16",
    },
    "training images": {20: "images_20", 50: "images_50", 200: "images_200", 1097: "width_2"},
    "steps": {200: "steps_200", 600: "steps_600", gan_curves.STEPS: "width_8", 5000: "steps_5000"},
}


def read(workdirs: Sequence[str | pathlib.Path]) -> dict[str, Any]:
    """What results/gan_curves.json holds: point -> its seeds, steps, teacher, device, and of each arm its values and cost.

    Raises:
      ValueError: two workdirs have a point of the same name.
    """
    points: dict[str, Any] = {}
    for workdir in map(pathlib.Path, workdirs):
        summary = files.read_json(workdir / "summary.json")
        stages = {name: stage for name, stage in summary["stages"].items() if len(stage["arms"]) > 1}
        teacher = _measured(summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"])
        for stage, of_stage in stages.items():
            alone = workdir.name if len(stages) == 1 else f"{workdir.name} {stage}"
            name = stage if stage in gan_curves.POINTS else alone
            if name in points:
                raise ValueError(f"{workdir}: the point {name!r} stands in a workdir before it")
            points[name] = {
                "distance": summary["measures"]["fd"]["head"],
                **origin(summary),
                "steps": of_stage["steps"],
                "teacher": teacher,
                "rows": {arm: _arm(record) for arm, record in of_stage["arms"].items()},
            }
    return points


def ordered(points: Mapping[str, Any]) -> dict[str, Any]:
    """Points of gan_curves in its order, others behind them as they stand."""
    return {name: points[name] for name in dict.fromkeys([*gan_curves.POINTS, *points]) if name in points}


def _arm(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_measured(record["players"]["student"]),
        "operations": record["train_flops"],
        "seconds": record["train_seconds"],
    }


def _measured(player: Mapping[str, Any]) -> dict[str, Any]:
    """Measure -> mean and half width; and "values", of each measure by seed."""
    of = {name: player[name] for name in MEASURES}
    return {
        **{name: [one["mean"], one["ci95"]] for name, one in of.items()},
        "values": {name: one["values"] for name, one in of.items()},
    }


def markdown(of_point: Mapping[str, Any]) -> str:
    """The table of a point: arms in their order, the teacher first."""
    rows = of_point["rows"]
    against = AGAINST if AGAINST in rows else next(iter(rows))
    apart = differences(rows, "fd", against)
    teacher = " | ".join(shown(of_point["teacher"][name], 1, digits) for name, digits in MEASURES.items())
    lines = [
        f"| | {of_point['distance']} | precision | recall | coverage | GFLOP | distance − {against} | Holm's p |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
        f"| teacher | {teacher} | | | |",
    ]
    for arm, row in rows.items():
        cells = [shown(row[name], 1, digits) for name, digits in MEASURES.items()]
        cells.append(numbers.MISSING if row["operations"] is None else f"{row['operations'] / 1e9:,.0f}")
        cells += ["", ""] if arm == against else compared(apart[arm], 1, 2)
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def overview(points: Mapping[str, Any], against: str = AGAINST) -> str:
    """A row for each point that has this arm: its distance, and each other arm's difference to it.

    Bold: the interval, which holds for all arms of the point at once, leaves zero out.
    """
    of_points = {name: point["rows"] for name, point in points.items() if against in point["rows"]}
    arms = list(dict.fromkeys(arm for rows in of_points.values() for arm in rows if arm != against))
    lines = [f"| | distance | {against} | {' | '.join(arms)} |", f"|:--|:--|{'--:|' * (1 + len(arms))}"]
    for name, rows in of_points.items():
        apart = differences(rows, "fd", against)
        cells = [_apart(apart[arm]) if arm in apart else "" for arm in arms]
        distance = shown(rows[against]["fd"], 1, MEASURES["fd"])
        lines.append(f"| {name} | {points[name]['distance']} | {distance} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _apart(difference: Mapping[str, Any]) -> str:
    text, _ = compared(difference, 1, MEASURES["fd"])
    clear = difference["ci95"] is not None and abs(difference["mean"]) > difference["ci95"]
    return f"**{text}**" if clear else text


def draw(points: Mapping[str, Any], path: pathlib.Path) -> None:
    """FD over width, images and steps, a line for each arm, with the intervals of the means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = {title: {x: points[name] for x, name in axis.items() if name in points} for title, axis in AXES.items()}
    figure, panels = pyplot.subplots(1, len(AXES), figsize=(13, 4.2), sharey=True, layout="constrained")
    for panel, (title, axis) in zip(panels, drawn.items(), strict=True):
        arms = dict.fromkeys(arm for of_point in axis.values() for arm in of_point["rows"])
        for arm in arms:
            rows = {x: of_point["rows"][arm] for x, of_point in axis.items() if arm in of_point["rows"]}
            means = [mean_ci(row["values"]["fd"]) for row in rows.values()]
            panel.errorbar(
                list(rows), [one["mean"] for one in means], yerr=[one["ci95"] or 0.0 for one in means], label=arm,
                marker="o", markersize=3, linewidth=1.2, elinewidth=0.7, capsize=2,
            )  # fmt: skip
        panel.set(xscale="log", yscale="log", xlabel=title)
        panel.set_xticks(list(axis), [f"1/{round(1 / x)}" if x < 1 else f"{x:,}" for x in axis])
        panel.minorticks_off()
    panels[0].set_ylabel("FD-cnn, lower is better")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(workdirs: Sequence[str]) -> None:
    points = ordered({**(files.read_json(FILE) if FILE.is_file() else {}), **read(workdirs)})
    files.write_json(FILE, points)
    draw(points, FILE.with_suffix(".png"))
    for against in (AGAINST, "scratch"):
        print(overview(points, against))
    for name, of_point in points.items():
        print(f"### {name}\n\n{markdown(of_point)}")


if __name__ == "__main__":
    main(sys.argv[1:])
