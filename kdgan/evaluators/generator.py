"""A generator: judged by features of a classifier, on images drawn from noise that all players of a run share.

Made images are rounded to 256 levels as the data's are, and both go through the extractor in the same way.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdgan.data.batches import normalise
from kdgan.evaluators import drawing
from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, grid, strip
from kdgan.metrics import generative, manifold
from kdgan.metrics.features import Reference, reference

NOISE_SEED = {"validation": 1, "test": 2}  # of the images that are measured
SHOWN_SEED = 0  # of the images that are shown
SHOWN = 64
INTERPOLATIONS, INTERPOLATION_STEPS = 6, 10
NEIGHBOURS, NEIGHBOURS_OF = 4, 8
NEIGHBOURS_AMONG = 10_000  # training images among which a made one's neighbours are looked for
PRECISION_K, DENSITY_K = 3, 5
COLLAPSED = 0.1  # recall below which a generator has
MANIFOLD = 5_000  # images of either side that precision, recall, density and coverage compare

Draws = Callable[[tuple, Any], Mapping[str, Any]]  # as `Evaluator.draws`

SHARE = (3, 2, 3, 1)
MEASURES = (
    Measure("fd", "FD", higher_is_better=False, digits=2, bounds=(0.0, None)),
    Measure("kid", "KID", higher_is_better=False, digits=2),
    Measure("precision", "precision", digits=SHARE, bounds=(0.0, 1.0)),
    Measure("recall", "recall", digits=SHARE, bounds=(0.0, 1.0)),
    Measure("density", "density", digits=SHARE, bounds=(0.0, None)),  # no share: it may exceed 1
    Measure("coverage", "coverage", digits=SHARE, bounds=(0.0, 1.0)),
    Measure("inception_score", "inception score", digits=2, bounds=(1.0, None), column=False),
)


def generator() -> Evaluator:
    """Fréchet and kernel distance, and on the test split precision, recall, density and coverage of what it makes."""
    return Evaluator(
        *MEASURES,
        measure=functools.partial(distances, draws=drawn_from),
        fits=fits,
        samples=True,
        draws=drawn_from,
        watch=functools.partial(shown, draws=drawn_from),
        pictures=functools.partial(pictures, draws=drawn_from),
        notes=notes,
        remarks=remarks,
        heads=heads,
        about=about,
        gives="images",
    )


def fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    """Why a player of this output is no generator; None where it is one."""
    if not hasattr(output, "shape") or len(output.shape) != 4:
        shape = list(output.shape) if hasattr(output, "shape") else ", ".join(output)
        return f"it gives {shape}, where a generator gives images [b, h, w, c]"
    return None


def drawn_from(given: tuple, output: Any) -> Mapping[str, Any]:
    """Its first argument is noise [b, d]; it is conditioned on classes where it is given a second one."""
    args, _ = given
    return {"latent": args[0].shape[-1], "conditional": len(args) > 1, "method": None}


def distances(setting: Setting, judged: Judged, split: str, *, draws: Draws) -> dict[str, Any]:
    """fd, kid and inception_score; on the test split the manifold metrics, too."""
    made = _features(setting, draw(setting, judged, draws, NOISE_SEED[split], setting.samples[split]))
    features, probabilities, real = made["features"], made["probabilities"], real_features(setting, split)
    result = {
        "fd": generative.frechet_from_moments(*generative.moments(features), real.mean, real.covariance),
        "kid": generative.kernel_distance(features, real.features),
    }
    if probabilities is not None:
        result["inception_score"] = generative.inception_score(probabilities)
    if split == "test":
        most = min(MANIFOLD, len(real.features), len(features))
        a, b = real.features[:most], features[:most]
        result |= manifold.precision_recall(a, b, k=PRECISION_K) | manifold.density_coverage(a, b, k=DENSITY_K)
    return result


def draw(setting: Setting, judged: Judged, draws: Draws, seed: int, count: int) -> np.ndarray:
    """uint8 images [count, h, w, c]."""
    noise = drawing.noise(setting, seed, count)
    return drawing.maker_of(setting, judged, draws(judged.given, judged.output)).draw(judged.variables, noise)


def real_features(setting: Setting, split: str) -> Reference:
    """Features and moments of a split's images; computed once, and kept on the disk."""
    key = "generator", "reference", split
    if key not in setting.memo:
        splits = setting.splits
        about = f"{setting.data}/{split}/{splits.fingerprint(split)}/{setting.mean}/{setting.std}"
        images = lambda: _for_extractor(setting, splits.images(split, np.arange(splits.size(split))))
        cache = None if setting.cache is None else setting.cache / "features"
        setting.memo[key] = reference(setting.extractor, images, data=about, cache=cache)
    return setting.memo[key]


def about(setting: Setting) -> dict[str, Any]:
    """With what distances were measured: the numbers of images, the extractor, the neighbours."""
    return {
        "extractor": setting.extractor.name,
        "label": setting.extractor.label,
        "extractor_from": setting.extractor_from,
        "samples": setting.samples["test"],
        "validation_samples": setting.samples["validation"],
        "reference": setting.splits.size("test"),
        "reference_split": "test",
        "features": real_features(setting, "test").features.shape[1],
        "manifold": min(MANIFOLD, setting.samples["test"], setting.splits.size("test")),
        "k_precision": PRECISION_K,
        "k_density": DENSITY_K,
    }


def remarks(numbers: Mapping[str, float]) -> list[str]:
    """Whether it makes few of the kinds of images that the data have, as one that has collapsed does."""
    if not numbers.get("recall", 1.0) < COLLAPSED:
        return []
    return [f"has collapsed, or is far from the data: its recall is under {COLLAPSED:g}"]


def heads(setting: Setting) -> dict[str, str | Mapping[str, Any]]:
    """A Fréchet distance is named by its features, since no two extractors' numbers compare."""
    return heads_of(setting.extractor.label)


def heads_of(label: str) -> dict[str, str | Mapping[str, Any]]:
    """Of distances by these features; KID is shown times a thousand where they are Inception's, as publications have it."""
    return {"fd": label, **({"kid": {"head": "KID ×10³", "scale": 1e3}} if label == "FID" else {})}


def shown(setting: Setting, judged: Judged, *, draws: Draws) -> Figure:
    """The images by which a generator is shown, of the same noise for all."""
    images = draw(setting, judged, draws, SHOWN_SEED, SHOWN)
    real = setting.splits.images("test", np.arange(min(SHOWN, setting.splits.size("test"))))
    note = "Each column is one noise, given to every entry; the test images stand for comparison"
    return strip("Samples", images, note=note, reference=real, reference_label="test images")


def pictures(setting: Setting, judged: Judged, *, draws: Draws) -> list[Figure]:
    """Samples, interpolations, nearest training images."""
    samples = shown(setting, judged, draws=draws)
    images, maker = samples.array, drawing.maker_of(setting, judged, draws(judged.given, judged.output))
    ends = drawing.noise(setting, SHOWN_SEED, 2 * INTERPOLATIONS).reshape(INTERPOLATIONS, 2, 1, -1)
    path = spherical(ends[:, 0], ends[:, 1], np.linspace(0, 1, INTERPOLATION_STEPS)[None, :, None])
    label = np.repeat(np.arange(INTERPOLATIONS) % maker.classes, INTERPOLATION_STEPS) if maker.classes else None
    between = maker.draw(judged.variables, path.reshape(-1, path.shape[-1]), label)
    interpolated = grid(
        "Interpolations",
        between.reshape(INTERPOLATIONS, INTERPOLATION_STEPS, *images.shape[1:]),
        note="Each row goes from one noise to another; the rows are the same for every entry",
    )
    if not len(setting.training[1]):  # a stage without data
        return [samples, interpolated]
    return [
        samples,
        interpolated,
        grid(
            "Nearest training images",
            _neighbours(setting, images[:NEIGHBOURS_OF]),
            gap=1,
            note="First a generated image, then the training images nearest to it in the features of"
            f" {setting.extractor.name}",
        ),
    ]


def notes(setting: Setting) -> dict[str, Sequence[str]]:
    """What a distance between distributions must not be told without: sample sizes, extractor, neighbours."""
    return notes_of(about(setting))


def notes_of(settings: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The same of what `about` gave."""
    distributions = [measure.name for measure in MEASURES if measure.column]
    sizes = f"{settings['samples']:,} generated images against {settings['reference']:,} images of the test split"
    whose = f" ({settings['extractor_from']})" if settings["extractor_from"] else ""
    among = f"nearest neighbours among {settings['manifold']:,} of either side"
    drawn = f"On the validation split: {settings['validation_samples']:,} generated images"
    return {
        f"{settings['label']}, KID, precision, recall, density, coverage: {sizes}": distributions,
        f"Features: {settings['extractor']}{whose}, {settings['features']:,} dimensions": distributions,
        f"Precision and recall by {settings['k_precision']} {among}": ["precision", "recall"],
        f"Density and coverage by {settings['k_density']} {among}": ["density", "coverage"],
        f"{drawn}; a distance depends on their number, and does not compare with that on the test split": [
            "fd",
            "kid",
        ],
    }


def _neighbours(setting: Setting, images: np.ndarray) -> np.ndarray:
    """[n, 1 + k, h, w, c]: each image, and the training images whose features are nearest to its own."""
    fetch, rows = setting.training
    rows = rows[:NEIGHBOURS_AMONG]
    key = "generator", "training"
    if key not in setting.memo:
        setting.memo[key] = _features(setting, fetch(rows))["features"]
    nearest = manifold.nearest(_features(setting, images)["features"], setting.memo[key], k=NEIGHBOURS)
    near = fetch(rows[nearest.reshape(-1)]).reshape(*nearest.shape, *images.shape[1:])
    return np.concatenate([images[:, None], near], axis=1)


def _features(setting: Setting, images: np.ndarray) -> Any:
    return setting.extractor(_for_extractor(setting, images))


def _for_extractor(setting: Setting, images: np.ndarray) -> np.ndarray:
    mean, std = setting.extractor_pixels
    return np.asarray(normalise(images, mean=mean, std=std))


def spherical(a: Any, b: Any, t: Any) -> np.ndarray:
    """Points between a and b [.., d] at t in [0, 1], along the great circle (and of length between): where noise lies.

    White 2016: Gaussian noise of d dimensions has length near √d; the straight line between two draws passes through
    shorter ones, which a generator never saw.
    """
    a, b, t = np.asarray(a), np.asarray(b), np.asarray(t)
    lengths = np.linalg.norm(a, axis=-1, keepdims=True), np.linalg.norm(b, axis=-1, keepdims=True)
    angle = np.arccos(np.clip((a / lengths[0] * (b / lengths[1])).sum(-1, keepdims=True), -1, 1))
    sine = np.maximum(np.sin(angle), 1e-6)
    return np.sin((1 - t) * angle) / sine * a + np.sin(t * angle) / sine * b
