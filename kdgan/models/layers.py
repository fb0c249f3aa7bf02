"""Pieces that the families of classifiers share: named points, convolutions, batch norm, checks of what is given."""

import functools
import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

# He et al. 2015 as the ResNet authors' code has it: N(0, 2 / (k² · channels out)).
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# What PyTorch draws where nothing is said: uniform within ±1/√(k² · channels in, of a group).
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Tap(nn.Module):
    """The identity, without parameters: its name makes a value that no layer returns a feature that can be asked for.

    `Tap(name="embedding")(x)` gives `x` the module path `embedding`, to Linen's `capture_intermediates` and so to
    `players.student(x, features=("embedding",))`.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return x


def conv3x3(
    features: int,
    stride: int = 1,
    *,
    name: str,
    groups: int = 1,
    bias: bool = False,
    init: nn.initializers.Initializer = he_normal,
) -> nn.Conv:
    """A 3×3 convolution, He-initialised and without bias unless told, padded by one on every side.

    The padding is written out since "SAME" pads an even image by (0, 1) under stride 2, one pixel off the
    published networks. With `groups`, each share of the output's channels reads that share of the input's alone; as many
    groups as there are channels is a depthwise convolution.
    """
    return nn.Conv(
        features, (3, 3), (stride, stride), padding=((1, 1), (1, 1)), feature_group_count=groups, use_bias=bias,
        kernel_init=init, name=name,
    )  # fmt: skip


def conv1x1(
    features: int, stride: int = 1, *, name: str, groups: int = 1, init: nn.initializers.Initializer = he_normal
) -> nn.Conv:
    """A 1×1 convolution without bias, He-initialised unless told: the projection of a shortcut; `groups` as above."""
    return nn.Conv(
        features, (1, 1), (stride, stride), feature_group_count=groups, use_bias=False, kernel_init=init, name=name
    )


def batch_norm(*, train: bool, axis_name: str | None, name: str) -> nn.BatchNorm:
    """Batch norm with the statistics of the batch when training, averaged over the devices of `axis_name` if given.

    Running averages keep 0.9 of their value per step (Linen's `momentum`; other libraries call the same 0.1). The running
    variance is an average of the batches' biased variances, Σ(x − x̄)²/n over n = b·h·w values, by which the batch itself is
    normalised; PyTorch's is of the unbiased ones, n/(n − 1) times as large, which tells at small n: by a third at n = 4.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=axis_name, name=name)


@jax.custom_jvp
def max_pool(x: Array) -> Array:
    """The largest value of each 2×2 window, [b, h, w, c] -> [b, h//2, w//2, c]; an odd last row or column is left out.

    The derivative is not that of `nn.max_pool`, whose gradient (select and scatter) takes half of a small network's step
    on a CPU. Where values of a window tie, they share the gradient.
    """
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


@max_pool.defjvp
def _max_pool_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Of the entries of a window, compared with each other: with a maximum computed elsewhere none might be equal."""
    (x,), (change,) = primals, tangents
    values, changes = _window_entries(x), _window_entries(change)
    largest = [math.prod((own >= other).astype(x.dtype) for other in values) for own in values]
    count = sum(largest)
    shares = [each * (own / count) for each, own in zip(changes, largest, strict=True)]
    return max_pool(x), functools.reduce(jnp.add, shares)


def _window_entries(x: Array) -> list[Array]:
    """Of every 2×2 window its four entries, each [b, h//2, w//2, c]."""
    h, w = (side // 2 * 2 for side in x.shape[1:3])
    return [x[:, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]


def global_mean(x: Array) -> Array:
    """Mean over the image: [b, h, w, c] -> [b, c]."""
    return jnp.mean(x, axis=(1, 2))


def check_image(model: nn.Module, x: Any, *, min_size: int = 1) -> None:
    """Refuse, while tracing, what a convolutional model cannot take.

    Raises:
      ValueError: `x` is not [b, h, w, c], or h or w is below `min_size` pixels.
    """
    shape = tuple(x.shape)
    if len(shape) != 4 or min(shape[1:3]) < min_size or shape[3] < 1:
        raise ValueError(
            f"{type(model).__name__} got an image batch of shape {shape};"
            f" it accepts [b, h, w, c] with h and w of at least {min_size}"
        )


def check_fields(
    model: nn.Module,
    *,
    positive: Sequence[str] = (),
    rates: Sequence[str] = (),
    least: int = 1,
    most: int | None = None,
) -> None:
    """Refuse field values that make no network, when the module is built.

    Args:
      model: the module under construction.
      positive: fields that hold an int, or a sequence of ints, of at least `least`.
      rates: fields that hold a probability in [0, 1).
      least: of `positive`.
      most: likewise; None: there is no bound.

    Raises:
      ValueError: names the module, the field, its value and what is accepted.
    """
    for field in positive:
        value = getattr(model, field)
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        whole = all(isinstance(count, numbers.Integral) and not isinstance(count, bool) for count in several)
        if not whole or any(count < least or (most is not None and count > most) for count in several):
            accepted = f"of at least {least}" if most is None else f"{least} to {most}"
            raise ValueError(f"{type(model).__name__}.{field} = {value!r}; it accepts whole numbers {accepted}")
    for field in rates:
        rate = getattr(model, field)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 <= rate < 1.0:
            raise ValueError(f"{type(model).__name__}.{field} = {getattr(model, field)!r}; it accepts 0 <= rate < 1")


def check_choice(model: nn.Module, field: str, accepted: tuple[str, ...]) -> None:
    """Refuse a field that holds none of the `accepted` words.

    Raises:
      ValueError: names the module, the field, its value and what is accepted.
    """
    value = getattr(model, field)
    if value not in accepted:
        names = " or ".join(map(repr, accepted))
        raise ValueError(f"{type(model).__name__}.{field} = {value!r}; it accepts {names}")
