"""Runs on data of any fields: their batches, splits and augmentations, their sources, and each mistake in one line."""

import dataclasses
import textwrap

import jax
import numpy as np
import pytest

import tiny
from configs import common
from kdgan import data
from kdgan.data.batches import indices_of_step
from kdgan.run import batches as run_batches
from kdgan.run import inputs as run_inputs
from kdgan.run import schema, train
from kdgan.run.config import ConfigError, resolve
from kdgan.run.players import inputs_of
from kdgan.run.splits import Splits

RNG = np.random.default_rng(0)
N, BATCH = 24, 4


def split(count=N, **change):
    """A set of images with a target, sentences, vectors and tags."""
    image = RNG.integers(0, 256, (count, 6, 7, 1), np.uint8)
    fields = {
        "image": image,
        "target": image.copy(),
        "text": [[1 + i % 5] * (1 + i % 3) for i in range(count)],
        "wave": RNG.normal(size=(count, 3)),
        "label": RNG.integers(0, 2, (count, 4)),
    }
    return data.from_fields({name: value for name, value in (fields | change).items() if value is not None})


def load(train=None, test=None, **fields):
    data_sets = {"train": train or split(), "test": test or split(8)}
    return run_inputs.load(resolve(run_inputs.handed_over(tiny.on_data(**fields), data_sets)), data_sets)


def refused(*args, **fields):
    with pytest.raises(ConfigError) as error:
        load(*args, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


def draw(inputs, spec=None, *, steps=3, views=None):
    """Prepared batches of the steps, with the examples they are of."""
    prepare = jax.jit(run_batches.make_prepare(inputs, spec or {}))
    several = run_batches.batches(
        inputs, seed=0, stage=0, batch_size=BATCH, start=0, steps=steps, views=views, spec=spec
    )
    return [jax.device_get(prepare(raw, inputs.device_arrays())) for raw in several]


def test_a_step_gets_all_fields_and_the_same_whether_the_set_streams_or_lies_on_the_device():
    inputs = load(labelled=16, unlabelled_batch_size=3)
    spec = {"flip": {"fields": ("image", "target")}}
    assert inputs.on_device
    on_device = draw(inputs, spec)
    streamed = draw(dataclasses.replace(inputs, on_device=False), spec)
    jax.tree.map(np.testing.assert_array_equal, on_device, streamed)
    fields, rows = inputs.train.arrays, inputs.partitions[0]
    for step, batch in enumerate(on_device):
        index = rows.train[indices_of_step(16, BATCH, seed=0, stage=0, step=step)]
        for name in ("text", "text_mask", "wave", "label"):
            np.testing.assert_array_equal(batch[name], fields[name][index])
            assert batch[name].dtype == inputs.train.fields[name].dtype
        assert batch["image"].dtype == np.float32
        np.testing.assert_array_equal(batch["image"], batch["target"])
        stage = run_batches.UNLABELLED_STREAM
        extra = rows.unlabelled[indices_of_step(8, 3, seed=0, stage=stage, step=step)]
        assert set(batch["unlabelled"]) == {"image", "target", "text", "text_mask", "wave", "index"}
        np.testing.assert_array_equal(batch["unlabelled"]["wave"], fields["wave"][extra])
    example = run_batches.example_batch(inputs, run_batches.make_prepare(inputs, spec), BATCH, spec)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), example) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), on_device[0]
    )
    assert not load(memory_mb=0).on_device


def test_an_image_and_its_target_are_augmented_alike():
    geometric = {"affine": {"rotate": 20.0}, "crop": {"padding": 2}, "flip": {}}
    alike = {name: {**settings, "fields": ("image", "target")} for name, settings in geometric.items()}
    inputs = load(mean=0.5)
    (both, *_), (plain, *_) = draw(inputs, alike), draw(inputs)
    np.testing.assert_array_equal(both["image"], both["target"])
    assert np.abs(both["image"] - plain["image"]).max() > 0.1
    (one, *_) = draw(inputs, {**alike, "cutout": {"size": 3, "fields": "image"}})
    np.testing.assert_array_equal(one["target"], both["target"])
    assert np.abs(one["image"] - one["target"]).max() > 0.1


def test_views_are_made_as_a_step_makes_them():
    inputs = load()
    spec = {"crop": {"padding": 2, "fields": ("image", "target")}}
    prepare = jax.jit(run_batches.make_prepare(inputs, spec))
    (raw, *_) = run_batches.batches(inputs, seed=0, stage=0, batch_size=BATCH, start=7, steps=8, views=2)
    assert (raw["position"] >= N).all()  # the second view
    view = prepare(run_batches.view_batch(inputs, raw["position"]), {})
    step = prepare(raw, inputs.device_arrays())
    assert step.keys() - view.keys() == {"index"}  # an example's number is a seed's
    jax.tree.map(np.testing.assert_array_equal, {name: step[name] for name in view}, view)


def test_mixing_takes_images_and_labels_alike():
    small = {"text": None, "wave": None}
    for label, expected in ((None, None), (np.arange(N) % 3, np.eye(3)), (RNG.integers(0, 2, (N, 4)), None)):
        inputs = load(split(**small, label=label), split(8, **small, label=None if label is None else label[:8]))
        spec = {"mixup": {"alpha": 1.0, "fields": ("image", "target")}}
        if label is None:
            with pytest.raises(ConfigError, match=r"mixup and cutmix mix labels; .* have no labels"):
                run_batches.make_prepare(inputs, spec)
            continue
        (batch, *_) = draw(inputs, spec, steps=1)
        np.testing.assert_array_equal(batch["image"], batch["target"])
        index = indices_of_step(N, BATCH, seed=0, stage=0, step=0)
        whole = inputs.train.label if expected is None else expected[inputs.train.label]
        # Of whichever partners: the mean over the batch stays.
        np.testing.assert_allclose(batch["label"].mean(0), whole[index].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "spec", "expected"),
    [
        ({}, {"flip": {}}, "augment.flip.fields is missing: the data have several fields of images, image, target"),
        ({}, {"flip": {"fields": ("image", "imge")}}, "augment.flip.fields: 'imge' is no field of the data; "),
        ({}, {"flip": {"fields": ("wave",)}}, "augment.flip.fields: 'wave' holds vector 3, no images; fields of images are"),
        ({"image": None, "target": None}, {"flip": {}}, "augment.flip changes images; the data have none: "),
        (
            {"target": np.zeros((N, 12, 14, 1), np.uint8)}, {"crop": {"padding": 2, "fields": ("image", "target")}},
            r"only images of one size are changed alike in pixels; \(h, w\) are image \(6, 7\), target \(12, 14\)",
        ),
        ({}, {"mixup": {"alpha": 1.0, "fields": ("image", "target")}}, "text, text_mask, wave would stay those of one"),
        ({"label": np.ones(N)}, {"mixup": {"alpha": 1.0, "fields": "image"}}, "class or tags; the data's label is number"),
        ({"target": None}, {"crop": {"size": 9}}, r"crop\.size = 9: at most the image's \(6, 7\)"),
        ({"target": None}, {"crop": {"size": (0, 2)}}, r"crop\.size must be \(height, width\) of at least 1 pixel"),
    ],
)  # fmt: skip
def test_augmentations_that_the_data_have_nothing_for_are_refused(change, spec, expected):
    inputs = load(split(**change), split(**change))
    with pytest.raises((ConfigError, ValueError), match=expected) as error:
        run_batches.example_batch(inputs, run_batches.make_prepare(inputs, spec), BATCH, spec)
    assert "\n" not in str(error.value)


def ragged(count=N):
    sizes = [(5, 6), (7, 5), (6, 6)]
    images = [RNG.integers(0, 256, (*sizes[i % 3], 1), np.uint8) for i in range(count)]
    return data.from_fields({"image": images, "target": images, "label": np.arange(count) % 4})


def test_images_of_several_sizes_are_trained_on_in_windows():
    train = ragged()
    inputs = load(train, ragged(8), memory_mb=0)
    assert not inputs.on_device
    spec = {"crop": {"size": (4, 5), "fields": ("image", "target")}, "flip": {"fields": ("image", "target")}}
    first, again = draw(inputs, spec), draw(inputs, spec)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    held = load(train, ragged(8))
    assert held.on_device  # the device cuts the same windows
    jax.tree.map(np.testing.assert_array_equal, first, draw(held, spec))
    assert first[0]["image"].shape == (BATCH, 4, 5, 1)
    for step, batch in enumerate(first):
        np.testing.assert_array_equal(batch["image"], batch["target"])
        for row, window in zip(indices_of_step(N, BATCH, seed=0, stage=0, step=step), batch["image"], strict=True):
            places = np.lib.stride_tricks.sliding_window_view(inputs.train.image[row], (4, 5, 1)).reshape(-1, 4, 5, 1)
            pixels = np.round(255 * window)
            assert any((places == either).all((1, 2, 3)).any() for either in (pixels, pixels[:, ::-1]))
    example = run_batches.example_batch(inputs, run_batches.make_prepare(inputs, spec), BATCH, spec)
    assert example["image"].shape == (BATCH, 4, 5, 1)
    (raw, *_) = run_batches.batches(inputs, seed=0, stage=0, batch_size=BATCH, start=0, steps=1, views=2, spec=spec)
    view = run_batches.view_batch(inputs, raw["position"], spec)
    np.testing.assert_array_equal(raw["image"], view["image"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            r"images of 'image' differ in size.*: set augment\.crop=\{size: \(h, w\), fields: \('image', 'target'\)\}",
        ),
        ({"crop": {"size": 4, "fields": ("image",)}}, "images of 'target' differ in size"),
        ({"crop": {"size": 4, "padding": 1, "fields": ("image", "target")}}, "without padding"),
        (
            {"crop": {"size": 6, "fields": ("image", "target")}},
            r"example 0 of 'image' is \(5, 6\); a window that lies in",
        ),
    ],
)
def test_images_of_several_sizes_without_a_window_are_refused(spec, expected):
    with pytest.raises(ConfigError, match=expected) as error:
        run_batches.make_prepare(load(ragged(), ragged(8)), spec)
    assert "\n" not in str(error.value)


def test_images_of_several_sizes_are_measured_size_by_size():
    inputs = load(ragged(), ragged(8))
    run = resolve(tiny.on_data())
    run = dataclasses.replace(run, evaluate=dataclasses.replace(run.evaluate, batch_size=2))
    splits = Splits(run, inputs)
    rows = []
    for batch in splits.batches("test"):
        rows += np.asarray(batch["label"])[np.asarray(batch["mask"])].tolist()
    order = [0, 3, 6, 1, 4, 7, 2, 5]
    assert rows == splits.labels("test").tolist() == [row % 4 for row in order]
    np.testing.assert_array_equal(splits.images("test", [3])[0], inputs.test.image[1])
    # A network that was trained on windows is measured on whole images.
    windows = data.from_fields({"image": np.zeros((N, 4, 4, 1), np.uint8), "label": np.arange(N) % 4})
    whole = data.from_fields({"image": list(ragged(8).image), "label": np.arange(8) % 4})
    assert load(windows, whole).test.image_shape == (None, None, 1)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (np.ones((N, 2), int), "the label holds tags"),
        (np.ones(N), "the label holds numbers"),
        (None, "there are no labels"),
    ],
)
def test_without_classes_subsets_are_drawn_at_random_and_that_is_said(label, why):
    inputs = load(split(label=label), split(label=label), validation=5, labelled=7)
    assert [len(rows) for rows in inputs.partitions[0]] == [7, 5, 12]
    note = f"validation and labelled drawn at random, balanced by nothing: {why}, no classes"
    assert inputs.train.notes[-1] == note
    assert not inputs.has_classes
    assert load(split(label=np.arange(N) % 2), split(label=np.arange(N) % 2), labelled=6).train.notes == ()


WITH_NAN = split()
WITH_NAN.arrays["wave"][7, 1] = np.nan


@pytest.mark.parametrize(
    ("train_set", "test_set", "expected"),
    [
        (split(), split(wave=None), "split 'test' has no field 'wave': split 'train' has image, target, text, "),
        (split(text=None), split(), "split 'train' has no field 'text'"),
        (split(), split(label=np.arange(N) % 3), "the kind of 'label' of split 'train' is tags, of split 'test' class"),
        (split(), split(wave=np.zeros((N, 4))), "the shape of 'wave' of split 'train' is (3,), of split 'test' (4,)"),
        (split(), split(label=np.ones((N, 3), int)), "num_classes of split 'train' is 4, of split 'test' 3"),
        (
            split(label=np.arange(N) % 2), split(label=np.arange(N) % 3),
            "num_classes of split 'train' is 2, of split 'test' 3; set config.data.num_classes to that of both",
        ),
        (split(), split(target=np.zeros((N, 9, 7, 1), np.uint8)), "(h, w) of 'target' of split 'train' is (6, 7), of split"),
        (split(), split(image=np.zeros((N, 6, 7, 3), np.uint8)), "channels of images of split 'train' is 1, of split"),
        (WITH_NAN, split(), "field 'wave': 1 of 24 examples hold NaN or inf; the first has index 7"),
    ],
)  # fmt: skip
def test_splits_that_do_not_fit_are_refused_field_by_field(train_set, test_set, expected):
    assert expected in refused(train_set, test_set)


def test_images_are_all_that_size_and_channels_change():
    inputs = load(image_size=4, channels=3)
    assert [inputs.train.fields[name].shape for name in ("image", "target")] == [(4, 4, 3)] * 2
    message = refused(split(image=None, target=None), split(image=None, target=None), image_size=4)
    assert message == (
        "config.data.image_size = 4: data set 'arrays' has no images; its fields are text, text_mask, wave, label"
    )


OUTSIDE = '''
    """A source of data and a new kind of label, the share of votes for each class, with its method and its evaluator."""

    import jax
    import jax.numpy as jnp
    import numpy as np

    from kdgan import data
    from kdgan.evaluators import Evaluator, Measure
    from kdgan.game import Method, Move


    def load(split, classes=3):
        rng = np.random.default_rng(len(split))
        wave = rng.normal(size=(40 if split == "train" else 16, 5))
        votes = np.exp(wave[:, :classes])
        return data.from_fields({"wave": wave, "label": votes / votes.sum(1, keepdims=True)})


    def nothing(split):
        return {"wave": 1}


    def by_votes(player="student"):
        def terms(players, batch, key):
            log_shares = jax.nn.log_softmax(players[player](batch["image"]))
            return {"votes": -(batch["label"] * log_shares).sum(-1)}

        return Method(Move(player, terms))


    def divergence():
        def sums(apply, variables, batch, key, others):
            shares = jax.nn.log_softmax(apply(variables, batch))
            each = jnp.sum(batch["label"] * (jnp.log(batch["label"]) - shares), -1)
            return {"count": jnp.sum(batch["mask"]), "kl": jnp.sum(jnp.where(batch["mask"], each, 0.0))}

        def summarise(sums):
            return {"kl": sums["kl"] / sums["count"]}

        return Evaluator(Measure("kl", "KL", unit="nats", higher_is_better=False), sums=sums, summarise=summarise)
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "votes_from_outside.py").write_text(textwrap.dedent(OUTSIDE))
    monkeypatch.syspath_prepend(tmp_path)
    return "votes_from_outside"


def by_votes(outside):
    made = tiny.on_data(name=f"{outside}.load", validation=8)
    made.players = common.named(
        student=dict(model="mlp", model_args=dict(hidden=(8,), num_classes=3), evaluate=f"{outside}.divergence")
    )
    made.stages = common.named(
        only=dict(method=dict(name=f"{outside}.by_votes"), lambdas=dict(student=dict(votes=1.0)), steps=40)
    )
    made.evaluate.every = 20
    return made


def test_a_source_and_a_kind_of_label_from_outside(outside, tmp_path):
    summary = train.train(by_votes(outside), tmp_path / "run")
    kl = summary["stages"]["only"]["arms"]["main"]["players"]["student"]["kl"]["mean"]
    labels = __import__(outside).load("test").label
    uniform = float(np.mean(np.sum(labels * np.log(3 * labels), -1)))  # of a player that says 1/3 to all
    assert 0 < kl < 0.8 * uniform


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "{outside}.lod"}, "config.data.name = '{outside}.lod' cannot be imported: "),
        (
            {"name": "no_such_module.load"},
            "config.data.name = 'no_such_module.load' cannot be imported: No module named",
        ),
        ({"name": "{outside}.nothing"}, "config.data.name = '{outside}.nothing' gave a dict for split 'train'; a"),
        (
            {"args": {"clases": 3}},
            "and config.data.args = {{'clases': 3}}: got an unexpected keyword argument 'clases'",
        ),
        ({"fields": {"image": "wave"}}, "config.data.fields = {{'image': 'wave'}} says nothing of config.data.name = "),
        (
            {"name": "digits", "args": {"a": 1}},
            "config.data.args = {{'a': 1}} says nothing of config.data.name = 'digits'",
        ),
    ],
)
def test_functions_that_give_no_data_are_refused_by_field(outside, fields, expected):
    made = tiny.on_data(**{"name": f"{outside}.load", **fields})
    made.data.name = made.data.name.format(outside=outside)
    with pytest.raises(ConfigError) as error:
        run_inputs.load(resolve(made))
    assert expected.format(outside=outside) in str(error.value)
    assert "\n" not in str(error.value)


def test_arguments_reach_the_function(outside):
    inputs = run_inputs.load(resolve(tiny.on_data(name=f"{outside}.load", args={"classes": 2})))
    assert inputs.train.label.shape == (40, 2)


def test_a_run_on_a_table_from_a_file(tmp_path):
    from sklearn.datasets import load_iris

    table = load_iris()
    order = np.random.default_rng(0).permutation(150)
    np.savez(tmp_path / "iris.npz", table=table.data[order] / 8, y=table.target[order], y_names=table.target_names)
    made = tiny.on_data(name=f"npz:{tmp_path}/iris.npz", train="all[:80%]", test="all[80%:]", validation=15)
    run = resolve(made)
    inputs = run_inputs.load(run)
    assert (len(inputs.train), len(inputs.test)) == (120, 30)
    assert inputs.train.class_names == ("setosa", "versicolor", "virginica")
    np.testing.assert_array_equal(inputs.test.label, table.target[order][120:])


def test_tokens_that_a_player_names_come_with_their_mask():
    own = {"teacher": ("image", "text"), "student": (), "third": ("text_mask", "text")}
    arm = schema.Arm(players={name: schema.Player(inputs=inputs) for name, inputs in own.items()})
    fields = ("image", "text", "text_mask", "label")
    given = inputs_of(arm, fields, ("image",))
    assert given == {"teacher": ("image", "text", "text_mask"), "third": ("text_mask", "text")}
