"""CMI and Fast: a student learns of all images that were made so far, which the player `memory` holds.

| method | images | student | moves of a step, as published |
|---|---|---|---|
| `cmi` | onehot, statistics, adversarial, contrastive | kd, T = 20 | 200 of the generator, then 400 of the student |
| `fast` | ce, statistics, adversarial | kd, T = 20 | one of the generator (2 to 10 inner steps), then 400 |

The terms are those of `data_free.py`. While images are made the student is in evaluation mode, and the teacher sees them
moved and mirrored at random; so does the student when it learns. `memory` is any module (image [b, h, w, c], whether to
write them) -> images drawn of those that it holds [b, h, w, c]: the model `memory`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdgan import whole_number
from kdgan.batch_statistics import LayerStatistics
from kdgan.data import augment
from kdgan.data.resized_crop import resized_crop
from kdgan.game import Batch, Method, Players, Terms, fold_in_name
from kdgan.losses import data_free as losses
from kdgan.losses.logits import cross_entropy
from kdgan.methods.data_free import adversarial_of, ask, follow, made, moves
from kdgan.methods.gan import check_latent, noise_of
from kdgan.methods.logits import Value, check_temperature, show


def cmi(
    *, latent: int = 256, adversarial: str = "decision", contrast_temperature: float = 0.2, first: float = 1.0,
    padding: int = 4, flip: bool = True, temperature: Value = 20.0, generator_repeats: int = 1, student_repeats: int = 2,
) -> Method:  # fmt: skip
    """CMI (Fang et al. 2021): images whose features tell them from all that were made before.

    Terms of the generator, which moves with `contrast` and `memory`: `onehot`, `statistics`, `adversarial`, `contrastive`;
    of the student: `kd`. λ's of its script for CIFAR-10: 1, 1, 0.5, 0.8 and 1 (`data_free.PUBLISHED`); Adam of rate 1e-3 and
    b1 0.5 for the generator, SGD of rate 0.1 for the student, batches of 256.

    `contrast` is given what the teacher's batch norms are given, averaged over pixels, of a part of each image and of the
    whole of it: the model `contrast`.

    Not as published: there each batch of images has a generator that starts afresh, noise that is learned with it and chosen
    classes, and the best of its 200 steps is remembered; here one generator learns on, its noise is drawn anew, `onehot` is
    of the class that the teacher sees, and each of its moves is remembered. The memory has a size.

    Args:
      latent: dimension of the noise.
      adversarial: "decision", "kl", "l1" or "log_l1".
      contrast_temperature: τ of `contrastive`.
      first: weight of the first batch norm in `statistics`.
      padding: the whole view is moved by up to so many pixels either way; 0: not at all.
      flip: whether views are mirrored, half of the time; False for digits.
      temperature: T of `kd`, a number or a schedule.
      generator_repeats: the generator's moves per step.
      student_repeats: the student's, after them.

    Raises:
      ValueError: a value out of its range, or, while shapes are traced, a teacher without batch norm.
    """
    apart = _checked(latent, adversarial, temperature, padding, generator_repeats)
    check_temperature("contrast_temperature", contrast_temperature)

    def generator(players, batch, key):
        image = made(players, batch, key, latent)
        players.memory(image)
        seen = whole_view(fold_in_name(key, "whole"), image, padding, flip)
        answers, student = ask(players, seen, statistics=True), players.student(seen, train=False)
        part = ask(players, part_view(fold_in_name(key, "part"), image, flip), statistics=True)
        local, whole, counts = players.contrast(_means(part.layers), _means(answers.layers))
        contrast = losses.contrastive(local, whole, len(image), temperature=contrast_temperature, counts=counts)
        return {
            "onehot": losses.one_hot(answers.logits),
            "statistics": losses.batch_norm_statistics(answers.layers, first=first),
            "adversarial": apart(student, answers.logits, 1.0),
            "contrastive": contrast,
        }

    details = {"adversarial": adversarial, "contrastive": show("τ", contrast_temperature)}
    return Method(
        *moves(("generator", "contrast", "memory"), generator, generator_repeats, details),
        *_student(latent, temperature, padding, flip, student_repeats),
    )


def fast(
    *, latent: int = 256, adversarial: str = "decision", inner_steps: int = 5, inner_rate: float = 3e-3,
    noise_rate: float = 0.01, moving: bool = False, first: float = 1.0, padding: int = 4, flip: bool = True,
    temperature: Value = 20.0, generator_repeats: int = 1, student_repeats: int = 10,
) -> Method:  # fmt: skip
    """Fast (Fang et al. 2022): a generator from which a few steps lead to new images, by first-order MAML.

    A move of the generator θ draws noise z and classes y, and makes `inner_steps` of Adam from (θ, z) by its own terms under
    their λ's; the best images on the way are remembered. What θ then moves by is the gradient at each of these places,
    taken as if it were θ's: a term's value is its mean over them. Terms of the generator, which moves with `memory`: `ce`
    on y, `statistics`, `adversarial`; of the student: `kd`.

    Its scripts for CIFAR-100 have λ 0.4, 10, 1.1 and 1 (`data_free.PUBLISHED`), `adversarial` from the 20th of 220 epochs
    on, and with 2, 5 and 10 inner steps the inner rates 5e-3, 3e-3 and 2e-3, of the noise 0.015, 0.01 and 0.01; Adam of b1
    0.5 for θ, its rate the inner one times the steps; `moving` with a rate of 0.9; SGD of rate 0.2 for the student, batches
    of 256.

    Not as published: there 400 moves of the student follow each of the generator, the sum over inner steps is taken where
    this is a mean (to Adam the same), a layer of the generator is drawn anew in the 120th epoch, and the memory has no
    size. Reptile, its other form, is not here.

    Args:
      latent: dimension of the noise.
      adversarial: "decision", "kl", "l1" or "log_l1".
      inner_steps: places at which the gradient is taken, θ itself the first.
      inner_rate: Adam's rate of the steps between them.
      noise_rate: of the noise in them.
      moving: whether `statistics` are mixed with those of earlier moves, by the player `averages` (the model
        `moving_statistics`), which then moves with the generator.
      first: weight of the first batch norm in `statistics`.
      padding: images are moved by up to so many pixels either way; 0: not at all.
      flip: whether they are mirrored, half of the time; False for digits.
      temperature: T of `kd`, a number or a schedule.
      generator_repeats: the generator's moves per step.
      student_repeats: the student's, after them.

    Raises:
      ValueError: a value out of its range, or, while shapes are traced, a teacher without batch norm.
    """
    apart = _checked(latent, adversarial, temperature, padding, generator_repeats)
    whole_number.check("method.inner_steps", inner_steps)
    for name, rate in (("inner_rate", inner_rate), ("noise_rate", noise_rate)):
        if not rate > 0:
            raise ValueError(f"method.{name} = {rate!r}: Adam's rate, above 0")
    adam = optax.scale_by_adam(b1=0.5, b2=0.999)

    def terms_of(
        players: Players, image: jax.Array, key: Any, step: int
    ) -> tuple[Terms, Mapping[str, LayerStatistics]]:
        """(terms, batch statistics) of images at one inner step: classes are the same at each, what is seen is not."""
        seen = whole_view(jax.random.fold_in(fold_in_name(key, "whole"), step), image, padding, flip)
        answers = ask(players, seen, statistics=True)
        label = jax.random.randint(fold_in_name(key, "label"), (len(image),), 0, answers.logits.shape[-1])
        layers = players.averages.stateless(answers.layers, train=False) if moving else answers.layers
        terms = {
            "ce": cross_entropy(answers.logits, label),
            "statistics": losses.batch_norm_statistics(layers, first=first),
            "adversarial": apart(players.student(seen, train=False), answers.logits, 1.0),
        }
        return terms, answers.layers

    def cost(players: Players, terms: Terms) -> jax.Array:
        return sum(players.lambda_of("generator", name) * jnp.mean(value) for name, value in terms.items())

    def generator(players, batch, key):
        noise = noise_of(batch, key, latent)
        image, theta = players.generator(noise), players.generator.params
        here = jax.lax.stop_gradient((theta, noise))  # where an inner step begins
        adam_state, several, images = adam.init(here), [], []

        def cost_at(place: tuple[Any, jax.Array], step: int) -> jax.Array:
            return cost(players, terms_of(players, players.generator.at(place[0])(place[1]), key, step)[0])

        for step in range(inner_steps):
            if step:
                direction, adam_state = adam.update(jax.grad(cost_at)(here, step - 1), adam_state)
                rates = jax.tree.map(lambda _: inner_rate, here[0]), noise_rate
                here = jax.tree.map(lambda now, change, rate: now - rate * change, here, direction, rates)
                here = jax.lax.stop_gradient(here)
                as_theta = jax.tree.map(lambda now, own: now + (own - jax.lax.stop_gradient(own)), here[0], theta)
                image = players.generator.at(as_theta)(here[1])
            terms, layers = terms_of(players, image, key, step)
            several.append(terms)
            images.append(image)
        if moving:
            players.averages(layers)
        costs = jnp.stack([cost(players, terms) for terms in several])
        players.memory(jnp.stack(images)[jnp.argmin(costs)])
        return {name: sum(jnp.mean(terms[name]) for terms in several) / inner_steps for name in several[0]}

    movers = ("generator", "memory", *(("averages",) if moving else ()))
    return Method(
        *moves(movers, generator, generator_repeats, {"adversarial": adversarial, "ce": f"{inner_steps} inner steps"}),
        *_student(latent, temperature, padding, flip, student_repeats),
    )


def _checked(latent: int, adversarial: str, temperature: Value, padding: int, generator_repeats: int) -> Any:
    check_latent("latent", latent)
    if generator_repeats == 0:
        raise ValueError("method.generator_repeats = 0: the generator's moves fill the memory; at least 1 is accepted")
    check_temperature("temperature", temperature)
    whole_number.check("method.padding", padding, 0, unit="pixels")
    return adversarial_of(adversarial)


def _student(latent: int, temperature: Value, padding: int, flip: bool, repeats: int) -> tuple:
    """The move of a student that learns of images drawn from the memory."""

    def student(players: Players, batch: Batch, key: Any) -> Terms:
        # Of what the generator makes only the shape is read, so that nothing is computed of it.
        shape = made(players, batch, key, latent).shape
        image = players.memory(jnp.zeros(shape), False)
        return follow(players, whole_view(fold_in_name(key, "whole"), image, padding, flip), temperature)

    return moves("student", student, repeats, {"kd": show("T", temperature)})


def _means(layers: Mapping[str, LayerStatistics]) -> jax.Array:
    """What the batch norms are given, averaged over pixels, side by side [b, Σ c]."""
    return jnp.concatenate(
        [layer.example_means for layer in layers.values() if layer.example_means is not None], axis=-1
    )


def whole_view(key: Any, image: jax.Array, padding: int, flip: bool) -> jax.Array:
    """Each image moved by up to `padding` pixels, 0 (the mean of standardised images) at the border, and mirrored."""
    if padding > min(image.shape[1:3]):
        raise ValueError(
            f"method.padding = {padding}: images have {image.shape[1]}×{image.shape[2]} pixels; so many at most are accepted"
        )

    def view(key, image):
        of_crop, of_flip = jax.random.split(key)
        image = augment.crop(of_crop, image, padding=padding) if padding else image
        return augment.flip(of_flip, image) if flip else image

    return jax.vmap(view)(jax.random.split(key, len(image)), image)


def part_view(key: Any, image: jax.Array, flip: bool) -> jax.Array:
    """A quarter to all of each image, scaled to its size, and mirrored."""

    def view(key, image):
        of_crop, of_flip = jax.random.split(key)
        image = resized_crop(of_crop, image)
        return augment.flip(of_flip, image) if flip else image

    return jax.vmap(view)(jax.random.split(key, len(image)), image)
