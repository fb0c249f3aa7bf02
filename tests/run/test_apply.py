"""`--mode=apply` and `restore.apply`: a trained restorer on photographs and folders of them."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image, ImageCms

import kdgan
import tiny
from configs import common
from kdgan import data, run
from kdgan.data import tree as trees
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import apply as applying
from kdgan.run import modes, restoring
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError

MEAN, STD = 0.4, 0.25


class Cleans(nn.Module):
    """A residual convolution; of several styles the residual is weighted."""

    styles: int = 0

    @nn.compact
    def __call__(self, x, style=None):
        y = nn.Conv(x.shape[-1], (3, 3), name="last")(x)
        if self.styles:
            scale = self.param("scale", nn.initializers.normal(), (self.styles,))
            weights = jnp.ones((len(x), self.styles)) if style is None else style
            weights = jax.nn.one_hot(style, self.styles) if weights.ndim == 1 else weights
            y = y * (weights @ scale)[:, None, None, None]
        return x - y


def cleaning():
    def terms(players, batch, key):
        return {"mse": image_losses.l2(players.student(batch["image"]), batch["target"])}

    return Method(Move("student", terms))


def trained(workdir, channels, **fields):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 12, 12, channels), np.uint8)
    pairs = data.from_fields({"image": images, "target": images // 2}, kinds=dict(image="image", target="image"))
    config = tiny.config(seeds=1, validation=4)
    config.data.labelled, config.data.mean, config.data.std = None, MEAN, STD
    config.stages = common.named(
        main=dict(method=dict(name="test_apply.cleaning"), lambdas=dict(student=dict(mse=1.0)), steps=2)
    )
    config.players = common.named(student=dict(model="test_apply.Cleans", model_args=fields))
    kdgan.train(config, workdir, data={"train": pairs, "test": pairs}, show=False)
    return workdir


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("grey"), 1)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("colours"), 3)


def by_hand(workdir, pixels):
    """What the saved convolution makes of pixels [h, w, c] in [0, 1], by its sum over the 3×3 places."""
    tree = (
        Checkpoints(workdir / "checkpoints" / "main")
        .restore_latest()
        .tree["main"]["state"]["params"]["student"]["last"]
    )
    kernel, bias = np.asarray(tree["kernel"][0], np.float64), np.asarray(tree["bias"][0], np.float64)
    x = (pixels.astype(np.float64) - MEAN) / STD
    h, w = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    y = sum(padded[i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3)) + bias
    return np.clip((x - y) * STD + MEAN, 0, 1)


def photograph(h, w, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, channels), np.uint8)


def opened(path):
    with Image.open(path) as image:
        return np.array(image)


def apply(workdir, source, target, **options):
    options = {"style": None, "tile": None, "colour": "luma", "overwrite": False, **options}
    options = {**dict.fromkeys(("player", "stage", "arm", "member")), "best": False, **options}
    modes.apply(None, workdir, source=str(source), target=str(target), **options)


def test_an_image_is_what_the_saved_parameters_make_of_it(colours):
    restore = run.load(colours)
    assert restore.about == "student: stage main, arm main, seed 0, step 2"
    image = photograph(17, 23)
    expected = by_hand(colours, image / 255)
    for tile in (None, 8):
        np.testing.assert_allclose(restore(image / 255, tile=tile), expected, atol=1e-5)
        made = restore(image, tile=tile)
        assert made.dtype == np.uint8
        assert np.abs(made - 255 * expected).max() <= 0.51
    np.testing.assert_array_equal(restore(np.stack([image, image]))[1], made)
    noisy = image / 255 + 0.3
    np.testing.assert_allclose(restore(noisy), by_hand(colours, noisy), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \[4, 4\]; \[h, w, 3\] or \[n, h, w, 3\] is accepted"),
        (np.zeros((4, 4, 1), np.uint8), r"shape \[4, 4, 1\]"),
        (np.zeros((4, 4, 3), np.int32), "an image is int32; uint8, or floating point"),
        (np.full((4, 4, 3), 200.0), r"values 200\.\.200; floating-point pixels lie in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), "values nan..nan"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(colours, image, words):
    with pytest.raises(ValueError, match=words):
        run.load(colours)(image)


def test_a_photograph_with_opacity_from_the_command_line(colours, tmp_path, capsys):
    image = photograph(40, 31, 4)
    Image.fromarray(image).save(tmp_path / "in.png")
    apply(colours, tmp_path / "in.png", tmp_path / "out.png", tile=16)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(tmp_path / "out.png")
    assert "in.png 9/9 100%" in err
    made = opened(tmp_path / "out.png")
    expected = by_hand(colours, image[..., :3] / 255)
    assert np.abs(made[..., :3] - 255 * expected).max() <= 0.51
    np.testing.assert_array_equal(made[..., 3], image[..., 3])
    with pytest.raises(ConfigError, match=r"out\.png is there; another name, or --overwrite, is accepted"):
        apply(colours, tmp_path / "in.png", tmp_path / "out.png")
    apply(colours, tmp_path / "in.png", tmp_path / "out.jpg")
    assert "its opacity is dropped, .jpg has none" in capsys.readouterr().out
    assert opened(tmp_path / "out.jpg").shape == (40, 31, 3)


def test_a_player_of_grey_images_restores_the_luma_of_colours_or_each_channel_or_makes_them_grey(grey, tmp_path):
    image = photograph(20, 24)
    Image.fromarray(image).save(tmp_path / "in.png")
    luma, blue, red = np.moveaxis(np.asarray(Image.fromarray(image).convert("YCbCr")), -1, 0)
    restored = np.round(255 * by_hand(grey, luma[..., None] / 255)).astype(np.uint8)[..., 0]
    whole = Image.merge("YCbCr", [Image.fromarray(plane) for plane in (restored, blue, red)]).convert("RGB")
    channels = [by_hand(grey, image[..., i : i + 1] / 255) for i in range(3)]
    as_grey = by_hand(grey, np.asarray(Image.fromarray(image).convert("L"))[..., None] / 255)
    expected = {
        "luma": np.asarray(whole),
        "channels": 255 * np.concatenate(channels, -1),
        "grey": 255 * as_grey[..., 0],
    }
    for colour, values in expected.items():
        apply(grey, tmp_path / "in.png", tmp_path / f"{colour}.png", colour=colour)
        made = opened(tmp_path / f"{colour}.png").astype(float)
        assert made.shape == values.shape
        assert np.abs(made - values).max() <= (2 if colour == "luma" else 0.51)  # a luma may round to the other side


def test_grey_of_16_bits_keeps_them_where_the_format_does(grey, tmp_path, capsys):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 21), np.uint16)
    Image.fromarray(deep).save(tmp_path / "in.png")
    expected = by_hand(grey, deep[..., None] / 65535)[..., 0]
    apply(grey, tmp_path / "in.png", tmp_path / "out.png")
    made = opened(tmp_path / "out.png")
    assert made.dtype == np.uint16
    np.testing.assert_allclose(made / 65535, expected, atol=2e-5)
    apply(grey, tmp_path / "in.png", tmp_path / "out.bmp")
    assert "its 16 bits are written as 8" in capsys.readouterr().out
    np.testing.assert_allclose(opened(tmp_path / "out.bmp") / 255, expected, atol=0.003)


def test_grey_photographs_are_given_as_colours_where_these_are_wanted(colours, tmp_path):
    image = photograph(9, 9, 1)
    Image.fromarray(image[..., 0]).save(tmp_path / "in.png")
    apply(colours, tmp_path / "in.png", tmp_path / "made" / "out.webp")
    made = opened(tmp_path / "made" / "out.webp")
    assert np.abs(made - 255 * by_hand(colours, np.repeat(image, 3, -1) / 255)).max() <= 0.51


def test_a_folder_goes_on_over_a_broken_file_and_says_so_at_the_end(colours, tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "in" / "out"
    (source / "more").mkdir(parents=True)
    images = {"a.png": (8, 9), "a.bmp": (9, 8), "more/b.jpg": (8, 8), "one.png": (7, 1)}
    for i, (name, size) in enumerate(images.items()):
        Image.fromarray(photograph(*size, seed=i)).save(source / name)
    (source / "broken.png").write_bytes(b"\x89PNG nothing")
    (source / "notes.txt").write_text("none of these")
    unknown = r".*broken\.png: its content is of no known image format$"
    with pytest.raises(ConfigError, match=rf"1 of 5 files could not be made, the others are written: {unknown}"):
        apply(colours, source, target)
    assert "left out" in capsys.readouterr().out
    made = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert made == ["a.bmp.png", "a.png.png", "more/b.png", "one.png"]
    assert opened(target / "one.png").shape == (7, 1, 3)
    (source / "broken.png").unlink()
    (target / "one.png").write_bytes(b"another's")
    apply(colours, source, target)  # what is there, and what was made before, is no input
    assert "4 of 4 files are there and left as they are" in capsys.readouterr().out
    assert (target / "one.png").read_bytes() == b"another's"
    apply(colours, source, target, overwrite=True)
    assert opened(target / "one.png").shape == (7, 1, 3)


def test_folders_that_systems_leave_behind_and_links_in_a_circle_are_passed_by(colours, tmp_path, monkeypatch):
    source, target = tmp_path / "in", tmp_path / "out"
    for name in (
        "a.png",
        "more/b.png",
        ".cache/c.png",
        "__MACOSX/d.png",
        "more/@eaDir/e.png",
        ".f.png",
        "closed/g.png",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(6, 6)).save(source / name)
    (source / "more" / "above").symlink_to(source)
    scandir = trees.os.scandir

    def scan(path):
        if pathlib.Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(trees.os, "scandir", scan)
    with pytest.raises(ConfigError, match=r"1 of 3 files could not be made, .*closed: a folder that may not be listed"):
        apply(colours, source, target)
    made = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert made == ["a.png", "more/b.png"]


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        ("none.png", "out.png", {}, "none.png: there is no such file or folder"),
        ("in.png", "out.xyz", {}, r"out\.xyz: a name that ends in \.png, \.jpg"),
        ("in.png", "in.png", {"overwrite": True}, "is the input itself"),
        (".", ".", {}, "is the folder of the inputs"),
        (".", "in.png", {}, r"in\.png is a file, and .* a folder"),
        ("empty", "out", {}, "has no images; files that end in"),
        ("in.png", "out.png", {"colour": "cmyk"}, "colour = 'cmyk': accepted are luma, channels, grey"),
        ("in.png", "out.png", {"tile": 0}, "--tile=0: pixels of a side, a whole number of at least 1"),
        ("in.png", "out.png", {"stage": "nope"}, "--stage=nope: the run has no such stage; accepted are main"),
        ("in.png", "out.png", {"tile": 2}, "an output sees 1 pixels to every side; at least 4 are accepted"),
        ("in.png", "out.png", {"style": ["1"]}, "style = 1: student has one style; leave it out"),
        ("in.png", "out.png", {"style": ["x"]}, "--style=x: a class, 3, or a weight for each"),
        ("in.png", "out.png", {"player": "critic"}, "no player that makes an image of an image for player 'critic'"),
    ],
)
def test_a_mistake_is_one_line(colours, tmp_path, source, target, options, words):
    Image.fromarray(photograph(6, 6)).save(tmp_path / "in.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=words) as raised:
        apply(colours, tmp_path / source, tmp_path / target, **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out.png").exists()


def test_many_files_that_cannot_be_made_are_named_by_three_and_their_number(colours, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"{i}.png").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"5 of 5 files .*0\.png: .*1\.png: .*2\.png: [^;]*; and 2 more$"):
        apply(colours, tmp_path / "in", tmp_path / "out")


def test_no_photograph_that_is_read_is_written_over(colours, tmp_path):
    for name in ("in/x.png", "in/in/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(5, 6)).save(tmp_path / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").symlink_to("../in/x.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "in").symlink_to("../in")
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.png")}
    for target in ("out", ".", "linked"):
        with pytest.raises(
            ConfigError, match=r"--output: .*x\.png, made of .*x\.png, would replace the input .*x\.png;"
        ):
            apply(colours, tmp_path / "in", tmp_path / target, overwrite=True)
        assert {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.png")} == before
    assert not (tmp_path / "x.png").exists()
    assert not (tmp_path / "out" / "in").exists()


def test_a_link_to_a_folder_above_is_passed_by_and_said_and_so_is_what_is_hidden(colours, tmp_path, capsys):
    source = tmp_path / "in"
    (source / "more").mkdir(parents=True)
    Image.fromarray(photograph(5, 6)).save(source / "more" / "a.png")
    (source / "more" / "loop").symlink_to("..")
    (source / "above").symlink_to(tmp_path)
    (source / ".hidden").mkdir()
    Image.fromarray(photograph(5, 6)).save(source / ".hidden" / "b.png")
    apply(colours, source, tmp_path / "out")
    said = capsys.readouterr().out
    assert "skipped, links to a folder above them: 2 (above, more/loop)" in said
    assert "skipped, hidden or the system's: 1 (.hidden)" in said
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["a.png"]


def test_a_file_of_a_name_as_long_as_there_are(colours, tmp_path):
    name = f"{'n' * 251}.png"
    Image.fromarray(photograph(5, 6)).save(tmp_path / "in.png")
    apply(colours, tmp_path / "in.png", tmp_path / name)
    assert opened(tmp_path / name).shape == (5, 6, 3)


def profile(space):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def test_a_profile_of_other_colours_than_are_written_is_dropped_and_said(grey, colours, tmp_path, capsys):
    of_rgb = profile("sRGB")
    of_ink = of_rgb[:16] + b"CMYK" + of_rgb[20:]
    Image.fromarray(photograph(5, 6)).save(tmp_path / "rgb.png", icc_profile=of_rgb)
    Image.fromarray(photograph(5, 6, 4), "CMYK").save(tmp_path / "ink.jpg", icc_profile=of_ink)
    Image.new("LAB", (6, 5)).save(tmp_path / "lab.tif", icc_profile=profile("LAB"))
    written = {}
    for workdir, name, target in (
        (colours, "rgb.png", "1.png"), (colours, "ink.jpg", "2.png"), (colours, "lab.tif", "3.png"),
        (colours, "rgb.png", "4.bmp"), (grey, "rgb.png", "5.png"),
    ):  # fmt: skip
        apply(workdir, tmp_path / name, tmp_path / target, colour="grey")
        with Image.open(tmp_path / target) as image:
            written[target] = image.info.get("icc_profile"), capsys.readouterr().out
    assert written.pop("1.png")[0] == of_rgb
    assert "profile is dropped, .bmp has none" in written["4.bmp"][1]
    assert "it is of other colours than the RGB that is written" in written["2.png"][1]
    assert "it is of other colours than the grey that is written" in written["5.png"][1]
    assert all(kept is None and "its colour profile is dropped" in said for kept, said in written.values())


def test_a_player_of_colours_says_why_16_bits_are_written_as_8(colours, tmp_path, capsys):
    Image.fromarray(np.full((5, 6), 40_000, np.uint16)).save(tmp_path / "in.png")
    apply(colours, tmp_path / "in.png", tmp_path / "out.png")
    assert "its 16 bits are written as 8; the player makes colours, which have 8" in capsys.readouterr().out


def test_a_tile_is_a_whole_number():
    assert [applying.is_side(tile) for tile in (1, np.int64(64))] == [True, True]
    assert not any(applying.is_side(tile) for tile in ("64", 64.0, True, 0, -1, None))


def test_a_damaged_file_of_the_workdir_is_one_line(colours, tmp_path):
    for name in ("players.json", "config.json", "workdir.json"):
        workdir = tmp_path / name.partition(".")[0]
        shutil.copytree(colours, workdir)
        for content in ("{", "[]", "{}", '{"format": 2}'):
            (workdir / name).write_text(content)
            with pytest.raises(ConfigError, match=r"workdir |config\.") as raised:
                apply(workdir, tmp_path / "in.png", tmp_path / "out.png")
            assert "\n" not in str(raised.value)


def test_a_name_of_a_folder_gets_a_png(colours, tmp_path):
    Image.fromarray(photograph(6, 6)).save(tmp_path / "in.jpg")
    made = run.load(colours).apply(tmp_path / "in.jpg", f"{tmp_path}/new/")
    assert made == (tmp_path / "new" / "in.png",)


def test_a_player_of_several_styles_is_given_one_or_a_mixture(tmp_path):
    workdir = trained(tmp_path, 1, styles=3)
    restore = run.load(workdir)
    image = np.full((6, 6, 1), 0.7)
    np.testing.assert_array_equal(restore(image), restore(image, style=(1, 1, 1)))  # the module's own default
    one, two = (restore(image, style=i) for i in (1, 2))
    assert np.abs(one - two).max() > 1e-4
    np.testing.assert_allclose(restore(image, style=(0, 0.5, 0.5)), (one + two) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="style = 3: a class 0 to 2 is accepted"):
        restore(image, style=3)
    with pytest.raises(ValueError, match="or 3 weights, are accepted"):
        restore(image, style=(1.0, 0.0))


def test_a_classifier_restores_nothing(tmp_path):
    config = tiny.config(steps=2, seeds=1, arms=common.named(scratch=dict(lambdas=dict(student=dict(ce=1.0)))))
    del config.stages.distill, config.players.student
    kdgan.train(config, tmp_path, show=False)
    with pytest.raises(ConfigError, match="no player that makes an image of an image for this run"):
        restoring.load(tmp_path)


def test_an_exported_file_makes_the_same_image(colours, tmp_path):
    run.load(colours).export(tmp_path / "student.msgpack")
    assert (tmp_path / "student.msgpack").exists()
