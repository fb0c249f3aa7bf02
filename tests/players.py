"""Small players and batches that the tests of the core share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from kdgan import game
from kdgan.losses.logits import cross_entropy
from kdgan.models import Function
from kdgan.state import TrainState

CLASSES = 3


class Net(nn.Module):
    """Convolution, batch norm, dropout and a dense head: one of each thing that a step must get right."""

    width: int = 4
    dropout: float = 0.0
    axis_name: str | None = None
    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(self.width, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name, name="norm")(x)
        x = nn.relu(x).mean((1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x)


class Plain(nn.Module):
    """No norm, no dropout: the same numbers whatever devices a batch is split over."""

    width: int = 5

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(CLASSES, name="head")(x)


class Maps(nn.Module):
    """Images to logits through two maps of the images' sides, `first` and `second`; smooth, and plain, too."""

    width: int = 4

    @nn.compact
    def __call__(self, x):
        for name in ("first", "second"):
            x = nn.Conv(self.width, (3, 3), name=name)(nn.tanh(x))
        return nn.Dense(CLASSES, name="head")(nn.tanh(x).mean((1, 2)))


class Reads(nn.Module):
    """Any number of arrays [b, ...], whole numbers among them, to logits, or to scores [b]; smooth."""

    width: int = 5
    scores: bool = False
    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, *fields):
        x = jnp.concatenate([field.reshape(len(field), -1).astype(jnp.result_type(*fields)) for field in fields], -1)
        x = nn.tanh(nn.Dense(self.width, name="hidden")(x))
        x = nn.Dense(1 if self.scores else self.num_classes, name="head")(x)
        return x[:, 0] if self.scores else x


class Judge(nn.Module):
    """Scores a vector of outputs: [b]."""

    @nn.compact
    def __call__(self, outputs):
        return nn.Dense(1, name="score")(nn.tanh(nn.Dense(4, name="hidden")(outputs)))[:, 0]


class Scribbles(nn.Module):
    """Noise [b, d] to images [b, 8, 8, 1] that end in some function."""

    last: str = "sigmoid"

    @nn.compact
    def __call__(self, noise):
        x = nn.Dense(64, name="image")(noise).reshape(-1, 8, 8, 1)
        return {"sigmoid": nn.sigmoid, "linear": lambda x: x}[self.last](x)


class Paints(nn.Module):
    """Noise [b, d] to images [b, 4, 4, 1], of a class where a label is given; plain, too."""

    width: int = 5

    @nn.compact
    def __call__(self, noise, label=None):
        given = noise if label is None else jnp.concatenate([noise, jax.nn.one_hot(label, CLASSES)], axis=-1)
        hidden = nn.tanh(nn.Dense(self.width, name="hidden")(given))
        return nn.tanh(nn.Dense(16, name="image")(hidden)).reshape(-1, 4, 4, 1)


class Critic(nn.Module):
    """Images to scores [b]; smooth, so that penalties on its gradient have gradients."""

    width: int = 6

    @nn.compact
    def __call__(self, image, label=None):
        x = image.reshape(len(image), -1)
        x = x if label is None else jnp.concatenate([x, jax.nn.one_hot(label, CLASSES)], axis=-1)
        return nn.Dense(1, name="score")(nn.tanh(nn.Dense(self.width, name="hidden")(x)))[:, 0]


class Restores(nn.Module):
    """Images to images of s times the sides, of as many channels; smooth, and plain: no norm, no noise."""

    width: int = 4
    scale: int = 1

    @nn.compact
    def __call__(self, image):
        x = nn.tanh(nn.Conv(self.width, (3, 3), name="hidden")(image))
        x = nn.Conv(image.shape[-1] * self.scale**2, (3, 3), name="last")(x)
        b, h, w, _ = x.shape
        x = x.reshape(b, h, w, self.scale, self.scale, -1).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h * self.scale, w * self.scale, -1)


class Stylises(nn.Module):
    """Images [b, h, w, c] to images, in one of several styles where a class [b] is given."""

    styles: int = 1

    @nn.compact
    def __call__(self, image, style=None):
        x = Restores(name="net")(image)
        return (
            x
            if style is None
            else x + self.param("shift", nn.initializers.normal(), (self.styles,))[style][:, None, None, None]
        )


class Patches(nn.Module):
    """Images to a score of each patch [b, h', w']; smooth."""

    @nn.compact
    def __call__(self, image):
        return nn.Conv(1, (2, 2), 2, name="score")(nn.tanh(nn.Conv(3, (3, 3), name="hidden")(image)))[..., 0]


class Coder(nn.Module):
    """A VAE without noise: what it gives is the same whatever devices a batch is split over."""

    latent: int = 2
    likelihood: str = "gaussian"

    def setup(self):
        self.mean, self.log_variance = nn.Dense(self.latent), nn.Dense(self.latent)
        self.decoder = nn.Dense(16)

    def __call__(self, image):
        x = image.reshape(len(image), -1)
        mean = self.mean(x)
        return {"mean": mean, "log_variance": self.log_variance(x), "decoded": self.decode(mean)}

    def encode(self, image):
        return self.mean(image.reshape(len(image), -1))

    def decode(self, z):
        return self.decoder(z).reshape(-1, 4, 4, 1)

    def generate(self, z):
        return self.decode(z)


def batch(size: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(size, 4, 4, 1)).astype(np.float32),
        "label": rng.integers(0, CLASSES, size).astype(np.int32),
    }


def with_noise(seed: int = 0, latent: int = 3) -> dict[str, jax.Array]:
    """The batch, and noise [8, latent] that generators are given."""
    noise = np.random.default_rng(seed).normal(size=(8, latent)).astype(np.float32)
    return jax.tree.map(jnp.asarray, {**batch(seed=seed), "noise": noise})


def restoration(size: int = 8, seed: int = 0, *, others: int = 0, scale: int = 1) -> dict[str, np.ndarray]:
    """Images [b, 4, 4, 1] with another noise and clean ones of s times the sides, and `others` of the same unlabelled."""
    rng = np.random.default_rng(100 + seed)
    draw = lambda n, side: rng.uniform(size=(n, side, side, 1)).astype(np.float32)
    part = lambda n: {"image": draw(n, 4), "again": draw(n, 4), "target": draw(n, 4 * scale)}
    return {**part(size), **({"unlabelled": part(others)} if others else {})}


def styles(count: int = 1, seed: int = 5) -> Function:
    """Style images [k, 4, 4, 1], as a player without parameters."""
    images = np.random.default_rng(seed).uniform(size=(count, 4, 4, 1)).astype(np.float32)
    return Function(lambda: jnp.asarray(images))


def ones(method: game.Method, modules, example, inputs=None) -> dict[str, dict[str, float]]:
    """λ 1 for every term of a method."""
    terms = game.inspect_method(method, modules, example, inputs=inputs).terms
    return {player: dict.fromkeys(names, 1.0) for player, names in terms.items()}


def make_state(
    method, modules, *, rate=0.1, optimizers=None, lambdas=None, seed=0, example=None, ema=(), inputs=None
) -> TrainState:
    """A state whose frozen players are initialised, too."""
    example = batch() if example is None else example
    optimizers = optimizers or {name: optax.sgd(rate) for name in method.trained}
    called = game.inspect_method(method, modules, example, inputs=inputs).inputs
    frozen = {}
    for name in called:
        if name not in method.trained:
            args, kwargs = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), called[name])
            frozen[name] = modules[name].init(jax.random.key(99), *args, **kwargs)
    return TrainState.create(
        method, modules, optimizers, example, key=jax.random.key(seed),
        lambdas=lambdas or ones(method, modules, example, inputs), inputs=inputs,
        params={name: variables.get("params", {}) for name, variables in frozen.items()},
        model_state={
            name: {kind: tree for kind, tree in variables.items() if kind != "params"} for name, variables in frozen.items()
        },
        ema=ema,
    )  # fmt: skip


def largest_difference(a, b) -> float:
    return max(
        (
            float(abs(np.asarray(x) - np.asarray(y)).max())
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        ),
        default=0.0,
    )


def nearest_mean(classes: int = 10, *, shift: int = 0, infinite: float = 0.0) -> Function:
    """A classifier of the digits without parameters: minus the squared distance to each class's mean image.

    Args:
      classes: of its logits.
      shift: its class i is the data's class i − shift.
      infinite: the share of pixels' sum up to which an image's smallest logit becomes −inf.
    """
    from kdgan import data

    train = data.load("digits", "train")
    images = np.asarray(train.image, np.float32).reshape(len(train.image), -1) / 255
    means = np.stack([images[train.label == label].mean(0) for label in range(classes)])
    means = np.roll(means, shift, axis=0)

    def logits(image, train=False):
        flat = image.reshape(len(image), -1)
        far = -jnp.sum(jnp.square(flat[:, None] - means[None]), -1)
        is_dark = flat.mean(-1) < infinite
        return jnp.where(is_dark[:, None] & (far == far.min(-1, keepdims=True)), -jnp.inf, far)

    return Function(logits)


def constant(classes: int) -> Function:
    """A classifier that takes everything for class 0."""
    return Function(lambda image, train=False: jax.nn.one_hot(jnp.zeros(len(image), jnp.int32), classes))


def twos() -> Function:
    """Gives 2 for each of ten classes."""
    return Function(lambda image, train=False: jnp.full((len(image), 10), 2.0))


def logits_of_means() -> Function:
    """Ten logits, of the sums of six pixels each."""
    return Function(
        lambda image, train=False: 0.1 * image.reshape(len(image), -1)[:, :60].reshape(len(image), 10, 6).sum(-1)
    )


def softmax_of_means() -> Function:
    """Their softmax."""
    logits = logits_of_means().function
    return Function(lambda image, train=False: jax.nn.softmax(logits(image)))


def agreeing() -> game.Method:
    """Cross-entropy with the class that the teacher takes an image for: of its logits only the largest counts."""

    def student(players, batch, key):
        taken = players.teacher(batch["image"]).argmax(-1)
        return {"ce": cross_entropy(players.student(batch["image"]), taken)}

    return game.Method(game.Move("student", student))
