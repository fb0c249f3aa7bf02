"""Data sets of the examples here that are no images with a class: functions `split -> Dataset` for `config.data.name`.

    config.data.name = "configs.sets.bags"                                     # or "my_project.data.load"
    config.data.name, config.data.args = "configs.sets.sentences", dict(folder="~/sst2")

Those without a path are made from what scikit-learn and Python ship. Splits are "train" and "test".
"""

import collections
import pathlib
import re

import numpy as np

from kdgan.data import Dataset, from_fields, load

LENGTH = 56  # tokens of a text; SST-2's longest sentence has 56
TOPICS = ("compound", "debugger", "formatstrings", "specialnames", "string-methods", "types", "typesmapping")


def _part(split: str, count: int) -> np.ndarray:
    """Rows of a split: every fifth example is for testing."""
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}: there are train and test")
    rows = np.arange(count)
    return rows[(rows % 5 == 0) == (split == "test")]


def bags(split: str) -> Dataset:
    """Bags of 60 words with some of 20 tags, about three each: scikit-learn's `make_multilabel_classification`.

    Fields: `words`, a vector [60] of counts; `label`, tags. 2,000 examples for training, 500 for testing.
    """
    from sklearn.datasets import make_multilabel_classification

    words, tags = make_multilabel_classification(
        2500, n_features=60, n_classes=20, n_labels=3, length=30, allow_unlabeled=False, random_state=0
    )
    rows = _part(split, len(words))
    fields = {"words": words[rows].astype(np.float32), "label": tags[rows]}
    return from_fields(fields, kinds={"words": "vector", "label": "tags"}, name="bags")


def halves(split: str, *, part: str = "upper") -> Dataset:
    """The UCI digits, whole (`image` [8, 8, 1]) and in part (`part`, a vector).

    Args:
      split: "train" or "test", as of "digits".
      part: "upper", the upper four of eight rows [32]; or "coarse", the means of blocks of 4×4 pixels [4].
    """
    if part not in ("upper", "coarse"):
        raise ValueError(f"part = {part!r}: accepted are upper, coarse")
    digits = load("digits", split).decode()
    assert digits.image is not None
    unit = digits.image[..., 0] / np.float32(255)
    seen = unit[:, :4] if part == "upper" else unit.reshape(-1, 2, 4, 2, 4).mean((2, 4))
    fields = {"image": digits.image, "part": seen.reshape(len(seen), -1), "label": digits.label}
    return from_fields(fields, sizes={"label": 10}, name=f"digits, {part}")


def articles(split: str, *, path: str) -> Dataset:
    """Wikipedia articles (Rasiwasia et al. 2010), ten classes: features of their image, and of their text.

    Fields: `picture` [128], `words` [1000], vectors of mean 0 and variance 1 over the training examples; `label`.

    Args:
      split: "train" (2,173) or "test" (693).
      path: an .npz with arrays `image_train`, `tfidf_train`, `y_train`, and those of the test split.
    """
    _part(split, 0)
    with np.load(pathlib.Path(path).expanduser()) as file:
        arrays = {name: file[name] for name in file.files}
    fields = {"label": arrays[f"y_{split}"].astype(np.int64)}
    for name, of in (("picture", "image"), ("words", "tfidf")):
        train = arrays[f"{of}_train"].astype(np.float64)
        scale = train.std(0) + (train.std(0) == 0)
        fields[name] = ((arrays[f"{of}_{split}"] - train.mean(0)) / scale).astype(np.float32)
    return from_fields(fields, sizes={"label": 10}, name="articles")


def sentences(split: str, *, folder: str | None = None) -> Dataset:
    """Texts of one class each. Fields: `text`, tokens [56], with `text_mask`; `label`.

    A token is a word that at least two training texts have; 0 stands for all others.

    Args:
      split: "train" or "test".
      folder: with `sst2.train.tsv` and `sst2.test.tsv`, a line `label<TAB>sentence` each, cut into words by blanks (SST-2:
        6,920 and 1,821 sentences, negative or positive). Without it: paragraphs of Python's own reference, as `help()`
        shows it, and the chapter that each stands in (seven of them).
    """
    texts, labels, names = _reference(split) if folder is None else _sst2(split, pathlib.Path(folder).expanduser())
    train = (
        texts
        if split == "train"
        else (_reference("train") if folder is None else _sst2("train", pathlib.Path(folder)))[0]
    )
    counts = collections.Counter(word for text in train for word in set(text))
    place = {word: i for i, word in enumerate(sorted(word for word, count in counts.items() if count > 1), start=1)}
    tokens, mask = np.zeros((len(texts), LENGTH), np.int32), np.zeros((len(texts), LENGTH), bool)
    for row, text in enumerate(texts):
        known = [place.get(word, 0) for word in text[:LENGTH]]
        tokens[row, : len(known)], mask[row, : len(known)] = known, True
    return from_fields(
        {"text": tokens, "text_mask": mask, "label": np.array(labels)},
        kinds={"text": "tokens"}, names={"label": names}, sizes={"text": len(place) + 1}, name="sentences",
    )  # fmt: skip


def _reference(split: str) -> tuple[list[list[str]], list[int], tuple[str, ...]]:
    from pydoc_data.topics import topics

    texts, labels = [], []
    for label, topic in enumerate(TOPICS):
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            words = re.findall(r"\w+", paragraph.lower())
            if len(words) >= 5:
                texts.append(words)
                labels.append(label)
    rows = _part(split, len(texts))
    return [texts[row] for row in rows], [labels[row] for row in rows], TOPICS


def _sst2(split: str, folder: pathlib.Path) -> tuple[list[list[str]], list[int], tuple[str, ...]]:
    _part(split, 0)
    lines = (folder / f"sst2.{split}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t", 1) for line in lines]
    return [text.split() for _, text in rows], [int(label) for label, _ in rows], ("negative", "positive")


def patches(split: str, *, size: int = 40, count: int = 180) -> Dataset:
    """Patches of the ten training photographs that scikit-image ships; `label`: of which. Who learns it has features.

    Args:
      split: "train", of the left four fifths of each photograph, or "test", of the rest.
      size: side of a patch in pixels.
      count: patches of each photograph; a quarter for testing.
    """
    photographs = load("skimage:photographs", "train", channels=3).image
    rng = np.random.default_rng(0 if split == "train" else 1)
    image, label = [], []
    for number, photo in enumerate(photographs):
        cut = photo.shape[1] * 4 // 5
        side = photo[:, :cut] if split == "train" else photo[:, cut:]
        for _ in range(count if split == "train" else count // 4):
            top, left = rng.integers(0, side.shape[0] - size + 1), rng.integers(0, side.shape[1] - size + 1)
            image.append(side[top : top + size, left : left + size])
            label.append(number)
    return from_fields(
        {"image": np.stack(image), "label": np.array(label)}, sizes={"label": len(photographs)}, name="patches"
    )
