"""How many values normalising layers take their statistics over, by counting them in the layers' definitions."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from kdgan.norms import recorded


def traced(module, *shape, **kwargs):
    """The norms that a call of a module on an array of some shape is recorded with."""
    x, norms = jnp.zeros(shape), []

    def run(x):
        variables = module.init(jax.random.key(0), x, **kwargs)
        with recorded(norms):
            return module.apply(variables, x, mutable=["batch_stats"], **kwargs)

    jax.eval_shape(run, x)
    return norms


@pytest.mark.parametrize(
    ("layer", "shape", "values", "of_batch"),
    [
        (nn.BatchNorm(False), (5, 4, 3, 7), 5 * 4 * 3, True),  # for each channel, over examples and pixels
        (nn.BatchNorm(False), (5, 7), 5, True),
        (nn.BatchNorm(False, axis=1), (5, 4, 3, 7), 5 * 3 * 7, True),
        (nn.BatchNorm(False, axis=(1, -1)), (5, 4, 3, 7), 5 * 3, True),
        (nn.InstanceNorm(), (5, 4, 3, 7), 4 * 3, False),  # for each example and channel
        (nn.InstanceNorm(), (5, 1, 1, 7), 1, False),
        (nn.GroupNorm(num_groups=2), (5, 4, 3, 8), 4 * 3 * 4, False),
        (nn.GroupNorm(num_groups=None, group_size=2), (5, 4, 3, 8), 4 * 3 * 2, False),
        (nn.GroupNorm(num_groups=8), (5, 8), 1, False),
        (nn.LayerNorm(), (5, 4, 3, 7), 7, False),
        (nn.LayerNorm(reduction_axes=(1, 2, 3)), (5, 4, 3, 7), 4 * 3 * 7, False),
        (nn.LayerNorm(), (5, 1), 1, False),
    ],
)
def test_values_of_a_statistic(layer, shape, values, of_batch):
    (norm,) = traced(layer, *shape)
    assert (norm.layer, norm.shape, norm.values, norm.of_batch) == (type(layer).__name__, shape, values, of_batch)


def test_over_one_value_the_output_does_not_depend_on_the_input():
    """Which is why it is looked for: batch norm of one example without pixels, for any input."""
    layer = nn.BatchNorm(False)
    x = jnp.array([[3.0, -2.0]])
    variables = layer.init(jax.random.key(0), x)
    assert not layer.apply(variables, x, mutable=["batch_stats"])[0].any()
    assert not layer.apply(variables, 100 * x, mutable=["batch_stats"])[0].any()


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.BatchNorm(not train, name="norm")(nn.Dense(2)(x))


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        for name in ("first", "second"):
            x = Inner(name=name)(x, train)
        return nn.BatchNorm(name="given")(x, use_running_average=True)


def test_layers_are_named_by_their_path_and_recorded_in_training_mode_only():
    assert [norm.path for norm in traced(Nested(), 3, 2, train=True)] == ["first/norm", "second/norm"]
    assert traced(Nested(), 3, 2, train=False) == []
