"""KDGAN (Wang et al. 2018): student C, teacher T and discriminator D in one game over labels.

    min_{C,T} max_D  E_real log D + α·E_{y~C} log(1−D) + (1−α)·E_{y~T} log(1−D) + β·L(C←T) + γ·L(T←C)

α, β, γ are λ's: give the discriminator `real` 1, `student` α, `teacher` 1−α; the teacher `adv` 1−α, `kd` γ; the student
`adv` α, `kd` β. (The authors' code weighs the teacher by α and the student by 1−α; here α is the equation's.) A `ce` term of
student and teacher stands beside them; λ 0 reproduces the paper.

D is a network with one score per class: D(x, y) = σ(score_y(x)). Its value is known on labels only, so a relaxed label ỹ
meets it through the linear extension Σ_c ỹ_c·log(1 − D(x, c)), which is exact on every one-hot label and whose expectation
under ỹ ~ p is E_{y~p} log(1−D). Through a relaxed *score* instead, the gradient would vanish wherever D rejects a label.

Of tags (the paper's second half) an example has several: E_real draws one of its tags, each as likely as the other. C and
T draw from the softmax of their logits as before, while `ce` and soft labels have a sigmoid for each tag, as in the authors'
code, which draws 25 labels of an example (`draws`). Numbers cannot be scored one by one: D(x, y) is then a network of the
pair, as `kdgan.models.LabelDiscriminator` is, and the label that C or T "draws" is its output itself.

Without `ce` (configs/kdgan_stability.py) no arm fell to chance, not even from players that were never trained; a teacher
pulled to its student (γ = 1, L2) is what does harm. Keep γ near 0.01 and the teacher's learning rate low.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdgan.game import Method, Move
from kdgan.losses import adversarial as losses
from kdgan.losses import concrete
from kdgan.methods.gan import logistic
from kdgan.methods.logits import Value, check_temperature, distance, show, value_at
from kdgan.methods.taught import check_kind, images, numbers, on_label

LABELS = ("concrete", "expected")
LABEL_KINDS = ("class", "tags", "number")  # that a discriminator of labels or outputs knows


def true_labels(batch, scores, label_kind: str = "class") -> Any:
    """The batch's labels as probabilities [b, k], for the k classes that the discriminator scores.

    Those of an example's tags are equal; an example without tags has none.
    """
    label = batch["label"]
    if label_kind == "tags":
        number = jnp.sum(label, axis=-1, keepdims=True)
        return jnp.where(number > 0, label / jnp.where(number > 0, number, 1), 0)
    return jax.nn.one_hot(label, scores.shape[-1]) if label.ndim == 1 else label


def drawn_labels(
    key, logits, step, temperature: Value, labels: str, draws: int = 1, *, label_kind: str = "class"
) -> Any:
    """Labels [b, k] of a player: the mean of straight-through concrete draws, or their expectation softmax(logits).

    Numbers [b, d] are the player's own.

    Raises:
      ValueError: `labels` is neither `concrete` nor `expected`.
    """
    if labels not in LABELS:
        raise ValueError(f"method.labels = {labels!r}: accepted are {', '.join(LABELS)}")
    if label_kind == "number":
        return logits
    if labels == "expected":
        return jax.nn.softmax(logits)
    at = value_at(temperature, step)
    samples = [concrete.sample(k, logits, temperature=at) for k in jax.random.split(key, draws)]
    return sum(samples) / draws


def expected(loss: Callable[[Any], Any], scores, labels) -> Any:
    """Σ_c labels_c·loss(score_c), per example [b]."""
    return jnp.sum(labels * loss(scores), axis=-1)


def verdicts(label_kind: str, players, batch, x) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What the discriminator makes of labels, under a loss of its scores.

    Returns:
      `of_true(loss)`: of the batch's labels [b]. `of_drawn(loss, labels)`: of labels [n, k] for the inputs x of n examples,
      the batch's first.
    """
    if label_kind == "number":
        return (
            lambda loss: loss(players.discriminator(batch["image"], numbers(batch))),
            lambda loss, labels: loss(players.discriminator(x, labels)),
        )
    scores = players.discriminator(x)
    labelled = scores[: len(batch["image"])]
    return (
        lambda loss: expected(loss, labelled, true_labels(batch, labelled, label_kind)),
        lambda loss, labels: expected(loss, scores, labels),
    )


def kdgan(
    *,
    distillation: str = "l2",
    temperature: Value = 1.0,
    concrete_temperature: Value = 1.0,
    labels: str = "concrete",
    draws: int = 1,
    saturating: bool = True,
    discriminator_repeats: int = 1,
    teacher_repeats: int = 1,
    student_repeats: int = 1,
    unlabelled: bool = False,
    label_kind: str = "class",
) -> Method:
    """KDGAN (Wang et al. 2018): discriminator, teacher and student (the classifier) move in turn.

    Args:
      distillation: L of both directions: `l2` on logits (the paper's numbers; ½‖·‖² here, k/2 times a mean squared
        error) or `kl` (T²·KL).
      temperature: of `kl`.
      concrete_temperature: τ of the label draws; a schedule from 10 to 0.1 in the paper's rebuttal code.
      labels: `concrete` draws labels (straight-through); `expected` takes the expectation over the classes exactly, which
        has the same mean and no variance.
      draws: labels drawn per image.
      saturating: student and teacher minimise log(1−D) as in the value; else −log D.
      discriminator_repeats: D moves per step.
      teacher_repeats: T moves per step; 0: the teacher is frozen, so that any function of the images may be one.
      student_repeats: C moves per step.
      unlabelled: T and C play on the batch's unlabelled images, too; `real` and `ce` are of the labelled ones.
      label_kind: kind of the label; the data's where a run is asked for.
    """
    check_kind("kdgan", label_kind, LABEL_KINDS)
    check_temperature("temperature", temperature)
    check_temperature("concrete_temperature", concrete_temperature)
    if draws < 1:
        raise ValueError(f"method.draws = {draws}: draw at least one label per image")
    if labels not in LABELS:
        raise ValueError(f"method.labels = {labels!r}: accepted are {', '.join(LABELS)}")
    apart = distance(distillation)
    generator_loss = losses.generator_loss_saturating if saturating else losses.generator_loss_nonsaturating

    def draw(key, logits, step):
        return drawn_labels(key, logits, step, concrete_temperature, labels, draws, label_kind=label_kind)

    def discriminator(players, batch, key):
        of_student, of_teacher = jax.random.split(key)
        x = images(batch, unlabelled)
        of_true, of_drawn = verdicts(label_kind, players, batch, x)
        student = draw(of_student, players.student(x), players.step)
        teacher = draw(of_teacher, players.teacher(x), players.step)
        return {
            "real": of_true(losses.real_loss),
            "student": of_drawn(losses.fake_loss, student),
            "teacher": of_drawn(losses.fake_loss, teacher),
        }

    def against_discriminator(me: str, other: str):
        def terms(players, batch, key):
            x = images(batch, unlabelled)
            own, target = players[me](x), players[other](x)
            _, of_drawn = verdicts(label_kind, players, batch, x)
            return {
                "ce": on_label(label_kind, own[: len(batch["image"])], batch),
                "kd": apart(label_kind, own, target, value_at(temperature, players.step)),
                "adv": of_drawn(generator_loss, draw(key, own, players.step)),
            }

        return terms

    details = {
        "kd": "l2" if distillation == "l2" else show("T", temperature),
        "adv": show("τ", concrete_temperature) if labels == "concrete" else "expected",
    }
    of_teacher = against_discriminator("teacher", "student")
    return Method(
        Move(
            "discriminator",
            discriminator,
            repeats=discriminator_repeats,
            alike=None if label_kind == "tags" else logistic({"real": 1}, {"student": 1, "teacher": 1}),
        ),
        *([Move("teacher", of_teacher, repeats=teacher_repeats, details=details)] if teacher_repeats else []),
        Move("student", against_discriminator("student", "teacher"), repeats=student_repeats, details=details),
    )
