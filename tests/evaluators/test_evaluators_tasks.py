"""The evaluators of tags, numbers, tokens and restored images: the contract, the numbers, what they fit, their pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import evaluators
from kdgan.data.fields import Field
from kdgan.evaluators import check

RNG = np.random.default_rng(0)
B, K, T = 6, 7, 5
TAGS = (RNG.uniform(size=(B, K)) < 0.4).astype(np.float32)
IMAGES = RNG.uniform(size=(B, 12, 12, 3)).astype(np.float32)
CASES = {
    "tagger": ({}, RNG.normal(size=(B, K)).astype(np.float32), {"label": TAGS}),
    "regressor": (
        {},
        RNG.normal(size=(B, 2)).astype(np.float32),
        {"label": RNG.normal(size=(B, 2)).astype(np.float32)},
    ),
    "language": (
        {},
        RNG.normal(size=(B, T, K)).astype(np.float32),
        {"target": RNG.integers(0, K, (B, T)), "target_mask": np.arange(T) < RNG.integers(1, T, (B, 1))},
    ),
    "restorer": ({"channels": "luma"}, RNG.uniform(size=(B, 12, 12, 3)).astype(np.float32), {"target": IMAGES}),
}
FIELDS = {
    "tagger": {"label": Field("tags", (K,), size=K)},
    "regressor": {"label": Field("number", (2,))},
    "language": {"target": Field("tokens", (T,), size=K)},
    "restorer": {"image": Field("image", (6, 6, 3)), "target": Field("image", (12, 12, 3))},
}


def shape(*sides):
    return jax.ShapeDtypeStruct(sides, jnp.float32)


@pytest.mark.parametrize("name", CASES)
def test_each_is_held_to_the_contract_and_has_the_numbers_of_its_metrics(name):
    arguments, output, batch = CASES[name]
    mine = evaluators.build(name, **arguments)
    check(mine, output=output, batch=batch)
    sums = mine.sums(lambda v, b: jnp.asarray(output), {}, {**_arrays(batch), "mask": jnp.ones(B, bool)}, None, {})
    found = mine.summarise(jax.device_get(sums))
    assert found.keys() == {measure.name for measure in mine.measures}
    measure, expected = {
        "tagger": lambda: ("p_3", np.take_along_axis(TAGS, np.argsort(-output, 1)[:, :3], 1).mean()),
        "regressor": lambda: ("rmse", np.sqrt(np.mean((output - batch["label"]) ** 2))),
        "language": lambda: ("token_accuracy", (output.argmax(-1) == batch["target"])[batch["target_mask"]].mean()),
        "restorer": lambda: ("psnr", np.mean(_psnr_of_luma(output, batch["target"]))),
    }[name]()
    assert found[measure] == pytest.approx(expected, rel=1e-4)


def _arrays(batch):
    return {name: jnp.asarray(value) for name, value in batch.items()}


def _psnr_of_luma(x, y):
    difference = ((np.float64(x) - y) * (65.481, 128.553, 24.966)).sum(-1) / 255
    return -10 * np.log10((difference**2).mean((1, 2)))


def test_images_as_players_see_them_are_compared_in_their_own_range():
    """(x − mean)/std of each channel, as a run's batches have them."""
    mine = evaluators.build("restorer")
    restored, target, mask = CASES["restorer"][1], IMAGES, jnp.ones(B, bool)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    seen = lambda x: jnp.asarray((x - mean) / std, jnp.float32)
    plain = mine.sums(lambda v, b: jnp.asarray(restored), {}, {"target": jnp.asarray(target), "mask": mask}, None, {})
    batch = {"target": seen(target), "mask": mask, "pixels": {"mean": mean, "std": std}}
    normalised = mine.sums(lambda v, b: seen(restored), {}, batch, None, {})
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(normalised[name], plain[name], rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_each_fits_its_data_and_says_why_it_does_not_fit_others(name):
    mine = evaluators.build(name, **CASES[name][0])
    output = shape(*CASES[name][1].shape)
    assert mine.fits(output, FIELDS[name]) is None
    for other, fields in FIELDS.items():
        if other != name:
            assert "and the data have" in mine.fits(output, fields)
    assert "its output is" in mine.fits(shape(B, 3), FIELDS[name])
    assert "decoded" in mine.fits({"decoded": output}, FIELDS[name])


def test_whole_images_of_any_size_are_fitted():
    mine = evaluators.build("restorer")
    fields = {"image": Field("image", (None, None, 1)), "target": Field("image", (None, None, 1))}
    assert mine.fits(shape(1, 40, 30, 1), fields) is None
    assert "(None, None, 1)" in mine.fits(shape(1, 40, 30, 3), fields)


@pytest.mark.parametrize(
    ("output", "given", "fields", "expected"),
    [
        (shape(2, K), shape(2, 4), FIELDS["tagger"], "tagger"),
        (shape(2, 2), shape(2, 4), FIELDS["regressor"], "regressor"),
        (shape(2, T, K), shape(2, T), FIELDS["language"], "language"),
        (shape(2, T, K), shape(2, T), {}, None),
        (shape(2, 12, 12, 3), shape(2, 6, 6, 3), FIELDS["restorer"], "restorer"),
        (shape(2, 12, 12, 3), shape(2, 9), FIELDS["restorer"], "generator"),
        (shape(2, 12, 12, 3), shape(2, 6, 6, 3), {"image": Field("image", (6, 6, 3))}, None),
        (shape(2, 3), shape(2, 8, 8, 1), {"label": Field("class", (), size=3)}, "classifier"),
        (shape(2, 3), shape(2, 8, 8, 1), {}, "classifier"),
        (shape(2, 3), shape(2, 8, 8, 1), {"label": Field("vector", (3,))}, None),
    ],
)
def test_what_a_player_is_judged_by_where_nothing_is_said(output, given, fields, expected):
    assert evaluators.fitting(((given,), {}), output, fields) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("tagger", {"cutoffs": ()}, r"cutoffs = \(\)"),
        ("tagger", {"cutoffs": (3, 3)}, "each once"),
        ("tagger", {"threshold": 1.5}, "threshold = 1.5"),
        ("restorer", {"channels": "hsv"}, "channels = 'hsv': accepted are rgb, luma"),
        ("restorer", {"border": -1}, "border = -1"),
    ],
)
def test_arguments_that_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluators.build(name, **arguments)


def test_arguments_change_the_measures_and_what_is_said_of_them():
    names = lambda evaluator: [measure.name for measure in evaluator.measures]
    assert names(evaluators.build("tagger", cutoffs=[1]))[:3] == ["map", "p_1", "f_1"]
    assert names(evaluators.build("restorer", similarity=False, edges=False)) == ["psnr"]
    notes = [
        evaluators.build("restorer", **given).measures[0].note for given in ({}, {"channels": "luma", "border": 2})
    ]
    assert notes == ["", "PSNR and SSIM: on the luma, without 2 pixels on every side"]
