"""Gaussian latents: divergences between them, the likelihoods of an ELBO, and noise for a student of fewer dimensions.

A VAE's negative ELBO (Kingma & Welling 2014) is a negative log-likelihood plus `kl_to_standard_normal`: sums over
pixels and latent dimensions, in nats per example. Keep it so: with a mean over the pixels, the divergence would weigh
h·w·c times as much; a β from code that has such a mean is β·h·w·c here (β·h·w·c/d where it averages over d latent variables,
too). Code that sums over the batch as well (PyTorch's example) has b times these values. No function here stops a gradient.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from kdgan.losses.logits import at_least_float32


def kl_to_standard_normal(mean: Float[Array, "b d"], log_variance: Float[Array, "n e"]) -> Float[Array, " b"]:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ_d (μ² + σ² − 1 − log σ²), in nats (Kingma & Welling 2014, appendix B).

    Args:
        mean: μ [b, d].
        log_variance: log σ² [b, d].

    Returns:
        [b], at least 0.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same(mean=mean, log_variance=log_variance)
    mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.expm1(log_variance) - log_variance, axis=1)


def kl_gaussians(
    mean_p: Float[Array, "b d"],
    log_variance_p: Float[Array, "b d"],
    mean_q: Float[Array, "n e"],
    log_variance_q: Float[Array, "n e"],
) -> Float[Array, " b"]:
    """KL(p ‖ q) of diagonal Gaussians: ½ Σ_d (σ_p²/σ_q² − 1 − log(σ_p²/σ_q²) + (μ_p − μ_q)²/σ_q²), in nats.

    With p the teacher's posterior and q the student's it is the latent term of a distilled VAE.

    Args:
        mean_p: μ_p [b, d].
        log_variance_p: log σ_p² [b, d].
        mean_q: μ_q [b, d].
        log_variance_q: log σ_q² [b, d].

    Returns:
        [b], at least 0 up to rounding.

    Raises:
        ValueError: the shapes differ, as with latents of different sizes.
    """
    _check_same(mean_p=mean_p, log_variance_p=log_variance_p, mean_q=mean_q, log_variance_q=log_variance_q)
    mean_p, log_variance_p, mean_q, log_variance_q = map(
        at_least_float32, (mean_p, log_variance_p, mean_q, log_variance_q)
    )
    log_ratio = log_variance_p - log_variance_q
    squared = jnp.square(mean_p - mean_q) * jnp.exp(-log_variance_q)
    return 0.5 * jnp.sum(jnp.expm1(log_ratio) - log_ratio + squared, axis=1)


def bernoulli_nll(logits: Float[Array, "b *pixels"], image: Float[Array, "n *others"]) -> Float[Array, " b"]:
    """−log p(x) of a Bernoulli decoder: −Σ_{h,w,c} (x log σ(l) + (1 − x) log(1 − σ(l))), in nats.

    For x between 0 and 1 it is the cross-entropy (no likelihood, and its least value is the entropy of x, not 0).

    Args:
        logits: l [b, h, w, c], what the decoder gives before the sigmoid.
        image: x in [0, 1], of the same shape.

    Returns:
        [b], at least 0.

    Raises:
        ValueError: the shapes differ.
    """
    _check_same(logits=logits, image=image)
    logits, image = at_least_float32(logits), at_least_float32(image)
    return _sum(jax.nn.softplus(logits) - image * logits)


def gaussian_nll(
    mean: Float[Array, "b *pixels"], image: Float[Array, "n *others"], *, scale: Real[ArrayLike, ""]
) -> Float[Array, " b"]:
    """−log p(x) of a Gaussian decoder of fixed σ: Σ_{h,w,c} (½((x − μ)/σ)² + log σ + ½ log 2π), in nats.

    With σ = 1 it is, but for a constant, h·w·c/2 times the mean squared error; σ² = ½ gives the plain squared norm.
    PyTorch's `gaussian_nll_loss` is given σ², averages, and leaves out ½ log 2π.

    Args:
        mean: μ [b, h, w, c].
        image: x of the same shape.
        scale: σ > 0, in the image's units: a number or a JAX scalar.

    Returns:
        [b]; below 0 where the density is above 1.

    Raises:
        ValueError: the shapes differ, or σ (where it is a Python or NumPy number) is not positive and finite.
    """
    _check_same(mean=mean, image=image)
    if isinstance(scale, (int, float, np.number, np.ndarray)) and not 0 < float(scale) < math.inf:
        raise ValueError(f"scale is {scale}; it must be a positive, finite number, the decoder's standard deviation")
    mean, image = at_least_float32(mean), at_least_float32(image)
    sigma = jnp.asarray(scale, mean.dtype)
    return _sum(0.5 * jnp.square((image - mean) / sigma) + jnp.log(sigma) + 0.5 * math.log(2 * math.pi))


def project(noise: Float[Array, "b d"], d_out: int) -> Float[Array, "b e"]:
    """The teacher's noise for a student with a smaller latent: P z with orthonormal rows, so that N(0, 1) stays N(0, 1).

    P is fixed by the two sizes alone, so teacher and student see the same pairing in every stage, run and version. With
    equal sizes it is the identity.

    Args:
        noise: z [b, d_in].
        d_out: at most d_in.

    Returns:
        [b, d_out], at least float32 where the sizes differ.

    Raises:
        ValueError: d_out above d_in (more dimensions than noise: no linear map makes it standard normal), or below 1.
    """
    d_in = noise.shape[1]
    if not 1 <= d_out <= d_in:
        raise ValueError(
            f"noise of {d_in} dimensions cannot be made into {d_out}: the student's latent (d_out) must have 1 to {d_in}"
        )
    if d_out == d_in:
        return noise
    noise = at_least_float32(noise)
    return jnp.matmul(noise, jnp.asarray(_orthonormal(d_in, d_out), noise.dtype), precision="highest")


def _orthonormal(d_in: int, d_out: int) -> np.ndarray:
    """[d_in, d_out] with orthonormal columns, float64.

    From the generator's raw bits, whose stream is fixed by the algorithm, where a NumPy release may change its normal
    distribution; any matrix of full rank will do. QR's signs are fixed too, as LAPACKs differ in them.
    """
    bits = np.random.Philox(key=[d_in, d_out]).random_raw(d_in * d_out)
    q, r = np.linalg.qr(bits.reshape(d_in, d_out) / 2.0**63 - 1)
    return q * np.sign(np.diagonal(r))[None, :]


def _check_same(**arrays: Array) -> None:
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"the shapes must be the same, and are {shapes}")


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))
