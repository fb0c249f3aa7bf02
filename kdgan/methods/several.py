"""A student of several teachers, and a student against a discriminator of features.

`several` is a part of a move: soft labels of each teacher, weighed. `meal` and `adversarial_features` alternate moves, as
`adversarial` does, with its terms: `real` and `fake` of the discriminator, `adv` of the student. MEAL's public code puts
student and discriminator into one move, by one loss, so that both make it small and nothing is adversarial.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan import whole_number
from kdgan.game import Method, Move, Terms
from kdgan.losses import adversarial as losses
from kdgan.methods.examples import pooled
from kdgan.methods.gan import logistic
from kdgan.methods.generators import Paths, pairs_of
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import KINDS, Part, Seen, as_method, check_kind, on_label, soft

TEACHERS = ("teacher", "teacher_b")
EACH_STEP = ("drawn", "all")


def by_confidence(outputs: Sequence[Any], batch: Mapping[str, Any]) -> Any:
    """CA-MKD's weights [teachers, b] (Zhang et al. 2022): (1 − softmax_i CE(y, t_i))/(n − 1), which sum to 1."""
    wrong = jnp.stack([on_label("class", t, batch) for t in outputs])
    return (1 - jax.nn.softmax(wrong, axis=0)) / (len(outputs) - 1)


def by_entropy(outputs: Sequence[Any], batch: Mapping[str, Any]) -> Any:
    """EBKD's weights [teachers, b] (Kwon et al. 2020): (1 − H_i/Σ_j H_j)/(n − 1); even where all are sure."""
    log_p = jnp.stack([jax.nn.log_softmax(t.astype(jnp.float32)) for t in outputs])
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    total = jnp.sum(entropy, axis=0, keepdims=True)
    share = jnp.where(total > 0, entropy / jnp.where(total > 0, total, 1), 1 / len(outputs))
    return (1 - share) / (len(outputs) - 1)


# Name -> weights of each teacher and example, of the teachers' outputs and the batch; None: even ones.
WEIGHTS: Mapping[str, Callable[[Sequence[Any], Mapping[str, Any]], Any] | None] = {
    "even": None,
    "confidence": by_confidence,
    "entropy": by_entropy,
}


@as_method
def several(
    *, teachers: Sequence[str] = TEACHERS, weights: str = "even", temperature: Value = 4.0
) -> Part:  # fmt: skip
    """Several teachers (You et al. 2017; CA-MKD, Zhang et al. 2022): Σ_i w_i·T²·KL(t_i ‖ s); terms `ce`, `kd`.

    Weights w_i sum to 1 for each example: even; "confidence", CA-MKD's, by how well a teacher does on the label;
    "entropy", EBKD's (Kwon et al. 2020), by how sure it is. CA-MKD's code divides by the number n of teachers once
    more, so that its λ of 1 is 1/n here, 1/3 with its three teachers; in the same code EBKD's weights sum to n − 1,
    and are divided by n: λ·(n − 1)/n. CA-MKD also compares features of each teacher, which this does not.

    Args:
      teachers: players, each once.
      weights: "even", "confidence" or "entropy".
      temperature: T, a number or a schedule.
    """
    names = players_of("teachers", teachers)
    if weights not in WEIGHTS:
        raise ValueError(f"method.weights = {weights!r}: accepted are {', '.join(WEIGHTS)}")
    check_temperature("temperature", temperature)
    weigh = WEIGHTS[weights]

    def terms(seen: Seen) -> Terms:
        of_labels = weights == "confidence"
        count = len(seen.batch["image"]) if of_labels else len(seen.image)
        of_teacher = lambda name: seen.teacher if name == "teacher" else seen.players[name](seen.image)
        outputs = [of_teacher(name)[:count] for name in names]
        s, at = seen.student[:count], value_at(temperature, seen.players.step)
        mask = None if seen.mask is None else seen.mask[:count]
        apart = jnp.stack([soft(seen.label_kind, s, t, temperature=at, mask=mask) for t in outputs])
        if weigh is None:
            return {"kd": jnp.mean(apart, axis=0)}
        return {"kd": jnp.sum(jax.lax.stop_gradient(weigh(outputs, seen.batch)) * apart, axis=0)}

    return Part(
        "several", terms, calls_teacher="teacher" in names, kinds=KINDS if weigh is None else ("class",),
        why="" if weigh is None else f"weights = {weights!r} is for classes", of_labelled=weights == "confidence",
        details={"kd": f"{show('T', temperature)}, {weights}"},
    )  # fmt: skip


def meal(
    *, teachers: Sequence[str] = TEACHERS, each_step: str = "drawn", features: Paths = (), temperature: Value = 1.0,
    discriminator_repeats: int = 1, label_kind: str = "class",
) -> Method:  # fmt: skip
    """MEAL (Shen et al. 2019): a student of several teachers, whose outputs a discriminator tells from the student's.

    L_D = −E log D(t_i(x)) − E log(1 − D(s(x))): terms `real`, `fake` of the discriminator, which sees logits. Of the
    student: `kd`, T²·KL(t_i ‖ s), i drawn by each move; `adv`, −E log D(s(x)); and `ce`, which is not in the paper (λ
    0). Each pair of `features` has a discriminator more, the players `discriminator_1`, `discriminator_2`, ...: terms
    `real_inner`, `fake_inner` and `adv_inner`, sums over them. Here discriminators and student move in turn; the
    paper's code trains both by one loss, which both make small, so that nothing is adversarial.

    Args:
      teachers: players, each once.
      each_step: "drawn", i drawn evenly by each move, as published (on several devices by each of them; all teachers are
        run); or "all", the mean over them.
      features: module paths of student and teachers, or a mapping of the student's to the teachers'; maps as their means
        over pixels, of equal widths.
      temperature: T, a number or a schedule.
      discriminator_repeats: its moves per step.
      label_kind: kind of the label; the data's where a run is asked for.
    """
    check_kind("meal", label_kind, ("class", "tags"))
    whole_number.check("method.discriminator_repeats", discriminator_repeats, unit="moves")
    check_temperature("temperature", temperature)
    names, pairs = players_of("teachers", teachers), pairs_of("features", features)
    if each_step not in EACH_STEP:
        raise ValueError(f"method.each_step = {each_step!r}: accepted are {', '.join(EACH_STEP)}")
    judges = ("discriminator", *(f"discriminator_{number}" for number in range(1, len(pairs) + 1)))

    def taught_by(players, batch, key):
        """What the discriminators see of the teachers that count in this move."""
        several_views = [_view(players[name], batch, tuple(pairs.values())) for name in names]
        if each_step == "all":
            return several_views
        drawn = jax.random.randint(key, (), 0, len(names))
        return [tuple(_stacked(names, alike)[drawn] for alike in zip(*several_views, strict=True))]

    def discriminator(players, batch, key):
        fake, real = _view(players.student, batch, tuple(pairs)), taught_by(players, batch, key)
        of_real = [_judged(players, judges, "real", losses.real_loss, view) for view in real]
        return {**_mean(of_real), **_judged(players, judges, "fake", losses.fake_loss, fake)}

    def student(players, batch, key):
        view, at = _view(players.student, batch, tuple(pairs)), value_at(temperature, players.step)
        apart = [{"kd": soft(label_kind, view[0], t[0], temperature=at)} for t in taught_by(players, batch, key)]
        adv = _judged(players, judges, "adv", losses.generator_loss_nonsaturating, view)
        return {"ce": on_label(label_kind, view[0], batch), **_mean(apart), **adv}

    return Method(
        Move(
            judges,
            discriminator,
            repeats=discriminator_repeats,
            details={"real": each_step},
            alike=logistic(
                {"real": 1, **({"real_inner": len(pairs)} if pairs else {})},
                {"fake": 1, **({"fake_inner": len(pairs)} if pairs else {})},
            ),
        ),
        Move("student", student, details={"kd": f"{show('T', temperature)}, {each_step}"}),
    )


def _view(player: Any, batch: Mapping[str, Any], paths: tuple[str, ...]) -> tuple[Any, ...]:
    """What discriminators see of a player: its outputs, and the features at these paths as vectors."""
    outputs, found = player(batch["image"], features=paths) if paths else (player(batch["image"]), {})
    return (outputs, *(pooled(found[path]) for path in paths))


def _stacked(names: Sequence[str], alike: Sequence[Any]) -> Any:
    """The same of several teachers, or a ValueError for what differs in shape."""
    shapes = {name: tuple(x.shape[1:]) for name, x in zip(names, alike, strict=True)}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"method.teachers: outputs or features of an example have the shapes {shapes}; equal ones are accepted"
        )
    return jnp.stack(alike)


def _judged(
    players: Any, judges: Sequence[str], term: str, loss: Callable[[Any], Any], view: Sequence[Any]
) -> dict[str, Any]:
    """The loss of the first discriminator's score, and the sum over the others', as `<term>_inner`."""
    first, *inner = [loss(players[judge](seen)) for judge, seen in zip(judges, view, strict=True)]
    return {term: first, **({f"{term}_inner": sum(inner)} if inner else {})}


def _mean(several_terms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each term."""
    return {term: sum(one[term] for one in several_terms) / len(several_terms) for term in several_terms[0]}


def adversarial_features(
    *, features: Paths = ("embedding",), adapter: bool = False, discriminator_repeats: int = 1, label_kind: str = "class"
) -> Method:  # fmt: skip
    """Adversarial distillation of features (Belagiannis et al. 2018): a discriminator tells whose they are.

    L_D = −E log D(f_t(x)) − E log(1 − D(f_s(x))), f the features: terms `real`, `fake` of the discriminator; `adv`,
    −E log D(f_s(x)), of the student, and `ce`. D sees the features of all pairs side by side, maps as means over pixels.
    Published are the layers before the softmax, ½‖s − t‖² of logits (no term here) for labels, and a regularised D.

    Args:
      features: module paths of both, or a mapping of the student's to the teacher's.
      adapter: whether the player `adapter` maps the student's features to the teacher's widths, and moves with it.
      discriminator_repeats: its moves per step.
      label_kind: kind of the label; the data's where a run is asked for.

    Raises:
      ValueError: no features; while shapes are traced, widths that differ without an adapter.
    """
    check_kind("adversarial_features", label_kind)
    whole_number.check("method.discriminator_repeats", discriminator_repeats, unit="moves")
    pairs = pairs_of("features", features)
    if not pairs:
        raise ValueError(f"method.features = {features!r}: one module path or more is accepted")
    theirs = tuple(dict.fromkeys(pairs.values()))

    def of_student(players, batch):
        """The student's outputs, and its features as the discriminator sees them."""
        outputs, found = players.student(batch["image"], features=tuple(pairs))
        return outputs, {mine: pooled(found[mine]) for mine in pairs}

    def of_teacher(players, batch):
        _, wanted = players.teacher(batch["image"], features=theirs)
        return {path: pooled(wanted[path]) for path in theirs}

    def side_by_side(players, small, large):
        mapped = players.adapter(small, large) if adapter else {pairs[mine]: x for mine, x in small.items()}
        widths = {path: (mapped[path].shape[-1], large[path].shape[-1]) for path in large}
        for path, (mine, wanted) in widths.items():
            if mine != wanted:
                raise ValueError(
                    f"method.adapter = False: the student has {mine} features for the teacher's {wanted} of {path!r}; with"
                    " adapter = True the player 'adapter' maps them"
                )
        return tuple(jnp.concatenate([side[path] for path in theirs], axis=-1) for side in (mapped, large))

    def discriminator(players, batch, key):
        sides = side_by_side(players, of_student(players, batch)[1], of_teacher(players, batch))
        fake, real = map(players.discriminator, sides)
        return {"real": losses.real_loss(real), "fake": losses.fake_loss(fake)}

    def student(players, batch, key):
        outputs, small = of_student(players, batch)
        fake, _ = side_by_side(players, small, of_teacher(players, batch))
        adv = losses.generator_loss_nonsaturating(players.discriminator(fake))
        return {"ce": on_label(label_kind, outputs, batch), "adv": adv}

    return Method(
        Move("discriminator", discriminator, repeats=discriminator_repeats, alike=logistic({"real": 1}, {"fake": 1})),
        Move(("student", "adapter") if adapter else "student", student),
    )


def players_of(field: str, names: Any) -> tuple[str, ...]:
    """Names of two players or more, each once, or a ValueError for what is none."""
    several_names = isinstance(names, Sequence) and not isinstance(names, str)
    texts = several_names and all(isinstance(name, str) for name in names)
    if not texts or len(names) < 2 or len(set(names)) != len(names) or "student" in names:
        raise ValueError(
            f"method.{field} = {names!r}: the names of two players or more, each once and none 'student', are accepted"
        )
    return tuple(names)
