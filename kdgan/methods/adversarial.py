"""A student against a discriminator: one that tells the teacher's outputs from the student's, or true labels from drawn.

Both signs of the cross-entropy are negative: the discriminator minimises −log D(real) − log(1 − D(fake)), the student
−log D(fake) (of `nagan`, log(1 − D(fake)), as its paper has it). Copies of these losses with a sign dropped are common.
"""

import jax

from kdgan.game import Method, Move
from kdgan.losses import adversarial as losses
from kdgan.methods.gan import logistic
from kdgan.methods.kdgan import LABEL_KINDS, drawn_labels, verdicts
from kdgan.methods.logits import Value, check_temperature
from kdgan.methods.taught import check_kind, on_label

# What the discriminator of `adversarial` is shown of a network's output; probabilities by the kind of the label.
_VIEWS = ("logits", "probabilities")
_PROBABILITIES = {"class": lambda logits: jax.nn.softmax(logits), "tags": lambda logits: jax.nn.sigmoid(logits)}


def adversarial(
    *, sees: str = "logits", sees_image: bool = False, discriminator_repeats: int = 1, label_kind: str = "class"
) -> Method:
    """A small student against a larger discriminator that tells the teacher's outputs from the student's.

    L_D = −E log D(t(x)) − E log(1 − D(s(x))), not halved: terms `real`, `fake` of the discriminator.
    L_G = −E log D(s(x)): term `adv` of the student; `ce` beside it (λ 0: no label is used).

    Args:
      sees: what of the outputs the discriminator sees: `logits` or `probabilities`.
      sees_image: whether it is also given x.
      discriminator_repeats: its moves per step.
      label_kind: kind of the label; the data's where a run is asked for.
    """
    check_kind("adversarial", label_kind, LABEL_KINDS)
    if sees not in _VIEWS:
        raise ValueError(f"method.sees = {sees!r}: accepted are {', '.join(_VIEWS)}")
    if sees == "probabilities" and label_kind not in _PROBABILITIES:
        raise ValueError(f"method.sees = {sees!r}: a {label_kind} has no probabilities; 'logits' shows the outputs")
    view = _PROBABILITIES[label_kind] if sees == "probabilities" else lambda logits: logits

    def judge(players, logits, batch):
        return (
            players.discriminator(view(logits), batch["image"]) if sees_image else players.discriminator(view(logits))
        )

    def discriminator(players, batch, key):
        real, fake = players.teacher(batch["image"]), players.student(batch["image"])
        return {
            "real": losses.real_loss(judge(players, real, batch)),
            "fake": losses.fake_loss(judge(players, fake, batch)),
        }

    def student(players, batch, key):
        logits = players.student(batch["image"])
        return {
            "ce": on_label(label_kind, logits, batch),
            "adv": losses.generator_loss_nonsaturating(judge(players, logits, batch)),
        }

    return Method(
        Move("discriminator", discriminator, repeats=discriminator_repeats, alike=logistic({"real": 1}, {"fake": 1})),
        Move("student", student),
    )


def nagan(
    *, concrete_temperature: Value = 1.0, labels: str = "concrete", saturating: bool = True,
    discriminator_repeats: int = 1, student_repeats: int = 1, label_kind: str = "class",
) -> Method:  # fmt: skip
    """The naive GAN of Wang et al. 2018 (KDGAN): the classifier alone against the discriminator of labels.

    E_real log D(x, y) + E_{y~C} log(1 − D(x, y)), which D raises and the classifier C, the student, lowers by the
    labels that it draws: the two parts, negated, are the terms `real` and `student` of the discriminator; `adv` of
    the student, and `ce` beside it (λ 0 reproduces the paper). Arguments as in `kdgan`, of which this is α = 1
    without a teacher.
    """
    check_kind("nagan", label_kind, LABEL_KINDS)
    check_temperature("concrete_temperature", concrete_temperature)
    generator_loss = losses.generator_loss_saturating if saturating else losses.generator_loss_nonsaturating

    def discriminator(players, batch, key):
        of_true, of_drawn = verdicts(label_kind, players, batch, batch["image"])
        outputs = players.student(batch["image"])
        fake = drawn_labels(key, outputs, players.step, concrete_temperature, labels, label_kind=label_kind)
        return {"real": of_true(losses.real_loss), "student": of_drawn(losses.fake_loss, fake)}

    def student(players, batch, key):
        outputs = players.student(batch["image"])
        _, of_drawn = verdicts(label_kind, players, batch, batch["image"])
        drawn = drawn_labels(key, outputs, players.step, concrete_temperature, labels, label_kind=label_kind)
        return {"ce": on_label(label_kind, outputs, batch), "adv": of_drawn(generator_loss, drawn)}

    return Method(
        Move(
            "discriminator",
            discriminator,
            repeats=discriminator_repeats,
            alike=None if label_kind == "tags" else logistic({"real": 1}, {"student": 1}),
        ),
        Move("student", student, repeats=student_repeats),
    )
