"""Functions as players: of JAX, on the host; probabilities in place of logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import models
from kdgan.around import innermost
from kdgan.models import host
from kdgan.models.probabilities import first_bad_row, log_probabilities

IMAGES = np.random.default_rng(0).normal(size=(4, 3, 3, 1)).astype(np.float32)
PROBABILITIES = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], np.float32)


def test_a_function_on_the_host_is_called_with_numpy_arrays():
    given = []

    def means(images):
        given.append(type(images))
        return images.mean((1, 2)).astype(np.float64)

    player = models.Function(means, host=True)
    output = player.apply(player.init(jax.random.key(0), IMAGES), jnp.asarray(IMAGES))
    assert set(given) == {np.ndarray}
    assert isinstance(output, jax.Array)
    assert output.dtype == jnp.float32
    np.testing.assert_allclose(output, IMAGES.mean((1, 2)), rtol=1e-6)


def test_its_shape_is_given_or_found_with_one_call():
    shapes = []

    def counted(images, vector):
        shapes.append((images.shape, vector.shape))
        return np.zeros((len(images), 7))

    vector = np.zeros((4, 2), np.float32)
    told = models.Function(counted, host=True, shape=(7,))
    assert jax.eval_shape(told.apply, {}, IMAGES, vector).shape == (4, 7)
    assert shapes == []
    for _ in range(2):
        assert jax.eval_shape(models.Function(counted, host=True).apply, {}, IMAGES, vector).shape == (4, 7)
    assert shapes == [((1, 3, 3, 1), (1, 2))]


def test_no_compiled_program_calls_it(caplog):
    player = models.Function(lambda images: images[:, 0, 0], host=True, shape=(1,), player="teacher")
    assert np.isnan(jax.jit(player.apply)({}, IMAGES)).all()
    assert "players.teacher (<lambda>) is a function on the host, which no compiled program calls" in caplog.text


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: 1 / 0, "players.teacher (<lambda>): ZeroDivisionError: division by zero"),
        (
            lambda images: images.mean(),
            "players.teacher (<lambda>) gave an array [] of float32 for 4 examples; one row of",
        ),
        (lambda images: ["a"] * 4, "gave an array [4] of <U1 for 4 examples"),
        (lambda images: images[1:], "gave an array [3, 3, 3, 1] of float32 for 4 examples"),
    ],
)
def test_what_goes_wrong_names_the_player(function, message):
    player = models.Function(function, host=True, player="teacher")
    with pytest.raises(host.HostError) as error:
        player.apply({}, IMAGES)
    assert message in str(error.value)


def test_a_function_of_jax_is_as_it_was():
    player = models.Function(lambda images: 2.0 * images.mean((1, 2)))
    np.testing.assert_allclose(jax.jit(player.apply)({}, IMAGES), 2 * IMAGES.mean((1, 2)), rtol=1e-6)


def test_the_softmax_of_the_logarithms_is_the_probabilities_again():
    logarithms = log_probabilities(jnp.asarray(PROBABILITIES))
    assert np.isfinite(logarithms).all()
    np.testing.assert_allclose(jax.nn.softmax(logarithms), PROBABILITIES, atol=3e-7)
    np.testing.assert_allclose(logarithms[1, 1], np.log(1e-7), rtol=1e-6)
    assert first_bad_row(np.asarray(logarithms)) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.6, 0.1], "sums to 1.2"),
        ([3.0, 1.0, 2.0], "sums to 6"),
        ([-0.5, 1.0, 0.5], "holds a negative number or NaN"),
        ([np.nan, 0.5, 0.5], "holds a negative number or NaN"),
        ([0.1, 0.1, 0.1], "sums to 0.3"),
        ([np.inf, 0.0, 0.0], "sums to inf"),
    ],
)
def test_rows_that_are_no_probabilities_are_told(row, message):
    rows = np.asarray(log_probabilities(jnp.asarray([*PROBABILITIES.tolist(), row])))
    assert first_bad_row(rows) == (4, message)


def test_a_function_and_a_network_may_give_probabilities():
    player = models.Function(lambda images: PROBABILITIES, host=True, outputs="probabilities")
    np.testing.assert_allclose(jax.nn.softmax(player.apply({}, IMAGES)), PROBABILITIES, atol=3e-7)
    with pytest.raises(ValueError, match=r"Function.outputs = 'odds'; it accepts 'logits' or 'probabilities'"):
        models.Function(lambda images: images, outputs="odds")
    network, images = models.MLP((4,), num_classes=3), jnp.asarray(IMAGES)
    variables = network.init(jax.random.key(0), images)

    wrapped = models.LogProbabilities(models.Function(lambda x: jax.nn.softmax(network.apply(variables, x))))
    logits = network.apply(variables, images)
    np.testing.assert_allclose(wrapped.apply({}, images), jax.nn.log_softmax(logits), atol=1e-6)
    around = models.LogProbabilities(network)
    assert jax.tree.map(jnp.shape, around.init(jax.random.key(0), images)) == jax.tree.map(jnp.shape, variables)
    assert innermost(models.SelectClasses(around, (1, 0))) is network


def test_a_function_that_does_not_give_the_shape_that_it_states_is_named():
    module = models.Function(lambda images: np.zeros((len(images), 7)), host=True, shape=(10,), player="teacher")
    with pytest.raises(ValueError, match=r"players.teacher .* gave an array \[3, 7\]; \[3, 10\] is accepted"):
        module.apply({}, np.zeros((3, 2), np.float32))
