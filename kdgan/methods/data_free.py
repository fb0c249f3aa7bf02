"""Distillation without data: a generator makes images by what teacher and student answer, and the student learns on them.

All of it is one sum of terms of the images x̂ = G(z), and another of the student:

    L_G = λ·onehot + λ·activation + λ·balance + λ·statistics + λ·adversarial        L_S = λ·kd, or λ·l1, + λ·attention

| method | generator | student | moves of a step, as published |
|---|---|---|---|
| `dafl` | onehot, activation, balance | kd, T = 1 | both in one move, on one batch |
| `dfad` | adversarial: −L1 of logits | l1 | 5 of the student, then 1 of the generator |
| `zskt` | adversarial: −KL | kd, T = 1; attention | 1 of the generator, then 10 of the student |
| `dfq` | onehot, balance, statistics, adversarial: −KL | kd | 1 of the generator, then 10 of the student |

`inversion.py` has `deep_inversion`, `remembered.py` `cmi` and `fast`. The losses are in `kdgan/losses/data_free.py`.

`teacher` is frozen, and images differentiable through it; `generator` is any module noise [b, d] -> image [b, h, w, c] whose
images lie where the teacher's inputs lie; one that standardises its output does without a word of the data's mean (the model
`standardised_generator`). A batch needs nothing but its size: {"place": [b]}. Noise is drawn anew by each move, where ZSKT's
code keeps one batch of images for the moves of a step. `generator_repeats=0` leaves the generator frozen: the student then
learns on the images of one that an earlier stage trained.

The adversarial terms are differences between teacher and student. A widely copied script passes the teacher in the student's
place, which makes them 0, and their gradients.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from kdgan import whole_number
from kdgan.around import innermost
from kdgan.batch_statistics import LayerStatistics, with_batch_statistics
from kdgan.game import Batch, Method, Move, Players, Terms
from kdgan.losses import data_free as losses
from kdgan.losses import features as feature_losses
from kdgan.losses import logits as logit_losses
from kdgan.methods.gan import check_latent, noise_of
from kdgan.methods.generators import Paths, pairs_of
from kdgan.methods.logits import Value, check_temperature, show, value_at

# Method -> λ's of its authors, where our terms are theirs up to a constant, converted (`kdgan.losses` says by how much).
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    # MNIST and CIFAR-10: the code's 5 is of logarithms to base 10; CIFAR-100 has onehot 0.5 (README) and balance 20/ln 10.
    "dafl": {"generator": {"onehot": 1.0, "activation": 0.1, "balance": 5 / math.log(10), "kd": 1.0}},
    "dfad": {"generator": {"adversarial": 1.0}, "student": {"l1": 1.0}},
    # The code's 250 stands beside a KL divided by the classes: ten times as much here, on ten classes.
    "zskt": {"generator": {"adversarial": 1.0}, "student": {"kd": 1.0, "attention": 2500.0}},
    "dfq": {
        "generator": {"onehot": 1.0, "balance": 20.0, "statistics": 1.0, "adversarial": 1.0},
        "student": {"kd": 1.0},
    },
    # Of DataFree's script for CIFAR-10; tv of the paper.
    "deep_inversion": {"images": {"ce": 1.0, "statistics": 10.0, "tv": 2.5e-5}, "student": {"kd": 1.0}},
    # Of the authors' scripts: CIFAR-10; CIFAR-100 from a WideResNet to a smaller one.
    "cmi": {
        "generator": {"onehot": 1.0, "statistics": 1.0, "adversarial": 0.5, "contrastive": 0.8},
        "student": {"kd": 1.0},
    },
    "fast": {"generator": {"ce": 0.4, "statistics": 10.0, "adversarial": 1.1}, "student": {"kd": 1.0}},
}

# How far the student is from its teacher, for who looks for it: name -> (student's logits, teacher's, T) -> term.
ADVERSARIAL: Mapping[str, Callable[[jax.Array, jax.Array, Any], jax.Array]] = {
    "l1": lambda s, t, temperature: losses.adversarial_l1(s, t),
    "log_l1": lambda s, t, temperature: losses.adversarial_log_l1(s, t),
    "kl": lambda s, t, temperature: losses.adversarial_kl(s, t, temperature=temperature),
    "decision": lambda s, t, temperature: losses.decision_adversarial(s, t, temperature=temperature),
}


class Answers(NamedTuple):
    """What the teacher answers to made images.

    Attributes:
      logits: [b, k].
      features: path -> feature [b, ...], of those asked for.
      layers: path -> statistics of each batch norm, where asked for.
    """

    logits: jax.Array
    features: Mapping[str, jax.Array]
    layers: Mapping[str, LayerStatistics]


def ask(players: Players, image: jax.Array, features: Sequence[str] = (), *, statistics: bool = False) -> Answers:
    """The teacher's answers.

    Raises:
      ValueError: it has no module at one of these paths; statistics are asked for, and it has no batch norm.
    """
    paths = tuple(dict.fromkeys(features))
    call = lambda: players.teacher(image, features=paths) if paths else (players.teacher(image), {})
    if not statistics:
        logits, found = call()
        return Answers(logits, found, {})
    name = f"players.teacher ({type(innermost(players.teacher.module)).__name__})"
    (logits, found), layers = with_batch_statistics(call, name)
    return Answers(logits, found, layers)


def made(players: Players, batch: Batch, key: Any, latent: int) -> jax.Array:
    """Images of the generator [b, h, w, c]."""
    return players.generator(noise_of(batch, key, latent))


def adversarial_of(name: str) -> Callable[[jax.Array, jax.Array, Any], jax.Array]:
    """One of `ADVERSARIAL`, or a ValueError that lists them."""
    if name not in ADVERSARIAL:
        raise ValueError(f"method.adversarial = {name!r}: accepted are {', '.join(ADVERSARIAL)}")
    return ADVERSARIAL[name]


def follow(players: Players, image: jax.Array, temperature: Value, attention: Mapping[str, str] | None = None) -> Terms:
    """Terms of a student that follows the teacher on made images: `kd`, and `attention` where maps are named."""
    image = jax.lax.stop_gradient(image)
    if not attention:
        student, teacher = players.student(image), players.teacher(image)
        return {"kd": _soft(players, student, teacher, temperature)}
    student, found = players.student(image, features=tuple(attention))
    teacher, wanted = players.teacher(image, features=tuple(dict.fromkeys(attention.values())))
    maps = [found[path] for path in attention], [wanted[path] for path in attention.values()]
    return {
        "kd": _soft(players, student, teacher, temperature),
        "attention": feature_losses.attention_transfer(*maps),
    }


def _soft(players: Players, student: jax.Array, teacher: jax.Array, temperature: Value) -> jax.Array:
    return logit_losses.kl_divergence(student, teacher, temperature=value_at(temperature, players.step))


def moves(
    players: str | tuple[str, ...], terms: Any, repeats: int, details: Mapping[str, str] | None = None
) -> tuple[Move, ...]:
    """A move that is made so many times a step, or none.

    Raises:
      ValueError: repeats are no whole number of at least 0.
    """
    lead = players if isinstance(players, str) else players[0]
    whole_number.check(f"method.{lead}_repeats", repeats, 0, unit="moves per step")
    return (Move(players, terms, repeats=repeats, details=details),) if repeats else ()


def dafl(
    *, latent: int = 100, activation: str = "embedding", temperature: Value = 1.0, joint: bool = True,
    generator_repeats: int = 1, student_repeats: int = 1,
) -> Method:  # fmt: skip
    """DAFL (Chen et al. 2019): images of which the teacher is sure, which excite it, and are of all classes alike.

    Terms of the generator: `onehot`, `activation`, `balance`; of the student: `kd`. The student takes no part in what is
    made. Published for MNIST: λ 1, 0.1, 5 and 1; the 5 is of logarithms to base 10, 5/2.303 = 2.17 here (`PUBLISHED`).
    Adam, rate 0.2 of the generator and 2e-3 of the student, noise of 100, batches of 512, 24,000 steps.

    Args:
      latent: dimension of the noise.
      activation: module path of the teacher's features that `activation` takes; "" for no such term.
      temperature: T of `kd`, a number or a schedule.
      joint: generator and student move at once, on the same images, as published: `kd` then stands under `generator`, which
        leads the move. No gradient passes from one to the other.
      generator_repeats: the generator's moves per step; 0: it is frozen.
      student_repeats: the student's, after them, where not `joint`.

    Raises:
      ValueError: a value out of its range; joint moves of different numbers.
    """
    check_latent("latent", latent)
    check_temperature("temperature", temperature)
    joint = joint and generator_repeats != 0
    if joint and generator_repeats != student_repeats:
        raise ValueError(
            f"method.joint = True: generator and student move together, as often as each other; generator_repeats ="
            f" {generator_repeats} and student_repeats = {student_repeats} want joint = False"
        )

    def generator(players, batch, key):
        image = made(players, batch, key, latent)
        answers = ask(players, image, (activation,) if activation else ())
        terms = {"onehot": losses.one_hot(answers.logits)}
        if activation:
            terms["activation"] = losses.activation(answers.features[activation])
        terms["balance"] = losses.balance(answers.logits)
        if joint:
            seen, target = jax.lax.stop_gradient((image, answers.logits))
            terms["kd"] = _soft(players, players.student(seen), target, temperature)
        return terms

    def student(players, batch, key):
        return follow(players, made(players, batch, key, latent), temperature)

    details = {"kd": show("T", temperature)}
    if joint:
        return Method(*moves(("generator", "student"), generator, generator_repeats, details))
    return Method(
        *moves("generator", generator, generator_repeats), *moves("student", student, student_repeats, details)
    )


def dfad(*, latent: int = 100, adversarial: str = "l1", generator_repeats: int = 1, student_repeats: int = 5) -> Method:
    """DFAD (Fang et al. 2019): the student comes near the teacher's logits, the generator finds where it is not.

    Terms of the student: `l1`, mean |s − t|; of the generator: `adversarial`, its negative. Published for MNIST: λ 1, five
    moves of the student and then one of the generator, SGD of rate 0.01, momentum 0.9 and weight decay 1e-4 for the
    student, Adam of rate 1e-3 for the generator, noise of 100, batches of 512 (on which much depends), 2,000 such steps.
    Its code has `log_l1` beside it.

    Args:
      latent: dimension of the noise.
      adversarial: "l1", "log_l1", "kl" or "decision".
      generator_repeats: the generator's moves per step; 0: it is frozen.
      student_repeats: the student's, before them.

    Raises:
      ValueError: a value out of its range.
    """
    check_latent("latent", latent)
    apart = adversarial_of(adversarial)

    def student(players, batch, key):
        image = jax.lax.stop_gradient(made(players, batch, key, latent))
        return {"l1": losses.logit_l1(players.student(image), players.teacher(image))}

    def generator(players, batch, key):
        image = made(players, batch, key, latent)
        return {"adversarial": apart(players.student(image), players.teacher(image), 1.0)}

    return Method(
        *moves("student", student, student_repeats),
        *moves("generator", generator, generator_repeats, {"adversarial": adversarial}),
    )


def zskt(
    *, latent: int = 100, adversarial: str = "kl", temperature: Value = 1.0, attention: Paths = (),
    generator_repeats: int = 1, student_repeats: int = 10,
) -> Method:  # fmt: skip
    """Zero-shot knowledge transfer (Micaelli & Storkey 2019): DFAD's game with KL for L1, and attention for the student.

    Terms of the generator: `adversarial`; of the student: `kd`, and `attention` where maps are named. Published: λ 1 and,
    for the sum over three groups of a WideResNet, 250 beside a KL that is divided by the ten classes: 2,500 here
    (`PUBLISHED`). One move of the generator, then ten of the student; Adam, rates 1e-3 and 2e-3 as cosines, gradients
    clipped to norm 5, noise of 100, batches of 128, 80,000 of them.

    Args:
      latent: dimension of the noise.
      adversarial: "kl", "l1", "log_l1" or "decision".
      temperature: T of both KL's, a number or a schedule.
      attention: module paths of maps [b, h, w, c], the student's; a mapping to the teacher's where they differ.
      generator_repeats: the generator's moves per step; 0: it is frozen.
      student_repeats: the student's, after them.

    Raises:
      ValueError: a value out of its range, or maps of other sides.
    """
    check_latent("latent", latent)
    apart = adversarial_of(adversarial)
    check_temperature("temperature", temperature)
    maps = pairs_of("attention", attention)

    def generator(players, batch, key):
        image, at = made(players, batch, key, latent), value_at(temperature, players.step)
        return {"adversarial": apart(players.student(image), players.teacher(image), at)}

    def student(players, batch, key):
        return follow(players, made(players, batch, key, latent), temperature, maps)

    return Method(
        *moves("generator", generator, generator_repeats, {"adversarial": adversarial}),
        *moves("student", student, student_repeats, {"kd": show("T", temperature)}),
    )


def dfq(
    *, latent: int = 256, adversarial: str = "kl", temperature: Value = 1.0, first: float = 1.0,
    generator_repeats: int = 1, student_repeats: int = 10,
) -> Method:  # fmt: skip
    """DFQ (Choi et al. 2020): ZSKT's game, the images held to the teacher's batch statistics, sure and of all classes.

    Terms of the generator: `onehot`, `balance`, `statistics`, `adversarial`; of the student: `kd`. λ's of DataFree, whose
    tables are quoted: 1, 20, 1, 1 and 1, its balance in natural logarithms as here; one move of the generator to ten of the
    student. While the generator moves, the student is in evaluation mode, as there.

    Args:
      latent: dimension of the noise.
      adversarial: "kl", "l1", "log_l1" or "decision".
      temperature: T of both KL's, a number or a schedule.
      first: weight of the first batch norm in `statistics`.
      generator_repeats: the generator's moves per step; 0: it is frozen.
      student_repeats: the student's, after them.

    Raises:
      ValueError: a value out of its range, or, while shapes are traced, a teacher without batch norm.
    """
    check_latent("latent", latent)
    apart = adversarial_of(adversarial)
    check_temperature("temperature", temperature)

    def generator(players, batch, key):
        image, at = made(players, batch, key, latent), value_at(temperature, players.step)
        answers = ask(players, image, statistics=True)
        student = players.student(image, train=False)
        return {
            "onehot": losses.one_hot(answers.logits),
            "balance": losses.balance(answers.logits),
            "statistics": losses.batch_norm_statistics(answers.layers, first=first),
            "adversarial": apart(student, answers.logits, at),
        }

    def student(players, batch, key):
        return follow(players, made(players, batch, key, latent), temperature)

    return Method(
        *moves("generator", generator, generator_repeats, {"adversarial": adversarial}),
        *moves("student", student, student_repeats, {"kd": show("T", temperature)}),
    )
