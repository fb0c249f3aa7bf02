"""A student that learns from nothing but what a generator makes and what its teacher says of it: virtual data.

The generator is frozen: a GAN's or a VAE's, trained in an earlier stage on data that are gone, or noise in the shape of
images (the model `noise_images`). Nothing is asked of a batch but its size, {"place": [b]} or data.
"""

from typing import Any

import jax

from kdgan import whole_number
from kdgan.game import Batch, Method, Move, Players, fold_in_name
from kdgan.losses import logits as losses
from kdgan.methods.gan import check_latent, noise_of, size_of
from kdgan.methods.logits import Value, check_temperature, show, value_at


def virtual(
    *, latent: int = 100, classes: int = 0, images: int | None = None, temperature: Value = 1.0
) -> Method:  # fmt: skip
    """Virtual data: KL(teacher ‖ student)·T² on images that a frozen generator makes; term `kd`.

    Args:
      latent: dimension of the noise.
      classes: of a conditional generator, which is given a class beside the noise, all as often; 0: it is given none.
      images: how many different images there are, each of noise of its own, image i of class i modulo `classes`; None: each
        step has new ones.
      temperature: T, a number or a schedule.

    Raises:
      ValueError: a value out of its range.
    """
    check_latent("latent", latent)
    check_temperature("temperature", temperature)
    whole_number.check("method.classes", classes, 0, unit="those of a conditional generator, 0 of another")
    if images is not None:
        whole_number.check("method.images", images, max(1, classes), unit="None or images")
    for name, number in (("classes", classes), ("images", images or 0)):
        if number >= 2**31:
            raise ValueError(f"method.{name} = {number}: less than 2**31, what an int32 holds, is accepted")

    def student(players: Players, batch: Batch, key: Any) -> dict[str, jax.Array]:
        noise, label = drawn(batch, key)
        image = players.generator(noise, *label)
        at = value_at(temperature, players.step)
        return {"kd": losses.kl_divergence(players.student(image), players.teacher(image), temperature=at)}

    def drawn(batch: Batch, key: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Noise [b, latent], and the classes [b] where the generator is given any."""
        size = (size_of(batch),)
        if images is None:
            label = jax.random.randint(fold_in_name(key, "label"), size, 0, classes) if classes else None
            return noise_of(batch, key, latent), () if label is None else (label,)
        number = jax.random.randint(fold_in_name(key, "image"), size, 0, images)
        of_number = lambda i: jax.random.normal(jax.random.fold_in(jax.random.key(0), i), (latent,))
        return jax.vmap(of_number)(number), (number % classes,) if classes else ()

    return Method(Move("student", student, details={"kd": show("T", temperature)}))
