"""Transposed convolution as an ordinary convolution at the small resolution, and its layer.

A transposed convolution of stride s is the same linear map as a convolution of stride 1 to s² times the channels, of
which each group is one phase of the larger image (Shi et al. 2016, "Is the deconvolution layer the same as a
convolutional layer?"). XLA computes it otherwise: over an input spread out with zeros. On a CPU the gradient of the
kernel then takes several times as long as all the rest (7×7×32 to 14×14×16 with a 5×5 kernel, batch 64, forward and
backward on two cores: 20 ms, as phases 7 to 9).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array
from jaxtyping import Float


def transposed_convolution(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "m n c d"],
    *,
    stride: int,
    before: int | None = None,
    convolution: Callable = jax.lax.conv_general_dilated,
) -> Float[Array, "b i j d"]:
    """The values of `jax.lax.conv_transpose(x, kernel, (stride, stride), "SAME")`: [b, h, w, c] -> [b, s·h, s·w, d].

    out[s·j + p] = Σ_i x[i] · kernel[s·(i − j) + a − p] along each axis, with a the zeros that `conv_transpose` puts
    before the first pixel: the offsets i − j and the phases p of one kernel make a kernel of stride 1. `before` gives
    another a: PyTorch's layer of padding p has k − 1 − p, and as many pixels where its output_padding is s + 2p − k.
    `convolution` computes that of stride 1.
    """
    b, h, w, _ = x.shape
    features = kernel.shape[-1]
    kernel, rows = _split(kernel, 0, stride, before)
    kernel, columns = _split(kernel, 2, stride, before)  # the first axis is two by now
    m, _, n, _, c, _ = kernel.shape
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(m, n, c, stride * stride * features)
    phases = convolution(x, kernel, (1, 1), (rows, columns), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    phases = phases.reshape(b, h, w, stride, stride, features)
    return phases.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * stride, w * stride, features)


def _split(kernel: Array, axis: int, stride: int, before: int | None) -> tuple[Array, tuple[int, int]]:
    """A kernel's `axis` as two, [offset, phase] (padded with zeros to fill both), and the padding of the input."""
    size = kernel.shape[axis]
    if before is None:
        before = size - 1 if stride > size - 1 else -(-(size + stride - 2) // 2)
    first, last = -(before // stride), (size + stride - 2 - before) // stride  # of the offsets i − j
    missing = (stride - 1 - before - stride * first, stride * last + before + 1 - size)
    kernel = jnp.pad(kernel, [missing if other == axis else (0, 0) for other in range(kernel.ndim)])
    shape = (*kernel.shape[:axis], last - first + 1, stride, *kernel.shape[axis + 1 :])
    return jnp.flip(kernel.reshape(shape), axis + 1), (-first, last)


class TransposedConv(nn.Module):
    """A square transposed convolution, [b, h, w, c] -> [b, s·h, s·w, features], with the parameters of Linen's.

    Equal to `nn.ConvTranspose(features, (kernel_size, kernel_size), (stride, stride))` in values, in parameters
    (`kernel` [k, k, c, features] and `bias` [features]) and so in checkpoints, unless `before` is given.

    Attributes:
      features: channels of the result.
      kernel_size: side of the kernel.
      stride: s.
      use_bias: whether a bias is added.
      before: zeros before the first pixel of the image spread out; None: as "SAME" has it.
      kernel_init: initialiser of the kernel.
      conv_general_dilated: what computes it; None: `jax.lax.conv_general_dilated`.
    """

    features: int
    kernel_size: int = 5
    stride: int = 1
    use_bias: bool = True
    before: int | None = None
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    conv_general_dilated: Callable | None = None

    is_transposed = True  # its kernel is a transposed convolution's, [h, w, in, out]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias)
        convolution = self.conv_general_dilated or jax.lax.conv_general_dilated
        y = transposed_convolution(x, kernel, stride=self.stride, before=self.before, convolution=convolution)
        return y if bias is None else y + bias[None, None, None, :]
