"""Style transfer: a small network learns to paint images in a style, from Gram matrices, from a trained network, or both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdgan import whole_number
from kdgan.game import Batch, Method, Move, Players, fold_in_name
from kdgan.losses import features as feature_losses
from kdgan.losses import images as image_losses
from kdgan.losses import style as style_losses
from kdgan.methods.gan import fooling, real_and_fake
from kdgan.methods.generators import paths_of
from kdgan.methods.restoration import check_size, distance_of, game, of_restorer, perceived, seen_by


def style(
    *, player: str = "student", content: Sequence[str] = (), style: Sequence[str] = (), styles: int = 1, tv: bool = False,
    pixel: str = "", teacher_styles: Sequence[int] = (), perceptual: Sequence[str] = (), perceptual_loss: str = "l2",
    adversarial: str = "", discriminator_repeats: int = 1, real_label: float = 1.0, penalty: str | None = None,
    penalty_every: int = 1, diffaugment: str = "",
) -> Method:  # fmt: skip
    """A network image -> image in a style (Johnson et al. 2016), in several (Dumoulin et al. 2017), or a distilled one.

    Terms, each only where it is asked for. On features of the frozen player `critic`: `content`, the squared distance of
    what is made to the image itself; `style`, of Gram matrices to those of the images of the player `style_images`
    (`kdgan.losses.style`). `tv`: total variation, squared. Against the frozen player `teacher`, on the same image in the
    same style: `teacher`, the distance of pixels; `perceptual`, that of the critic's features; `adv`, against a
    discriminator that takes the teacher's images for real (terms `real` and `fake`).

    With `styles` = k each example is painted in one of k styles, drawn at random: the player is called with the image and
    the style, a class [b]. Its i-th style is the i-th image of `style_images`, and the teacher's style teacher_styles[i].

    Args:
      player: who is trained.
      content: paths of the critic's features.
      style: paths of the critic's features, whose Gram matrices are compared.
      styles: how many; 1: the player is given the image alone.
      tv: whether there is a term `tv`.
      pixel: "", or the distance to the teacher's output: "l1", "l2" or "charbonnier".
      teacher_styles: of the teacher, for the player's styles in order; (): it is called as the player is.
      perceptual: paths of the critic's features.
      perceptual_loss: "l2" or "l1" between them.
      adversarial: "" or the name of a game, as in `gan`; scores of images [b], or of patches [b, ...].
      discriminator_repeats: the discriminator's moves per step.
      real_label: one-sided label smoothing.
      penalty: None, "r1" or "gradient", as in `gan`.
      penalty_every: steps from one penalty to the next.
      diffaugment: what images go through before the discriminator.

    Raises:
      ValueError: an unknown choice, nothing that is asked for, or styles that do not go together. When called: other images
        than there are styles, or the player or the teacher changes the size of images.
    """
    whole_number.check("method.styles", styles)
    content, style = paths_of("content", content), paths_of("style", style)
    perceptual = paths_of("perceptual", perceptual)
    if not isinstance(teacher_styles, Sequence) or not all(isinstance(number, int) for number in teacher_styles):
        raise ValueError(f"method.teacher_styles = {teacher_styles!r}: numbers of the teacher's styles are accepted")
    if teacher_styles and len(teacher_styles) != styles:
        raise ValueError(
            f"method.teacher_styles = {tuple(teacher_styles)}: one for each of the {styles} styles is accepted"
        )
    distance, seen = distance_of("pixel", pixel) if pixel else None, seen_by("perceptual_loss", perceptual_loss)
    adversary = of_restorer(adversarial, real_label, penalty, penalty_every, diffaugment)
    if not (content or style or distance or perceptual or adversary):
        raise ValueError("method: nothing is learned; set content and style, pixel, perceptual or adversarial")
    taught = bool(distance or perceptual or adversary)
    layers = tuple(dict.fromkeys((*content, *style)))

    def discriminator(players, batch, key):
        assert adversary is not None
        made = paint(players, batch, key)
        return game(adversary, players, made.taught, made.image, batch, key)

    def student(players, batch, key):
        made = paint(players, batch, key)
        terms: dict[str, Any] = {}
        if layers:
            _, features = players.critic(made.image, features=layers)
        if content:
            _, wanted = players.critic(batch["image"], features=tuple(content))
            terms["content"] = feature_losses.feature_l2(
                [features[path] for path in content], [wanted[p] for p in content]
            )
        if style:
            terms["style"] = style_losses.style(
                [features[path] for path in style], _targets(players, made.style, style, styles)
            )
        if tv:
            terms["tv"] = image_losses.total_variation(made.image, squared=True)
        if distance:
            terms["teacher"] = distance(made.image, made.taught)
        if perceptual:
            terms["perceptual"] = perceived(players, made.image, made.taught, perceptual, seen)
        if adversary:
            terms["adv"] = fooling(adversary, players, made.image, batch, key, real=made.taught)
        return terms

    def paint(players, batch, key):
        return _paint(players, player, batch, key, styles, teacher_styles, taught)

    learns = Move(player, student, details={"teacher": pixel, "perceptual": perceptual_loss, "adv": adversarial})
    if adversary is None:
        return Method(learns)
    return Method(
        adversary.move(discriminator, repeats=discriminator_repeats, alike=real_and_fake),
        learns,
    )


class Painted(NamedTuple):
    """What is made of a batch.

    Attributes:
      image: [b, h, w, c], the player's.
      taught: the teacher's; None: it is not asked.
      style: of each example [b]; None: there is one.
    """

    image: Any
    taught: Any
    style: Any


def _paint(
    players: Players, player: str, batch: Batch, key: Any, styles: int, teacher_styles: Sequence[int], taught: bool
) -> Painted:
    image = batch["image"]
    drawn = jax.random.randint(fold_in_name(key, "style"), (len(image),), 0, styles) if styles > 1 else None
    made = players[player](image, *(() if drawn is None else (drawn,)))
    check_size(player, made, image, image, "the images themselves")
    if not taught:
        return Painted(made, None, drawn)
    of_teacher = drawn
    if teacher_styles:
        numbers = jnp.asarray(teacher_styles, jnp.int32)
        of_teacher = jnp.broadcast_to(numbers, (len(image),)) if drawn is None else numbers[drawn]
    wanted = players.teacher(image, *(() if of_teacher is None else (of_teacher,)))
    check_size("teacher", wanted, image, image, "the images themselves")
    return Painted(made, wanted, drawn)


def _targets(players: Players, drawn: Any, layers: Sequence[str], styles: int) -> list[jax.Array]:
    """Gram matrices of the style of each example [b, c, c], or of the only one [1, c, c], by the critic's layers."""
    images = players.style_images()
    if len(images) != styles:
        raise ValueError(
            f"method.styles = {styles}: players.style_images has {len(images)} images; one for each style is accepted"
        )
    # The critic sees each style once, or where there are more of them than examples, those that were drawn.
    one_by_one = drawn is not None and styles > len(drawn)
    _, seen = players.critic(images[drawn] if one_by_one else images, features=tuple(dict.fromkeys(layers)))
    matrices = style_losses.grams([seen[path] for path in layers])
    return matrices if drawn is None or one_by_one else [matrix[drawn] for matrix in matrices]
