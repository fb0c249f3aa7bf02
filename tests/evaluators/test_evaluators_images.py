"""Restorers and stylists: their measures against NumPy, by networks of a file and of a run, and their pictures."""

import dataclasses
import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import players as small
from kdgan import evaluators
from kdgan.data.fields import Field
from kdgan.evaluators import Judged, Setting
from kdgan.evaluators.critic import Critic
from kdgan.metrics.features import make_extractor
from kdgan.models import Function
from kdgan.models.squeezenet import SqueezeNet

RNG = np.random.default_rng(0)
B, S = 3, 16
CRITIC = small.Restores(5)
VARIABLES = CRITIC.init(jax.random.key(3), jnp.zeros((1, S, S, 1)))
FIELDS = {"image": Field("image", (S, S, 1)), "target": Field("image", (S, S, 1))}
RAW = {
    "image": RNG.integers(0, 256, (B, S, S, 1)).astype(np.uint8),
    "target": RNG.integers(0, 256, (B, S, S, 1)).astype(np.uint8),
    "mask": np.array([True, True, False]),
}


def see(raw):
    return {
        name: jnp.asarray(value, jnp.float32) / 255 if value.dtype == np.uint8 else value for name, value in raw.items()
    }


def setting(batches=(RAW,), fields=FIELDS):
    splits = types.SimpleNamespace(
        batches=lambda split: list(batches), size=lambda split: sum(b["mask"].sum() for b in batches)
    )
    return Setting(
        splits=splits, fields=fields, data="", mean=0.0, std=1.0, samples={}, latent=0,
        extractor=make_extractor(CRITIC, VARIABLES, layer="hidden"), extractor_from="", extractor_pixels=(0.0, 1.0),
        training=(np.asarray, np.arange(1)), compute_dtype=None, cache=None, see=see,
    )  # fmt: skip


def judged(module, variables=None):
    forward = lambda variables, batch: module.apply(variables, see(batch)["image"])
    return Judged("student", module, variables or {"params": {}}, ((), {}), None, forward)


DIMMED = Function(lambda image, train=False: 0.5 * image)


def features(image, path):
    return np.asarray(CRITIC.apply(VARIABLES, image, capture_intermediates=True, mutable=["intermediates"])[1][
        "intermediates"][path]["__call__"][0])  # fmt: skip


def test_gradients_error_is_the_mean_difference_of_neighbours_in_levels():
    made, true = RNG.random((B, S, S, 1)).astype(np.float32), RNG.random((B, S, S, 1)).astype(np.float32)
    mine = evaluators.build("restorer", similarity=False)
    batch = {"image": made, "target": jnp.asarray(true), "mask": jnp.asarray(RAW["mask"])}
    measured = mine.summarise(jax.device_get(mine.sums(lambda v, b: jnp.asarray(made), {}, batch, None, {})))
    error = made[:2] - true[:2]
    expected = (np.abs(np.diff(error, axis=1)).mean() + np.abs(np.diff(error, axis=2)).mean()) / 2
    assert measured["edges"] == pytest.approx(expected, rel=1e-5)
    measure = next(one for one in mine.measures if one.name == "edges")
    assert measure.scale == 255
    assert not measure.record["column"]
    assert "edges" not in [one.name for one in evaluators.build("restorer", edges=False).measures]


@pytest.mark.parametrize(("scale", "border"), [(1, 0), (2, 2), (4, 4)])
def test_the_border_is_the_scale_where_it_says_so(scale, border):
    made, true = (RNG.random((B, S, S, 1)).astype(np.float32) for _ in range(2))
    batch = {"image": np.zeros((B, S // scale, S // scale, 1)), "target": jnp.asarray(true), "mask": jnp.ones(B, bool)}
    mine = evaluators.build("restorer", border="scale", similarity=False)
    measured = mine.summarise(jax.device_get(mine.sums(lambda v, b: jnp.asarray(made), {}, batch, None, {})))
    inside = slice(border, S - border)
    error = np.square(made - true)[:, inside, inside].mean((1, 2, 3))
    assert measured["psnr"] == pytest.approx(np.mean(-10 * np.log10(error)), rel=1e-5)
    assert mine.measures[0].note == "PSNR: without as many pixels on every side as the scale"


def written(folder):
    params = {f"params/{layer}/{name}": np.asarray(value)
              for layer, of in VARIABLES["params"].items() for name, value in of.items()}  # fmt: skip
    np.savez(folder / "critic.npz", **params)
    return {"model": "players.Restores", "model_args": {"width": 5}, "weights": str(folder / "critic.npz")}


def perceptual_by_numpy(made, true, path, weight=1.0):
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    return (weight * (unit(features(made, path)) - unit(features(true, path))) ** 2).mean((1, 2, 3))


def test_a_perceptual_distance_by_the_network_of_the_run_and_by_one_of_a_file(tmp_path, monkeypatch):
    true, given = RAW["target"] / np.float32(255), RAW["image"] / np.float32(255)
    expected = perceptual_by_numpy(0.5 * given, true, "hidden")[:2].mean()
    of_run = evaluators.build("restorer", perceptual={"layers": ["hidden"]})
    assert of_run.critic
    assert of_run.fits(jax.ShapeDtypeStruct((1, S, S, 1), jnp.float32), FIELDS) is None
    assert of_run.measure(setting(), judged(DIMMED), "test")["perceptual"] == pytest.approx(expected, rel=1e-4)
    weight = RNG.random(5).astype(np.float32)
    np.savez(tmp_path / "linear.npz", **{"lin0.weight": weight.reshape(1, 5, 1, 1)})
    weighted = evaluators.build("restorer", perceptual={"layers": ["hidden"], "linear": str(tmp_path / "linear.npz")})
    expected = perceptual_by_numpy(0.5 * given, true, "hidden", 5 * weight)[:2].mean()
    assert weighted.measure(setting(), judged(DIMMED), "test")["perceptual"] == pytest.approx(expected, rel=1e-4)
    # A network of a file is laid out for RGB, which this one of one channel is not.
    wide = small.Restores(5).init(jax.random.key(4), jnp.zeros((1, S, S, 3)))
    monkeypatch.setitem(globals(), "VARIABLES", wide)
    spec = {**written(tmp_path), "layers": ["hidden"]}
    of_file = evaluators.build("restorer", perceptual=spec)
    assert not of_file.critic
    raw = {name: np.repeat(value, 3, -1) if value.ndim == 4 else value for name, value in RAW.items()}
    fields = {name: Field("image", (S, S, 3)) for name in FIELDS}
    assert of_file.fits(jax.ShapeDtypeStruct((1, S, S, 3), jnp.float32), fields) is None
    measured = of_file.measure(setting([raw], fields), judged(DIMMED), "test")["perceptual"]
    rgb = lambda image: np.repeat(image, 3, -1)
    assert measured == pytest.approx(perceptual_by_numpy(rgb(0.5 * given), rgb(true), "hidden")[:2].mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("restorer", {"border": "shave"}, "border = 'shave': pixels, 0 or more, or 'scale'"),
        ("restorer", {"perceptual": {"layer": "a"}}, "perceptual has no 'layer'; accepted are model, weights"),
        ("restorer", {"perceptual": {"layers": ["a"], "model": "squeezenet"}}, "model and weights go together"),
        ("restorer", {"perceptual": {}}, "layers = "),
        ("restorer", {"perceptual": {"layers": "fire2"}}, r"perceptual\.layers = 'fire2': paths of modules"),
        ("stylist", {"images": "a.png", "content": "a", "style": ("a",)}, "content = 'a': paths of modules"),
        ("stylist", {"images": "a.png", "content": (), "style": ("a",)}, r"content = \(\)"),
        ("stylist", {"images": "a.png", "content": ("a",), "style": ("a",), "weight": 0}, "weight = 0"),
    ],
)
def test_arguments_that_are_refused(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        evaluators.build(name, **arguments)


def test_a_file_that_is_not_there_is_a_reason_in_one_line(tmp_path):
    spec = {"model": "squeezenet", "weights": "there/is/none.npz", "layers": ["fire2"]}
    output = jax.ShapeDtypeStruct((1, S, S, 1), jnp.float32)
    reason = evaluators.build("restorer", perceptual=spec).fits(output, FIELDS)
    assert reason == "there/is/none.npz: there is no such file or folder"
    np.savez(tmp_path / "linear.npz", **{"lin0.weight": np.ones((1, 5, 1, 1)), "lin1.weight": np.ones((1, 5, 1, 1))})
    linear = evaluators.build("restorer", perceptual={"layers": ["hidden"], "linear": str(tmp_path / "linear.npz")})
    assert "linear.npz: it has weights of 2 layers" in linear.fits(output, FIELDS)
    layers = {"content": ("last",), "style": ("last",)}
    stylist = evaluators.build("stylist", images="there/is/none.png", channels=1, **layers)
    assert stylist.fits(output, FIELDS) == "style image 'there/is/none.png': No such file or directory"


def linear_of(folder, weight):
    path = folder / f"{len(list(folder.iterdir()))}.npz"
    np.savez(path, **{"lin0.weight": np.asarray(weight, np.float32).reshape(1, -1, 1, 1)})
    return str(path)


def test_players_of_one_setting_are_measured_each_by_what_its_evaluator_says(tmp_path, paintings):
    """One network, one union of layers: what differs is weights of channels, which layers are content, and pixels."""
    true, given = RAW["target"] / np.float32(255), RAW["image"] / np.float32(255)
    both, weights = setting(), (np.ones(5), np.arange(5.0))
    for weight in weights:
        spec = {"layers": ["hidden"], "linear": linear_of(tmp_path, weight)}
        found = evaluators.build("restorer", perceptual=spec).measure(both, judged(DIMMED), "test")["perceptual"]
        expected = perceptual_by_numpy(0.5 * given, true, "hidden", 5 * weight)[:2].mean()
        assert found == pytest.approx(expected, rel=1e-4)
    plain = evaluators.build("restorer", perceptual={"layers": ["hidden"]})
    assert plain.measure(both, judged(DIMMED), "test")["perceptual"] == pytest.approx(
        perceptual_by_numpy(0.5 * given, true, "hidden")[:2].mean(), rel=1e-4
    )
    for content, style in ((["last"], ["hidden"]), (["hidden"], ["last"])):
        mine = evaluators.build("stylist", images=paintings[0], content=content, style=style, size=S, channels=1)
        found = mine.measure(both, judged(DIMMED), "test")
        change = (features(0.5 * given, content[0]) - features(given, content[0])) ** 2
        expected = change.mean((1, 2, 3)) / (features(given, content[0]) ** 2).mean((1, 2, 3))
        assert found["content"] == pytest.approx(expected[:2].mean(), rel=1e-4)
    shifted = dataclasses.replace(both, extractor_pixels=(0.5, 0.25))  # and the same memo
    seen = lambda image: (image - 0.5) / 0.25
    expected = perceptual_by_numpy(seen(0.5 * given), seen(true), "hidden")[:2].mean()
    assert plain.measure(shifted, judged(DIMMED), "test")["perceptual"] == pytest.approx(expected, rel=1e-4)


def test_grey_images_are_three_equal_channels_to_a_network_of_rgb(tmp_path, monkeypatch):
    """One of a file and one of the run; a network of grey images sees them as they are, and none of colours."""
    shape = jax.ShapeDtypeStruct((1, S, S, 1), jnp.float32)
    grey = {**written(tmp_path), "layers": ["hidden"]}
    assert evaluators.build("restorer", perceptual=grey).fits(shape, FIELDS) is None
    colours = {name: Field("image", (S, S, 3)) for name in FIELDS}
    reason = evaluators.build("restorer", perceptual=grey).fits(
        jax.ShapeDtypeStruct((1, S, S, 3), jnp.float32), colours
    )
    assert reason.startswith(grey["weights"])
    assert "\n" not in reason
    wide = small.Restores(5).init(jax.random.key(4), jnp.zeros((1, S, S, 3)))
    monkeypatch.setitem(globals(), "VARIABLES", wide)
    (tmp_path / "rgb").mkdir()
    of_file = evaluators.build("restorer", perceptual={**written(tmp_path / "rgb"), "layers": ["hidden"]})
    of_run = evaluators.build("restorer", perceptual={"layers": ["hidden"]})
    assert of_file.fits(shape, FIELDS) is None
    rgb = lambda image: np.repeat(image / np.float32(255), 3, -1)
    expected = perceptual_by_numpy(0.5 * rgb(RAW["image"]), rgb(RAW["target"]), "hidden")[:2].mean()
    here = setting()
    here = dataclasses.replace(
        here, extractor=dataclasses.replace(make_extractor(CRITIC, wide, layer="hidden"), channels=3)
    )
    for mine in (of_file, of_run):
        found = mine.measure(here, judged(DIMMED), "test")["perceptual"]
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "words"),
    [
        ("restorer", {"perceptual": {"layers": ["hidden", "nonsense"]}}, (S, S, 1), "no module at path 'nonsense'"),
        ("restorer", {"perceptual": {"layers": ["hidden"]}}, (S, S, 3), r"kernel.*\(3, 3, 3, 5\)"),
        ("stylist", {"content": ["nonsense"], "style": ["last"]}, (S, S, 1), "no module at path 'nonsense'"),
        ("stylist", {"content": ["last"], "style": ["last", "nonsense"]}, (S, S, 1), "no module at path 'nonsense'"),
    ],
)
def test_what_the_runs_network_cannot_be_looked_at_for_is_said_from_shapes(paintings, name, arguments, shape, words):
    if name == "stylist":
        arguments = {**arguments, "images": paintings[0], "size": S, "channels": 1}
    network = Critic(CRITIC, jax.eval_shape(lambda: VARIABLES), channels=1)
    fields = {field: Field("image", shape) for field in FIELDS}
    reason = evaluators.build(name, **arguments).looks(network, fields)
    assert re.search(words, reason)
    assert "\n" not in reason


def test_weights_of_other_channels_than_a_layer_has_and_images_without_features_are_said(tmp_path):
    network = Critic(CRITIC, VARIABLES, channels=1)
    linear = evaluators.build("restorer", perceptual={"layers": ["hidden"], "linear": linear_of(tmp_path, np.ones(4))})
    assert linear.looks(network, FIELDS) == "layer 0: weights of shape (4,) for features of 5 channels"
    squeezes = Critic(SqueezeNet(10), SqueezeNet(10).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))), channels=3)
    perceptual = evaluators.build("restorer", perceptual={"layers": ["relu1"]})
    assert perceptual.looks(squeezes, {"target": Field("image", (24, 24, 1))}) is None
    assert "SqueezeNet" in perceptual.looks(squeezes, {"target": Field("image", (16, 16, 1))})


@pytest.fixture(scope="module")
def paintings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    for i in range(2):
        Image.fromarray(RNG.integers(0, 256, (S, S)).astype(np.uint8)).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(2)]


def by_numpy(made, image, painting):
    """(content, style) of each image, over what the features of the image are, and its distance to the style."""
    content = ((features(made, "last") - features(image, "last")) ** 2).mean((1, 2, 3))
    content = content / (features(image, "last") ** 2).mean((1, 2, 3))
    return content, to_style(made, painting) / to_style(image, painting)


def to_style(made, painting):
    gram = lambda x: np.einsum("bhwc,bhwd->bcd", x, x) / x[0].size
    return sum(np.square(gram(features(made, path)) - gram(features(painting[None], path))).sum((1, 2))
                for path in ("hidden", "last"))  # fmt: skip


def test_a_stylist_has_the_distances_of_the_method_freed_of_their_scale(paintings):
    build = functools.partial(
        evaluators.build, "stylist", content=["last"], style=["hidden", "last"], size=S, channels=1
    )
    mine, image = build(images=paintings[0], weight=10.0), RAW["image"] / np.float32(255)
    measured = mine.measure(setting(), judged(DIMMED), "test")
    painting = np.asarray(Image.open(paintings[0]), np.float32)[..., None] / 255
    content, style = (values[:2].mean() for values in by_numpy(0.5 * image, image, painting))
    assert measured["content"] == pytest.approx(content, rel=1e-4)
    assert measured["style"] == pytest.approx(style, rel=1e-4)
    assert measured["objective"] == pytest.approx(content + 10 * style, rel=1e-4)
    shape = jax.ShapeDtypeStruct((1, S, S, 1), jnp.float32)
    assert mine.fits(shape, FIELDS) is None
    assert "3 channels" in build(images=paintings[0], channels=3).fits(shape, FIELDS)
    with pytest.raises(ValueError, match="styles = 1: images names 2"):
        build(images=paintings)


def test_each_of_several_styles_is_painted_and_measured(paintings):
    module = small.Stylises(2)
    variables = module.init(jax.random.key(0), jnp.zeros((1, S, S, 1)), jnp.zeros(1, jnp.int32))
    mine = evaluators.build(
        "stylist", images=paintings, styles=2, content=["last"], style=["hidden", "last"], size=S, channels=1
    )
    measured, image = mine.measure(setting(), judged(module, variables), "test"), RAW["image"] / np.float32(255)
    several = []
    for i, path in enumerate(paintings):
        made = np.clip(module.apply(variables, image, jnp.full(B, i)), 0, 1)
        painting = np.asarray(Image.open(path), np.float32)[..., None] / 255
        several.append([values[:2].mean() for values in by_numpy(made, image, painting)])
    np.testing.assert_allclose([measured["content"], measured["style"]], np.mean(several, 0), rtol=1e-4)


def test_agreement_is_psnr_to_what_the_teacher_makes(paintings):
    mine = evaluators.build("stylist", images=paintings[0], content=["last"], style=["last"], size=S, channels=1)
    batch = {**see(RAW), "mask": jnp.asarray(RAW["mask"])}
    made, wanted = 0.5 * batch["image"], 0.25 * batch["image"]
    apply = lambda variables, batch: made
    measured = mine.summarise(jax.device_get(mine.sums(apply, {}, batch, None, {"teacher": lambda batch: wanted})))
    error = np.square(made - wanted)[:2].mean((1, 2, 3))
    assert measured == {"teacher_psnr": pytest.approx(np.mean(-10 * np.log10(error)), rel=1e-5)}
    assert mine.summarise(jax.device_get(mine.sums(apply, {}, batch, None, {}))) == {}


def test_pictures_are_the_window_in_which_neighbours_differ_most_with_psnr_of_the_whole():
    """Doubled where it is smaller; of images of several sizes all windows have one."""
    batches = []
    for side in (200, 120):
        target = np.zeros((1, side, side, 3), np.uint8)
        target[0, -30:, -30:] = RNG.integers(0, 256, (30, 30, 3))  # detail in the last corner
        batches.append({"image": target[:, ::2, ::2, :1], "target": target, "mask": np.array([True])})
    given = setting(batches, {"image": Field("image", (None, None, 1)), "target": Field("image", (None, None, 3))})
    player = Judged("student", DIMMED, {}, ((), {}), None, lambda variables, batch: see(batch)["target"] * 0.5)
    (figure,) = evaluators.build("restorer").pictures(given, player)
    assert figure.kind == "restored"
    assert figure.array.shape == (2, 96, 96, 3)
    assert figure.reference.shape == (2, 2, 96, 96, 3)
    inputs, true = figure.reference
    assert true[0].any()
    np.testing.assert_allclose(figure.array.astype(float), true / 2, atol=0.501)
    np.testing.assert_array_equal(inputs[0, ::2, ::2], np.broadcast_to(true[0, ::2, ::2, :1], (48, 48, 3)))
    np.testing.assert_array_equal(inputs[0, 1::2, 1::2], inputs[0, ::2, ::2])
    whole = batches[0]["target"][0].astype(float)
    expected = -10 * np.log10(np.mean(np.square(np.round(whole * 0.5) - whole)) / 255**2)
    assert figure.about["values"][0] == pytest.approx(expected, abs=0.05)


def test_the_numbers_below_pictures_are_those_of_the_table():
    """Of the luma, without the border, rounded: all channels of an image whose colours are wrong have another PSNR."""
    target = RNG.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    raw = {"image": target[:, ::2, ::2], "target": target, "mask": np.array([True, True])}
    made = np.clip(see(raw)["target"] + RNG.normal(0, 0.1, (2, 1, 1, 3)), -0.1, 1.1).astype(np.float32)
    made[:, 0] = 0  # within the border
    mine = evaluators.build("restorer", channels="luma", border="scale", rounded=True)
    fields = {name: Field("image", (None, None, 3)) for name in FIELDS}
    player = Judged("student", DIMMED, {}, ((), {}), None, lambda variables, batch: jnp.asarray(made))
    (figure,) = mine.pictures(setting([raw], fields), player)
    batch = {**see(raw), "mask": jnp.asarray(raw["mask"])}
    table = mine.summarise(jax.device_get(mine.sums(lambda v, b: jnp.asarray(made), {}, batch, None, {})))
    assert np.mean(figure.about["values"]) == pytest.approx(table["psnr"], abs=1e-3)
    bytes_of = lambda image: np.round(255 * np.clip(image[:, 2:-2, 2:-2], 0, 1))
    y = lambda image: np.round(bytes_of(image) @ np.array([65.481, 128.553, 24.966]) / 255 + 16)
    error = np.square(y(made) - y(target / 255)).mean((1, 2)) / 255**2
    np.testing.assert_allclose(figure.about["values"], -10 * np.log10(error), atol=0.02)


def test_pictures_of_a_stylist_have_no_true_image(paintings):
    mine = evaluators.build("stylist", images=paintings[0], content=["last"], style=["last"], size=S, channels=1)
    (figure,) = mine.pictures(setting(), judged(DIMMED))
    assert figure.reference.shape == (1, 2, S, S, 1)
    np.testing.assert_array_equal(figure.reference[0], RAW["image"][:2])
    np.testing.assert_allclose(figure.array, RAW["image"][:2] / 2, atol=1)
