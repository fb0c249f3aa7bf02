"""A student that learns without a teacher network: from a made-up one, or from itself.

Each adds its terms to `ce` on the labels, alone or with others in `combine`. What a method remembers or learns beside the
student is a player that moves with it: `memory_past` (the model `past`), `memory_average` (`moving_parameters`),
`adapter_heads` (`block_heads`). Published λ's: `kdgan.methods.published.PUBLISHED`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan.game import Terms
from kdgan.losses import features as feature_losses
from kdgan.losses import logits as losses
from kdgan.losses import smoothing
from kdgan.methods.examples import held_by, pooled
from kdgan.methods.generators import paths_of
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import Part, Seen, as_method, on_label, single_classes, soft

# How far the student is from its average, by name: (student's logits, the average's) -> [b].
CONSISTENCIES: Mapping[str, Callable[[Any, Any], Any]] = {
    "mse": smoothing.probability_error,
    "kl": losses.kl_divergence,
}


@as_method
def tfkd(*, correct: float = 0.99, temperature: Value = 20.0, as_code: bool = False) -> Part:
    """Tf-KD (Yuan et al. 2020): T²·KL(p^d_T ‖ softmax(s/T)), p^d a on the label and even elsewhere; terms `ce`, `virtual`.

    p^d is a made-up teacher: a = 0.99 on the label, (1 − a)/(k − 1) on each other class; p^d_T is the same at
    temperature T = 20, proportional to its 1/T-th power. The paper's eq. 9 is without T²: its α = 0.1 beside 0.9 of
    `ce` is 0.1/T² here. Its code computes KL(softmax(p^d/T) ‖ softmax(s)), whose target is almost even, times 100 and
    averaged over the k classes, too: with `as_code` λ is α·100/k. Its other method, a trained copy of the student as
    teacher, is `kd`.

    Args:
      correct: a, above 1/k and below 1.
      temperature: T, a number or a schedule.
      as_code: whether the loss is the code's.

    Raises:
      ValueError: a value out of its range; while shapes are traced, mixed labels.
    """
    if isinstance(correct, bool) or not isinstance(correct, int | float) or not 0 < correct < 1:
        raise ValueError(f"method.correct = {correct!r}: a number between 0 and 1 is accepted")
    check_temperature("temperature", temperature)
    loss = smoothing.virtual_teacher_kl_of_code if as_code else smoothing.virtual_teacher_kl

    def terms(seen: Seen) -> Terms:
        label = single_classes("tfkd", seen.batch)
        s = seen.student[: len(label)]
        if not correct > 1 / s.shape[-1]:
            raise ValueError(f"method.correct = {correct}: of {s.shape[-1]} classes more than their share is accepted")
        return {"virtual": loss(s, label, correct=correct, temperature=value_at(temperature, seen.players.step))}

    details = {"virtual": f"{show('a', correct)}, {show('T', temperature)}" + (", as the code" if as_code else "")}
    return Part("tfkd", terms, calls_teacher=False, kinds=("class",), details=details, of_labelled=True)


@as_method
def pskd(*, alpha: Value | None = None, examples: int | None = None) -> Part:
    """PS-KD (Kim et al. 2021): CE((1 − α)·onehot(y) + α·p, s), p what the student last predicted of x; terms `ce`, `past`.

    `past` stands in place of `ce`, whose λ is 0 (or `labels=False`). The player `memory_past` holds p of each example
    by `batch["index"]`: as published the prediction in training mode, of the view (the augmented image) that was seen
    an epoch ago. It is one-hot where an example was not seen yet. Published is λ 1, and α rising linearly to 0.8 by
    the epoch, here by the step.

    Args:
      alpha: α in [0, 1], a number or a schedule: dict(kind="linear", start=0.0, end=0.8) is published.
      examples: that batches are drawn from; the data's where a run is asked for.

    Raises:
      ValueError: no α, or one out of its range; while shapes are traced, mixed labels, or a memory of another size.
    """
    if alpha is None or (not callable(alpha) and not 0 <= alpha <= 1):
        raise ValueError(
            f"method.alpha = {alpha}: a number in [0, 1] or a schedule is accepted, as published"
            " dict(kind='linear', start=0.0, end=0.8)"
        )
    share: Value = alpha

    def terms(seen: Seen) -> Terms:
        label, memory = single_classes("pskd", seen.batch), seen.players.memory_past
        held_by(memory, examples)
        s = seen.student[: len(label)]
        past, is_known = memory(s, seen.batch["index"])
        past = jnp.where(is_known[:, None], past, jax.nn.one_hot(label, s.shape[-1]))
        return {"past": smoothing.progressive(s, label, past, alpha=value_at(share, seen.players.step))}

    return Part(
        "pskd", terms, movers=("memory_past",), calls_teacher=False, kinds=("class",), of_labelled=True,
        details={"past": show("α", share)},
    )  # fmt: skip


def partners(label: Any) -> tuple[Any, Any]:
    """The next example of the same class in a batch, around its end: (places [b], which have one [b]); else its own."""
    b = len(label)
    place = jnp.arange(b, dtype=jnp.int32)
    ahead = (place[None, :] - place[:, None]) % b
    fits = (label[:, None] == label[None, :]) & (ahead > 0)
    nearest = jnp.min(jnp.where(fits, ahead, b), axis=1)
    return (place + nearest) % b, nearest < b


@as_method
def cskd(*, temperature: Value = 4.0) -> Part:
    """CS-KD (Yun et al. 2020): T²·KL(softmax(r/T) ‖ softmax(s/T)), r of another image of x's class; terms `ce`, `partner`.

    The partner is the next example of the same class in the batch, whose gradient is stopped; an example without one
    counts 0. Batches should be several times as large as there are classes, for most to have one. Published is a second
    batch of partners, one for each example, which are run without a gradient and without `ce`, and λ 1. On several
    devices partners are of each one's share.

    Args:
      temperature: T, a number or a schedule.
    """
    check_temperature("temperature", temperature)

    def terms(seen: Seen) -> Terms:
        label = single_classes("cskd", seen.batch)
        if len(label) < 2:
            raise ValueError("method.name = 'cskd': a batch of 1 example has no partners; 2 or more are accepted")
        s = seen.student[: len(label)]
        place, has_one = partners(label)
        at = value_at(temperature, seen.players.step)
        apart = smoothing.class_wise_kl(s, jax.lax.stop_gradient(s)[place], temperature=at)
        return {"partner": jnp.where(has_one, apart, 0)}

    details = {"partner": show("T", temperature)}
    return Part("cskd", terms, calls_teacher=False, kinds=("class",), details=details, of_labelled=True)


@as_method
def byot(
    *, blocks: Sequence[str] = ("stage1", "stage2"), last: str = "embedding", temperature: Value = 3.0
) -> Part:  # fmt: skip
    """Be Your Own Teacher (Zhang et al. 2019): heads on inner blocks; terms `ce`, `ce_blocks`, `kd_blocks`, `hint_blocks`.

    The player `adapter_heads` (the model `block_heads`) makes logits and an embedding of each block. Added up over
    blocks: CE(y, block), T²·KL(student ‖ block), and the mean squared error between the block's embedding and the
    last feature; no gradient passes to the student's own outputs from the last two.

    Published λ's: 1 − α of `ce` and `ce_blocks`, α = 0.1 of `kd_blocks`, and 1e-6 of squares that are added up over
    the d features and over the batch: b·d·1e-6 of `hint_blocks`, with b = 128 and d = 512.

    Args:
      blocks: module paths of the student.
      last: module path of its last feature.
      temperature: T, a number or a schedule.
    """
    inner = paths_of("blocks", blocks)
    if not inner or len(set(inner)) != len(inner):
        raise ValueError(f"method.blocks = {blocks!r}: one module path or more, each once, is accepted")
    check_temperature("temperature", temperature)

    def terms(seen: Seen) -> Terms:
        logits, embeddings = seen.players.adapter_heads(
            {path: seen.features[path] for path in inner}, seen.features[last]
        )
        final = jax.lax.stop_gradient(pooled(seen.features[last]))
        target, at = jax.lax.stop_gradient(seen.student), value_at(temperature, seen.players.step)
        labelled = len(seen.batch["image"])
        kind = seen.label_kind
        return {
            "ce_blocks": sum(on_label(kind, logits[path][:labelled], seen.batch) for path in inner),
            "kd_blocks": sum(soft(kind, logits[path], target, temperature=at) for path in inner),
            "hint_blocks": feature_losses.feature_l2(embeddings, dict.fromkeys(inner, final)),
        }

    return Part(
        "byot", terms, features=(*inner, last), movers=("adapter_heads",), calls_teacher=False, kinds=("class", "tags"),
        details={"kd_blocks": show("T", temperature)},
    )  # fmt: skip


@as_method
def mean_teacher(*, consistency: str = "mse") -> Part:
    """Mean Teacher (Tarvainen & Valpola 2017): the student against its average over steps; terms `ce`, `consistency`.

    mean_c (softmax(s)_c − softmax(s̄)_c)², s̄ the logits of the averaged network. The player `memory_average` (the
    model `moving_parameters`, which has the rate) holds the average of the student's parameters, those of this step
    among them. With `unlabelled` images without labels are compared, too, for which it was made.

    The averaged network is run in evaluation mode, with the student's running statistics; published is training mode,
    with statistics, noise and an augmentation of its own. Published λ: 100, rising over the first epochs. There CE is
    averaged over unlabelled examples, too: λ 1 of 31 labelled images in a batch of 128 is 31/128 of `ce` here. An
    average of that kind is measured where the player `student` has an `ema`.

    Args:
      consistency: "mse", of probabilities and averaged over classes, or "kl", KL(average ‖ student).
    """
    if consistency not in CONSISTENCIES:
        raise ValueError(f"method.consistency = {consistency!r}: accepted are {', '.join(CONSISTENCIES)}")

    def terms(seen: Seen) -> Terms:
        average = seen.players.memory_average(seen.players.student.params)
        target = jax.lax.stop_gradient(seen.players.student.at(average)(seen.image, train=False))
        return {"consistency": CONSISTENCIES[consistency](seen.student, target)}

    return Part(
        "mean_teacher", terms, movers=("memory_average",), calls_teacher=False, kinds=("class",),
        details={"consistency": consistency},
    )  # fmt: skip
