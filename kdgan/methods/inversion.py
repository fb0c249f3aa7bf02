"""DeepInversion: the images themselves are parameters, of the player `images`, in place of a generator.

The player is any module with an attribute `number` (how many images it has), place [b] -> image [b, h, w, c]: the model
`images`. Image i is of class i modulo k, k the teacher's classes, so that all are alike. A step is of b of them: b = number
takes all at every step, as published; of more images the blocks of b take turns.
"""

from typing import Any

import jax
import jax.numpy as jnp

from kdgan import whole_number
from kdgan.around import innermost
from kdgan.game import Batch, Method, Players
from kdgan.losses import data_free as losses
from kdgan.losses.images import total_variation
from kdgan.losses.logits import cross_entropy
from kdgan.methods.data_free import ask, follow, moves
from kdgan.methods.gan import size_of
from kdgan.methods.logits import Value, check_temperature, show, value_at

# Terms of images that have more than one definition, by the name that configs have.
VARIATIONS = {"l2": losses.batch_total_variation, "l1": lambda image: total_variation(image, diagonals=True)}
NORMS = {"image": losses.image_norm, "batch": losses.batch_image_norm}
COMPETITIONS = {"js": losses.competition, "code": losses.competition_of_code}


def deep_inversion(
    *, variation: str = "l2", norm: str = "", competition: str = "", competition_temperature: Value = 3.0,
    first: float = 1.0, jitter: int = 2, flip: bool = True, temperature: Value = 1.0, images_repeats: int = 1,
    student_repeats: int = 1,
) -> Method:  # fmt: skip
    """DeepInversion (Yin et al. 2020): images of chosen classes with the batch statistics that the teacher keeps.

    Terms of `images`: `ce` on the chosen classes, `statistics`, and where asked for `tv`, `norm` and `competition` (Adaptive
    DeepInversion: images on which the student differs); of the student: `kd`. Of DataFree's script for CIFAR-10: ce 1,
    statistics 10, competition 1, Adam of rate 0.1 and b1 0.5, 1,000 steps for each 256 images; `tv` of the paper 2.5e-5.

    Published, the images are made first and the student learns then: a stage of `student_repeats=0`, and one of
    `images_repeats=0` that starts from its images. In one stage both take turns. Images are not clipped to pixels that there
    are, as DataFree's are after each step.

    Args:
      variation: of `tv`: "l2" (a norm of the whole batch, to which the published λ belongs), "l1" (a mean), "" for none.
      norm: of `norm`, ‖x‖₂: "image", "batch" (CIFAR-10's scripts), "" for none.
      competition: "js" is the paper's 1 − JS, "code" what its code computes instead; "" for none.
      competition_temperature: of both sides of `competition`.
      first: weight of the first batch norm in `statistics`; 10 in the script for ImageNet.
      jitter: the images are rolled by up to so many pixels either way before the teacher sees them.
      flip: and mirrored, half of the time.
      temperature: T of `kd`, a number or a schedule.
      images_repeats: moves of the images per step; 0: they are frozen.
      student_repeats: the student's, after them, on images drawn of all.

    Raises:
      ValueError: a value out of its range, or, while shapes are traced, a teacher without batch norm.
    """
    _check_name("variation", variation, VARIATIONS)
    _check_name("norm", norm, NORMS)
    _check_name("competition", competition, COMPETITIONS)
    check_temperature("competition_temperature", competition_temperature)
    check_temperature("temperature", temperature)
    whole_number.check("method.jitter", jitter, 0, unit="pixels")

    def images(players, batch, key):
        number = number_of(players)
        place = batch["place"] if "place" in batch else jnp.arange(size_of(batch))
        place = (place + players.step * size_of(batch) * devices_of(players)) % number
        image = players.images(place)
        seen = _moved(key, image, jitter, flip)
        answers = ask(players, seen, statistics=True)
        terms = {
            "ce": cross_entropy(answers.logits, (place % answers.logits.shape[-1]).astype(jnp.int32)),
            "statistics": losses.batch_norm_statistics(answers.layers, first=first),
        }
        if variation:
            terms["tv"] = VARIATIONS[variation](image)
        if norm:
            terms["norm"] = NORMS[norm](image)
        if competition:
            at = value_at(competition_temperature, players.step)
            student = players.student(seen, train=False)
            terms["competition"] = COMPETITIONS[competition](student, answers.logits, temperature=at)
        return terms

    def student(players, batch, key):
        return follow(players, drawn(players, batch, key), temperature)

    of_images = {"competition": show("T", competition_temperature)} if competition else None
    return Method(
        *moves("images", images, images_repeats, of_images),
        *moves("student", student, student_repeats, {"kd": show("T", temperature)}),
    )


def number_of(players: Players) -> int:
    """How many images the player `images` has.

    Raises:
      ValueError: its module does not say it.
    """
    module = innermost(players.images.module)
    if not isinstance(getattr(module, "number", None), int):
        raise ValueError(
            f"players.images ({type(module).__name__}): a module with a number of images is wanted, as 'images'"
        )
    return module.number


def devices_of(players: Players) -> Any:
    """Over how many devices a batch is split, which the module of `images` knows by its `axis_name`."""
    axis_name = getattr(innermost(players.images.module), "axis_name", None)
    return 1 if axis_name is None else jax.lax.psum(1, axis_name)


def drawn(players: Players, batch: Batch, key: Any) -> jax.Array:
    """Images [b, h, w, c] drawn of all that the player has."""
    return players.images(jax.random.randint(key, (size_of(batch),), 0, number_of(players)))


def _moved(key: Any, image: jax.Array, jitter: int, flip: bool) -> jax.Array:
    """The whole batch rolled and mirrored alike."""
    of_shift, of_flip = jax.random.split(key)
    if jitter:
        shift = jax.random.randint(of_shift, (2,), -jitter, jitter + 1)
        image = jnp.roll(image, shift, axis=(1, 2))
    return jnp.where(jax.random.bernoulli(of_flip), jnp.flip(image, axis=2), image) if flip else image


def _check_name(field: str, name: str, known: Any) -> None:
    if name and name not in known:
        raise ValueError(f"method.{field} = {name!r}: accepted are {', '.join(known)}, or '' for none")
