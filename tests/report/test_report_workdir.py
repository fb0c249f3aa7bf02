"""Reading a workdir, and `make_workdir`: a run of two stages as the other tests of the report want one.

The summaries here are as older versions wrote them; `with_measures` gives them what is written now.
"""

import json
import pathlib

import numpy as np
import pytest
from scipy import stats

from kdgan.older import upgraded
from kdgan.report.read import read

SEEDS = 5
ARMS = {"scratch": 0.900, "kd": 0.921, "kdgan": 0.934}
CLASSES = [str(i) for i in range(10)]
TEST = 360
# Segments of a digit, as rows and columns of an 8×8 image: top, middle, bottom, and the four uprights.
SEGMENTS = {"t": (0, slice(2, 6)), "m": (3, slice(2, 6)), "b": (7, slice(2, 6)), "lt": (slice(0, 4), 2),
            "rt": (slice(0, 4), 5), "lb": (slice(3, 8), 2), "rb": (slice(3, 8), 5)}  # fmt: skip
DIGITS = ("t b lt rt lb rb", "rt rb", "t m b rt lb", "t m b rt rb", "m lt rt rb", "t m b lt rb", "t m b lt lb rb",
          "t rt rb", "t m b lt rt lb rb", "t m b lt rt rb")  # fmt: skip


def summarised(values):
    """As summary.json has it; the interval by SciPy."""
    x = np.asarray(values, float)
    half = float(stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)) if len(x) > 1 else None
    return {
        "mean": float(x.mean()),
        "std": float(x.std(ddof=1)) if len(x) > 1 else 0.0,
        "ci95": half,
        "values": x.tolist(),
    }


TRAINED = {"trained": True, "shared": False, "start": "fresh"}


def left_by(stage, arm="main", player="teacher", trained=False):
    """The record of a player that an earlier stage left: frozen, or trained further."""
    return {"trained": trained, "shared": False, "start": "stage", "stage": stage, "arm": arm, "player": player}


def read_from(*members, trained=False, player="teacher"):
    """The record of a player from a checkpoint, and the member that each seed took."""
    return {"trained": trained, "shared": not trained and len(set(members)) == 1, "start": "checkpoint",
            "checkpoint": "runs/t/checkpoints/teacher/00000400", "arm": "main", "player": player,
            "members": list(members), "digests": [f"{member}" for member in members]}  # fmt: skip


def as_older(summary):
    """A summary as an older version wrote it."""
    return {name: value for name, value in summary.items() if name not in ("measures", "notes", "figures")}


def with_measures(summary, arrays=None):
    """A summary with the measures, notes and figures that are written now."""
    return upgraded(as_older(summary), arrays or {})[0]


def make_summary(seeds=SEEDS, arms=ARMS, validated=True):
    return with_measures(older_summary(seeds, arms, validated))


def older_summary(seeds=SEEDS, arms=ARMS, validated=True):
    rng, other = np.random.default_rng(0), np.random.default_rng(7)
    lucky = rng.normal(0, 0.004, seeds)  # what a seed gives to every arm

    def player(accuracy, agreement=None, spread=0.002):
        correct = np.clip(accuracy + lucky + rng.normal(0, spread, seeds), 0, 1)
        metrics = {"accuracy": summarised(correct), "nll": summarised(3.2 * (1 - correct) + rng.normal(0, 0.005, seeds)),
                   "ece": summarised(0.35 * (1 - correct) + rng.uniform(0, 0.004, seeds))}  # fmt: skip
        return metrics | ({} if agreement is None else {"agreement": summarised(agreement + lucky)})

    teacher = player(0.972)
    stage = {
        "teacher": {"arms": {"main": {"players": {"teacher": teacher, "teacher (best by validation)": player(0.971)},
                             "origins": {"teacher": TRAINED}}},
                    "steps": 400, "seconds": 17.4, "steps_per_second": 114.9},
        "distill": {"arms": {}, "steps": 600, "seconds": 31.9, "steps_per_second": 282.1},
    }  # fmt: skip
    for arm, accuracy in arms.items():
        players = {"student": player(accuracy, accuracy - 0.008),
                   "student (best by validation)": player(accuracy - 0.001, accuracy - 0.009)}  # fmt: skip
        if arm == "kd":
            players = {"teacher": teacher, **players}
        if arm == "kdgan":
            players |= {"teacher": player(0.975), "teacher (best by validation)": player(0.974)}
        origins = {name: TRAINED for name in players if name == "student"}
        if "teacher" in players:
            origins["teacher"] = left_by("teacher", trained=arm == "kdgan")
        stage["distill"]["arms"][arm] = {"players": players, "origins": origins}
    for of_stage in stage.values() if validated else ():
        for record in of_stage["arms"].values():
            record["validation"] = {
                name: {metric: summarised(np.array(found["values"]) + 0.003 + other.normal(0, 0.0005, seeds))
                       for metric, found in metrics.items() if metric != "agreement"}
                for name, metrics in record["players"].items() if "(" not in name and metrics is not teacher
            }  # fmt: skip
    if validated:
        stage["teacher"]["arms"]["main"]["validation"] = {"teacher": {"accuracy": summarised([0.97] * seeds)}}
    methods = {arm: {"method": {"name": arm}, "lambdas": {"student": {"ce": 0.1, "kd": 0.9}}} for arm in arms}
    return {
        "config": {"seed": 0, "data": {"name": "digits", "labelled": 200, "augment": {}}, "population": {"seeds": seeds},
                   "players": {"teacher": {"model": "cnn"}, "student": {"model": "mlp", "model_args": {"hidden": [16]}}},
                   "stages": {"teacher": {"steps": 400, "lambdas": {"teacher": {"ce": 1.0}}},
                              "distill": {"steps": 600, "start": {"teacher": "teacher"}, "arms": methods}}},
        "data": {"name": "digits", "class_names": CLASSES,
                 "sizes": {"train": 200, "validation": 200, "unlabelled": 1037, "test": TEST}},
        "stages": stage,
        "cost": {"teacher": {"parameters": 61_706, "bytes": 246_824, "flops": 842_112.0,
                             "latency_ms": {"1": 0.1834, "64": 0.0711}, "empty_call_ms": 0.02},
                 "student": {"parameters": 1_210, "bytes": 4_840, "flops": 2_400.0,
                             "latency_ms": {"1": 0.0312, "64": 0.00234}, "empty_call_ms": 0.02}},
        "environment": {"device": "1 × cpu (cpu)", "processes": 1, "jax": "0.10.2", "python": "3.11.9", "kdgan": "0.1.0"},
    }  # fmt: skip


def make_metrics(seeds=SEEDS, arms=ARMS, validation=True):
    rng = np.random.default_rng(1)
    lines = []
    plan = [("teacher", "main", 400, ["teacher"], {"teacher": 0.97})]
    for arm, accuracy in arms.items():
        trained = ["discriminator", "teacher", "student"] if arm == "kdgan" else ["student"]
        plan.append(
            ("distill", arm, 600, trained, {"student": accuracy, **({"teacher": 0.974} if arm == "kdgan" else {})})
        )
    terms = {"scratch": ["ce"], "kd": ["ce", "kd"], "kdgan": ["ce", "kd", "adv"], "main": ["ce"]}
    for stage, arm, steps, trained, final in plan:
        for seed in range(seeds):
            for step in range(steps // 40, steps + 1, steps // 40):
                progress = 1 - np.exp(-5 * step / steps)
                own = {}
                for player in trained:
                    names = ["real", "student", "teacher"] if player == "discriminator" else terms.get(arm, ["ce"])
                    level = 2.3 * (1 - progress) + 0.05
                    values = {name: level * (1 + 0.3 * i) * np.exp(rng.normal(0, 0.15)) for i, name in enumerate(names)}
                    own |= {f"{player}/{name}": value for name, value in values.items()}
                    own[f"{player}/loss"] = sum(values.values())
                    own |= {f"lambda/{player}/{name}": 0.5 for name in names}
                if arm == "kdgan":
                    own["lambda/student/adv"] = step / steps
                head = {"step": step, "stage": stage, "arm": arm, "seed": seed}
                lines.append({**head, "split": "train", **own})
                if validation and step % (steps // 10) == 0:
                    measured = {}
                    for player, accuracy in final.items():
                        reached = accuracy - 0.6 * (1 - progress) ** 1.5 + rng.normal(0, 0.004)
                        measured |= {f"{player}/accuracy": reached, f"{player}/nll": 3 * (1 - reached) + 0.02}
                    lines.append({**head, "split": "validation", **measured})
    return lines


def make_evaluation(seeds=SEEDS, arms=ARMS):
    rng = np.random.default_rng(2)
    label = rng.permutation(np.arange(TEST) % 10)
    close = np.array([6, 7, 3, 8, 9, 3, 8, 1, 3, 4])  # what each digit is taken for

    def predicted(accuracy, n):
        wrong = rng.random((n, TEST)) > accuracy
        return np.where(
            wrong, np.where(rng.random((n, TEST)) < 0.7, close[label], rng.integers(0, 10, (n, TEST))), label
        )

    arrays = {"label": label, "prediction/teacher/main/teacher": predicted(0.97, seeds)}
    for arm, accuracy in arms.items():
        arrays[f"prediction/distill/{arm}/student"] = predicted(accuracy, seeds)
    students, teacher = (
        arrays[f"prediction/distill/{list(arms)[-1]}/student"],
        arrays["prediction/teacher/main/teacher"],
    )
    index = np.flatnonzero(students[0] != teacher[0])[:24]
    images = np.zeros((len(index), 8, 8, 1))
    for image, digit in zip(images, label[index], strict=True):
        for segment in DIGITS[digit].split():
            image[SEGMENTS[segment]] = 220
    images += rng.normal(0, 18, images.shape)
    return arrays | {
        "disagreement/image": np.clip(images, 0, 255).astype(np.uint8), "disagreement/index": index,
        "disagreement/student": students[0][index], "disagreement/teacher": teacher[0][index],
        "disagreement/about": np.array(f"distill/{list(arms)[-1]}/0"),
    }  # fmt: skip


EXPLANATION = """\
data      digits: 10 classes, images 8×8×1; train 200 labelled (class-balanced, drawn by seed), validation 200, test 360
          on the device

stage     distill: 600 steps of 64
players   teacher        cnn                      61,706 parameters    0.842 MFLOP   adam constant 0.001 (from teacher/main)
          student        mlp                       1,210 parameters   0.0024 MFLOP   adam constant 0.001
moves     scratch: student        1·ce
          kd: student        0.1·ce + 0.9·kd(T=4)
members   5 seeds × 3 arms, in turn; 3 compiled steps
          a member's step: 2.3 MFLOP; memory about 3.1 MiB: 86 KiB data + 2.8 MiB states + 230 KiB a step's own
"""


def make_workdir(
    folder, *, seeds=SEEDS, arms=ARMS, summary=None, metrics=None, evaluation=None, explanation=EXPLANATION
):
    """Write the files of a run of an older version; pass a file's content to replace it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    summary = older_summary(seeds, arms) if summary is None else summary
    (folder / "summary.json").write_text(json.dumps(as_older(summary), indent=2))
    lines = make_metrics(seeds, arms) if metrics is None else metrics
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.savez_compressed(
        folder / "evaluation.npz", **(make_evaluation(seeds, arms) if evaluation is None else evaluation)
    )
    (folder / "explanation.txt").write_text(explanation)
    return folder


def test_files_are_read_as_they_are(tmp_path):
    folder = make_workdir(tmp_path / "quick")
    found = read(folder)
    assert found.name == "quick"
    assert found.summary["cost"]["student"]["parameters"] == 1210
    assert len(found.metrics) == len((folder / "metrics.jsonl").read_text().splitlines())
    assert found.evaluation["prediction/distill/kd/student"].shape == (SEEDS, TEST)
    assert found.explanation == EXPLANATION


def test_a_run_that_goes_on_has_fewer_files_and_perhaps_half_a_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "stage": "s", "arm": "a"}\n{"step": 2, "sta')
    found = read(tmp_path)
    assert [line["step"] for line in found.metrics] == [1]
    assert not found.summary
    assert not found.explanation
    assert not found.evaluation


def test_damaged_or_absent_workdirs_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "summary.json").write_text('{"half')
    with pytest.raises(ValueError, match=r"summary\.json"):
        read(tmp_path)
