"""Variational autoencoders, and their distillation: a small one learns a large one's posterior and its decoder.

A VAE is one player: `player(image)` gives `mean` and `log_variance` of the posterior [b, d] and `decoded` [b, h, w, c]
(logits of a Bernoulli, or the mean of a Gaussian); `player(z, method="decode")` decodes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan.game import Method, Move, Players
from kdgan.losses import images as image_losses
from kdgan.losses import latents
from kdgan.methods.gan import check_images, noise_of

MATCHES = ("latent", "decoder")


def reconstruction_loss(module: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """−log p(x|z) [b] in nats of raw decoder outputs and images, by the module's `likelihood` (and `scale`).

    Raises:
      ValueError: no such likelihood.
    """
    likelihood, scale = _likelihood(module), getattr(module, "scale", 1.0)
    losses: Mapping[str, Callable] = {
        "bernoulli": latents.bernoulli_nll,
        "gaussian": lambda mean, image: latents.gaussian_nll(mean, image, scale=scale),
    }
    if likelihood not in losses:
        raise ValueError(f"model_args.likelihood = {likelihood!r}: accepted are {', '.join(losses)}")
    return losses[likelihood]


def _likelihood(module: Any) -> str:
    return getattr(module, "likelihood", "bernoulli")


def encoded(players: Players, name: str, image: Any) -> Mapping[str, jax.Array]:
    """What a VAE makes of images: `mean` and `log_variance` [b, d], `decoded` [b, h, w, c].

    Raises:
      ValueError: the player gives something else, or decodes to images of another shape.
    """
    out = players[name](image)
    if not isinstance(out, Mapping) or not {"mean", "log_variance", "decoded"} <= out.keys():
        found = ", ".join(out) if isinstance(out, Mapping) else f"an array of shape {jnp.shape(out)}"
        raise ValueError(
            f"players.{name} ({type(players[name].module).__name__}) is no VAE: it gives {found}; wanted are mean,"
            " log_variance and decoded"
        )
    check_images(name, out["decoded"], {"image": image})
    return out


def elbo_terms(module: Any, out: Mapping[str, jax.Array], image: Any) -> dict[str, jax.Array]:
    """−ELBO in its two parts [b], of a VAE's output on images."""
    return {
        "reconstruction": reconstruction_loss(module)(out["decoded"], image),
        "kl": latents.kl_to_standard_normal(out["mean"], out["log_variance"]),
    }


def vae(*, player: str = "student") -> Method:
    """A variational autoencoder (Kingma and Welling 2014): −ELBO = −E_q log p(x|z) + KL(q(z|x) ‖ N(0, 1)), in nats.

    Terms `reconstruction` and `kl`; λ_kl other than 1 is a β-VAE (Higgins et al. 2017). The likelihood is the model's:
    Bernoulli (images in [0, 1]: data.mean 0, data.std 1), or Gaussian of a fixed scale.

    Args:
      player: who is trained.
    """

    def terms(players, batch, key):
        out = encoded(players, player, batch["image"])
        return elbo_terms(players[player].module, out, batch["image"])

    return Method(Move(player, terms))


def vae_distill(*, matches: str | Sequence[str] = MATCHES, latents_from: str = "posterior") -> Method:
    """A small VAE learns from a large one: KL(q_T(z|x) ‖ q_S(z|x)), and the decoders' images for the same z.

    Terms of the student: `reconstruction`, `kl` (its own −ELBO), `latent` (the closed form between the two Gaussian
    posteriors, in nats), `decoder` (mean squared difference of the decoded images). The minimal form of Chen et al.
    2023's distillation of directed models.

    Args:
      matches: which of "latent" and "decoder" are terms. "latent" needs equal latent sizes; where the student's is
        smaller it decodes an orthonormal projection of the teacher's z, and "decoder" is left.
      latents_from: z of `decoder`: "posterior" (the teacher's, of the batch), or "prior" (no image is needed).
    """
    matches = (matches,) if isinstance(matches, str) else tuple(matches)
    if not matches or not set(matches) <= set(MATCHES):
        raise ValueError(f"method.matches = {matches}: accepted are {', '.join(MATCHES)}, or both")
    if latents_from not in ("posterior", "prior"):
        raise ValueError(f"method.latents_from = {latents_from!r}: accepted are posterior, prior")

    def decoded(players, name, z):
        raw = players[name](z, method="decode")
        return jax.nn.sigmoid(raw) if _likelihood(players[name].module) == "bernoulli" else raw

    def student(players, batch, key):
        own, taught = (encoded(players, name, batch["image"]) for name in ("student", "teacher"))
        terms = elbo_terms(players.student.module, own, batch["image"])
        sizes = own["mean"].shape[-1], taught["mean"].shape[-1]
        if sizes[0] > sizes[1] or ("latent" in matches and sizes[0] != sizes[1]):
            raise ValueError(
                f"the student's latent size is {sizes[0]}, the teacher's {sizes[1]}; set equal model_args.latent, or a"
                " smaller one of the student's and method.matches = ('decoder',)"
            )
        if "latent" in matches:
            terms["latent"] = latents.kl_gaussians(
                taught["mean"], taught["log_variance"], own["mean"], own["log_variance"]
            )
        if "decoder" in matches:
            z = noise_of(batch, key, sizes[1], "the teacher's latent size")
            if latents_from == "posterior":
                z = taught["mean"] + jnp.exp(0.5 * taught["log_variance"]) * z
            terms["decoder"] = image_losses.l2(
                decoded(players, "student", latents.project(z, sizes[0])), decoded(players, "teacher", z)
            )
        return terms

    return Method(Move("student", student, details={"decoder": latents_from}))
