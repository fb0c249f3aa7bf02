"""GANs: a generator of images against a discriminator, and the pieces that the distilling methods share with them.

A generator is any Flax module `noise [b, d] -> image [b, h, w, c]`, or `(noise, label [b]) -> image` where the game is
conditional; a discriminator gives a score [b] of an image (and label). Noise is standard normal, drawn anew by every
move; a batch that holds "noise" [b, d] is taken at its word (equality tests, fixed pairs).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdgan import whole_number
from kdgan.data.diffaugment import diffaugment
from kdgan.game import Batch, Method, Move, Players, Terms, fold_in_name
from kdgan.losses import penalties
from kdgan.losses.adversarial import GAN_LOSSES, GANLoss, fake_loss, gan_loss, real_loss

PENALTIES = ("r1", "gradient")


def noise_of(batch: Batch, key: Any, latent: int, name: str = "method.latent") -> jax.Array:
    """Standard normal noise [b, latent]: the batch's own where it holds some, else drawn from `key`.

    Raises:
      ValueError: the batch's noise is of another dimension than what `name` says.
    """
    if "noise" not in batch:
        return jax.random.normal(fold_in_name(key, "noise"), (size_of(batch), latent))
    if batch["noise"].shape[-1] != latent:
        raise ValueError(f"{name} = {latent}, but the batch holds noise of dimension {batch['noise'].shape[-1]}")
    return batch["noise"]


def size_of(batch: Batch) -> int:
    """b: of the images, or, in a stage without data, of the places [b] that its batches have."""
    return batch["image" if "image" in batch else "place"].shape[0]


def generate(players: Players, name: str, noise: jax.Array, batch: Batch, conditional: bool) -> jax.Array:
    """Images of a generator, of the shape of the batch's where there are data.

    Raises:
      ValueError: they are of another shape.
    """
    image = players[name](noise, *labels_of(batch, conditional))
    check_images(name, image, batch)
    return image


def labels_of(batch: Batch, conditional: bool) -> tuple[Any, ...]:
    """What players are given behind an image or noise: the labels [b] in a conditional game, else nothing.

    Raises:
      ValueError: the game is conditional, and the batch has no labels.
    """
    if not conditional:
        return ()
    if "label" not in batch:
        raise ValueError(f"method.conditional = True, but the batch has no 'label'; it holds {', '.join(batch)}")
    return (batch["label"],)


def check_images(name: str, image: Any, batch: Batch) -> None:
    if "place" not in batch and jnp.shape(image) != jnp.shape(batch["image"]):
        raise ValueError(
            f"players.{name} makes images of shape {jnp.shape(image)[1:]}, the data's are"
            f" {jnp.shape(batch['image'])[1:]}; set its model_args image_size and channels"
        )


@dataclasses.dataclass(frozen=True)
class Adversary:
    """How a discriminator judges: its loss, what it sees, and what keeps it smooth.

    Attributes:
      loss: a name of `kdgan.losses.adversarial.GAN_LOSSES`.
      real_label: one-sided label smoothing (Salimans et al. 2016): the target of real images.
      penalty: None, "r1" (½‖∇_x D‖² on real images) or "gradient" (WGAN-GP's (‖∇D‖ − 1)² between real and made ones).
      penalty_every: the penalty is taken at every so many steps, as many times as large (lazy regularisation).
      diffaugment: changes that real and made images go through before the discriminator, e.g. "color,translation".
      conditional: generator and discriminator are given the labels.
      patches: the discriminator may give several scores of an image, [b, ...], each of a part of it (PatchGAN, Isola et al.
        2017); what is made of them is a mean over them.
      called: the method's argument that names the loss, for messages.
    """

    loss: str = "nonsaturating"
    real_label: float = 1.0
    penalty: str | None = None
    penalty_every: int = 1
    diffaugment: str = ""
    conditional: bool = False
    patches: bool = False
    called: str = "loss"

    def __post_init__(self):
        if self.loss not in GAN_LOSSES:
            raise ValueError(f"method.{self.called} = {self.loss!r}: accepted are {', '.join(GAN_LOSSES)}")
        if isinstance(self.real_label, bool) or not isinstance(self.real_label, int | float):
            raise ValueError(f"method.real_label = {self.real_label!r}: a number in (0, 1] is accepted")
        try:
            gan_loss(self.loss, real_label=self.real_label)
        except ValueError as error:
            raise ValueError(f"method.real_label = {self.real_label}: {error}") from error
        _check_policy(self.diffaugment)
        if self.penalty not in (None, *PENALTIES):
            raise ValueError(f"method.penalty = {self.penalty!r}: accepted are {', '.join(PENALTIES)}, or None")
        if not isinstance(self.penalty_every, int) or self.penalty_every < 1:
            raise ValueError(f"method.penalty_every = {self.penalty_every!r}: must be at least 1")

    @property
    def losses(self) -> GANLoss:
        return gan_loss(self.loss, real_label=self.real_label)

    def view(self, image: jax.Array, key: Any) -> jax.Array:
        """What the discriminator sees of an image."""
        return diffaugment(key, image, policy=self.diffaugment) if self.diffaugment else image

    def score(self, players: Players, image: jax.Array, batch: Batch, key: Any) -> jax.Array:
        """The discriminator's score of images as it sees them: [b], or where it judges patches [b, ...]."""
        seen = self.view(image, key)
        scores = players.discriminator(seen, *labels_of(batch, self.conditional))
        shape, wanted = jnp.shape(scores), jnp.shape(image)[:1]
        if shape[:1] != wanted or (len(shape) > 1 and not self.patches):
            accepted = "one number for each of its patches, [b, ...]," if self.patches else "one number per image"
            said = "[b]" if not self.patches else "or one, [b]"
            raise ValueError(f"players.discriminator gives scores of shape {shape}; {accepted} is wanted, {said}")
        return scores

    def penalty_terms(self, players: Players, image: jax.Array, fake: jax.Array, batch: Batch, key: Any) -> Terms:
        """The smoothness term of the discriminator, or none."""
        if self.penalty is None:
            return {}

        def score(x):
            return of_image(players.discriminator.stateless(x, *labels_of(batch, self.conditional)))

        seen = self.view(image, fold_in_name(key, "real"))
        taken: Mapping[str, Callable[[], jax.Array]] = {
            "r1": lambda: penalties.r1(score, seen),
            "gradient": lambda: penalties.gradient_penalty(
                score, seen, self.view(fake, fold_in_name(key, "fake")), fold_in_name(key, "penalty")
            ),
        }
        return {self.penalty: penalties.lazy(self.penalty_every, players.step, taken[self.penalty])}

    def move(
        self,
        terms: Callable[..., Terms],
        *,
        repeats: int,
        alike: Callable[[jax.Array, jax.Array], Mapping[str, jax.Array]],
    ) -> Move:
        """The discriminator's move of these terms, its penalty among them.

        Args:
          terms: as of `Move`.
          repeats: moves per step.
          alike: (term of real images [n], of made ones [n]) -> {term: [n]}, where all scores are the n-th.
        """
        every = {} if self.penalty is None or self.penalty_every == 1 else {self.penalty: self.penalty_every}
        return Move(
            "discriminator",
            terms,
            repeats=repeats,
            details={term: f"every {k}" for term, k in every.items()},
            every=every,
            alike=lambda scores: alike(*self.losses.alike(scores)),
        )


def of_image(values: jax.Array) -> jax.Array:
    """The mean over what stands for the parts of each image: [b] of [b, ...]."""
    return values if jnp.ndim(values) < 2 else jnp.mean(values, axis=tuple(range(1, jnp.ndim(values))))


def _check_policy(policy: str) -> None:
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    try:
        jax.eval_shape(lambda image: diffaugment(jax.random.key(0), image, policy=policy), image)
    except ValueError as error:
        raise ValueError(f"method.diffaugment: {error}") from error


def gan(
    *, generator: str = "generator", latent: int = 64, loss: str = "nonsaturating", real_label: float = 1.0,
    penalty: str | None = None, penalty_every: int = 1, diffaugment: str = "", conditional: bool = False,
    discriminator_repeats: int = 1,
) -> Method:  # fmt: skip
    """A generative adversarial network (Goodfellow et al. 2014), with the losses and regularisers that came since.

    Terms `real`, `fake` of the discriminator (with λ 1 each its loss), and `r1` or `gradient` where there is a penalty;
    term `adv` of the generator. By default −log D(x) − log(1 − D(G(z))), and −log D(G(z)). `kdgan.losses` says which
    published code has other constants in these terms: relativistic_average is twice its author's.

    Args:
      generator: the player that generates: `teacher` where one is trained to teach, `student` for a scratch baseline.
      latent: dimension of the noise.
      loss: nonsaturating, minimax, least_squares, hinge, wasserstein, relativistic or relativistic_average.
      real_label: one-sided label smoothing: the discriminator's target for real images.
      penalty: None, "r1" or "gradient"; its λ is γ of R1 (½ is in the term: 20 for the 10 of GAN_stability, whose code
        has no ½), 10 of WGAN-GP.
      penalty_every: lazy regularisation: at every so many steps, as many times as large.
      diffaugment: differentiable augmentation of what the discriminator sees: "color", "translation", "cutout", joined
        by commas; "" for none.
      conditional: whether both players are given the labels.
      discriminator_repeats: the discriminator's moves per step.
    """
    adversary = Adversary(loss, real_label, penalty, penalty_every, diffaugment, conditional)
    check_latent("latent", latent)

    def discriminator(players, batch, key):
        image, fake = batch["image"], generate(players, generator, noise_of(batch, key, latent), batch, conditional)
        real, made = adversary.losses.discriminator(
            adversary.score(players, image, batch, fold_in_name(key, "real")),
            adversary.score(players, fake, batch, fold_in_name(key, "fake")),
        )
        return {"real": real, "fake": made, **adversary.penalty_terms(players, image, fake, batch, key)}

    def generator_terms(players, batch, key):
        fake = generate(players, generator, noise_of(batch, key, latent), batch, conditional)
        return {"adv": fooling(adversary, players, fake, batch, key)}

    return Method(
        adversary.move(discriminator, repeats=discriminator_repeats, alike=real_and_fake),
        Move(generator, generator_terms, details={"adv": loss}),
    )


def fooling(
    adversary: Adversary, players: Players, fake: jax.Array, batch: Batch, key: Any, real: jax.Array | None = None
) -> jax.Array:
    """A generator's adversarial term [b]; relativistic losses read the scores of real images beside those of its own.

    Args:
      adversary: how the discriminator judges.
      players: of whom it is one.
      fake: images that the generator made.
      batch: of which labels are read in a conditional game.
      key: of what the discriminator sees.
      real: real images; those of the batch by default.
    """
    scores, beside = adversary.score(players, fake, batch, fold_in_name(key, "fake")), None
    if adversary.losses.reads_real:
        shown = batch["image"] if real is None else real
        beside = adversary.score(players, shown, batch, fold_in_name(key, "real"))
    return of_image(adversary.losses.generator(scores, beside))


def real_and_fake(real: jax.Array, fake: jax.Array) -> Mapping[str, jax.Array]:
    """The terms of a discriminator that has these two, for `Adversary.move`."""
    return {"real": real, "fake": fake}


def logistic(real: Mapping[str, int], fake: Mapping[str, int]) -> Callable[[jax.Array], Mapping[str, jax.Array]]:
    """For `Move.alike`: terms of the logistic loss on real examples and on others; of how many scores each is a sum."""

    def alike(scores):
        of_real = {term: count * real_loss(scores) for term, count in real.items()}
        return {**of_real, **{term: count * fake_loss(scores) for term, count in fake.items()}}

    return alike


def check_latent(name: str, latent: int) -> None:
    whole_number.check(f"method.{name}", latent, unit="the noise's dimension")
