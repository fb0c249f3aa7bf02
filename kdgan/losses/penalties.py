"""Penalties on the discriminator's gradient with respect to its input, and their lazy form.

`score` is any function from images [b, ...] to scores [b] whose examples do not see one another; a discriminator with
batch normalisation in training mode is none (Gulrajani et al. 2017 use layer normalisation). Inside a method it is
`lambda x: players.discriminator.stateless(x)`, the form that records nothing, as both the inner gradient and `lazy` ask
for. The penalties can be differentiated again, in the parameters that `score` closes over.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Integer, PRNGKeyArray, Real

from kdgan.losses.logits import at_least_float32

Score = Callable[[Array], Array]


def r1(score: Score, real: Float[Array, "b *pixels"]) -> Float[Array, " b"]:
    """R1 (Mescheder et al. 2018): ½‖∇_x D(x)‖² at real examples, D the score.

    λ is the paper's γ (10 there; StyleGAN2 scales it with the resolution). It is the squared norm and not its distance
    from 1: at equilibrium the discriminator is flat on the data. StyleGAN2 and StudioGAN have the same ½; the authors'
    own code (GAN_stability) leaves it out, so that ours is half of its term and its weight 10 is λ = 20 here.

    Args:
        score: images to scores [b].
        real: [b, h, w, c], or of any other rank with the batch first.

    Returns:
        [b], at least 0, at least float32.

    Raises:
        ValueError: the scores are not [b].
    """
    return 0.5 * _squared_norm(_input_gradient(score, real))


def gradient_penalty(
    score: Score,
    real: Float[Array, "b *pixels"],
    fake: Float[Array, "n *others"],
    key: PRNGKeyArray,
    *,
    target: Real[float | Array, ""] = 1.0,
) -> Float[Array, " b"]:
    """WGAN-GP (Gulrajani et al. 2017): (‖∇ D(x̂)‖₂ − target)² at x̂ = u·x + (1 − u)·y with u ~ U(0, 1) per example.

    λ is 10 in the paper; its code and StudioGAN's have the same term. Where the gradient is 0 the norm has no derivative and
    0 is taken, so that a critic that is flat somewhere gives the value target² there and no NaN.

    Args:
        score: images to scores [b].
        real: x [b, h, w, c], or of any other rank with the batch first.
        fake: y of the same shape.
        key: a JAX random key.
        target: the norm asked for: 1 for the Wasserstein distance, 0 for a penalty centred at zero.

    Returns:
        [b], at least 0, at least float32.

    Raises:
        ValueError: real and fake differ in shape; the scores are not [b].
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"real has shape {real.shape} and fake {fake.shape}: the penalty lies on segments between pairs of them, so "
            "both must have the same"
        )
    real, fake = at_least_float32(real), at_least_float32(fake)
    u = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
    squared = _squared_norm(_input_gradient(score, u * real + (1 - u) * fake))
    flat = squared == 0
    # Both wheres are needed: the gradient of √ at 0 is infinite, and 0·∞ on the branch not taken is NaN.
    norm = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squared)))
    return jnp.square(norm - target)


def lazy(every: int, step: int | Integer[Array, ""], penalty: Callable[[], Array]) -> Float[Array, " b"]:
    """Lazy regularisation (Karras et al. 2020): `every`·penalty() on the steps that `every` divides, else zeros.

    Its mean over `every` consecutive steps is the ordinary penalty at 1/every of the cost, with λ unchanged. (StyleGAN2
    also lowers Adam's learning rate and β's to match; here they stay as configured.) A traced step decides inside the
    compiled program (`lax.cond`): one compilation, and the skipped steps pay nothing. Under `vmap` that holds where the
    members share the step; a mapped step computes both sides.

    XLA:CPU runs convolutions inside a conditional on one thread: an R1 step of a three-layer discriminator took 732 ms in
    place of 113 (2 cores), so that below about every = 7 the eager penalty is the faster one there.

    Args:
        every: k ≥ 1; 16 in StyleGAN2. 1 is the ordinary penalty.
        step: the step's number, from 0.
        penalty: no arguments to [b]. It may close over traced values, must record nothing (`stateless`), and is traced
            twice, once for its shape.

    Returns:
        [b], of the penalty's type.

    Raises:
        ValueError: `every` below 1.
    """
    if every < 1:
        raise ValueError(f"every is {every}; the penalty is computed on each every-th step, at least 1 (each step)")
    if every == 1:
        return penalty()
    shape = jax.eval_shape(penalty)
    if isinstance(step, int):
        return jnp.zeros(shape.shape, shape.dtype) if step % every else every * penalty()
    return jax.lax.cond(
        jnp.asarray(step) % every == 0, lambda: every * penalty(), lambda: jnp.zeros(shape.shape, shape.dtype)
    )


def _input_gradient(score: Score, image: Array) -> Array:
    """∇_x of each example's score: one pull-back of ones, since no example's score depends on another's image."""
    scores, pull_back = jax.vjp(score, at_least_float32(image))
    if scores.shape != image.shape[:1]:
        raise ValueError(
            f"score gives shape {scores.shape} for images {image.shape}; one score per example, {image.shape[:1]}, is "
            "wanted (sum or squeeze other axes)"
        )
    (gradient,) = pull_back(jnp.ones_like(scores))
    return at_least_float32(gradient)


def _squared_norm(gradient: Array) -> Array:
    return jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim)))
