"""Ways to distil a generator, as arms of one game: players, terms and λ's, healthy settings for all. Not a config.

Every game has Adam with β1 = 0 and a rate that falls as a cosine, and by default R1 on real images at every fourth step
(Mescheder et al. 2018): without it a small DCGAN on few images loses modes within a thousand steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan import config as common

LATENT = 64
WIDTH = 1 / 4  # of the DCGAN's 256-128-64 channels: the teacher's, and the discriminator's
SEEN = ("stage1", "stage2")  # paths of the discriminator's features that two images are compared by
R1 = dict(penalty="r1", penalty_every=4)  # of a method
SHORT = ("scratch", "scratch_matched", "mse", "adversarial", "fused_held")  # of the arms, for tables of one point

Fields = dict[str, Any]


def players(
    image_size: int,
    *,
    channels: int = 1,
    model: str = "dcgan",
    width: float = WIDTH,
    rate: float = 1e-3,
    **model_args: Any,
) -> common.ConfigDict:
    """Teacher, its continuation in the fused game, student and discriminator, of images of this side in pixels."""
    optimizer = dict(learning_rate=rate, b1=0.0, schedule="cosine")
    args = dict(image_size=image_size, channels=channels, width=width, **model_args)
    generator = dict(model=f"{model}_generator", model_args=args, optimizer=optimizer)
    judge = dict(model=f"{model}_discriminator", model_args=dict(width=width, **model_args), optimizer=optimizer)
    return common.named(
        teacher=generator, generator=dict(generator, evaluate="nothing"), student=generator, discriminator=judge
    )


def student(share: int, width: float = WIDTH) -> Fields:
    """Players of a stage: a student of one part of so many of the teacher's width."""
    return dict(student=dict(model_args=dict(width=width / share)))


def stage(
    arms: Mapping[str, Fields], share: int, steps: int, images: int | None = None, *, width: float = WIDTH
) -> common.ConfigDict:
    """A stage of students of one part of so many of the teacher's width. `images`: how many they learn from; None: all."""
    fields = dict(start=dict(teacher="teacher"), steps=steps, players=student(share, width), arms=common.named(**arms))
    return common.named(**fields, **({} if images is None else dict(data=dict(labelled=images))))


def gan(generator: str, **game: Any) -> Fields:
    """A GAN of this generator.

    Args:
      generator: name of the player.
      **game: fields of the method beside R1, or another `penalty`; `penalty_weight`, 1 by default, is its λ.
    """
    return dict(
        method=dict(name="gan", generator=generator, latent=LATENT, **_smooth(game)),
        lambdas={"discriminator": dict(real=1.0, fake=1.0, **_penalty(game)), generator: dict(adv=1.0)},
    )


def fused(lambdas: Mapping[int, float] | None = None, *, judged: float = 1.0, **game: Any) -> Fields:
    """The fused game: L_G = λ1·MSE + λ2·CE(D, G), L_D = λ3·CE(D, G) + λ4·CE(D, R), L_S = λ5·MSE(S, G).

    The discriminator judges the student, too (λ 0.5 of its loss), whose image it compares with the generator's by its
    features (λ 5).

    Args:
      lambdas: number of a λ -> its value, where it is another.
      judged: λ of the student's own CE(D, S).
      **game: as of `gan`.
    """
    at = {1: 5.0, 2: 1.0, 3: 0.5, 4: 1.0, 5: 1.0, **(lambdas or {})}
    return dict(
        method=dict(name="fused", latent=LATENT, seen=SEEN, **_smooth(game)),
        start=dict(generator=dict(stage="teacher", player="teacher")),
        lambdas=dict(
            discriminator=dict(real=at[4], fake=at[3], fake_student=0.5, **_penalty(game)),
            generator=dict(mse=at[1], adv=at[2]),
            student=dict(match=at[5], adv=judged, seen=5.0),
        ),
    )


def held(lambdas: Mapping[int, float] | None = None, **game: Any) -> Fields:
    """The fused game whose generator stays near the teacher, and whose student follows the generator more than D.

    Chosen on validation distances of the digits, of twelve settings and a seed that no table has.
    """
    return fused({1: 50.0, 2: 0.1, 5: 20.0, **(lambdas or {})}, judged=0.3, **game)


def from_teacher(arm: Mapping[str, Any], share: int) -> Fields:
    """The same arm, its student made of every so many-th unit of the teacher's layers."""
    units = dict(stage="teacher", player="teacher", transfer="uniform", scale=0.5)
    return dict(arm, start=dict(arm.get("start", {}), student=units))


def arms(
    share: int, steps: int, matched: float, *, only: Sequence[str] | None = None, **game: Any
) -> dict[str, Fields]:
    """Name -> fields of each way to train a student of a part of the teacher's width.

    Args:
      share: the teacher's width over the student's.
      steps: of all arms but `scratch_matched`.
      matched: operations of a step of the fused game over those of `scratch`, for which `scratch_matched` makes more steps.
      only: names of the arms that are wanted; None: all.
      **game: as of `gan`, for every adversarial method.
    """
    scratch = gan("student", **game)
    conditional = {key: value for key, value in game.items() if key == "conditional"}
    taught = dict(real=0.5, teacher=0.5, fake=1.0, **_penalty(game))
    made = dict(
        scratch=scratch,
        scratch_matched=dict(scratch, steps=round(matched * steps)),
        weights=from_teacher(scratch, share),
        mse=dict(
            method=dict(name="generator_mimic", latent=LATENT, **conditional), lambdas=dict(student=dict(pixel=1.0))
        ),
        adversarial=dict(
            method=dict(name="generator_distill", latent=LATENT, seen=SEEN, **_smooth(game)),
            lambdas=dict(discriminator=taught, student=dict(adv=1.0, pixel=0.0, seen=5.0)),
        ),
        fused=fused(**game),
        fused_init=from_teacher(fused(**game), share),
        fused_held=held(**game),
    )
    return made if only is None else {name: made[name] for name in only}


def _smooth(game: Mapping[str, Any]) -> Fields:
    """Fields of a method, with R1 unless the game says otherwise."""
    return {**R1, **{field: value for field, value in game.items() if field != "penalty_weight"}}


def _penalty(game: Mapping[str, Any]) -> dict[str, float]:
    """The λ of the penalty, where there is one."""
    name = _smooth(game)["penalty"]
    return {} if name is None else {name: game.get("penalty_weight", 1.0)}
