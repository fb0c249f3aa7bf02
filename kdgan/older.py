"""What a summary that an older version wrote lacks: measures, which player has which, notes, and figures.

Older summaries name numbers only; what they mean stood in the report. It stands here now, for those summaries alone. Needs
NumPy and no JAX, so that a report of an old run is written anywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Record = dict[str, Any]

MOMENTS, OF_EACH = 8, 6  # rows of what was drawn while training, and images of each
PAIRS = 8  # reconstructions, and rows of nearest training images


def _measure(
    head: str, digits: list[int], *, unit: str = "", scale: float = 1.0, better: str = "higher",
    bounds: tuple[float | None, float | None] = (None, None), note: str = "",
) -> Record:  # fmt: skip
    return {"head": head, "unit": unit, "scale": scale, "better": better, "digits": digits, "bounds": list(bounds),
            "note": note}  # fmt: skip


_PERCENT = [2, 1, 2, 2]
_SHARE = [3, 2, 3, 1]
_DISTANCE = [2, 1, 3, 2]
MEASURES: Mapping[str, Record] = {
    "accuracy": _measure("accuracy", _PERCENT, unit="%", scale=100.0, bounds=(0.0, 1.0)),
    "nll": _measure("NLL", [3, 2, 4, 2], better="lower", bounds=(0.0, None)),
    "ece": _measure("ECE", _PERCENT, unit="%", scale=100.0, better="lower", bounds=(0.0, 1.0)),
    "agreement": _measure(
        "agreement", _PERCENT, unit="%", scale=100.0, bounds=(0.0, 1.0),
        note="Agreement: share of test examples on which a player predicts what its teacher predicts",
    ),
    "fd": _measure("FD", _DISTANCE, better="lower", bounds=(0.0, None)),
    "kid": _measure("KID ×10³", _DISTANCE, scale=1e3, better="lower"),
    "precision": _measure("precision", _SHARE, bounds=(0.0, 1.0)),
    "recall": _measure("recall", _SHARE, bounds=(0.0, 1.0)),
    "density": _measure("density", _SHARE, bounds=(0.0, None)),  # no share: it may exceed 1
    "coverage": _measure("coverage", _SHARE, bounds=(0.0, 1.0)),
    "elbo": _measure("ELBO", _DISTANCE, note="ELBO: nats per example; higher is better"),
}  # fmt: skip
DISTANCES = ("fd", "kid", "precision", "recall", "density", "coverage")  # between distributions of features


def upgraded(
    summary: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(summary, arrays) as they are written now, of an older summary and its evaluation.npz.

    Args:
        summary: the content of summary.json, without "measures".
        arrays: of evaluation.npz; all are kept, and those that figures show are added.
    """
    found, figures = dict(arrays), []
    for record, images in _images(arrays):
        figures.append(record)
        found[record["array"]] = images
    for record, counts in _matrices(summary, arrays):
        figures.append(record)
        found[record["array"]] = counts
    measures = _measures(summary)
    settings = summary.get("generation") or {}
    return {
        **summary,
        "measures": measures,
        "notes": _notes(settings, measures, summary),
        "figures": [*figures, *_disagreements(summary, arrays)],
        "stages": {name: _with_measured(stage, measures) for name, stage in (summary.get("stages") or {}).items()},
    }, found


def _measures(summary: Mapping[str, Any]) -> dict[str, Record]:
    """Those that a player has; a Fréchet distance by the name of its features, since no two extractors' compare."""
    stages = (summary.get("stages") or {}).values()
    arms = [arm for stage in stages for arm in (stage.get("arms") or {}).values()]
    names = {name for arm in arms for metrics in (arm.get("players") or {}).values() for name in metrics}
    label = (summary.get("generation") or {}).get("label")
    return {
        name: {**record, "head": str(label)} if name == "fd" and label else dict(record)
        for name, record in MEASURES.items()
        if name in names
    }


def _with_measured(stage: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    arms = {}
    for name, arm in (stage.get("arms") or {}).items():
        players = arm.get("players") or {}
        measured = {player: [name for name in measures if name in metrics] for player, metrics in players.items()
                    if " (" not in player}  # fmt: skip
        arms[name] = {**arm, "measured": measured}
    return {**stage, "arms": arms}


def _notes(settings: Mapping[str, Any], measures: Mapping[str, Record], summary: Mapping[str, Any]) -> list[Record]:
    """What a distance between distributions must not be told without: sample sizes, extractor, neighbours."""
    names = [name for name in DISTANCES if name in measures]
    if not names:
        return []
    notes = [
        {"measures": names, "text": _sizes(settings, [measures[name]["head"] for name in names]), "split": "test"},
        {"measures": names, "text": _method(settings, names)},
        *({"measures": [name], "text": _validation(settings, measures[name]["head"], summary), "split": "validation"}
          for name in names),
    ]  # fmt: skip
    return [note for note in notes if note["text"] or note.get("split") == "test"]


def _sizes(settings: Mapping[str, Any], heads: Sequence[str]) -> str:
    samples, reference = (settings.get(name) for name in ("samples", "reference"))
    if not isinstance(samples, int) or not isinstance(reference, int):
        return ""
    split = f" of the {settings['reference_split']} split" if settings.get("reference_split") else ""
    return f"{', '.join(heads)}: {samples:,} generated images against {reference:,} images{split}"


def _method(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    features, most = settings.get("features"), settings.get("manifold")
    extractor = f"Features: {settings['extractor']}" if settings.get("extractor") else ""
    extractor += f" ({settings['extractor_from']})" if extractor and settings.get("extractor_from") else ""
    extractor += f", {_plural(features, 'dimension')}" if extractor and isinstance(features, int) else ""
    among = f" among {most:,} of either side" if isinstance(most, int) else ""
    neighbours = [
        f"{' and '.join(pair)} by {settings[key]} nearest neighbours{among}"
        for pair, key in ((("precision", "recall"), "k_precision"), (("density", "coverage"), "k_density"))
        if key in settings and set(names) & set(pair)
    ]
    text = "; ".join(part for part in (extractor, ", ".join(neighbours)) if part)
    return text[:1].upper() + text[1:]


def _validation(settings: Mapping[str, Any], head: str, summary: Mapping[str, Any]) -> str:
    note = f"Validation: {head} on the validation split"
    examples = ((summary.get("data") or {}).get("sizes") or {}).get("validation")
    samples = settings.get("validation_samples")
    if isinstance(samples, int) and isinstance(examples, int):
        note += f", {samples:,} generated images against {_plural(examples, 'image')}"
    return note + "; it depends on these numbers, so that it does not compare with that on the test split"


def _images(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[Record, np.ndarray]]:
    """Figures of what generators and autoencoders made: the record, and its array."""
    for key, images in arrays.items():
        kind, _, rest = key.partition("/")
        if kind not in _LAYOUTS or not images.size or rest.count("/") < 2:
            continue
        stage, arm, entry = rest.split("/", 2)
        about, shown = _LAYOUTS[kind](images, arrays, rest)
        yield {"kind": "images", "stage": stage, "arm": arm, "entry": entry,
               "array": key if shown is images else f"figure/{key}", **about}, shown  # fmt: skip


def _strip(images: np.ndarray, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[Record, np.ndarray]:
    real = "real" in arrays and bool(arrays["real"].size)
    note = "Each column is one noise, given to every entry"
    return {
        "layout": "strip", "title": "Samples", "reference": "real" if real else None, "reference_label": "test images",
        "note": note + ("; the test images stand for comparison" if real else ""),
    }, images  # fmt: skip


def _grid(title: str, alt: str, note: str, **more: Any) -> Record:
    return {"layout": "grid", "title": title, "alt": alt, "note": note, "rows": [], "gap": None, **more}


def _interpolation(images: np.ndarray, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[Record, np.ndarray]:
    note = "Each row goes from one noise to another; the rows are the same for every entry"
    return _grid("Interpolations", "interpolations by {}", note), images


def _neighbour(images: np.ndarray, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[Record, np.ndarray]:
    note = "First a generated image, then the training images nearest to it in feature space"
    return _grid("Nearest training images", "nearest training images of {}", note, gap=1), images[:PAIRS]


def _reconstruction(images: np.ndarray, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[Record, np.ndarray]:
    note = "Upper row: test images. Lower row: their reconstructions"
    return _grid("Reconstructions", "reconstructions by {}", note), images[:PAIRS].swapaxes(0, 1)


def _progress(images: np.ndarray, arrays: Mapping[str, np.ndarray], entry: str) -> tuple[Record, np.ndarray]:
    t = len(images)
    rows = np.unique(np.linspace(0, t - 1, min(t, MOMENTS)).round().astype(int))
    steps = arrays.get(f"progress_step/{entry}", np.arange(t))[rows]
    labels = [_plural(int(step), "step") for step in steps]
    note = "The same noise in every row"
    return _grid("While training", "samples of {} while training", note, rows=labels), images[rows][:, :OF_EACH]


_LAYOUTS = {
    "sample": _strip,
    "reconstruction": _reconstruction,
    "interpolation": _interpolation,
    "neighbour": _neighbour,
    "progress": _progress,
}


def counts(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each true class is predicted as each class: int [seeds, true, predicted].

    Args:
        label: int [n].
        predicted: int [seeds, n].
        num_classes: at least the largest class + 1.
    """
    result = np.zeros((len(predicted), num_classes, num_classes), np.int64)
    for total, classes in zip(result, predicted, strict=True):
        np.add.at(total, (label, classes), 1)
    return result


def class_names(summary: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the classes, as many as the labels and predictions speak of."""
    names = [str(name) for name in (summary.get("data") or {}).get("class_names") or ()]
    classes = [
        array for key, array in arrays.items() if (key == "label" or key.startswith("prediction/")) and array.size
    ]
    largest = max((int(np.max(array)) for array in classes), default=-1)
    return names + [str(i) for i in range(len(names), largest + 1)]


def _matrices(summary: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[Record, np.ndarray]]:
    """A confusion matrix of every player of the last stage."""
    last, label = next(reversed(summary.get("stages") or {}), None), arrays.get("label")
    if last is None or label is None or not label.size:
        return
    names = class_names(summary, arrays)
    for key, predicted in arrays.items():
        if not key.startswith(f"prediction/{last}/") or key.count("/") < 3 or " (" in key or not predicted.size:
            continue
        _, stage, arm, entry = key.split("/", 3)
        note = "Each row sums to 100 %; errors are shaded by the largest of them"
        yield {
            "kind": "matrix", "title": f"Confusion matrix of the {entry}", "stage": stage, "arm": arm, "entry": entry,
            "array": f"figure/{key}", "names": names, "row": "true", "column": "predicted", "chosen": True, "note": note,
        }, counts(label, predicted, len(names))  # fmt: skip


def _disagreements(summary: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Record]:
    """The test images on which student and teacher disagree; none where the arrays are absent."""
    needed = ("label", *(f"disagreement/{name}" for name in ("image", "index", "student", "teacher")))
    if any(name not in arrays for name in needed) or not len(arrays["disagreement/index"]):
        return []
    label, _, index, student, teacher = (arrays[name] for name in needed)
    names, true = class_names(summary, arrays), label[index]
    named = lambda k: names[k] if 0 <= k < len(names) else str(k)

    def guess(who: str, k: int, right: int) -> list[str]:
        return [who, named(k), "right" if k == right else "wrong"]

    cards = [
        [["true", named(t), ""], guess("student", s, t), guess("teacher", k, t)]
        for t, s, k in zip(true.tolist(), student.tolist(), teacher.tolist(), strict=True)
    ]
    stage, _, rest = str(arrays.get("disagreement/about", "")).partition("/")
    arm, _, seed = rest.rpartition("/")
    by_student, by_teacher = int((student == true).sum()), int((teacher == true).sum())
    neither = len(index) - by_student - by_teacher
    note = f"Of the {len(index)} shown, the student is right on {by_student}, the teacher on {by_teacher}"
    note += f", neither on {neither}." if neither else "."
    whose = "" if not seed else f"seed {seed}, stage {stage}" if arm == "main" else f"{arm}, seed {seed}"
    how = str(arrays.get("disagreement/chosen", ""))
    note += f" Student: {whose}{f' ({how})' if how else ''}." if whose or how else ""
    return [{
        "kind": "cards", "title": "Where student and teacher disagree", "stage": stage, "arm": arm, "entry": "student",
        "array": "disagreement/image", "cards": cards, "chosen": False, "note": note,
        "captions": [f"test image {i}: {named(k)}" for i, k in zip(index.tolist(), true.tolist(), strict=True)],
    }]  # fmt: skip


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
