"""A run's data: what the explanation says of them, and each mistake in them by the field that mends it."""

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from configs import common
from kdgan import files, game, report
from kdgan.data import from_arrays, sources
from kdgan.data.errors import UnreadableImageWarning
from kdgan.run import batches as run_batches
from kdgan.run import build, explain, replaced, train
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

SIDE = 8


def save(path, *, mode="L", size=(SIDE, SIDE), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 12), ("test", 4)):
        for number, label in enumerate(("ant", "bee")):
            for index in range(count):
                save(tmp_path / "images" / split / label / f"{index}.png", seed=100 * number + index)
    return tmp_path / "images"


def flat(folder):
    """The same images without classes."""
    for split in ("train", "test"):
        for file in sorted((folder / split).rglob("*.png")):
            file.rename(folder / split / f"{file.parent.name}-{file.name}")
        for label in ("ant", "bee"):
            (folder / split / label).rmdir()
    return folder


def config(folder, **data):
    """Two stages of an MLP on the folder."""
    config = tiny.config(seeds=1, steps=2, validation=4)
    config.data.name, config.data.labelled = f"folder:{folder}", None
    for name, value in data.items():
        config.data[name] = value
    return config


def load(config):
    return run_inputs.load(resolve(config))


def explained(config):
    run = resolve(config)
    loaded = run_inputs.load(run)
    return explain.explain(run, loaded, build.all_programs(run, loaded))


def refused(config, stage=False):
    """The one line that the config is refused with."""
    with pytest.raises(ConfigError) as error:
        explained(config) if stage else load(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_explanation_has_classes_their_counts_and_what_was_skipped(folder):
    (folder / "train" / "__MACOSX").mkdir()
    (folder / "train" / "ant" / "notes.txt").write_text("")
    save(folder / "train" / "bee" / "turned.jpg", exif=_turned())
    rows = [row.strip() for row in explained(config(folder)).splitlines()]
    assert rows[0].endswith("2 classes, images 8×8×1; train 21 all labelled, validation 4, test 8")
    assert "examples of each class: ant 12, bee 13" in rows
    assert "split train: skipped, hidden or the system's: 1 (__MACOSX)" in rows
    assert "split train: skipped, not of an image's type: 1 (ant/notes.txt)" in rows
    assert "split train: EXIF orientation applied to 1 of 25 images" in rows


def _turned():
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


def test_of_many_classes_the_smallest_and_the_largest_are_shown(monkeypatch):
    label = np.repeat(np.arange(30), np.where(np.arange(30) == 7, 2, 4))
    image = np.zeros((len(label), 8, 8, 1), np.uint8)
    data = from_arrays(image, label, class_names=[f"class {i}" for i in range(31)])
    monkeypatch.setattr(sources, "load", lambda *_, **__: data)
    rows = explained(config("anything", validation=0))
    assert "examples of a class: 0 (class 30) to 4 (class 0)" in rows
    assert "split train: no example of 1 of 31 classes: class 30" in rows
    data = from_arrays(image[:60], np.arange(60) % 30)
    assert "examples of each class: 2\n" in explained(config("anything", validation=0))


def test_a_class_that_is_too_small_for_its_share_is_said(folder):
    assert not [row for row in explained(config(folder, validation=6)).splitlines() if "equal share" in row]
    for index in range(2, 12):
        (folder / "train" / "bee" / f"{index}.png").unlink()
    rows = [row.strip() for row in explained(config(folder, validation=6, labelled=6)).splitlines()]
    assert "validation: 1 (bee) to 5 (ant) examples of a class, since small classes cannot give an equal share" in rows
    assert "labelled: 1 (bee) to 5 (ant) examples of a class, since small classes cannot give an equal share" in rows


@pytest.mark.parametrize("image_size", [12, (12, 12), [12]])
def test_a_square_is_one_number(folder, image_size):
    save(folder / "train" / "ant" / "wide.png", size=(10, 20))
    message = refused(config(folder), stage=True)
    assert (
        "images of 'image' differ in size, and a batch to train on has one: set augment.crop={size: (h, w)" in message
    )
    assert message.endswith("or image_size=(h, w) to scale all")
    assert load(config(folder, image_size=image_size)).train.image_shape == (12, 12, 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"image_size": 0}, "config.data.image_size must be (h, w) of at least one pixel, or one number for a square, got"
         " 0"),
        ({"channels": 2}, "config.data.channels must be 1 (grey), 3 (RGB) or None (as the data are), got 2"),
        ({"num_classes": 3}, "config.data.num_classes = 3: folder {folder} itself says that it has 2 classes"),
        ({"num_classes": 0}, "config.data.num_classes must be at least 1, at most 1,000,000, or None (as the data say), got"
         " 0"),
        ({"validation": 1}, "config.data.validation = 1 is fewer than one example for each of the 2 classes"),
        ({"validation": 14}, "config.data.validation = 14: each class gives half of its examples at most, so that as many"
         " are left to train on: 12 of 24; classes have 12, 12 examples"),
        ({"name": "folder"}, "config.data: data set 'folder' needs its path: config.data.name='folder:/path', or"
         " config.data.data_dir"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_their_fields(folder, data, expected):
    assert refused(config(folder, **data)) == expected.format(folder=folder)


def test_one_image_in_colour_is_named_with_its_cure(folder):
    save(folder / "test" / "ant" / "red.png", mode="RGB")
    message = refused(config(folder))
    assert message == (
        "config.data: channels of images of split 'train' is 1, of split 'test' 3; set config.data.channels to 1 or 3 to"
        " convert all"
    )
    for channels in (1, 3):
        inputs = load(config(folder, channels=channels))
        assert inputs.train.image_shape == inputs.test.image_shape == (SIDE, SIDE, channels)


def test_splits_of_two_sizes_are_named_with_their_cure(folder):
    for file in (folder / "test").rglob("*.png"):
        save(file, size=(9, 10))
    assert (
        "(h, w) of images of split 'train' is (8, 8), of split 'test' (9, 10); set config.data.image_size"
        in refused(config(folder))
    )


def test_a_test_split_is_numbered_as_the_training_split_whatever_their_names(folder):
    (folder / "train").rename(folder / "learn")
    (folder / "test").rename(folder / "exam")
    for file in (folder / "exam" / "ant").iterdir():
        file.unlink()
    (folder / "exam" / "ant").rmdir()
    inputs = load(config(folder, train="learn", test="exam"))
    assert inputs.test.label.tolist() == [1, 1, 1, 1]
    assert inputs.test.notes == ("no example of 1 of 2 classes: ant",)


def spoil(path):
    """Damage that neither header nor end shows."""
    content = path.read_bytes()
    start = content.index(b"IDAT") + 4
    path.write_bytes(content[:start] + 8 * b"\xff" + content[start + 8 :])


def test_an_image_that_goes_bad_ends_a_run_in_one_line(folder, tmp_path, monkeypatch):
    streaming = config(folder, memory_mb=0)
    streaming.stages = common.named(only=streaming.stages.teacher)
    streaming.stages.only.steps, streaming.evaluate.every = 6, 6
    initial_states = train.initial_states

    def late(*arguments):  # after the set was loaded
        spoil(folder / "train" / "ant" / "3.png")
        spoil(folder / "train" / "bee" / "3.png")
        return initial_states(*arguments)

    monkeypatch.setattr(train, "initial_states", late)
    with pytest.raises(ConfigError) as error:
        train.train(streaming, tmp_path / "run")
    message = str(error.value)
    assert message.startswith(f"config.data: image {folder}/train/")
    assert "/3.png cannot be read: " in message
    assert message.endswith("let another of its class stand in with config.data.on_bad_image='skip'")
    assert "\n" not in message


def test_a_resumed_run_sees_the_same_image_in_its_place(folder):
    streaming = config(folder, memory_mb=0, on_bad_image="skip")
    inputs = load(streaming)
    spoil(folder / "train" / "ant" / "3.png")
    later = load(streaming)  # as a resumed run loads it: header and end are whole
    common_fields = dict(seed=0, stage=0, batch_size=8, steps=6)
    with pytest.warns(UnreadableImageWarning, match=r"3\.png cannot be read"):
        first = list(run_batches.batches(inputs, start=0, **common_fields))
    with pytest.warns(UnreadableImageWarning):
        rest = list(run_batches.batches(later, start=2, **common_fields))
    for one, other in zip(first[2:], rest, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
    validation = inputs.partitions[0].validation
    held_out = {image.tobytes() for image in inputs.train.fetch(validation)}
    assert not any(image.tobytes() in held_out for batch in first for image in batch["image"])
    # What is computed once of each image is computed of the same one.
    view = run_batches.view_batch(later, inputs.partitions[0].train)
    by_place = dict(zip(inputs.partitions[0].train.tolist(), view["image"], strict=True))
    seen = {image.tobytes() for batch in first for image in batch["image"]}
    assert seen == {image.tobytes() for image in by_place.values()}


def test_images_that_others_stood_in_for_are_named_in_the_files_of_the_run(folder, tmp_path):
    streaming = config(folder, memory_mb=0, on_bad_image="skip")
    streaming.stages = common.named(only=streaming.stages.teacher)
    streaming.stages.only.steps, streaming.evaluate.every = 6, 6
    for place in ("train/ant/3.png", "train/bee/3.png", "test/ant/1.png"):
        spoil(folder / place)
    workdir = tmp_path / "run"
    with pytest.warns(UnreadableImageWarning):
        tiny.train_until(streaming, workdir, "only", 4)
    # Those that were met before the run stopped are counted though the files are whole again.
    before = files.read_json(workdir / replaced.FILE)["train"]
    assert before
    for place in before:
        save(folder / place, seed=1)
    with pytest.warns(UnreadableImageWarning):
        summary = train.train(streaming, workdir, accept_changed_inputs=True)
    names = ["train/ant/3.png", "train/bee/3.png", "test/ant/1.png"]
    assert summary["data"]["replaced"] == {"count": 3, "train": 2, "test": 1, "names": names}
    assert files.read_json(workdir / "summary.json")["data"]["replaced"] == summary["data"]["replaced"]
    note = "3 images could not be read during the run (train 2, test 1), and others of the same class stood in: "
    for text in (report.text(workdir), report.markdown(workdir), report.write(workdir).read_text()):
        assert note + ", ".join(names) in text.replace("\u00a0", " ")


def generating(folder):
    """A GAN whose generator nothing measures."""
    made = config(flat(folder))
    made.data.mean = made.data.std = 0.5  # the generator ends in tanh
    made.players = common.named(
        generator=dict(
            model="dcgan_generator", model_args=dict(image_size=SIDE, channels=1, width=1 / 64), evaluate="nothing"
        ),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 32)),
    )
    made.stages = common.named(
        gan=dict(
            method=dict(name="gan", generator="generator", latent=4),
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0), generator=dict(adv=1.0)),
            steps=2,
        )
    )
    return made


def test_a_generator_learns_from_images_without_labels(folder, tmp_path):
    made = generating(folder)
    text = explained(made)
    assert "no labels, images 8×8×1; train 20 without labels, validation 4, test 8" in text
    assert "examples of" not in text
    train.train(made, tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()
    assert "label" not in np.load(tmp_path / "run" / "evaluation.npz")
    report.text(tmp_path / "run")
    assert report.write(tmp_path / "run").exists()
    made.data.memory_mb = 0
    batch = next(run_batches.batches(load(made), seed=0, stage=0, batch_size=8, start=0, steps=1))
    assert set(batch) == {"image", "index", "ordinal", "position", "key"}


def unsupervised():
    """A method that looks at no label."""
    entropy = lambda logits: -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1)
    return game.Method(
        game.Move("student", lambda players, batch, key: {"entropy": entropy(players.student(batch["image"]))})
    )


def test_whoever_needs_labels_is_refused_by_name(folder):
    made = generating(folder)
    cure = (
        f"the images of 'folder:{folder}' (split 'train') have no labels: put them into one sub-folder for each class"
    )
    made.stages.gan.method["conditional"] = True
    message = refused(made, stage=True)
    assert "config.stages.gan: method.conditional = True" in message
    assert cure in message
    classifier = config(folder)
    assert refused(classifier, stage=True) == f"config.stages.teacher.method = 'supervised' learns from labels; {cure}"
    classifier.data.augment.mixup = dict(alpha=0.2)
    assert refused(classifier, stage=True).endswith(cure)
    # Trained without labels, but measured by them.
    student = config(folder)
    student.stages = common.named(
        only=dict(method=dict(name=f"{__name__}.unsupervised"), lambdas=dict(student=dict(entropy=1.0)))
    )
    message = refused(student, stage=True)
    assert message.startswith("config.players.student is judged as 'classifier'")
    assert cure in message


def handed(channels=1, classes=3, side=SIDE):
    image = np.random.default_rng(channels).integers(0, 256, (60, side, side, channels), np.uint8)
    return from_arrays(image, np.arange(60) % classes)


@pytest.mark.parametrize(
    ("fields", "train_as", "test_as", "shape", "classes"),
    [
        ({"channels": 3}, {}, {"channels": 3}, (SIDE, SIDE, 3), 3),
        ({"channels": 1}, {"channels": 3}, {"channels": 3}, (SIDE, SIDE, 1), 3),
        ({"image_size": SIDE}, {"side": 16}, {}, (SIDE, SIDE, 1), 3),
        ({"image_size": [6, 7]}, {}, {}, (6, 7, 1), 3),
        ({"num_classes": 5}, {}, {}, (SIDE, SIDE, 1), 5),
        ({}, {}, {"classes": 2}, (SIDE, SIDE, 1), 3),
        ({"num_classes": 3}, {"classes": 2}, {}, (SIDE, SIDE, 1), 3),
    ],
)
def test_fields_of_images_and_classes_hold_for_sets_that_are_handed_over(fields, train_as, test_as, shape, classes):
    data_sets = {"train": handed(**train_as), "test": handed(**test_as)}
    made = config("none", **fields)
    inputs = run_inputs.load(resolve(run_inputs.handed_over(made, data_sets)), data_sets)
    for dataset in (inputs.train, inputs.test):
        assert (dataset.image_shape, dataset.image.shape[1:], dataset.num_classes) == (shape, shape, classes)


@pytest.mark.parametrize(
    ("fields", "train_as", "test_as", "expected"),
    [
        ({"num_classes": 2}, {}, {}, "config.data.num_classes = 2: label of 'arrays': 20 of 60 out of range 0..1"),
        ({"channels": 2}, {}, {}, "config.data.channels must be 1 (grey), 3 (RGB) or None"),
        ({"image_size": 0}, {}, {}, "config.data.image_size must be (h, w)"),
        ({"channels": 3}, {"channels": 5}, {}, "config.data.channels = 3: images of 'arrays' have 5 channels"),
        ({}, {"classes": 2}, {}, "num_classes of split 'train' is 2, of split 'test' 3; set config.data.num_classes"),
        ({}, {}, {"channels": 3}, "is 1, of split 'test' 3; set config.data.channels to 1 or 3"),
    ],
)
def test_sets_handed_over_that_do_not_fit_are_refused_by_field(fields, train_as, test_as, expected):
    data_sets = {"train": handed(**train_as), "test": handed(**test_as)}
    with pytest.raises(ConfigError) as error:
        run_inputs.load(resolve(run_inputs.handed_over(config("none", **fields), data_sets)), data_sets)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
