"""Spectral norm: a layer whose kernel is divided by its largest singular value, which bounds a discriminator's slope."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float


class SpectralNorm(nn.Module):
    """`layer(x)` with the kernel K divided by σ = v·K·u, an estimate of its largest singular value.

    Miyato et al. 2018. K [..., c_in, c_out] is read as a matrix [rest, c_out]. One power iteration
    v = K·u / ‖K·u‖, u = Kᵀ·v / ‖Kᵀ·v‖ is made per call, from the u in the collection `batch_stats`; in training mode the
    result is kept there, so that σ becomes exact over the steps. No gradient flows through u and v, and biases stay as
    they are. Everything is computed in float32; the kernel keeps its type.

    The layer is made by the caller (`SpectralNorm(nn.Conv(8, (3, 3), name="conv1"), name="conv1_norm")(x, train=train)`
    in a compact method), so that its parameters and its features have the paths that they would have without.
    `nn.SpectralNorm` does the same, but fails where the layer's output is captured as a feature.

    Attributes:
      layer: any layer with one parameter of rank 2 or more: a convolution, a dense layer, an embedding.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def normalised(variables):
            return jax.tree.map(lambda leaf: self._divide(leaf, train) if leaf.ndim > 1 else leaf, variables)

        return nn.map_variables(
            lambda layer: layer(x), "params", trans_in_fn=normalised, init=self.is_initializing(), mutable=True
        )(self.layer)

    def _divide(self, kernel: Float[Array, "*rest d"], train: bool) -> Float[Array, "*rest d"]:
        matrix = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)
        kept = self.variable("batch_stats", "u", lambda: jax.random.normal(self.make_rng("params"), matrix.shape[-1:]))
        v = _unit(jax.lax.stop_gradient(matrix) @ kept.value)
        u = _unit(v @ jax.lax.stop_gradient(matrix))
        if train:
            kept.value = u
        sigma = v @ matrix @ u
        return (kernel / jnp.where(sigma > 0, sigma, 1.0)).astype(kernel.dtype)


def _unit(vector: Float[Array, " d"]) -> Float[Array, " d"]:
    # The smallest normal float keeps a kernel of zeros finite and moves no other.
    return vector / jnp.maximum(jnp.linalg.norm(vector), jnp.finfo(jnp.float32).tiny)
