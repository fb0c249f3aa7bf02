"""Games so small that their optimum is known on paper, and how tests run them to it, or differentiate one move of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from scipy.stats import norm

import players as small
from kdgan import game
from kdgan.step import make_train_step


class Affine(nn.Module):
    """The generator x = ⟨a, z⟩ + b of one pixel [b, 1, 1, 1]: for standard normal noise [b, 1] it is N(b, a²)."""

    @nn.compact
    def __call__(self, noise):
        scale = self.param("scale", nn.initializers.ones, (noise.shape[-1],))
        return (noise @ scale + self.param("shift", nn.initializers.zeros, ()))[:, None, None, None]


class Moments(nn.Module):
    """The critic c + w₁·x + w₂·x² of one pixel [b]: it tells N(μ, σ²) from any other normal, and starts at 0."""

    @nn.compact
    def __call__(self, image):
        x = image[:, 0, 0, 0]
        weights = self.param("weights", nn.initializers.zeros, (3,))
        return jnp.stack([jnp.ones_like(x), x, x**2], axis=-1) @ weights


def affine(scale, shift) -> dict:
    return {"scale": jnp.atleast_1d(jnp.float32(scale)), "shift": jnp.float32(shift)}


# A game of one pixel in which no two players are alike, and no gradient is 0 by accident.
PLAYERS = {"student": Affine(), "teacher": Affine(), "generator": Affine(), "discriminator": Moments()}
PARAMS = {
    "student": affine(0.7, 0.3),
    "teacher": affine(1.2, -0.4),
    "generator": affine(-0.9, 0.1),
    "discriminator": {"weights": jnp.array([0.1, 0.5, -0.3])},
}


def normal_sample(size: int) -> np.ndarray:
    """Quantiles of N(0, 1) [size, 1], of mean 0 and variance 1 to rounding."""
    x = norm.ppf((np.arange(size) + 0.5) / size)
    return np.float32((x - x.mean()) / x.std())[:, None]


def signs(dimensions: int) -> np.ndarray:
    """All corners of a cube [2^d, d]: their mean is 0 and their covariance the identity, exactly."""
    return np.float32(np.stack(np.meshgrid(*[[-1, 1]] * dimensions), axis=-1).reshape(-1, dimensions))


def example(size: int = 8, mean: float = 0.5, deviation: float = 0.8, seed: int = 0) -> dict[str, jax.Array]:
    """Noise [size, 1], and images of one pixel of just that mean and deviation, paired at random."""
    noise = normal_sample(size)
    image = mean + deviation * np.random.default_rng(seed).permutation(noise)
    return {"image": jnp.asarray(image[:, :, None, None]), "noise": jnp.asarray(noise)}


def loop(method, modules, optimizers, *, steps: int):
    """`run(state, batch) -> (state, metrics of the last step)`: that many steps on one batch, compiled once."""
    step = make_train_step(method, modules, optimizers)

    @jax.jit
    def run(state, batch):
        state, metrics = jax.lax.scan(lambda state, _: step(state, batch), state, None, length=steps)
        return state, {name: values[-1] for name, values in metrics.items()}

    return run


def state_of(method, modules, batch, optimizers, *, params, lambdas):
    """A state with these players' parameters; the others are fresh."""
    state = small.make_state(method, modules, optimizers=optimizers, lambdas=lambdas, example=batch)
    for name, given in params.items():
        assert jax.tree.map(jnp.shape, state.params[name]) == jax.tree.map(jnp.shape, dict(given)), name
    return state.replace(params={**state.params, **params})


def sgd(method, rate: float = 0.1) -> dict[str, optax.GradientTransformation]:
    return {name: optax.sgd(rate) for name in method.trained}


def differentiate(method, modules, params, batch) -> dict:
    """{lead: {term: (mean value, {player: gradient})}}, of all players, trained, moving or not.

    Not compiled as a whole: single operations serve all games, and a test differentiates each game once or twice.
    """
    found = {}
    for move in method.moves:

        def terms(params, move=move):
            players = game.bind(
                modules, params, {}, step=jnp.int32(0), key=jax.random.key(1), trained=method.trained, moving=()
            )
            return {name: jnp.mean(value) for name, value in move.terms(players, batch, jax.random.key(2)).items()}

        values, pull_back = jax.vjp(terms, params)
        one = lambda name, values=values: {other: jnp.float32(other == name) for other in values}
        found[move.lead] = {name: (value, pull_back(one(name))[0]) for name, value in values.items()}
    return found


def norm_of(tree) -> float:
    """The largest absolute value of a tree's leaves."""
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))
