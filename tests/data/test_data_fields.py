"""Data sets of any fields: what an array is taken for, what reaches a batch, and each mistake in one line."""

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from kdgan import data
from kdgan.data import fields as of_fields
from kdgan.data.fields import Field
from kdgan.data.fingerprint import differences, fingerprint
from kdgan.data.shaping import matched, numbered_as, shaped

N = 6
IMAGE = np.random.default_rng(0).integers(0, 256, (N, 4, 5, 3), np.uint8)
VECTOR = np.random.default_rng(1).normal(size=(N, 7))
SENTENCES = [[3, 1], [4], [1, 5, 9], [2, 6], [5], [3, 5, 8]]
TAGS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])


def kinds(**arrays):
    return {name: field.kind for name, field in data.from_fields(arrays).fields.items()}


@pytest.mark.parametrize(
    ("values", "kind", "shape", "dtype", "size"),
    [
        (IMAGE, "image", (4, 5, 3), np.uint8, 0),
        (VECTOR, "vector", (7,), np.float32, 0),
        (VECTOR[:, 0], "vector", (), np.float32, 0),
        (np.zeros((N, 2, 3, 4, 5)), "vector", (2, 3, 4, 5), np.float32, 0),
        (np.arange(12).reshape(N, 2), "tokens", (2,), np.int32, 12),
        (np.arange(12, dtype=np.uint8).reshape(N, 2), "tokens", (2,), np.int32, 12),
        (TAGS, "tags", (3,), np.float32, 3),
        (TAGS.astype(bool), "tags", (3,), np.float32, 3),
        (np.array([0, 2, 2, 0, 4, 0]), "class", (), np.int32, 5),
        (np.array(["b", "a", "b", "b", "a", "c"]), "class", (), np.int32, 3),
    ],
)
def test_what_an_input_is_taken_for(values, kind, shape, dtype, size):
    dataset = data.from_fields({"it": values})
    field, array = dataset.fields["it"], dataset.arrays["it"]
    assert (field.kind, field.shape, field.dtype, field.size) == (kind, shape, dtype, size)
    assert (array.dtype, array.shape) == (dtype, (N, *shape))
    if values.dtype.kind != "U":
        np.testing.assert_allclose(array, values, rtol=1e-6)


@pytest.mark.parametrize(
    ("label", "kind", "num_classes", "names"),
    [
        (np.arange(N) % 3, "class", 3, ("0", "1", "2")),
        (np.array(["dog", "ant", "ant", "dog", "ant", "bee"]), "class", 3, ("ant", "bee", "dog")),
        (np.arange(N) % 2 == 0, "class", 2, ("0", "1")),
        (TAGS, "tags", 3, ("0", "1", "2")),
        (VECTOR[:, 0], "number", 0, ()),
        (VECTOR[:, :2], "number", 0, ()),
        (np.arange(12).reshape(N, 2), "tokens", 12, ()),
        (np.zeros((N, 2, 2)), "vector", 0, ()),
    ],
)
def test_what_a_label_is_taken_for(label, kind, num_classes, names):
    dataset = data.from_fields({"image": IMAGE, "label": label})
    assert (dataset.fields["label"].kind, dataset.num_classes, dataset.class_names) == (kind, num_classes, names)
    assert dataset.has_labels
    assert len(dataset.label) == N
    assert not data.from_fields({"image": IMAGE}).has_labels


def test_strings_are_numbered_by_their_names():
    label = ["dog", "ant", "ant", "dog", "ant", "bee"]
    assert data.from_fields({"label": label}).label.tolist() == [2, 0, 0, 2, 0, 1]
    named = data.from_fields({"label": label}, names={"label": ["dog", "bee", "ant", "cat"]})
    assert named.label.tolist() == [0, 2, 2, 0, 2, 1]
    assert named.notes == ("no example of 1 of 4 classes: cat",)
    with pytest.raises(ValueError, match=r"field 'label' has classes without a name: bee; named are \['dog', 'ant'\]"):
        data.from_fields({"label": label}, names={"label": ["dog", "ant"]})


def test_lists_of_several_lengths_are_padded_and_masked():
    dataset = data.from_fields({"text": SENTENCES, "label": np.arange(N) % 2})
    assert dataset.arrays["text"][:3].tolist() == [[3, 1, 0], [4, 0, 0], [1, 5, 9]]
    assert dataset.arrays["text_mask"].sum(1).tolist() == [len(sentence) for sentence in SENTENCES]
    assert dataset.fields["text"].size == 10
    assert dataset.inputs == ("text", "text_mask")
    with_empty = data.from_fields({"text": [[], *SENTENCES[1:]]})
    assert not with_empty.arrays["text_mask"][0].any()
    assert data.from_fields({"text": SENTENCES}, sizes={"text": 50}).fields["text"].size == 50


def test_a_mask_may_be_given():
    arrays = {"text": np.arange(12).reshape(N, 2), "text_mask": np.tile([True, False], (N, 1))}
    assert kinds(**arrays) == {"text": "tokens", "text_mask": "mask"}
    with pytest.raises(ValueError, match=r"'text_mask' of kind 'mask' \[n, 3\] masks a field .*; it is tokens 2"):
        data.from_fields({"text": arrays["text"], "text_mask": np.ones((N, 3), bool)})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("label", "text", "image", "target"), ("image",)),
        (("label", "b", "a", "target"), ("b", "a")),
        (("label",), ()),
    ],
)
def test_a_player_is_given_the_image_or_all_that_are_no_targets(names, expected):
    assert data.from_fields({name: VECTOR if name != "label" else VECTOR[:, 0] for name in names}).inputs == expected


def test_masks_follow_their_tokens():
    assert of_fields.with_masks(("image", "text"), {"text": 0, "text_mask": 0, "image": 0}) == (
        "image",
        "text",
        "text_mask",
    )
    assert of_fields.with_masks(("text_mask", "text"), {"text": 0, "text_mask": 0}) == ("text_mask", "text")


def test_examples_are_rows_of_every_field():
    dataset = data.from_fields({"image": IMAGE, "text": SENTENCES, "wave": VECTOR, "label": TAGS})
    rows = dataset.take([5, 1, 3]).examples([2, 0])
    assert list(rows) == ["image", "text", "text_mask", "wave", "label"]
    np.testing.assert_array_equal(rows["image"], IMAGE[[3, 5]])
    assert rows["text"].tolist() == [[2, 6, 0], [3, 5, 8]]
    np.testing.assert_array_equal(rows["label"], TAGS[[3, 5]])
    assert list(dataset.examples([0], ("wave", "label"))) == ["wave", "label"]
    assert dataset.nbytes == IMAGE.nbytes + N * (3 * 4 + 3 + 7 * 4 + 3 * 4)
    with pytest.raises(
        ValueError, match=r"the data have no field 'txt': did you mean 'text'\? there are image, text, "
    ):
        dataset.examples([0], ("txt",))
    with pytest.raises(IndexError, match=r"leave .*'s 0\.\.5"):
        dataset.examples([6])


class Reader:
    def __call__(self, indices):
        return IMAGE[indices]


def test_images_may_stay_on_disk_beside_fields_in_memory():
    whole = data.from_fields({"image": IMAGE, "text": SENTENCES, "label": TAGS})
    others = {name: array for name, array in whole.arrays.items() if name != "image"}
    lazy = data.Dataset("lazy", whole.fields, others, reader=Reader())
    assert (whole.in_memory, lazy.in_memory) == (True, False)
    lazy = pickle.loads(pickle.dumps(lazy))
    for name, rows in lazy.take([4, 0]).examples([1, 1, 0]).items():
        np.testing.assert_array_equal(rows, whole.examples([0, 0, 4])[name])
    assert lazy.decode().in_memory
    np.testing.assert_array_equal(lazy.decode(chunk=4).image, IMAGE)
    alone = data.Dataset("alone", {"image": whole.fields["image"]}, {}, reader=Reader(), length=N)
    assert (len(alone), len(alone.take([1, 2])), alone.label, alone.num_classes) == (N, 2, None, 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"arrays": {}}, "fields of 'arrays' without an array: image, label"),
        ({"arrays": {"image": IMAGE, "label": np.zeros(5, np.int32)}}, "one length, got image 6, label 5"),
        (
            {"arrays": {"image": IMAGE, "label": np.zeros(6)}},
            r"'label' of 'arrays' is int32 \[n, \], its array float64",
        ),
        ({"fields": {"image": Field("image", (4, 5, 3))}}, "arrays of 'arrays' without a field: label"),
        ({"fields": {}, "arrays": {}}, "data set 'arrays' has no fields"),
    ],
)
def test_fields_and_arrays_have_to_fit(change, match):
    dataset = data.from_fields({"image": IMAGE, "label": np.arange(N)})
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(dataset, length=None, **change)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("picture", (2, 2)), "kind = 'picture': accepted are image, vector, tokens, mask, class, tags, number"),
        (("image", (2, 2, 1), np.float32), "a field of kind 'image' is stored as uint8, got float32"),
        (("class", (), None, ("a", "b"), 3), "2 names for 3 classes"),
    ],
)
def test_a_field_is_one_of_the_kinds(arguments, match):
    with pytest.raises(ValueError, match=match):
        Field(*arguments)


def test_kinds_may_be_stated():
    arrays = {"image": IMAGE / 255, "counts": np.arange(12).reshape(N, 2), "text": TAGS, "label": np.arange(N)}
    stated = {"image": "image", "counts": "vector", "text": "tokens", "label": "number"}
    dataset = data.from_fields(arrays, kinds=stated)
    assert {name: field.kind for name, field in dataset.fields.items()} == stated
    np.testing.assert_array_equal(dataset.image, IMAGE)
    assert dataset.arrays["counts"].dtype == np.float32
    assert kinds(image=IMAGE / 255) == {"image": "vector"}


def ragged():
    sizes = [(4, 5), (6, 3), (4, 5), (5, 5), (6, 3), (4, 5)]
    return [np.full((*size, 1), number, np.uint8) for number, size in enumerate(sizes)]


def test_images_of_several_sizes_are_one_field():
    dataset = data.from_fields({"image": ragged(), "label": np.arange(N)})
    assert dataset.image_shape == (None, None, 1)
    assert dataset.fetch([5, 0]).shape == (2, 4, 5, 1)
    assert dataset.nbytes == sum(image.nbytes for image in ragged()) + 4 * N
    with pytest.raises(ValueError, match=r"images of the sizes \(4, 5, 1\) and \(6, 3, 1\) make no array"):
        dataset.fetch([0, 1])
    assert dataset.take([1, 4]).fetch([0, 1]).tolist() == [ragged()[1].tolist(), ragged()[4].tolist()]
    assert shaped(dataset, size=(2, 2), channels=3).image.shape == (N, 2, 2, 3)
    assert shaped(dataset, channels=3).image_shape == (None, None, 3)
    other = ragged()
    other[3][0, 0] += 1
    prints = [fingerprint(data.from_fields({"image": images, "label": np.arange(N)})) for images in (ragged(), other)]
    assert differences(prints[0], fingerprint(dataset), "a") == []
    assert len(differences(*prints, "a")) == 1
    with pytest.raises(ValueError, match=r"example 2 is uint8 \[3, 3, 3\]; .*that of the first being 1"):
        data.from_fields({"image": [*ragged()[:2], np.zeros((3, 3, 3), np.uint8), *ragged()[3:]]})


NAN, INF, HUGE = VECTOR.copy(), VECTOR.copy(), VECTOR.copy()
NAN[[3, 4], 2], INF[5, 0], HUGE[1, 1] = np.nan, -np.inf, 1e300


@pytest.mark.parametrize(
    ("arrays", "options", "match"),
    [
        ({"image": IMAGE, "text": VECTOR[:5]}, {}, "fields of 'arrays' must have one length, got image 6, text 5"),
        ({"wave": NAN}, {}, "field 'wave': 2 of 6 examples hold NaN or inf; the first has index 3"),
        ({"label": INF[:, 0]}, {}, "field 'label': 1 of 6 examples hold NaN or inf; the first has index 5"),
        ({"wave": HUGE}, {}, "field 'wave': 1 of 6 examples hold NaN or inf; the first has index 1"),
        ({"text": [[1], [2, -1], [3], [1], [1], [1]]}, {}, "field 'text': token -1 of example 1 is negative"),
        ({"text": SENTENCES}, {"sizes": {"text": 9}}, r"token 9 of example 2 is beyond sizes\['text'\] = 9"),
        ({"label": np.array([0, 1, 5, 1, 0, 1])}, {}, r"If there are 6 classes, say sizes\['label'\]=6; else"),
        ({"label": np.array([0, 1, 5, 1, 0, 1])}, {"sizes": {"label": 3}}, r"label of 'arrays': 1 of 6 out of range 0\.\.2"),
        ({"label": np.arange(N)[:, None]}, {}, r"field 'label' is int64 \[6, 1\].*; give label\[:, 0\] for classes"),
        ({"label": TAGS * 2}, {"kinds": {"label": "tags"}}, "tags are 0 or 1; example 0 has others"),
        ({"label": TAGS}, {"names": {"label": ["a", "b"]}}, "field 'label' has 3 tags, and 2 are named"),
        ({"label": TAGS}, {"kinds": {"label": "class"}}, r"of kind 'class' is int64 \[6, 3\]; accepted are whole numbers"),
        ({"label": IMAGE}, {}, "'label' holds image 4×5×3; images to be found are called 'target'"),
        ({"image": IMAGE[..., 0]}, {}, r"uint8 \[6, 4, 5\], .*need their channel: image\[\.\.\., None\]; or state"),
        ({"image": IMAGE / 100}, {"kinds": {"image": "image"}}, r"floating point image must lie in \[0, 1\]"),
        ({"image": np.zeros((2, 3, 32, 32), np.uint8)}, {}, r"looks like channels first.*: image\.transpose\(0, 2, 3, 1\)"),
        ({"image": IMAGE}, {"kinds": {"imge": "image"}}, "kinds: the data have no field 'imge': there are image"),
        ({"image": IMAGE}, {"kinds": {"image": "picture"}}, r"kinds\['image'\] = 'picture': accepted are image, vector"),
        ({"key": IMAGE}, {}, "a field of 'arrays' is called 'key'; names are strings, and all, cached, cached_features"),
        ({}, {}, "data set 'arrays' has no fields"),
        ({"wave": [[1.0], [1.0, 2.0]]}, {}, r"examples of several shapes, \(1,\) and \(2,\); .* pad others to one"),
        ({"wave": [[1.0], 2.0]}, {}, "examples 0 and 1 have 1 and 0 dimensions"),
        ({"wave": [1.0, None, 2.0]}, {}, "field 'wave': 1 of 3 examples are missing; the first has index 1"),
        ({"label": ["a", 2]}, {}, "field 'label': example 1 is a int among strs"),
        ({"wave": [{"a": 1}]}, {}, "field 'wave': example 0 is a dict of no numbers"),
        ({"wave": "abc"}, {}, "field 'wave' is a str; arrays, columns and lists are accepted"),
        ({"wave": np.zeros(3, "datetime64[s]")}, {}, r"field 'wave' is datetime64\[s\]; numbers and strings are accepted"),
        ({"wave": np.zeros((0, 3))}, {}, r"field 'wave' holds no examples: its shape is \[0, 3\]"),
        ({"text": np.zeros((N, 2, 2), int)}, {}, "which is of no kind by its look"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_in_one_line(arrays, options, match):
    with pytest.raises(ValueError, match=match) as error:
        data.from_fields(arrays, **options)
    assert "\n" not in str(error.value)


def test_whoever_needs_another_kind_says_what_is_wanted():
    dataset = data.from_fields({"text": SENTENCES, "label": TAGS})
    assert of_fields.expect(dataset.fields, "label", "tags", "class") is dataset.fields["label"]
    with pytest.raises(ValueError, match=r"'label' holds tags .*, classes .* are wanted; where .* label\.argmax\(-1\)"):
        of_fields.expect(dataset.fields, "label", "class")
    classes = data.from_fields({"label": np.arange(N)})
    with pytest.raises(ValueError, match=r"'label' holds classes .*, tags .* are wanted; .* numpy\.eye\(6\)\[label\]"):
        of_fields.expect(classes.fields, "label", "tags")


class Series:
    """A column of pandas, as far as it is used."""

    def __init__(self, values, categories=None):
        self._values = np.asarray(values, object)
        if categories is not None:
            codes = np.array([categories.index(value) if value is not None else -1 for value in values])
            self.cat = type("Categories", (), {"codes": codes, "categories": categories})

    def to_numpy(self):
        return self._values


class Table(dict):
    """A DataFrame of pandas: columns by name, and `to_numpy` of all."""

    def to_numpy(self):
        return np.stack([column.to_numpy() for column in self.values()], axis=1)


def test_columns_of_pandas():
    table = Table(height=Series([1.5, 2, 3]), age=Series([3, 4, 5]), species=Series(["b", "a", "b"]))
    measured = Table(height=table["height"], age=table["age"])
    dataset = data.from_fields({"measured": measured, "label": table["species"]})
    assert dataset.fields["measured"] == Field("vector", (2,))
    assert dataset.arrays["measured"].tolist() == [[1.5, 3], [2, 4], [3, 5]]
    assert (dataset.class_names, dataset.label.tolist()) == (("a", "b"), [1, 0, 1])
    assert kinds(**table) == {"height": "vector", "age": "class", "species": "class"}
    assert {n: f.kind for n, f in data.from_fields(table).fields.items()} == kinds(**table)
    ordered = data.from_fields({"label": Series(["b", "a", "b"], categories=["b", "a"])})
    assert (ordered.class_names, ordered.label.tolist()) == (("b", "a"), [0, 1, 0])
    with pytest.raises(ValueError, match="field 'label': 1 of 2 examples are missing; the first has index 1"):
        data.from_fields({"label": Series(["b", None], categories=["b"])})
    with pytest.raises(ValueError, match="field 'table' is a table that is not all numbers"):
        data.from_fields({"table": table})


def test_columns_of_pandas_itself():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"height": [1.5, 2, 3], "age": [3, 4, 5], "species": ["b", "a", "b"]})
    dataset = data.from_fields({"measured": table[["height", "age"]], "label": table["species"].astype("category")})
    assert dataset.arrays["measured"].tolist() == [[1.5, 3], [2, 4], [3, 5]]
    assert (dataset.class_names, dataset.label.tolist()) == (("a", "b"), [1, 0, 1])


class HuggingFace:
    """A data set of Hugging Face's, as far as it is used: columns are sequences of Python objects and Pillow images."""

    def __init__(self, columns, features):
        self._columns, self.features = columns, features

    @property
    def column_names(self):
        return list(self._columns)

    def __getitem__(self, name):
        return self._columns[name]


def test_a_data_set_of_hugging_face():
    images = [Image.fromarray(image[..., 0]) for image in IMAGE]
    names = type("ClassLabel", (), {"names": ["bad", "good"]})
    columns = {"image": images, "input_ids": SENTENCES, "label": [0, 1, 1, 0, 1, 0]}
    dataset = data.from_fields(HuggingFace(columns, {"label": names, "image": None}))
    np.testing.assert_array_equal(dataset.image, IMAGE[..., :1])
    assert [field.kind for field in dataset.fields.values()] == ["image", "tokens", "mask", "class"]
    assert dataset.class_names == ("bad", "good")


def test_splits_are_made_to_fit():
    train = data.from_fields({"text": SENTENCES, "label": TAGS}, names={"label": ["a", "b", "c"]})
    test = data.from_fields(
        {"text": [[7, 11, 2, 3], [1]], "label": [[1, 0, 0], [0, 1, 0]]}, names={"label": ["b", "a", "c"]}
    )
    train, test = matched(train, numbered_as(test, train))
    assert train.fields == test.fields
    assert (train.fields["text"].shape, train.fields["text"].size) == ((4,), 12)
    assert test.label.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert train.arrays["text"][0].tolist() == [3, 1, 0, 0]
    assert train.arrays["text_mask"][0].tolist() == [True, True, False, False]
    # Whether a split needed padding is an accident.
    equal = data.from_fields({"text": [[1, 2], [3, 4]], "label": TAGS[:2]})
    _, test = matched(train, equal)
    assert test.arrays["text_mask"].tolist() == [[True, True, False, False]] * 2


def test_a_change_of_any_field_is_noticed():
    arrays = {"image": IMAGE, "wave": VECTOR, "text": SENTENCES, "label": TAGS}
    known = fingerprint(data.from_fields(arrays))
    assert known["classes"] == {"0": 3, "1": 3, "2": 0}
    assert differences(known, fingerprint(data.from_fields(arrays)), "a") == []
    longer = [*SENTENCES[:5], [3, 5, 7]]
    for change in ({"wave": VECTOR + 1e-3}, {"text": longer}, {"target": IMAGE}, {"wave": VECTOR[:, :6]}):
        assert len(differences(known, fingerprint(data.from_fields(arrays | change)), "a")) == 1
    numbers = [fingerprint(data.from_fields({"wave": VECTOR[:count], "label": VECTOR[:count, 0]})) for count in (5, 6)]
    assert differences(*numbers, "a") == ["a: 5 -> 6 examples"]
