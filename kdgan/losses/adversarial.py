"""The two sides of a GAN, from the discriminator's scores: the game of Goodfellow et al. 2014 and those after it.

A score is the discriminator's logit: D = σ(score) is the probability it gives to "real". All is computed from the
score, never from D, so that a discriminator that is sure of itself gives large losses and not infinite ones. With D's
loss real_loss + fake_loss the value at equilibrium (all scores 0) is 2·log 2, the log 4 of the paper.

Each function works element by element, on scores [b] or, from a discriminator with one score a class, [b, k], and gives
their shape back. A method's term is [b]: weigh the classes (by a drawn label, say) and sum, and squeeze the [b, 1] of a
network that ends in one unit.

`gan_loss` gives the two sides of a named game as one `GANLoss`, so that a method is written once for all of them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kdgan.losses.logits import at_least_float32


def real_loss(scores: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The discriminator's loss on real examples: −log σ(score).

    Args:
        scores: logits [b] or [b, k] of real examples.

    Returns:
        The shape of the scores, at least 0; log 2 at score 0.
    """
    return -jax.nn.log_sigmoid(at_least_float32(scores))


def fake_loss(scores: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The discriminator's loss on made examples: −log(1 − σ(score)).

    Args:
        scores: logits [b] or [b, k] of made examples.

    Returns:
        The shape of the scores, at least 0; log 2 at score 0.
    """
    return -jax.nn.log_sigmoid(-at_least_float32(scores))


def generator_loss_saturating(scores: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The generator's loss in the minimax game: log(1 − σ(score)).

    The exact negative of `fake_loss`, hence the one the game's theory speaks of (also KDGAN's). Its gradient −σ(score)
    vanishes where the discriminator is sure that the example is made, which is where the generator has most to learn.

    Args:
        scores: logits [b] or [b, k] of made examples.

    Returns:
        The shape of the scores, at most 0.
    """
    return jax.nn.log_sigmoid(-at_least_float32(scores))


def generator_loss_nonsaturating(scores: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The generator's loss as used in practice: −log σ(score).

    The same fixed point as the minimax loss, with the gradient σ(score) − 1, which is largest where the discriminator
    wins.

    Args:
        scores: logits [b] or [b, k] of made examples.

    Returns:
        The shape of the scores, at least 0.
    """
    return -jax.nn.log_sigmoid(at_least_float32(scores))


class GANLoss(NamedTuple):
    """The two sides of one game, each to be minimised, per example.

    Attributes:
        discriminator: (real_scores [b], fake_scores [n]) -> (term of the real examples [b], term of the fakes [n]). The
            discriminator's loss is the sum of both means.
        generator: (fake_scores [n], real_scores [b]) -> [n]. Where `reads_real` is false the second may be None, and the
            discriminator need not look at the real examples.
        reads_real: whether the generator's side reads the real scores (relativistic games).
    """

    discriminator: Callable[[Array, Array], tuple[Array, Array]]
    generator: Callable[[Array, Array | None], Array]
    reads_real: bool = False

    def alike(self, scores: Float[Array, " n"]) -> tuple[Array, Array]:
        """Both terms of the discriminator, [n] each, where it scores all examples alike: at each of these scores."""
        real, fake = jax.vmap(lambda score: self.discriminator(score[None], score[None]))(scores)
        return real.mean(-1), fake.mean(-1)


def gan_loss(name: str, *, real_label: float = 1.0) -> GANLoss:
    """The two losses of a GAN game by its name: r and f are scores of real examples and of fakes, α the real label.

    | name | discriminator: real + fake | generator |
    |---|---|---|
    | `nonsaturating` | −α log σ(r) − (1 − α) log(1 − σ(r)) and −log(1 − σ(f)) | −log σ(f) |
    | `minimax` | the same | log(1 − σ(f)) |
    | `least_squares` | ½(r − α)² and ½f² | ½(f − α)² |
    | `hinge` | max(0, 1 − r) and max(0, 1 + f) | −f |
    | `wasserstein` | −r and f | −f |
    | `relativistic` | −log σ(r − f) and 0 | −log σ(f − r) |
    | `relativistic_average` | −log σ(r − f̄) and −log(1 − σ(f − r̄)) | −log σ(f − r̄) − log(1 − σ(r − f̄)) |

    Goodfellow et al. 2014 (the first two), Mao et al. 2017 (their 0-1 coding), Lim & Ye 2017, Arjovsky et al. 2017 (the
    critic must be kept Lipschitz: `kdgan.losses.penalties.gradient_penalty`), Jolicoeur-Martineau 2019 (RpGAN and RaGAN
    on the logistic loss).

    Beside other code: StudioGAN's vanilla (`nonsaturating`), least-squares, hinge and Wasserstein losses are these. Least
    squares without ½ (RelativisticGAN) is twice ours. The relativistic average loss of both players is twice that of its
    author's code, which halves the sum that the paper has. Where the discriminator's loss is halved as a whole (pix2pix),
    ours is twice it. What mimicry calls minimax is, for the generator, `nonsaturating`.

    One-sided label smoothing (Salimans et al. 2016) is α < 1, 0.9 say: the discriminator stops at D(real) = α instead of
    going on to be sure. Fakes stay at 0; smoothing them would have the discriminator support what the generator makes.

    The relativistic games see score differences only. In the paired one a pair's loss stands in the real term, and the
    fakes' term is 0. The bars of the average one are means over the scores given, with their gradients: inside pmap
    those of one device's share, as with batch normalisation that is not synchronised.

    Args:
        name: one of the table.
        real_label: α in (0, 1]; only the first three take another than 1.

    Raises:
        ValueError: an unknown name; α outside (0, 1], or below 1 for a game without labels. When called, the
            relativistic games: scores of different shapes, or a generator's side without real scores.
    """
    if name not in GAN_LOSSES:
        raise ValueError(f"name is {name!r}; the GAN losses are {', '.join(GAN_LOSSES)}")
    if not 0 < real_label <= 1:
        raise ValueError(f"real_label is {real_label}; it must be in (0, 1] (1 smooths nothing)")
    if real_label == 1:
        return GAN_LOSSES[name]
    if name not in _SMOOTHED:
        raise ValueError(
            f"real_label is {real_label}, but {name!r} has no labels to smooth: leave it at 1, or take one of "
            f"{', '.join(_SMOOTHED)}"
        )
    return _SMOOTHED[name](real_label)


def _logistic(real_scores: Array, fake_scores: Array, real_label: float = 1.0) -> tuple[Array, Array]:
    real = real_loss(real_scores)
    if real_label != 1:
        real = real_label * real + (1 - real_label) * fake_loss(real_scores)
    return real, fake_loss(fake_scores)


def _half_square(scores: Array, label: float) -> Array:
    return 0.5 * jnp.square(at_least_float32(scores) - label)


def _least_squares(real_label: float = 1.0) -> GANLoss:
    return GANLoss(
        lambda real, fake: (_half_square(real, real_label), _half_square(fake, 0.0)),
        lambda fake, real: _half_square(fake, real_label),
    )


def _hinge(real_scores: Array, fake_scores: Array) -> tuple[Array, Array]:
    return jax.nn.relu(1 - at_least_float32(real_scores)), jax.nn.relu(1 + at_least_float32(fake_scores))


def _relativistic(scores: Array, others: Array | None) -> Array:
    """−log σ(scores − others), pair by pair."""
    scores, others = _paired(scores, others, "relativistic")
    return real_loss(scores - others)


def _relativistic_average(real_scores: Array, fake_scores: Array) -> tuple[Array, Array]:
    real, fake = at_least_float32(real_scores), at_least_float32(fake_scores)
    return real_loss(real - jnp.mean(fake)), fake_loss(fake - jnp.mean(real))


def _relativistic_average_generator(fake_scores: Array, real_scores: Array | None) -> Array:
    fake, real = _relativistic_average(*_paired(fake_scores, real_scores, "relativistic_average"))
    return fake + real


def _paired(scores: Array, others: Array | None, name: str) -> tuple[Array, Array]:
    if others is None:
        raise ValueError(
            f"the generator's side of the {name!r} loss reads the real examples' scores; it was given None"
        )
    if scores.shape != others.shape:
        raise ValueError(
            f"the {name!r} loss pairs scores of real examples with scores of fakes: the shapes are {scores.shape} and "
            f"{others.shape}, and must be the same"
        )
    return at_least_float32(scores), at_least_float32(others)


GAN_LOSSES: Mapping[str, GANLoss] = {
    "nonsaturating": GANLoss(_logistic, lambda fake, real: generator_loss_nonsaturating(fake)),
    "minimax": GANLoss(_logistic, lambda fake, real: generator_loss_saturating(fake)),
    "least_squares": _least_squares(),
    "hinge": GANLoss(_hinge, lambda fake, real: -at_least_float32(fake)),
    "wasserstein": GANLoss(
        lambda real, fake: (-at_least_float32(real), at_least_float32(fake)),
        lambda fake, real: -at_least_float32(fake),
    ),
    "relativistic": GANLoss(
        lambda real, fake: (_relativistic(real, fake), jnp.zeros_like(at_least_float32(fake))),
        _relativistic,
        reads_real=True,
    ),
    "relativistic_average": GANLoss(_relativistic_average, _relativistic_average_generator, reads_real=True),
}

_SMOOTHED: Mapping[str, Callable[[float], GANLoss]] = {
    "nonsaturating": lambda label: GAN_LOSSES["nonsaturating"]._replace(
        discriminator=functools.partial(_logistic, real_label=label)
    ),
    "minimax": lambda label: GAN_LOSSES["minimax"]._replace(
        discriminator=functools.partial(_logistic, real_label=label)
    ),
    "least_squares": _least_squares,
}
