"""Images that go bad after a set was loaded: what stands in for them, the same one everywhere, and what is said."""

import warnings

import numpy as np
import pytest
from PIL import Image

from kdgan.data import load
from kdgan.data.batches import indices_of_step
from kdgan.data.errors import ArgumentError, UnreadableImageError, UnreadableImageWarning
from kdgan.data.stream import stream


@pytest.fixture
def folder(tmp_path):
    """Two classes of six images on disk; an image's value says which it is: 0..5 and 100..105."""
    for number, label in enumerate(("ant", "bee")):
        (tmp_path / label).mkdir()
        for index in range(6):
            image = Image.fromarray(np.full((40, 40), 100 * number + index, np.uint8))
            image.save(tmp_path / label / f"{index}.png")
    return tmp_path


def lazy(folder, on_bad_image="skip"):
    return load(f"folder:{folder}", "all", on_bad_image=on_bad_image, memory_limit=0)


def path_of(dataset, index):
    return dataset.reader.paths[index]


def spoil(path):
    """Damage behind the header, with the end as it should be: nothing sees it before the pixels are read."""
    with open(path, "r+b") as file:
        content = file.read()
        start = content.index(b"IDAT") + 4
        file.seek(start)
        file.write(b"\xff" * 8)


def value(dataset, index):
    return int(dataset.fetch([index])[0, 0, 0, 0])


def expected_after(values, labels, bad):
    """Index -> value, where each of `bad` is replaced by the next of its class that is not bad."""
    count = len(values)
    found = list(values)
    for index in bad:
        following = [(index + step) % count for step in range(1, count)]
        found[index] = values[next(i for i in following if labels[i] == labels[index] and i not in bad)]
    return found


def test_the_next_of_its_class_stands_in_and_is_named_once(folder):
    dataset = lazy(folder)
    before = [value(dataset, index) for index in range(12)]
    last_ant = int(np.flatnonzero(dataset.label == 0)[-1])  # the first of its class comes after it
    bees = np.flatnonzero(dataset.label == 1)[1:3].tolist()
    bad = [last_ant, *bees]
    for index in bad:
        spoil(path_of(dataset, index))
    again = lazy(folder)  # nothing of it is seen by headers and ends
    assert len(again) == 12
    with pytest.warns(UnreadableImageWarning) as told:
        images = again.fetch(range(12))
    assert images[:, 0, 0, 0].tolist() == expected_after(before, dataset.label, bad)
    assert sorted(again.unreadable) == sorted(path_of(dataset, index) for index in bad)
    assert len(told) == 3
    assert all("stands in for it" in str(warning.message) for warning in told)
    assert "Up to now 3 such" in str(told[-1].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(again.fetch(range(12)), images)


def test_a_file_that_is_gone_is_replaced_too(folder):
    dataset = lazy(folder)
    before = [value(dataset, index) for index in range(12)]
    (folder / path_of(dataset, 4)).unlink()
    with pytest.warns(UnreadableImageWarning, match="No such file or directory"):
        assert value(dataset, 4) == expected_after(before, dataset.label, [4])[4]


@pytest.mark.parametrize(("workers", "start"), [(0, 0), (0, 3), (1, 0)])
def test_streams_replace_alike_whatever_the_start_processes_and_workers(folder, workers, start):
    dataset = lazy(folder)
    before = [value(dataset, index) for index in range(12)]
    spoil(path_of(dataset, 7))
    expected = np.array(expected_after(before, dataset.label, [7]))
    part = lazy(folder).take(np.arange(12)[::-1])
    share = {"start_step": start, "process_index": start % 2, "process_count": 2 if start else 1}
    with pytest.warns(UnreadableImageWarning) as told:
        batches = list(stream(part, batch_size=6, steps=4, workers=workers, **share))
    for step, batch in enumerate(batches, start):
        chosen = indices_of_step(12, 6, seed=0, stage=0, step=step)[batch["position"]]
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], expected[11 - chosen])
    assert list(part.unreadable) == [path_of(dataset, 7)]
    assert len(told) == 1


def test_examples_that_are_kept_apart_never_stand_in_for_each_other(folder):
    dataset = lazy(folder)
    ants = np.flatnonzero(dataset.label == 0).tolist()
    before = [value(dataset, index) for index in range(12)]
    spoil(path_of(dataset, ants[0]))
    apart = dataset.keep_apart([ants[1], ants[2]])
    with pytest.warns(UnreadableImageWarning):
        assert value(apart, ants[0]) == before[ants[3]]
    alone = lazy(folder).keep_apart([ants[0]])
    with (
        pytest.warns(UnreadableImageWarning),
        pytest.raises(UnreadableImageError, match=r"nor can any other that might stand in for it"),
    ):
        alone.fetch([ants[0]])
    memory = load(f"folder:{folder}", "all[:3]+all[:3]", on_bad_image="refuse", memory_limit=0)
    assert memory.keep_apart([0]).reader is memory.reader


@pytest.mark.parametrize("workers", [0, 1])
def test_where_it_is_refused_the_error_comes_at_its_step_as_it_is(folder, workers):
    dataset = lazy(folder, "refuse")
    spoil(path_of(dataset, indices_of_step(12, 2, seed=0, stage=0, step=2)[1]))
    batches = stream(dataset, batch_size=2, steps=6, workers=workers)
    next(batches), next(batches)
    with pytest.raises(UnreadableImageError, match=r"^image .*\.png cannot be read: .*on_bad_image='skip'$") as error:
        next(batches)
    assert "\n" not in str(error.value)


def test_errors_name_arguments_as_whoever_asks_calls_them():
    error = ArgumentError("images of '{size}x' differ; give {size}=(h, w), not {this}")
    assert str(error) == "images of 'sizex' differ; give size=(h, w), not {this}"
    assert error.named({"size": "config.data.image_size"}).endswith("give config.data.image_size=(h, w), not {this}")
