"""Generators measured on a run's splits: by features of a classifier, on images drawn from noise that all of them share.

Made images are rounded to 256 levels as the data's are, and both go through the extractor in the same way. An
autoencoder draws from its prior, and its ELBO is measured beside.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel
from kdgan.data.batches import normalise
from kdgan.data.cache import cache_dir
from kdgan.game import call_module
from kdgan.methods.vae import elbo_terms
from kdgan.metrics import generative, manifold
from kdgan.metrics.features import Extractor, Reference, reference
from kdgan.run import build, sampling
from kdgan.run.extractors import KINDS, from_files, of_player
from kdgan.run.inputs import Inputs
from kdgan.run.program import Program, Variables, program_of
from kdgan.run.schema import Run
from kdgan.run.splits import Splits

NOISE_SEED = {"validation": 1, "test": 2}  # of the images that are measured
SHOWN_SEED = 0  # of the images that are shown
SHOWN = 64
INTERPOLATIONS, INTERPOLATION_STEPS = 6, 10
NEIGHBOURS, NEIGHBOURS_OF = 4, 8
NEIGHBOURS_AMONG = 10_000  # training images among which a made one's neighbours are looked for
RECONSTRUCTIONS = 16
PRECISION_K, DENSITY_K = 3, 5
MANIFOLD = 5_000  # images of either side that precision, recall, density and coverage compare


class Generators:
    """Draws from a run's generators and measures what they draw, once the extractor is trained."""

    def __init__(self, run: Run, inputs: Inputs, splits: Splits, programs: Mapping[str, Sequence[Program]]):
        self._run, self._inputs, self._splits, self._programs = run, inputs, splits, programs
        self._compute = build.COMPUTE[run.parallel.compute]
        self._references: dict[str, Reference] = {}
        self._training: np.ndarray | None = None  # features among which neighbours are looked for
        self._elbo: dict[Any, Any] = {}
        everyone = [(stage, program, player) for stage, several in programs.items() for program in several
                    for player, kind in program.kinds.items() if kind in KINDS]  # fmt: skip
        self._latent = max((self.generator(program, player).latent for _, program, player in everyone), default=0)
        self.extractor: Extractor | None = None
        self._extractor_from = ""  # whose it is
        if everyone and (read := from_files(run, inputs)):
            self.extractor, self._extractor_from = read

    def learn(self, stage: str, finished: Mapping[str, Mapping[int, Mapping[str, Variables]]]) -> None:
        """Take the extractor from the stage that trains it, now that it is done: the first seed's."""
        spec = self._run.evaluate.extractor
        name, _, arm = (spec.stage or "").partition("/")
        if name != stage or not self._latent:
            return
        program = program_of(self._programs[stage], arm)
        variables = finished[arm or program.arms[0]][self._run.seed][spec.player]
        self.extractor = of_player(self._run, program.local_modules[spec.player], variables)
        self._extractor_from = f"{spec.player} of stage {spec.stage}, seed {self._run.seed}"

    def generator(self, program: Program, player: str) -> sampling.Generator:
        return sampling.generator_of(program, player, self._inputs.config, self._inputs.num_classes, self._compute)

    def noise(self, seed: int, count: int) -> jax.Array:
        """The noise [count, d] that every generator of the run is given; those of a smaller latent project it."""
        return jax.random.normal(jax.random.key(seed), (count, self._latent))

    def draw(self, program: Program, player: str, variables: Variables, seed: int, count: int) -> np.ndarray:
        """uint8 images [count, h, w, c]."""
        return self.generator(program, player).draw(variables, self.noise(seed, count))

    def measure(self, program: Program, player: str, variables: Variables, split: str) -> dict[str, float]:
        """fd, kid and inception_score; on the test split the manifold metrics, too; of an autoencoder its elbo."""
        final = split == "test"
        count = self._run.evaluate.samples if final else self._run.evaluate.validation_samples
        made = self._features(self.draw(program, player, variables, NOISE_SEED[split], count))
        features, probabilities, real = made["features"], made["probabilities"], self.reference(split)
        found = {
            "fd": generative.frechet_from_moments(*generative.moments(features), real.mean, real.covariance),
            "kid": generative.kernel_distance(features, real.features),
        }
        if probabilities is not None:
            found["inception_score"] = generative.inception_score(probabilities)
        if final:
            most = min(MANIFOLD, len(real.features), len(features))
            a, b = real.features[:most], features[:most]
            found |= manifold.precision_recall(a, b, k=PRECISION_K) | manifold.density_coverage(a, b, k=DENSITY_K)
        if program.kinds[player] == "autoencoder":
            found["elbo"] = self._measure_elbo(program, player, variables, split)
        return found

    def reference(self, split: str) -> Reference:
        """Features and moments of a split's images; computed once, and kept on the disk."""
        if split not in self._references:
            assert self.extractor is not None
            config = self._inputs.config
            about = f"{config.name}/{split}/{self._splits.fingerprint(split)}/{config.mean}/{config.std}"
            images = lambda: self._for_extractor(self._splits.images(split, np.arange(self._splits.size(split))))
            self._references[split] = reference(self.extractor, images, data=about, cache=cache_dir() / "features")
        return self._references[split]

    def about(self) -> dict[str, Any]:
        """What a table says under its numbers."""
        assert self.extractor is not None
        return {
            "extractor": self.extractor.name,
            "label": self.extractor.label,
            "extractor_from": self._extractor_from,
            "samples": self._run.evaluate.samples,
            "validation_samples": self._run.evaluate.validation_samples,
            "reference": self._splits.size("test"),
            "reference_split": "test",
            "features": self.reference("test").features.shape[1],
            "manifold": min(MANIFOLD, self._run.evaluate.samples, self._splits.size("test")),
            "k_precision": PRECISION_K,
            "k_density": DENSITY_K,
        }

    def shown(self, program: Program, player: str, variables: Variables) -> np.ndarray:
        """The images [64, h, w, c] by which a generator is shown, of the same noise for all."""
        return self.draw(program, player, variables, SHOWN_SEED, SHOWN)

    def pictures(self, program: Program, player: str, variables: Variables) -> dict[str, np.ndarray]:
        """What a report shows: samples, interpolations, nearest training images; reconstructions of an autoencoder."""
        generator, images = self.generator(program, player), self.shown(program, player, variables)
        ends = self.noise(SHOWN_SEED, 2 * INTERPOLATIONS).reshape(INTERPOLATIONS, 2, 1, -1)
        path = spherical(ends[:, 0], ends[:, 1], np.linspace(0, 1, INTERPOLATION_STEPS)[None, :, None])
        label = None
        if generator.classes:
            label = np.repeat(np.arange(INTERPOLATIONS) % generator.classes, INTERPOLATION_STEPS)
        between = generator.draw(variables, path.reshape(-1, path.shape[-1]), label)
        found = {
            "sample": images,
            "interpolation": between.reshape(INTERPOLATIONS, INTERPOLATION_STEPS, *images.shape[1:]),
            "neighbour": self._neighbours(images[:NEIGHBOURS_OF]),
        }
        if program.kinds[player] == "autoencoder":
            found["reconstruction"] = self._reconstructions(program, player, variables)
        return found

    def _neighbours(self, images: np.ndarray) -> np.ndarray:
        """[n, 1 + k, h, w, c]: each image, and the training images whose features are nearest to its own."""
        rows = next(iter(self._inputs.partitions.values())).train[:NEIGHBOURS_AMONG]
        if self._training is None:
            self._training = self._features(self._inputs.train.fetch(rows))["features"]
        nearest = manifold.nearest(self._features(images)["features"], self._training, k=NEIGHBOURS)
        found = self._inputs.train.fetch(rows[nearest.reshape(-1)]).reshape(*nearest.shape, *images.shape[1:])
        return np.concatenate([images[:, None], found], axis=1)

    def _reconstructions(self, program: Program, player: str, variables: Variables) -> np.ndarray:
        images = self._splits.images("test", np.arange(RECONSTRUCTIONS))
        decoded = _reconstruct(program.local_modules[player])(variables, self._normalised(images))
        return np.stack([images, self._as_bytes(decoded)], axis=1)

    def _measure_elbo(self, program: Program, player: str, variables: Variables, split: str) -> float:
        """Mean evidence lower bound of a split's images, in nats, by one draw of the posterior each."""
        module = program.local_modules[player]
        if module not in self._elbo:
            config = self._inputs.config

            def total(variables, batch, key):
                full = {"params": variables["params"], **variables.get("model_state", {})}
                image = normalise(batch["image"], mean=config.mean, std=config.std)
                out, _, _ = call_module(module, full, image, train=False)
                z = out["mean"] + jnp.exp(0.5 * out["log_variance"]) * jax.random.normal(key, out["mean"].shape)
                decoded, _, _ = call_module(module, full, z, train=False, method="decode")
                terms = elbo_terms(module, {**out, "decoded": decoded}, image)
                return -jnp.sum(jnp.where(batch["mask"], terms["reconstruction"] + terms["kl"], 0.0))

            self._elbo[module] = parallel.compiled(total)
        keys = jax.random.split(jax.random.key(NOISE_SEED[split]), self._splits.size(split))
        sums = [
            self._elbo[module](variables, batch, key)
            for batch, key in zip(self._splits.batches(split), keys, strict=False)
        ]
        return float(np.sum(jax.device_get(sums))) / self._splits.size(split)

    def _features(self, images: np.ndarray) -> Any:
        assert self.extractor is not None
        return self.extractor(self._for_extractor(images))

    def _for_extractor(self, images: np.ndarray) -> np.ndarray:
        """As the players see them; in [−1, 1] for Inception."""
        if self._run.evaluate.extractor.inception is not None:
            return np.asarray(normalise(images, mean=0.5, std=0.5))
        return self._normalised(images)

    def _normalised(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(normalise(images, mean=self._inputs.config.mean, std=self._inputs.config.std))

    def _as_bytes(self, image: Any) -> np.ndarray:
        config = self._inputs.config
        unit = np.asarray(image) * np.asarray(config.std, np.float32) + np.asarray(config.mean, np.float32)
        return np.round(255 * np.clip(unit, 0, 1)).astype(np.uint8)


@functools.lru_cache(maxsize=32)
def _reconstruct(module: Any):
    """Compiled `(variables, image) -> image`: what an autoencoder decodes of the posterior's mean."""

    def reconstruct(variables, image):
        full = {"params": variables["params"], **variables.get("model_state", {})}
        out, _, _ = call_module(module, full, image, train=False)
        return call_module(module, full, out["mean"], train=False, method="generate")[0]

    return parallel.compiled(reconstruct)


def spherical(a: Any, b: Any, t: Any) -> np.ndarray:
    """Points between a and b [.., d] at t in [0, 1], along the great circle (and of length between): where noise lies.

    White 2016: Gaussian noise of d dimensions has length near √d; the straight line between two draws passes through
    shorter ones, which a generator never saw.
    """
    a, b, t = np.asarray(a), np.asarray(b), np.asarray(t)
    lengths = np.linalg.norm(a, axis=-1, keepdims=True), np.linalg.norm(b, axis=-1, keepdims=True)
    angle = np.arccos(np.clip((a / lengths[0] * (b / lengths[1])).sum(-1, keepdims=True), -1, 1))
    sine = np.maximum(np.sin(angle), 1e-6)
    return np.sin((1 - t) * angle) / sine * a + np.sin(t * angle) / sine * b
