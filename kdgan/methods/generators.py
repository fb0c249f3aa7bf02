"""A large generator teaches a small one: by its images, its features, a discriminator, or all of them fused.

The teacher is any player `noise -> image`, frozen here; both get the same noise, which makes their images pairs. Where
teacher and student have noise of different dimension, the smaller is an orthonormal projection of the larger, so that
each sees standard normal noise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan.game import Batch, Method, Move, Players, Terms, fold_in_name
from kdgan.losses import features as feature_losses
from kdgan.losses import images as image_losses
from kdgan.losses.latents import project
from kdgan.losses.weights import weight_distance
from kdgan.methods.gan import Adversary, check_images, check_latent, fooling, generate, labels_of, noise_of

PIXELS = image_losses.DISTANCES
Paths = Sequence[str] | Mapping[str, str]  # of modules; student's -> teacher's where they differ


class _Pair:
    """Student and teacher on the same noise: images [b, h, w, c], and the features that the terms ask for."""

    def __init__(self, latent, teacher_latent, pixel, adapted, aligned, conditional):
        check_latent("latent", latent)
        check_latent("teacher_latent", latent if teacher_latent is None else teacher_latent)
        if pixel not in PIXELS:
            raise ValueError(f"method.pixel = {pixel!r}: accepted are {', '.join(PIXELS)}")
        self.latent, self.teacher_latent = latent, teacher_latent or latent
        self.pixel, self.conditional = PIXELS[pixel], conditional
        self.adapted, self.aligned = pairs_of("adapted", adapted), pairs_of("aligned", aligned)
        self.movers = ("student", "adapter") if self.adapted else "student"

    def noise(self, batch: Batch, key: Any) -> tuple[jax.Array, jax.Array]:
        """(the student's, the teacher's): one draw of the larger dimension."""
        name = "method.latent" if self.latent >= self.teacher_latent else "method.teacher_latent"
        drawn = noise_of(batch, key, max(self.latent, self.teacher_latent), name)
        return project(drawn, self.latent), project(drawn, self.teacher_latent)

    def images(self, players: Players, batch: Batch, key: Any) -> tuple[jax.Array, jax.Array]:
        own, taught = self.noise(batch, key)
        return (
            generate(players, "student", own, batch, self.conditional),
            generate(players, "teacher", taught, batch, self.conditional),
        )

    def run(self, players: Players, batch: Batch, key: Any) -> tuple[jax.Array, jax.Array, Terms]:
        """(student's images, teacher's images, the terms that need no discriminator)."""
        if not (self.adapted or self.aligned):
            image, target = self.images(players, batch, key)
            return image, target, {"pixel": self.pixel(image, target)}
        own, taught = self.noise(batch, key)
        label = labels_of(batch, self.conditional)
        once = lambda paths: tuple(dict.fromkeys(paths))
        image, found = players.student(own, *label, features=once((*self.adapted, *self.aligned)))
        target, wanted = players.teacher(
            taught, *label, features=once((*self.adapted.values(), *self.aligned.values()))
        )
        check_images("student", image, batch)
        check_images("teacher", target, batch)
        terms = {"pixel": self.pixel(image, target)}
        if self.adapted:
            small = {path: found[path] for path in self.adapted}
            large = {path: wanted[path] for path in self.adapted.values()}
            terms["adapted"] = feature_losses.feature_l2(players.adapter(small, large), large)
        if self.aligned:
            terms["aligned"] = feature_losses.kernel_alignment(
                [found[path] for path in self.aligned], [wanted[path] for path in self.aligned.values()]
            )
        return image, target, terms


def pairs_of(field: str, paths: Paths) -> dict[str, str]:
    """The student's path of a module -> the teacher's.

    Raises:
      ValueError: they are no paths.
    """
    if isinstance(paths, Mapping) and all(isinstance(path, str) for pair in paths.items() for path in pair):
        return dict(paths)
    return {path: path for path in paths_of(field, paths, " or a mapping of the student's to the teacher's,")}


def paths_of(field: str, paths: Any, more: str = "") -> tuple[str, ...]:
    """Paths of a network's modules, or a ValueError for what is none; a single word would be read letter by letter."""
    if isinstance(paths, str) or not isinstance(paths, Sequence) or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"method.{field} = {paths!r}: paths of modules, as ('body',),{more} are accepted")
    return tuple(paths)


def generator_mimic(
    *, latent: int = 64, teacher_latent: int | None = None, pixel: str = "l2", adapted: Paths = (),
    aligned: Paths = (), conditional: bool = False,
) -> Method:  # fmt: skip
    """The student's image equals the teacher's for the same noise; no discriminator (Aguinaldo et al. 2019, L_MSE).

    Term `pixel` = mean (S(z) − T(z))², and `adapted`, `aligned` as in `generator_distill`. On pictures of more than one
    mode this alone blurs, and may be worse than no teacher (40.1 against 31.6 in FID for a DCGAN student on CIFAR-10).

    Args: as in `generator_distill`.
    """
    pair = _Pair(latent, teacher_latent, pixel, adapted, aligned, conditional)
    return Method(
        Move(pair.movers, lambda players, batch, key: pair.run(players, batch, key)[2], details={"pixel": pixel})
    )


def generator_distill(
    *, latent: int = 64, teacher_latent: int | None = None, pixel: str = "l1", adapted: Paths = (),
    aligned: Paths = (), seen: Sequence[str] = (), loss: str = "nonsaturating", real_label: float = 1.0,
    penalty: str | None = None, penalty_every: int = 1, diffaugment: str = "", conditional: bool = False,
    discriminator_repeats: int = 1,
) -> Method:  # fmt: skip
    """A small generator learns from a large one and from a discriminator that tells both data and teacher from it.

    Discriminator: `real` (data against student), `teacher` (the teacher's images against the student's), `fake`: with
    TinyGAN's weights (Chang and Lu 2020) λ_real = 0.2, λ_teacher = 1, λ_fake = 1.2; λ_real = 0 needs no data, λ_teacher = 0
    is the ordinary GAN. A relativistic loss judges pairs: both sides of a pair's game stand in `real` or `teacher`, and
    `fake` is 0. Student: `adv`; `pixel`, the distance to the teacher's image for the same noise (with λ_real = 0
    Aguinaldo et al. 2019's joint loss); and, where asked for, `seen`, `adapted`, `aligned`.

    Args:
      latent: dimension of the student's noise.
      teacher_latent: of the teacher's, where it differs.
      pixel: "l1", "l2" or "charbonnier".
      adapted: paths of features that a 1×1 convolution, the player `adapter`, maps to the teacher's: mean squared error
        (GAN Compression, Li et al. 2020). A mapping student's path -> teacher's where they differ.
      aligned: paths of features whose kernels are aligned, without an adapter (CAT, Jin et al. 2021).
      seen: paths of the discriminator's features, compared by L1 between the two images (TinyGAN).
      loss: as in `gan`, and so are the others.
      real_label: one-sided label smoothing.
      penalty: None, "r1" or "gradient".
      penalty_every: steps from one penalty to the next.
      diffaugment: what images go through before the discriminator.
      conditional: whether all players are given the labels.
      discriminator_repeats: the discriminator's moves per step.
    """
    pair = _Pair(latent, teacher_latent, pixel, adapted, aligned, conditional)
    adversary = Adversary(loss, real_label, penalty, penalty_every, diffaugment, conditional)

    def discriminator(players, batch, key):
        image, target = pair.images(players, batch, key)
        scores = {
            name: adversary.score(players, shown, batch, fold_in_name(key, name))
            for name, shown in (("real", batch["image"]), ("teacher", target), ("fake", image))
        }
        real, made = adversary.losses.discriminator(scores["real"], scores["fake"])
        taught, made_beside_teacher = adversary.losses.discriminator(scores["teacher"], scores["fake"])
        if adversary.losses.reads_real:
            real, taught, made = real + made, taught + made_beside_teacher, jnp.zeros_like(made)
        return {
            "real": real,
            "teacher": taught,
            "fake": made,
            **adversary.penalty_terms(players, batch["image"], image, batch, key),
        }

    def alike(real, fake):
        if adversary.losses.reads_real:
            return {"real": real + fake, "teacher": real + fake, "fake": jnp.zeros_like(fake)}
        return {"real": real, "teacher": real, "fake": fake}

    def student(players, batch, key):
        image, target, terms = pair.run(players, batch, key)
        terms = {"adv": fooling(adversary, players, image, batch, key), **terms}
        if seen:
            terms["seen"] = seen_distance(adversary, players, image, target, batch, key, seen)
        return terms

    return Method(
        adversary.move(discriminator, repeats=discriminator_repeats, alike=alike),
        Move(pair.movers, student, details={"pixel": pixel, "adv": loss}),
    )


def seen_distance(adversary, players, image, target, batch, key, paths) -> jax.Array:
    """L1 between the discriminator's features [b] of two images, seen through the same augmentation."""
    label = labels_of(batch, adversary.conditional)
    view = lambda x: adversary.view(x, fold_in_name(key, "fake"))
    _, own = players.discriminator(view(image), *label, features=tuple(paths))
    _, wanted = players.discriminator(view(target), *label, features=tuple(paths))
    return feature_losses.feature_l1(own, wanted)


MATCHES = ("outputs", "weights")


def fused(
    *, latent: int = 64, match: str | Sequence[str] = "outputs", pixel: str = "l2", reference: str = "teacher",
    seen: Sequence[str] = (), loss: str = "nonsaturating", real_label: float = 1.0, penalty: str | None = None,
    penalty_every: int = 1, diffaugment: str = "", conditional: bool = False, discriminator_repeats: int = 1,
) -> Method:  # fmt: skip
    """Generator, discriminator and distilled generator, all trained in one game.

    The source states: L_G = λ1·MSE + λ2·CE(D, G); L_D = λ3·CE(D, G) + λ4·CE(D, R); L_T = λ5·WD(T, G), where R are real
    images, T is the distilled (small) generator and WD the weight difference; the generator is the teacher of T. Here T is
    the player `student`, and the loose ends are tied so:

    - MSE needs a target. Against an unrelated real image its optimum is the mean image; so the target is the image that a
      frozen generator, the player `teacher`, makes of the same noise (λ1 · `mse`): the generator is held near it while it
      plays. `reference="batch"` takes batch["image"] itself, for pairs whose noise stands in the batch (autoencoding).
    - WD is defined between equal shapes. Between different widths `match="weights"` compares the slices that uniform
      selection matches (`kdgan.transfer`; `wd`), and `match="outputs"` replaces it by what weights are for, the images for
      the same noise (`match`). Both may be named.
    - T as stated never meets the discriminator, and inherits what the mean squared error blurs. Here D judges its images,
      too: `fake_student` of the discriminator and `adv` of the student; λ 0 for both is the source.

    Terms of the discriminator: `real` (λ4), `fake` (λ3), `fake_student`; of the generator: `mse` (λ1), `adv` (λ2); of
    the student: `match` or `wd` (λ5), `adv`, and `seen` where asked for. A relativistic loss judges pairs: `fake_student`
    is then the whole game between the data and the student, both sides of it.

    Args:
      latent: dimension of the noise, one for all.
      match: "outputs", "weights", or both.
      pixel: distance of images: "l1", "l2" or "charbonnier".
      reference: "teacher", or "batch".
      seen: paths of the discriminator's features, compared by L1 between the student's and the generator's image.
      loss: as in `gan`, and so are the others.
      real_label: one-sided label smoothing.
      penalty: None, "r1" or "gradient".
      penalty_every: steps from one penalty to the next.
      diffaugment: what images go through before the discriminator.
      conditional: whether all players are given the labels.
      discriminator_repeats: the discriminator's moves per step.
    """
    adversary = Adversary(loss, real_label, penalty, penalty_every, diffaugment, conditional)
    check_latent("latent", latent)
    matches = (match,) if isinstance(match, str) else tuple(match)
    if not matches or not set(matches) <= set(MATCHES):
        raise ValueError(f"method.match = {match!r}: accepted are {', '.join(MATCHES)}, or both")
    if reference not in ("teacher", "batch"):
        raise ValueError(f"method.reference = {reference!r}: accepted are teacher, batch")
    if pixel not in PIXELS:
        raise ValueError(f"method.pixel = {pixel!r}: accepted are {', '.join(PIXELS)}")
    distance = PIXELS[pixel]

    def made(players, name, batch, key):
        return generate(players, name, noise_of(batch, key, latent), batch, conditional)

    def discriminator(players, batch, key):
        image, distilled = batch["image"], made(players, "student", batch, key)
        scores = {
            name: adversary.score(players, shown, batch, fold_in_name(key, name))
            for name, shown in (
                ("real", image),
                ("fake", made(players, "generator", batch, key)),
                ("student", distilled),
            )
        }
        real, fake = adversary.losses.discriminator(scores["real"], scores["fake"])
        beside_student, of_student = adversary.losses.discriminator(scores["real"], scores["student"])
        if adversary.losses.reads_real:
            of_student = beside_student + of_student
        penalty_terms = adversary.penalty_terms(players, image, distilled, batch, key)
        return {"real": real, "fake": fake, "fake_student": of_student, **penalty_terms}

    def alike(real, fake):
        return {"real": real, "fake": fake, "fake_student": real + fake if adversary.losses.reads_real else fake}

    def generator(players, batch, key):
        image = made(players, "generator", batch, key)
        target = batch["image"] if reference == "batch" else made(players, "teacher", batch, key)
        return {"mse": distance(image, target), "adv": fooling(adversary, players, image, batch, key)}

    def student(players, batch, key):
        image = made(players, "student", batch, key)
        target = made(players, "generator", batch, key)
        terms = {"adv": fooling(adversary, players, image, batch, key)}
        if "outputs" in matches:
            terms["match"] = distance(image, target)
        if "weights" in matches:
            terms["wd"] = weight_distance(players.student.params, players.generator.params)
        if seen:
            terms["seen"] = seen_distance(adversary, players, image, target, batch, key, seen)
        return terms

    return Method(
        adversary.move(discriminator, repeats=discriminator_repeats, alike=alike),
        Move("generator", generator, details={"mse": pixel, "adv": loss}),
        Move("student", student, details={"match": pixel, "adv": loss}),
    )
