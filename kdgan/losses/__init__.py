"""Losses: arrays in, one value per example out; the mean over the batch is the caller's.

logits       cross-entropy, KL with temperatures, sigmoid matching, squared error of logits, the noisy teacher's logits
adversarial  the two sides of a GAN game, from the discriminator's scores; `gan_loss` gives both by the game's name
penalties    R1, the gradient penalty of WGAN-GP, and their lazy form
images       mean absolute and mean squared error between images
features     intermediate features of student and teacher: weighted L1 and L2, kernel alignment
latents      Gaussian latents and the terms of an ELBO; noise for a smaller latent
weights      distance between the weights of networks of different widths
concrete     labels drawn from the concrete (Gumbel-softmax) distribution, and their score
arguments    what all of them ask of their arguments: precision, temperatures, shapes
"""

import importlib
from types import ModuleType

__all__ = ["adversarial", "arguments", "concrete", "features", "images", "latents", "logits", "penalties", "weights"]


def __getattr__(name: str) -> ModuleType:
    """`kdgan.losses.logits` without a further import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
