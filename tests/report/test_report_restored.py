"""Restored images on the page: tiles side by side, error maps, a slider; and quality against operations a pixel."""

import json
import re

import numpy as np
import pytest
from test_report_page import page_of
from test_report_samples import pictures_of

from kdgan import report
from kdgan.evaluators import Measure
from kdgan.metrics.intervals import mean_ci
from kdgan.report import costs, restored
from kdgan.report.read import read

RNG = np.random.default_rng(0)
TRUE = RNG.integers(40, 200, (2, 8, 8, 3)).astype(np.uint8)
OFF = {"teacher": 1, "bicubic": 4, "clean": 3, "kd": 2}  # levels by which what each makes is wrong
GIVEN = TRUE[:, ::-1]


def figure(arm, entry, off, kind="Restored images", reference="figure/reference", values=(30.0, 31.5)):
    return {
        "kind": "restored", "title": kind, "stage": "distill", "arm": arm, "entry": entry, "array": f"figure/{off}",
        "reference": reference, "chosen": False, "values": list(values), "unit": "dB", "true_label": "clean", "note": "",
    }  # fmt: skip


def written(folder, *, figures=None, pixels=True, given=GIVEN, stylish=False):
    psnr = lambda *values: {"psnr": mean_ci(values)}
    origin = lambda trained: {"trained": trained, "start": "fresh", "shared": not trained}
    arms = {
        arm: {
            "players": {"teacher": psnr(33.0), "bicubic": psnr(28.0), "student": psnr(*values)},
            "measured": {name: ["psnr"] for name in ("teacher", "bicubic", "student")},
            "origins": {"teacher": origin(False), "bicubic": origin(False), "student": origin(True)},
            "settings": {"lambdas": {}, "method": {}}, "validation": {"student": psnr(*values)}, "best_on_test": {},
        }
        for arm, values in (("clean", (30.0, 30.4)), ("kd", (31.0, 31.5)))
    }  # fmt: skip
    cost = {name: {"parameters": n, "flops": 64.0 * n, **({"pixels": 64} if pixels else {})}
            for name, n in (("teacher", 10_000), ("bicubic", 0), ("student", 500))}  # fmt: skip
    records = [figure(arm, name, OFF[name]) for arm in arms for name in ("teacher", "bicubic")]
    records += [figure(arm, "student", OFF[arm]) for arm in arms]
    arrays = {f"figure/{off}": np.uint8(TRUE + off) for off in OFF.values()}
    arrays |= {"figure/reference": np.stack([given] if stylish else [given, TRUE]), "figure/same": given}
    measures = {"psnr": Measure("psnr", "PSNR", unit="dB", digits=2).record}
    summary = {
        "config": {}, "data": {"name": "photographs", "class_names": [], "sizes": {"test": 2}}, "measures": measures,
        "notes": [], "evaluators": {}, "cost": cost, "environment": {}, "figures": records if figures is None else figures,
        "stages": {"distill": {"arms": arms, "steps": 10, "seconds": 1.0, "phases": {}, "memory": {}, "cost": cost}},
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    np.savez(folder / "evaluation.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return written(tmp_path_factory.mktemp("runs") / "restored")


@pytest.fixture(scope="module")
def section(workdir):
    return restored.samples(read(workdir), "distill")


def test_every_image_has_its_row_in_the_order_of_the_table(section):
    names = re.findall(r"<figcaption>([^<]*)<span>([^<]*)</span>", section)
    row = [("input", "&nbsp;"), ("teacher", "30.00 dB"), ("bicubic", "30.00 dB"), ("student · clean", "30.00 dB"),
           ("student · kd", "30.00 dB"), ("clean", "&nbsp;")]  # fmt: skip
    assert names[:6] == row
    assert [words for _, words in names[6:]] == ["&nbsp;", "31.50 dB", "31.50 dB", "31.50 dB", "31.50 dB", "&nbsp;"]
    shown = pictures_of(section)
    np.testing.assert_array_equal(shown["input, image 2"], GIVEN[1])
    np.testing.assert_array_equal(shown["student · kd, image 1"], TRUE[0] + 2)
    np.testing.assert_array_equal(shown["clean, image 1"], TRUE[0])


def test_error_maps_are_the_difference_times_the_factor_that_is_said(section):
    """The worst is 4 of 255 levels, which fifty times would still not cut off."""
    shown = pictures_of(section)
    for name, arm in (("teacher", "teacher"), ("student · clean", "clean"), ("student · kd", "kd")):
        np.testing.assert_array_equal(shown[f"error of {name} ×50, image 1"], 50 * OFF[arm] * np.ones((8, 8)))
    assert "the absolute difference to the clean image, ×50; black is none" in section


def test_a_factor_cuts_next_to_nothing_off():
    error = np.full((1, 100, 100), 10.0)
    assert restored._factor([error]) == 20
    error[0, 0, :30] = 100.0  # 0.3 % of the pixels
    assert restored._factor([error]) == 20
    error[0, 1] = 100.0
    assert restored._factor([error]) == 2
    assert restored._factor([np.zeros((1, 4, 4))]) == 1


def test_a_slider_lays_the_input_beside_the_arm_that_is_singled_out(section, workdir):
    selects = re.findall(r"<select[^>]*>(.*?)</select>", section)
    assert len(selects) == 4
    chosen = [re.search(r"selected>([^<]*)<", select)[1] for select in selects]
    assert chosen == ["input", "student · kd"] * 2
    assert section.count('<details class="more">') == 1  # of the second image
    shown = pictures_of(section)
    np.testing.assert_array_equal(shown["input, left half of image 1"], GIVEN[0])
    np.testing.assert_array_equal(shown["student · kd, right half of image 2"], TRUE[1] + 2)
    page_of(workdir)  # no script, nothing from elsewhere


def test_a_player_that_gives_its_input_back_stands_for_it(tmp_path):
    figures = [figure("kd", "bicubic", "same"), figure("kd", "student", OFF["kd"])]
    names = re.findall(
        r"<figcaption>([^<]*)<", restored.samples(read(written(tmp_path / "run", figures=figures)), "distill")
    )
    assert names[:3] == ["bicubic", "student · kd", "clean"]


def test_without_a_true_image_errors_are_to_the_teacher(tmp_path):
    section = restored.samples(read(written(tmp_path / "run", stylish=True)), "distill")
    np.testing.assert_array_equal(
        pictures_of(section)["error of student · clean ×50, image 1"], 50 * 2 * np.ones((8, 8))
    )
    assert "difference to the teacher" in section
    assert "clean<span>" not in section.replace("student · clean", "")


def test_a_page_without_such_images_has_no_such_section(tmp_path):
    text, _ = page_of(written(tmp_path / "run", figures=[]))
    assert "Restored images" not in text


def test_quality_is_drawn_against_operations_a_pixel_of_the_output(workdir):
    text, _ = page_of(workdir)
    assert "against operations a pixel of the output" in text
    table = report.text(workdir)
    assert "FLOPs a pixel" in table
    assert "FLOPs a pixel: of one training window" in table
    row = next(line for line in table.splitlines() if line.startswith("teacher") and "10.0 k" in line)
    assert row.split()[-2:] == ["10.0", "k"]  # 640,000 over 64 pixels


def test_a_measure_that_is_traded_for_the_first_is_drawn_against_it(tmp_path):
    folder = written(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["measures"]["lpips"] = Measure("lpips", "perceptual", higher_is_better=False, traded=True).record
    for i, arm in enumerate(summary["stages"]["distill"]["arms"].values()):
        arm["players"]["student"]["lpips"] = mean_ci((0.1 + i, 0.2 + i))
    (folder / "summary.json").write_text(json.dumps(summary))
    text, _ = page_of(folder)
    assert 'aria-label="PSNR against perceptual"' in text
    assert "against perceptual, of which lower is better" in text
    assert 'aria-label="PSNR against perceptual"' not in page_of(written(tmp_path / "other"))[0]


def test_operations_of_players_that_make_no_images_stay_those_of_an_example(tmp_path):
    folder = written(tmp_path / "run", pixels=False)
    text, _ = page_of(folder)
    assert "a pixel" not in text
    assert not costs.of_pixels([{"flops": 1.0, "pixels": 4}, {"flops": 1.0}])
    assert not costs.of_pixels([])
    assert costs.of_pixels([{"flops": 1.0, "pixels": 4}, {"flops": None}])
