"""Curves and pictures: the numbers behind them, and that they are well-formed parts of any page."""

import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import confusion_matrix
from test_report_workdir import make_evaluation, make_metrics

from kdgan import older, pictures
from kdgan.report import curves, drawing, images, matrix, measured, plots

ACCURACY = measured.of({"measures": older.MEASURES})[0]


def line(step, seed, value, arm="kd"):
    head = {"step": step, "stage": "distill", "arm": arm, "seed": seed, "split": "validation"}
    return {**head, "student/accuracy": value}


def well_formed(svg):
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert "http" not in svg
    return root


def texts(svg):
    return [" ".join("".join(node.itertext()).split()) for node in well_formed(svg).iter("text")]


def test_a_curve_is_the_mean_and_students_interval_at_each_step():
    values = {10: [0.5, 0.6, 0.55], 20: [0.7, 0.8, 0.9]}
    lines = [line(step, seed, value) for step, row in values.items() for seed, value in enumerate(row)]
    curve = curves.gather(lines, "distill", "validation", "student/accuracy")["kd"]
    assert curve.step.tolist() == [10, 20]
    assert curve.seeds == 3
    for i, row in enumerate(values.values()):
        low, high = stats.t.interval(0.95, 2, np.mean(row), stats.sem(row))
        np.testing.assert_allclose([curve.mean[i], curve.low[i], curve.high[i]], [np.mean(row), low, high])


def test_a_step_logged_twice_counts_once_and_the_later_line():
    lines = [line(10, 0, 0.1), line(10, 1, 0.3), line(10, 0, 0.5)]
    assert curves.gather(lines, "distill", "validation", "student/accuracy")["kd"].mean.tolist() == [0.4]


def test_a_diverged_seed_breaks_the_line_where_it_diverged():
    lines = [line(10, 0, 0.1), line(10, 1, 0.3), line(20, 0, None), line(20, 1, float("nan"))]
    curve = curves.gather(lines, "distill", "validation", "student/accuracy")["kd"]
    assert curve.mean[0] == pytest.approx(0.2)
    assert np.isnan(curve.mean[1])
    well_formed(plots.curves({"kd": curve}, {"kd": drawing.SERIES[1]}))


def test_what_is_looked_at_first():
    lines = make_metrics(seeds=1)
    assert curves.looked_at(lines, "teacher")[0] == [
        ("validation", "teacher/accuracy"), ("validation", "teacher/nll"), ("train", "teacher/loss"),
    ]  # fmt: skip
    assert ("train", "discriminator/loss") in curves.looked_at(lines, "distill")[0]
    assert curves.player_and_name("student (moving average)/nll") == ("student, moving average", "nll")
    moves = curves.gather(lines, "distill", "train", "lambda/student/adv")
    stands = curves.gather(lines, "distill", "train", "lambda/student/ce")
    assert curves.varies(moves)
    assert not curves.varies(stands)


def test_learning_curves_name_every_arm_and_their_axis_is_per_cent():
    svg = plots.learning_curves(make_metrics(), "distill", "student", "accuracy", measured=ACCURACY)
    found = texts(svg)
    assert {"scratch", "kd", "kdgan"} <= set(found)
    assert any(text.endswith(" %") for text in found)
    assert plots.learning_curves(make_metrics(), "distill", "student", "nothing") == ""


def test_arms_named_like_markup_or_mathematics_are_text():
    lines = [line(step, 0, 0.5 + step / 100, arm) for step in (1, 2) for arm in ("<b>", "$x_1$", "平均", "a & b")]
    assert {"<b>", "$x_1$", "平均", "a & b"} <= set(
        texts(plots.learning_curves(lines, "distill", "student", "accuracy"))
    )


def test_one_point_and_one_seed_are_drawn():
    svg = plots.learning_curves([line(1, 0, 0.5)], "distill", "student", "accuracy")
    assert "use" in {node.tag for node in well_formed(svg).iter()}  # the marker


def test_names_at_line_ends_do_not_touch():
    lines = [line(step, 0, 0.9, f"arm{i}") for step in (1, 2, 3) for i in range(7)]
    svg = plots.learning_curves(lines, "distill", "student", "accuracy")
    heights = sorted(
        float(node.get("y") or node.get("transform").split("translate(")[-1].split(")")[0].replace(",", " ").split()[1])
        for node in well_formed(svg).iter("text")
        if "".join(node.itertext()).strip().startswith("arm")
    )
    assert len(heights) == 7
    assert min(np.diff(heights)) > 9


def test_colours_are_variables_with_a_fallback_and_stay_with_the_arm():
    palette = drawing.colours_of(["scratch", "kd", "kdgan"])
    assert len(set(palette.values())) == 3
    svg = plots.learning_curves(make_metrics(), "distill", "student", "nll", colours=palette)
    for colour in palette.values():
        assert drawing.css(colour) in svg
        assert svg.count(colour) == svg.count(drawing.css(colour))


def test_drawing_changes_no_setting_and_repeats_exactly():
    import matplotlib

    before = dict(matplotlib.rcParams)
    first = plots.learning_curves(make_metrics(), "distill", "student", "accuracy")
    assert first == plots.learning_curves(make_metrics(), "distill", "student", "accuracy")
    assert dict(matplotlib.rcParams) == before


def test_losses_over_decades_are_logarithmic():
    steps = np.arange(1, 5)
    spread = lambda values: {"kd": curves.Curve(steps, np.array(values), np.array(values), np.array(values), 1)}
    assert plots.spans_decades(spread([10.0, 1.0, 0.1, 0.01]))
    assert not plots.spans_decades(spread([1.0, 0.5, 0.4, 0.3]))
    assert not plots.spans_decades(spread([10.0, 1.0, 0.1, -0.01]))


def tick_values(svg, unit=" %"):
    return [float(text.removesuffix(unit).replace("−", "-")) for text in texts(svg) if text.endswith(unit)]


def test_a_wide_interval_does_not_rule_the_frame():
    # Two seeds, 0.88 and 0.92 at the end: the 95 % interval is 0.9 ± 0.254, the means go from 0.85 to 0.90.
    lines = [line(step, seed, 0.85 + 0.01 * step + (0.02 if seed else -0.02)) for step in range(6) for seed in (0, 1)]
    ticks = tick_values(plots.learning_curves(lines, "distill", "student", "accuracy", measured=ACCURACY))
    assert min(ticks) >= 81
    assert max(ticks) <= 94
    narrow = plots.dots([("kd", [88.0, 92.0], 25.4, drawing.SERIES[1])], ("teacher", 97.0), unit="%")
    assert min(tick_values(narrow)) >= 82
    assert max(tick_values(narrow)) <= 102


def test_the_first_points_do_not_rule_the_frame():
    lines = [line(step, 0, value) for step, value in enumerate([0.1, 0.90, 0.91, 0.92, 0.93, 0.93])]
    assert min(tick_values(plots.learning_curves(lines, "distill", "student", "accuracy", measured=ACCURACY))) >= 89


def test_no_colour_stands_for_two_of_many_arms():
    names = [f"arm {i}" for i in range(30)]
    palette = drawing.colours_of(names, best=["arm 20", "arm 0", "arm 7"])
    own = {arm: colour for arm, colour in palette.items() if colour != drawing.REST}
    assert len(set(own.values())) == len(own) == len(drawing.SERIES)
    assert {"arm 0", "arm 20", "arm 7"} <= set(own)
    assert own["arm 0"] == drawing.SERIES[0]  # the baseline keeps its grey, though it is among the best
    assert own["arm 20"] == drawing.SERIES[1]
    lines = [line(step, 0, 0.5 + step / 100 + i / 1000, arm) for step in (1, 2) for i, arm in enumerate(names)]
    svg = plots.learning_curves(lines, "distill", "student", "accuracy", colours=palette)
    assert {text for text in texts(svg) if text.startswith("arm")} == set(own)


def test_arms_without_a_colour_of_their_own_are_named_where_there_is_room():
    names = [f"arm {i}" for i in range(plots.NAMES)]
    lines = [line(step, 0, 0.5 + step / 100 + i / 1000, arm) for step in (1, 2) for i, arm in enumerate(names)]
    assert set(names) <= set(texts(plots.learning_curves(lines, "distill", "student", "accuracy")))


def test_arms_have_a_dot_for_each_seed():
    rows = [("kd", [90.0, 91.0, 92.0], 1.0, drawing.SERIES[1]), ("bad", [None], None, drawing.SERIES[2])]
    svg = plots.dots(rows, ("teacher", 97.0))
    root = well_formed(svg)
    assert sum(node.tag == "use" for node in root.iter()) >= 3 + 1
    assert {"kd", "bad", "teacher"} <= set(texts(svg))
    assert plots.dots([]) == ""


def test_confusion_is_scikit_learns():
    arrays = make_evaluation()
    predicted = arrays["prediction/distill/kd/student"]
    expected = confusion_matrix(np.tile(arrays["label"], len(predicted)), predicted.ravel(), normalize="true")
    np.testing.assert_allclose(matrix.shares(older.counts(arrays["label"], predicted, 10)), expected)


def test_a_class_without_examples_is_an_empty_row():
    shares = matrix.shares(older.counts(np.array([0, 0]), np.array([[0, 1]]), 3))
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])
    assert matrix.most_confused(shares, ["a", "b", "c"]) == [("a", "b", 0.5)]
    assert matrix.most_confused(np.eye(3), ["a", "b", "c"]) == []


@pytest.mark.parametrize("k", [1, 2, 10, 20, 100])
def test_confusion_matrix_of_any_size(k):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(k), k) if k > 1 else np.ones((1, 1))
    svg = matrix.draw(shares, [f"class <{i}>" for i in range(k)])
    well_formed(svg)
    assert len(svg) < 400_000


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 6, 3), (8, 8, 4), (8, 8, 2), (8, 8, 7)])
def test_a_page_shows_the_pixels_of_any_number_of_channels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    url = pictures.data_url(images.as_shown(image))
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as opened:
        found = np.asarray(opened)
    expected = image[..., :3] if shape[-1] in (3, 4) else image[..., 0]
    np.testing.assert_array_equal(found, expected)


def test_disagreements_hold_the_true_class():
    arrays = make_evaluation()
    (found,) = (record for record in older.upgraded({}, arrays)[0]["figures"] if record["kind"] == "cards")
    lines = [{what: (text, verdict) for what, text, verdict in card} for card in found["cards"]]
    assert [int(line["true"][0]) for line in lines] == arrays["label"][arrays["disagreement/index"]].tolist()
    assert all(line["student"][0] != line["teacher"][0] for line in lines)
    for line in lines:
        for who in ("student", "teacher"):
            assert line[who][1] == ("right" if line[who][0] == line["true"][0] else "wrong")
    assert older.upgraded({}, {"label": arrays["label"]})[0]["figures"] == []
