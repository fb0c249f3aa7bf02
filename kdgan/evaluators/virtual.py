"""A generator that is judged by a teacher alone, and by no image of the data: what the teacher takes its images for.

It is what a generator is judged by in a stage without data. Images are judged as a student is given them, not rounded. With
p the teacher's probabilities of an image [k], and p̄ their mean over the images drawn, in nats:

    balance H(p̄) = −Σ p̄ log p̄       information H(p̄) − mean H(p)       confidence mean max p

`information` is that of an image about its class; its exponential is the inception score (Salimans et al. 2016) with the
teacher in the place of Inception: a generator of one confident image has none, nor has one of noise.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan import parallel, whole_number
from kdgan.evaluators import drawing
from kdgan.evaluators.classifier import SHARE
from kdgan.evaluators.drawing import Maker
from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, bars, strip
from kdgan.evaluators.generator import NOISE_SEED, SHOWN, SHOWN_SEED, fits
from kdgan.evaluators.generator import drawn_from as drawn_from_noise
from kdgan.game import Player

NATS: dict[str, Any] = {"unit": "nats", "digits": 2, "bounds": (0.0, None)}
LABELS = "label_agreement"
MEASURES = (
    Measure("information", note="Information: of a made image about its class, by the teacher, in nats", **NATS),
    Measure("confidence", note="Confidence: the teacher's largest probability, mean over made images", **SHARE),
    Measure("balance", note="Balance: entropy in nats of the teacher's mean prediction on made images", **NATS),
    Measure(
        LABELS, "label agreement", note="Label agreement: share of made images that the teacher takes for their class",
        **SHARE,
    ),
)  # fmt: skip
PLACES: Mapping[str, Any] = {"latent": 0, "conditional": False, "method": None}  # how images are drawn by their place
BINS = 10  # of the histogram of confidence


def virtual(*, teacher: str = "teacher", by: str = "information", samples: int = 2_000) -> Evaluator:
    """Information, confidence and class balance of a generator's images, by a teacher; and whether it agrees with labels.

    Args:
      teacher: the player of the arm that judges, a classifier: the method calls it, or it is beside the method.
      by: the measure that arms are compared by and the best is kept by: "information", "confidence", "balance" or, of a
        conditional generator, "label_agreement".
      samples: images that are drawn, each split's of a noise of its own.

    Raises:
      ValueError: another measure, or fewer than one image.
    """
    names = [measure.name for measure in MEASURES]
    if by not in names:
        raise ValueError(f"by = {by!r}: accepted are {', '.join(names)}")
    whole_number.check("samples", samples)

    def draws(given: tuple, output: Any) -> Mapping[str, Any]:
        drawn = PLACES if of_places(given, output) else drawn_from_noise(given, output)
        if by == LABELS and not drawn["conditional"]:
            raise ValueError(f"by = {by!r} is of a generator that is given labels, and this one is given noise alone")
        return drawn

    def answers(setting: Setting, judged: Judged, seed: int) -> Answers:
        maker = drawing.maker_of(setting, judged, draws(judged.given, judged.output))
        return ask(maker, judged, judged.others[teacher], seed, samples)

    def measure(setting: Setting, judged: Judged, split: str) -> dict[str, float]:
        return measures_of(*answers(setting, judged, NOISE_SEED[split]))

    def shown(setting: Setting, judged: Judged) -> Figure:
        maker = drawing.maker_of(setting, judged, draws(judged.given, judged.output))
        images = maker.draw(judged.variables, noise_of(maker, SHOWN_SEED, SHOWN))
        made_of = f"Made {_made_of(maker)} alone" if maker.latent else "Images that are parameters"
        return strip("Samples", images, note=f"{made_of}; what lies outside the pixels' range is cut off")

    def pictures(setting: Setting, judged: Judged) -> list[Figure]:
        found = answers(setting, judged, NOISE_SEED["test"])
        about = (
            f"{samples:,} images made {_made_of(drawing.maker_of(setting, judged, draws(judged.given, judged.output)))}"
        )
        return [
            shown(setting, judged),
            class_balance(found.probabilities, _names(setting, found.probabilities.shape[1]), teacher, about),
            confidences(found.probabilities, teacher, about),
        ]

    return Evaluator(
        *sorted(MEASURES, key=lambda measure: measure.name != by),
        measure=measure,
        calls={teacher: gives_logits},
        fits=fits,
        draws=draws,
        watch=shown,
        pictures=pictures,
        notes=lambda setting: {f"By {teacher}: {samples:,} images made of noise, none of the data": names},
        gives="images",
    )


class Answers(NamedTuple):
    """What a teacher takes images for.

    Attributes:
      probabilities: float64 [n, k].
      label: classes [n] of which they were made; None where the generator is given none.
    """

    probabilities: np.ndarray
    label: np.ndarray | None


def gives_logits(output: Any) -> str | None:
    """Why a player of this output cannot judge; None where it can: it gives [b, k]."""
    shape = getattr(output, "shape", None)
    if shape is not None and len(shape) == 2:
        return None
    return f"gives {', '.join(output) if shape is None else list(shape)}, where a classifier gives [b, k]"


def of_places(given: tuple, output: Any) -> bool:
    """Whether a player makes images [b, h, w, c] of whole numbers [b], as `images` does, whose images are parameters."""
    args, _ = given
    first: Any = next(iter(args), None)
    return (
        getattr(output, "ndim", 0) == 4 and getattr(first, "ndim", 0) == 1 and jnp.issubdtype(first.dtype, jnp.integer)
    )


def noise_of(maker: Maker, seed: int, count: int) -> jax.Array:
    """[count, d]: of the generator's own dimension, whatever other players of the run are given; or the first places."""
    if not maker.latent:
        return jnp.arange(count)
    return jax.random.normal(jax.random.key(seed), (count, maker.latent))


def _made_of(maker: Maker) -> str:
    return "of noise" if maker.latent else "by place"


def ask(maker: Maker, judged: Judged, teacher: Judged, seed: int, count: int) -> Answers:
    """What a teacher takes `count` images for, of classes in turn where the generator is given any."""
    noise = noise_of(maker, seed, count)
    label = np.asarray(drawing.balanced_labels(count, maker.classes)) if maker.classes else None
    answer, found = _answer(maker, teacher.module), []
    for rows in drawing.batches(count):
        given = None if label is None else label[rows]
        found.append(np.asarray(answer(judged.variables, teacher.variables, noise[rows], given), np.float64))
    return Answers(np.concatenate(found)[:count], label)


@functools.lru_cache(maxsize=32)
def _answer(maker: Maker, module: nn.Module):
    def answer(variables, of_teacher, noise, label):
        image = drawing.images(maker, variables, noise, label)
        teacher = Player(
            "teacher", module, of_teacher["params"], of_teacher.get("model_state", {}), key=None, train=False,
            moves=False, compute_dtype=maker.compute_dtype,
        )  # fmt: skip
        return jax.nn.softmax(teacher(image).astype(jnp.float32))

    return parallel.compiled(answer)


def measures_of(probabilities: np.ndarray, label: np.ndarray | None) -> dict[str, float]:
    """The measures of probabilities [n, k] and, where there are any, of labels [n]."""
    balance = entropy(probabilities.mean(0))
    found = {
        "information": max(float(balance - entropy(probabilities).mean()), 0.0),  # but for rounding it is not below 0
        "confidence": float(probabilities.max(1).mean()),
        "balance": float(balance),
    }
    return found if label is None else {**found, LABELS: float(np.mean(probabilities.argmax(1) == label))}


def entropy(probabilities: np.ndarray) -> Any:
    """−Σ p log p over the last axis, in nats; 0 log 0 is 0."""
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return -np.sum(probabilities * logarithms, -1)


def class_balance(probabilities: np.ndarray, names: list[str], teacher: str, about: str) -> Figure:
    """The mean probability of each class."""
    even = ("even", 1 / len(names))
    return bars(
        "Classes of made images", probabilities.mean(0), names, what=f"mean probability of a class, by {teacher}",
        reference=even, scale=100.0, unit="%", on=about, note=f"Entropy {entropy(probabilities.mean(0)):.2f} of at most"
        f" {np.log(len(names)):.2f} nats",
    )  # fmt: skip


def confidences(probabilities: np.ndarray, teacher: str, about: str) -> Figure:
    """The histogram of the largest probability of each image, and its mean."""
    largest = probabilities.max(1)
    counts, edges = np.histogram(largest, BINS, (0.0, 1.0))
    names = [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in itertools.pairwise(edges)]
    return bars(
        "Confidence on made images", counts / len(largest), names, what="share of made images", scale=100.0, unit="%",
        on=about, note=f"By the largest probability that {teacher} gives an image, in per cent; mean"
        f" {100 * largest.mean():.1f} %",
    )  # fmt: skip


def _names(setting: Setting, count: int) -> list[str]:
    """Names of the data's classes, where the teacher tells these apart."""
    names = list(getattr(setting.fields.get("label"), "names", ()))
    return names if len(names) == count else [str(number) for number in range(count)]
