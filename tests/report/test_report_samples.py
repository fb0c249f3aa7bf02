"""What generators made, on the page: images from one noise below one another, and the parts that fold."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from test_report_generators import STAGES, digits, distances, make_generator_summary, make_generator_workdir
from test_report_page import page_of

from kdgan import older, report
from kdgan.report import images
from kdgan.report.read import read


def decoded(url):
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as opened:
        return np.asarray(opened)


def pictures_of(html):
    """Pixels [h, w, channels] of a page's images, by what stands for them."""
    return {alt: decoded(url) for alt, url in re.findall(r'<img[^>]* alt="([^"]*)"[^>]* src="([^"]*)"', html)}


def tile(pixels, row, column, size=28, separator=1, left=0):
    """Colours of one image of a grid; its opacity must be full."""
    y, x = row * (size + separator), left + column * (size + separator)
    cut = pixels[y : y + size, x : x + size]
    assert (cut[..., -1] == 255).all()
    return cut[..., :-1]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return make_generator_workdir(tmp_path_factory.mktemp("runs") / "gan")


@pytest.fixture(scope="module")
def written(workdir):
    return page_of(workdir)


def test_the_page_has_a_table_differences_and_samples_for_each_stage(written):
    text, page = written
    assert page.headings[:6] == [
        "Results: half", "Differences between the arms: half", "Samples: half",
        "Results: quarter", "Differences between the arms: quarter", "Samples: quarter",
    ]  # fmt: skip
    assert page.headings[6:9] == [f"Learning curves: {stage}" for stage in ("teacher", "half", "quarter")]
    assert not any("Confusion" in heading or "disagree" in heading for heading in page.headings)
    words = "".join(page.words)
    assert "scratch, kd, fused compared in stages half and quarter" in words
    assert text.count('class="headline several"') == 2
    assert "with 4 times the parameters" in words
    assert "with 13 times the parameters" in words
    assert "teacher · FD-lenet" in words  # its curve
    assert "FID" not in words


def test_a_row_of_samples_is_one_noise_in_every_column(workdir, written):
    found, arrays = pictures_of(written[0]), np.load(workdir / "evaluation.npz")
    html = images.samples(read(workdir), "half")
    rows = {"teacher": "sample/teacher/main/teacher", "student · fused": "sample/half/fused/student",
            "student · fused, moving average": "sample/half/fused/student (moving average)",
            "test images": "real"}  # fmt: skip
    for name, key in rows.items():
        pixels = pictures_of(html)[f"samples of {name}"]
        assert pixels.shape == (28, 12 * 29 - 1, 2)
        assert (pixels[:, 28, -1] == 0).all()  # the line between two images is the page's ground
        for k in (0, 7, 11):
            np.testing.assert_array_equal(tile(pixels, 0, k), arrays[key][k])
    assert found["all samples of student · fused"].shape[:2] == (8 * 29 - 1, 8 * 29 - 1)
    order = re.findall(r'alt="samples of ([^"]*)"', html)
    order = [name for name in order if not name.endswith("while training")]
    arms = [name for arm in STAGES["half"] for name in (f"student · {arm}", f"student · {arm}, moving average")]
    assert order == ["teacher", *arms, "test images"]


def test_what_is_long_is_folded_and_shown_once(workdir):
    results = read(workdir)
    half, quarter = (images.samples(results, stage) for stage in ("half", "quarter"))
    for html in (half, quarter):
        titles = re.findall(r'<details class="more"><summary>(.*?)</summary>', html)
        assert titles == ["All 64 samples of each", "Interpolations", "Nearest training images", "While training"]
    assert "interpolations by teacher" in half
    assert "interpolations by teacher" not in quarter
    assert "samples of teacher" in quarter


def test_interpolations_neighbours_and_progress_lie_where_they_belong(workdir):
    results = read(workdir)
    found, arrays = pictures_of(images.samples(results, "half")), results.evaluation
    np.testing.assert_array_equal(
        tile(found["interpolations by student · kd"], 4, 7), arrays["interpolation/half/kd/student"][4, 7]
    )
    near = found["nearest training images of student · kd"]
    np.testing.assert_array_equal(tile(near, 2, 0), arrays["neighbour/half/kd/student"][2, 0])
    assert (near[:, 28 : 28 + images.GAP, -1] == 0).all()
    np.testing.assert_array_equal(tile(near, 2, 4, left=28 + images.GAP), arrays["neighbour/half/kd/student"][2, 5])
    progress = found["samples of student · kd while training"]
    np.testing.assert_array_equal(tile(progress, 0, 3), arrays["progress/half/kd/student"][0, 3])
    np.testing.assert_array_equal(tile(progress, 7, 3), arrays["progress/half/kd/student"][10, 3])
    steps = re.search(r"kd</figcaption><div class=\"progress\"><ol>(.*?)</ol>", images.samples(results, "half"))[1]
    assert re.findall(r"<li>(.*?)</li>", steps)[:: older.MOMENTS - 1] == ["0 steps", "2,000 steps"]


def one_stage(folder, arrays, arms=("main",)):
    summary = distances(**{arm: [3.0, 4.0] for arm in arms})
    return make_generator_workdir(folder, summary=summary, metrics=[], evaluation=arrays)


def test_reconstructions_stand_below_their_images(tmp_path):
    pairs = np.random.default_rng(0).integers(0, 256, (5, 2, 6, 7, 3)).astype(np.uint8)
    folder = one_stage(tmp_path / "run", {"reconstruction/distill/main/student": pairs})
    html = images.samples(read(folder), "distill")
    pixels = pictures_of(html)["reconstructions by student"]
    assert pixels.shape == (6 * 2 + 1, 5 * 8 - 1, 4)
    np.testing.assert_array_equal(pixels[7:, 16:23, :3], pairs[2, 1])
    np.testing.assert_array_equal(pixels[:6, 16:23, :3], pairs[2, 0])
    assert '<details class="more" open><summary>Reconstructions' in html  # a single picture stands open
    assert "samples" not in html.replace("<h2>Samples</h2>", "")


def test_sections_without_input_are_left_out(tmp_path):
    folder = one_stage(tmp_path / "run", {"real": digits(np.random.default_rng(0), (4,))}, ("scratch", "kd"))
    assert images.samples(read(folder), "distill") == ""
    assert images.strips(read(folder)) == ""
    _, page = page_of(folder)
    assert "Samples" not in page.headings


def test_samples_of_entries_that_no_table_lists_are_shown(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"sample/distill/{arm}/{entry}": digits(rng, (3,)) for arm in ("scratch", "kd")
              for entry in ("student", "generator", "generator (moving average)")}  # fmt: skip
    folder = one_stage(tmp_path / "run", arrays, ("scratch", "kd"))
    html = images.samples(read(folder), "distill")
    order = re.findall(r'alt="samples of ([^"]*)"', html)
    assert order == ["student · scratch", "student · kd", "generator · scratch", "generator · scratch, moving average",
                     "generator · kd", "generator · kd, moving average"]  # fmt: skip


def test_a_frozen_teacher_drawn_only_where_it_is_used_stands_once(tmp_path):
    summary = make_generator_summary({"half": STAGES["half"]})
    rng = np.random.default_rng(0)
    arrays = {
        f"sample/half/{arm}/{entry}": digits(rng, (2,)) for arm in ("kd", "fused") for entry in ("teacher", "student")
    }
    folder = make_generator_workdir(tmp_path / "run", summary=summary, metrics=[], evaluation=arrays)
    order = re.findall(r'alt="samples of ([^"]*)"', images.samples(read(folder), "half"))
    assert order == ["teacher", "student · kd", "student · fused"]


def test_names_are_escaped_in_pictures(tmp_path):
    evil = '<b>&"'
    rng = np.random.default_rng(0)
    arrays = {f"{kind}/distill/{evil}/student": digits(rng, (2, 2)[: 1 + (kind != "sample")])
              for kind in ("sample", "interpolation")}  # fmt: skip
    _, page = page_of(one_stage(tmp_path / "run", arrays, ("scratch", evil)))
    assert "b" not in page.tags
    assert f"student · {evil}" in "".join(page.words)


def test_a_notebook_shows_the_samples(workdir):
    shown_inline = report.show(workdir)._repr_html_()
    assert "Samples: quarter" in shown_inline
    assert 'alt="samples of student · fused"' in shown_inline
    assert "Stage half" in shown_inline
