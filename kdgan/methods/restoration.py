"""Restorers, players image -> image: they learn from clean images, from noisy or smaller copies of one, or from a teacher.

A batch of restoration holds `image` [b, h, w, c], what players are given, and `target` [b, s·h, s·w, c], the clean image at
s times the sides. Examples beyond `data.labelled` come under "unlabelled" (`data.unlabelled_batch_size`): of those a method
looks at the clean image only where it is told to. With a noise the batch may hold under `again` the same window with
another.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdgan import bicubic
from kdgan.game import Batch, Method, Move, Players, Terms, fold_in_name
from kdgan.losses import affinity as relation_losses
from kdgan.losses import features as feature_losses
from kdgan.losses import images as image_losses
from kdgan.methods.gan import Adversary, fooling, of_image, real_and_fake
from kdgan.methods.generators import Paths, pairs_of, paths_of

TARGETS = ("clean", "again", "half")
ON = ("labelled", "others", "all")
SEEN: Mapping[str, Callable] = {"l2": feature_losses.feature_l2, "l1": feature_losses.feature_l1}  # between features


def restore(
    *, player: str = "student", loss: str = "l1", targets: str = "clean", on: str = "labelled", scale: int = 2
) -> Method:
    """A restorer learns from images alone: term `pixel`, the distance of what it makes of `image` to a target.

    - targets "clean": batch["target"].
    - "again": batch["again"], the same image with another noise. With L2 and noise of mean 0 the minimum is that of clean
      targets (Noise2Noise, Lehtinen et al. 2018); no clean image is looked at.
    - "half": the player is given the image reduced by `scale` (bicubic) and learns the image itself (zero-shot
      super-resolution, Shocher et al. 2018); no clean image is looked at.

    Args:
      player: who is trained.
      loss: "l1", "l2" or "charbonnier".
      targets: "clean", "again" or "half".
      on: "labelled", the batch; "others", the examples beyond data.labelled; "all", both.
      scale: of "half": sides of the player's output over those of its input.

    Raises:
      ValueError: an unknown loss, target or part. When called: the batch lacks what is asked for, or the player makes images
        of another size than its target.
    """
    distance = distance_of("loss", loss)
    _check_choice("targets", targets, TARGETS)
    _check_choice("on", on, ON)
    if isinstance(scale, bool) or not isinstance(scale, int) or not 2 <= scale <= bicubic.LARGEST_SCALE:
        raise ValueError(f"method.scale = {scale!r}: a whole number of 2 to {bicubic.LARGEST_SCALE} is accepted")

    def terms(players, batch, key):
        part = part_of(batch, on)
        if targets == "half":
            given, target = smaller(part["image"], scale), part["image"]
        else:
            given, target = part["image"], clean_images(part) if targets == "clean" else other_noise(part)
        return {"pixel": distance(restored(players, player, given, target, f"targets = {targets!r}"), target)}

    of = {"clean": loss, "again": f"{loss} to another noise", "half": f"{loss} at 1/{scale} of the sides"}[targets]
    where = "" if on == "labelled" else {"others": " of the others", "all": " of all"}[on]
    return Method(Move(player, terms, details={"pixel": of + where}))


def restore_distill(
    *, loss: str = "l1", clean: bool = True, pixels: bool = True, features: Paths = (), relations: Paths = (),
    relation: str = "spatial", perceptual: Sequence[str] = (), perceptual_loss: str = "l2", adversarial: str = "",
    discriminator_repeats: int = 1, real_label: float = 1.0, penalty: str | None = None, penalty_every: int = 1,
    diffaugment: str = "", on: str = "labelled",
) -> Method:  # fmt: skip
    """A small restorer learns from a large one, from clean images where there are any, and from what a critic sees.

    Terms of the student, each only where it is asked for: `target`, the distance to the clean image (`clean`), of the
    batch's examples; `teacher`, to the teacher's output (`pixels`); `adapted`, to its features behind 1×1 convolutions, the
    player `adapter` (`features`); `relations`, to their affinity (FAKD, He et al. 2020); `perceptual`, between features of
    the frozen player `critic` on the student's output and on the reference (Johnson et al. 2016; SRGAN, Ledig et al. 2017);
    `adv`, against the player `discriminator`, which has the terms `real` and `fake`.

    The reference of an example is its clean image where `clean` and the example is of the batch, else the teacher's output.
    With clean=False no clean image is looked at. With pixels=False and neither features nor relations, on the batch alone,
    the teacher is not called: with `perceptual` and `adversarial` that is SRGAN.

    FAKD's λ's are ½ and ½ of `target` and `teacher` with L1, and 10 of `relations` for pixels in 0..255: 10/255 here, where
    they are in [0, 1].

    Args:
      loss: of `target` and `teacher`: "l1", "l2" or "charbonnier".
      clean: whether there is a term `target`.
      pixels: whether there is a term `teacher`.
      features: paths of features that are matched behind the adapter; a mapping student's path -> teacher's where they
        differ.
      relations: paths of features whose affinity is matched, likewise; no adapter.
      relation: "spatial" (between positions; any widths) or "channel" (between channels; equal widths).
      perceptual: paths of the critic's features.
      perceptual_loss: "l2" or "l1" between them.
      adversarial: "" or the name of a game, as in `gan`: "nonsaturating", "relativistic_average" (ESRGAN's), ... A
        discriminator gives a score of an image [b], or of each of its patches [b, ...], over which losses are averaged.
      discriminator_repeats: the discriminator's moves per step.
      real_label: one-sided label smoothing.
      penalty: None, "r1" or "gradient", as in `gan`.
      penalty_every: steps from one penalty to the next.
      diffaugment: what images go through before the discriminator.
      on: where the teacher teaches: "labelled", the batch; "others", the examples beyond data.labelled; "all", both.

    Raises:
      ValueError: an unknown choice, or nothing that is asked for. When called: the batch lacks what is asked for, or images
        of another size than their target's.
    """
    distance, seen = distance_of("loss", loss), seen_by("perceptual_loss", perceptual_loss)
    _check_choice("on", on, ON)
    _check_choice("relation", relation, relation_losses.FORMS)
    adapted, related = pairs_of("features", features), pairs_of("relations", relations)
    layers = paths_of("perceptual", perceptual)
    adversary = of_restorer(adversarial, real_label, penalty, penalty_every, diffaugment)
    if not (clean or pixels or adapted or related or layers or adversary):
        raise ValueError(
            "method: nothing is learned; set clean, pixels, features, relations, perceptual or adversarial"
        )
    lesson = _Lesson(
        clean, on, adapted, related, taught=pixels or bool(adapted or related), compared=bool(layers or adversary)
    )

    def discriminator(players, batch, key):
        assert adversary is not None
        made = lesson.run(players, batch)
        return game(adversary, players, made.reference, made.student, batch, key)

    def student(players, batch, key):
        made = lesson.run(players, batch)
        terms: dict[str, Any] = {}
        if made.clean is not None:
            terms["target"] = distance(made.student[: len(made.clean)], made.clean)
        if pixels:
            terms["teacher"] = distance(made.student[-len(made.teacher) :], made.teacher)
        if adapted:
            large = {path: made.teacher_features[path] for path in adapted.values()}
            small = players.adapter({path: made.student_features[path] for path in adapted}, large)
            terms["adapted"] = feature_losses.feature_l2(small, large)
        if related:
            of_student = [made.student_features[path] for path in related]
            of_teacher = [made.teacher_features[path] for path in related.values()]
            terms["relations"] = relation_losses.affinity(of_student, of_teacher, form=relation)
        if layers:
            terms["perceptual"] = perceived(players, made.student, made.reference, layers, seen)
        if adversary:
            terms["adv"] = fooling(adversary, players, made.student, batch, key, real=made.reference)
        return terms

    details = {
        "target": loss,
        "teacher": loss,
        "relations": relation,
        "perceptual": perceptual_loss,
        "adv": adversarial,
    }
    learns = Move(("student", "adapter") if adapted else "student", student, details=details)
    if adversary is None:
        return Method(learns)
    return Method(
        adversary.move(discriminator, repeats=discriminator_repeats, alike=real_and_fake),
        learns,
    )


class Made(NamedTuple):
    """What student and teacher make of the examples of a step.

    Attributes:
      student: images [n, ...] of all examples that the student sees.
      clean: the clean images of the first of them, [labelled, ...]; None: none is looked at.
      teacher: the teacher's images of the last of them, [taught, ...]; None: it is not asked.
      student_features: the student's features on these last, by path.
      teacher_features: the teacher's.
      reference: [n, ...] with which a critic and a discriminator compare; None where neither does.
    """

    student: Any
    clean: Any
    teacher: Any
    student_features: Mapping[str, Any]
    teacher_features: Mapping[str, Any]
    reference: Any


@dataclasses.dataclass(frozen=True)
class _Lesson:
    """Which examples the student sees, and what it is shown of them.

    Attributes:
      clean: clean images of the batch.
      on: the part that the teacher teaches.
      adapted, related: student's paths of features -> the teacher's.
      taught: whether something is matched with the teacher.
      compared: whether there is a reference.
    """

    clean: bool
    on: str
    adapted: Mapping[str, str]
    related: Mapping[str, str]
    taught: bool
    compared: bool

    def run(self, players: Players, batch: Batch) -> Made:
        seen = "all" if self.clean and self.on == "others" else self.on
        image, count = part_of(batch, seen)["image"], len(batch["image"])
        target = clean_images(batch) if self.clean else None
        first = count if self.clean and self.on == "others" else 0  # of the examples that are taught
        paths = tuple(dict.fromkeys((*self.adapted, *self.related)))
        student, student_features = _with_features(players, "student", image, paths)
        student_features = {path: value[first:] for path, value in student_features.items()}
        teacher: Any = None
        teacher_features: Mapping[str, Any] = {}
        if self.taught or (self.compared and not (self.clean and self.on == "labelled")):
            wanted = tuple(dict.fromkeys((*self.adapted.values(), *self.related.values())))
            teacher, teacher_features = _with_features(players, "teacher", part_of(batch, self.on)["image"], wanted)
            check_size("student", student[first:], image, teacher, "the teacher's output")
        if target is not None:
            check_size("student", student[:count], image, target, "the target")
        reference = self._reference(target, teacher, first, count)
        return Made(student, target, teacher, student_features, teacher_features, reference)

    def _reference(self, target: Any, teacher: Any, first: int, count: int) -> Any:
        if not self.compared:
            return None
        if target is None or self.on == "labelled":
            return teacher if target is None else target
        return jnp.concatenate([target, teacher[count - first :]])


def _with_features(players: Players, name: str, image: Any, paths: tuple[str, ...]) -> tuple[Any, Mapping[str, Any]]:
    return players[name](image, features=paths) if paths else (players[name](image), {})


def part_of(batch: Batch, on: str) -> Mapping[str, Any]:
    """The batch, its examples beyond data.labelled, or both.

    Raises:
      ValueError: it has no such examples.
    """
    if on == "labelled":
        return batch
    name = {"others": "unlabelled", "all": "all"}[on]
    if name not in batch:
        raise ValueError(f"method.on = {on!r} needs data.unlabelled_batch_size > 0 (the batch has no such images)")
    return batch[name]


def clean_images(part: Mapping[str, Any]) -> jax.Array:
    """The clean images of a part of a batch.

    Raises:
      ValueError: there are none.
    """
    return _field(part, "target", "the clean images; set data.degrade, or give the data a field of that name")


def other_noise(part: Mapping[str, Any]) -> jax.Array:
    """The images of a part of a batch with another noise.

    Raises:
      ValueError: there are none.
    """
    return _field(part, "again", "the images with another noise; set data.degrade to a noise, and data.noises not to 1")


def _field(part: Mapping[str, Any], name: str, what: str) -> jax.Array:
    if name not in part:
        have = ", ".join(name for name, value in part.items() if hasattr(value, "shape"))
        raise ValueError(f"the batch has no {name!r}, {what}; it holds {have}")
    return part[name]


def smaller(image: jax.Array, scale: int) -> jax.Array:
    """Images [b, h, w, c] at 1/scale of their sides, bicubic.

    Raises:
      ValueError: scale does not divide them.
    """
    if any(side % scale for side in image.shape[1:3]):
        raise ValueError(
            f"method.scale = {scale}: it does not divide the sides of {image.shape[1]}×{image.shape[2]} pixels; set the size"
            " of augment.crop to a multiple of it"
        )
    return bicubic.downscale(image, scale)


def restored(players: Players, name: str, image: Any, target: Any, what: str) -> jax.Array:
    """What a player makes of images, of the target's size.

    Raises:
      ValueError: it is of another size.
    """
    made = players[name](image)
    check_size(name, made, image, target, what)
    return made


def check_size(name: str, made: Any, image: Any, target: Any, what: str) -> None:
    """Raises ValueError where what a player makes of images has another size than what it is compared with."""
    if jnp.shape(made) != jnp.shape(target):
        sizes = ["×".join(map(str, jnp.shape(x)[1:])) for x in (made, image, target)]
        raise ValueError(
            f"players.{name} makes images of {sizes[0]} of images of {sizes[1]}, and those that they are compared with"
            f" ({what}) have {sizes[2]}; set its model_args.scale, channels, or data.degrade's scale to go together"
        )


def perceived(
    players: Players, image: Any, reference: Any, layers: Sequence[str], distance: Callable[..., Any]
) -> jax.Array:
    """The distance [b] between the critic's features of two images."""
    _, seen = players.critic(image, features=tuple(layers))
    _, wanted = players.critic(reference, features=tuple(layers))
    return distance(seen, wanted)


def of_restorer(
    adversarial: str, real_label: float, penalty: str | None, penalty_every: int, diffaugment: str
) -> Adversary | None:
    """How the discriminator of a network from image to image judges; None: there is no game."""
    if not adversarial:
        return None
    return Adversary(adversarial, real_label, penalty, penalty_every, diffaugment, patches=True, called="adversarial")


def game(adversary: Adversary, players: Players, real: Any, fake: Any, batch: Batch, key: Any) -> Terms:
    """The discriminator's terms of real images against made ones: `real`, `fake`, and its penalty."""
    scores = [
        adversary.score(players, shown, batch, fold_in_name(key, name))
        for name, shown in (("real", real), ("fake", fake))
    ]
    of_real, of_fake = map(of_image, adversary.losses.discriminator(*scores))
    return {"real": of_real, "fake": of_fake, **adversary.penalty_terms(players, real, fake, batch, key)}


def distance_of(field: str, loss: str) -> Callable[..., Any]:
    """A distance between images by its name, or a ValueError that lists them."""
    _check_choice(field, loss, image_losses.DISTANCES)
    return image_losses.DISTANCES[loss]


def seen_by(field: str, loss: str) -> Callable[..., Any]:
    """A distance between features by its name, or a ValueError that lists them."""
    _check_choice(field, loss, SEEN)
    return SEEN[loss]


def _check_choice(field: str, value: Any, accepted: Collection[str]) -> None:
    if value not in accepted:
        raise ValueError(f"method.{field} = {value!r}: accepted are {', '.join(accepted)}")
