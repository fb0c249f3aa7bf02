"""FT between maps of different sides."""

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.methods.factors import averaged


def test_factors_of_larger_sides_are_averaged_to_the_students_and_smaller_ones_stay():
    student, factors = jnp.zeros((2, 2, 2, 5)), jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    means = np.asarray(factors, np.float64).reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(averaged(factors, student), means, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(averaged(factors, jnp.zeros((2, 8, 8, 5))), factors)
    embedding = jnp.ones((2, 3))
    np.testing.assert_array_equal(averaged(embedding, student), embedding)  # the translator refuses it by name
