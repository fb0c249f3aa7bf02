"""A student against a discriminator: one that tells the teacher's outputs from the student's, or true labels from drawn.

Both signs of the cross-entropy are negative: the discriminator minimises −log D(real) − log(1 − D(fake)), the student
−log D(fake) (of `nagan`, log(1 − D(fake)), as its paper has it). Copies of these losses with a sign dropped are common.
"""

import jax

from kdgan.game import Method, Move
from kdgan.losses import adversarial as losses
from kdgan.losses.logits import cross_entropy
from kdgan.methods.kdgan import drawn_labels, expected, true_labels
from kdgan.methods.logits import Value, check_temperature

# What the discriminator of `adversarial` is shown of a network's output.
_VIEWS = {"logits": lambda logits: logits, "probabilities": lambda logits: jax.nn.softmax(logits)}


def adversarial(*, sees: str = "logits", sees_image: bool = False, discriminator_repeats: int = 1) -> Method:
    """A small student against a larger discriminator that tells the teacher's outputs from the student's.

    L_D = −E log D(t(x)) − E log(1 − D(s(x))), not halved: terms `real`, `fake` of the discriminator.
    L_G = −E log D(s(x)): term `adv` of the student; `ce` beside it (λ 0: no label is used).

    Args:
      sees: what of the outputs the discriminator sees: `logits` or `probabilities`.
      sees_image: whether it is also given x.
      discriminator_repeats: its moves per step.
    """
    if sees not in _VIEWS:
        raise ValueError(f"method.sees = {sees!r}: accepted are {', '.join(_VIEWS)}")
    view = _VIEWS[sees]

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
            "ce": cross_entropy(logits, batch["label"]),
            "adv": losses.generator_loss_nonsaturating(judge(players, logits, batch)),
        }

    return Method(
        Move("discriminator", discriminator, repeats=discriminator_repeats),
        Move("student", student),
    )


def nagan(
    *, concrete_temperature: Value = 1.0, labels: str = "concrete", saturating: bool = True,
    discriminator_repeats: int = 1, student_repeats: int = 1,
) -> Method:  # fmt: skip
    """The naive GAN of Wang et al. 2018 (KDGAN): the classifier alone against the discriminator of labels.

    E_real log D(x, y) + E_{y~C} log(1 − D(x, y)): terms `real`, `student` of the discriminator; `adv` of the student, and
    `ce` beside it (λ 0 reproduces the paper). Arguments as in `kdgan`, of which this is α = 1 without a teacher.
    """
    check_temperature("concrete_temperature", concrete_temperature)
    generator_loss = losses.generator_loss_saturating if saturating else losses.generator_loss_nonsaturating

    def discriminator(players, batch, key):
        scores, logits = players.discriminator(batch["image"]), players.student(batch["image"])
        fake = drawn_labels(key, logits, players.step, concrete_temperature, labels)
        return {
            "real": expected(losses.real_loss, scores, true_labels(batch, scores)),
            "student": expected(losses.fake_loss, scores, fake),
        }

    def student(players, batch, key):
        logits, scores = players.student(batch["image"]), players.discriminator(batch["image"])
        drawn = drawn_labels(key, logits, players.step, concrete_temperature, labels)
        return {"ce": cross_entropy(logits, batch["label"]), "adv": expected(generator_loss, scores, drawn)}

    return Method(
        Move("discriminator", discriminator, repeats=discriminator_repeats),
        Move("student", student, repeats=student_repeats),
    )
