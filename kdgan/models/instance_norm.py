"""Statistics of an image's channels, and instance norm by them: one scale and bias a channel, or one for each style."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float


class ImageMoments(nn.Module):
    """(mean, variance) of each channel over each image, [b, h, w, c] -> [b, 1, 1, c] twice, in float32.

    A module without parameters, so that whoever applies a network in tiles finds where it looks at the whole image.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b 1 1 c"], Float[Array, "b 1 1 c"]]:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = jnp.mean(x, (1, 2), keepdims=True)
        return mean, jnp.mean(jnp.square(x - mean), (1, 2), keepdims=True)


def moments_at_once(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    """For `nn.intercept_methods`: the variance is E[x²] − E[x]², so that one pass over tiles gives both moments."""
    if not isinstance(context.module, ImageMoments):
        return call(*args, **kwargs)
    x = args[0].astype(jnp.promote_types(args[0].dtype, jnp.float32))
    mean, square = (jnp.mean(value, (1, 2), keepdims=True) for value in (x, jnp.square(x)))
    return mean, jnp.maximum(square - jnp.square(mean), 0)


class InstanceNorm(nn.Module):
    """Instance norm (Ulyanov et al. 2016): (x − mean)/√(var + ε) · γ + β, over the pixels of each image and channel.

    With `styles` it is conditional (Dumoulin et al. 2017, equation 5): γ and β are the style's, or of weights w [b, k] the
    mixtures wᵀγ and wᵀβ of all.

    Attributes:
      styles: k; 0: one γ and β.
      affine: whether there are γ and β at all.
      epsilon: ε.
    """

    styles: int = 0
    affine: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], style: Float[Array, "b k"] | None = None) -> Float[Array, "b h w c"]:
        mean, variance = ImageMoments(name="moments")(x)
        inverse = jax.lax.rsqrt(variance + self.epsilon)
        if not self.affine:
            return ((x - mean) * inverse).astype(x.dtype)
        channels = x.shape[-1]
        if self.styles:
            if style is None:
                raise ValueError(f"InstanceNorm with styles={self.styles} got no weights of them")
            gamma = self.param("gamma", nn.initializers.ones, (self.styles, channels))
            beta = self.param("beta", nn.initializers.zeros, (self.styles, channels))
            assert style is not None
            gamma, beta = ((style @ array.astype(style.dtype))[:, None, None, :] for array in (gamma, beta))
        else:
            gamma = self.param("scale", nn.initializers.ones, (channels,)).reshape(1, 1, 1, -1)
            beta = self.param("bias", nn.initializers.zeros, (channels,)).reshape(1, 1, 1, -1)
        return ((x - mean) * (inverse * gamma) + beta).astype(x.dtype)
