"""A variational autoencoder: judged by its ELBO, and, as a generator, by what it makes of draws from its prior."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel
from kdgan.data.batches import normalise
from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, grid
from kdgan.evaluators.generator import MEASURES, NOISE_SEED, about, distances, heads, notes, pictures, remarks, shown
from kdgan.game import call_module
from kdgan.methods.vae import elbo_terms

RECONSTRUCTIONS = 8
ELBO = Measure("elbo", "ELBO", digits=2, note="ELBO: nats per example; higher is better")


def autoencoder() -> Evaluator:
    """ELBO in nats, by one draw of the posterior of each example; then the measures of a generator."""

    def measure(setting: Setting, judged: Judged, split: str) -> dict[str, Any]:
        return {
            **distances(setting, judged, split, draws=drawn_from),
            "elbo": measure_elbo(setting, judged, split),
        }

    def pictured(setting: Setting, judged: Judged) -> list[Figure]:
        return [*pictures(setting, judged, draws=drawn_from), reconstructions(setting, judged)]

    return Evaluator(
        ELBO,
        *MEASURES,
        measure=measure,
        fits=_fits,
        samples=True,
        draws=drawn_from,
        watch=functools.partial(shown, draws=drawn_from),
        pictures=pictured,
        notes=notes,
        remarks=remarks,
        heads=heads,
        about=about,
        gives="images",
    )


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    if not isinstance(output, Mapping) or not {"mean", "log_variance", "decoded"} <= set(output):
        return "an autoencoder gives mean, log_variance and decoded"
    return None


def drawn_from(given: tuple, output: Any) -> Mapping[str, Any]:
    """Its decoder is given a draw from the prior."""
    return {"latent": output["mean"].shape[-1], "conditional": False, "method": "generate"}


def measure_elbo(setting: Setting, judged: Judged, split: str) -> float:
    """Mean evidence lower bound of a split's images, in nats, by one draw of the posterior each."""
    module, key = judged.module, ("autoencoder", judged.module)
    if key not in setting.memo:

        def total(variables, batch, key):
            full = {"params": variables["params"], **variables.get("model_state", {})}
            image = normalise(batch["image"], mean=setting.mean, std=setting.std)
            out, _, _ = call_module(module, full, image, train=False)
            z = out["mean"] + jnp.exp(0.5 * out["log_variance"]) * jax.random.normal(key, out["mean"].shape)
            decoded, _, _ = call_module(module, full, z, train=False, method="decode")
            terms = elbo_terms(module, {**out, "decoded": decoded}, image)
            return -jnp.sum(jnp.where(batch["mask"], terms["reconstruction"] + terms["kl"], 0.0))

        setting.memo[key] = parallel.compiled(total)
    size = setting.splits.size(split)
    keys = jax.random.split(jax.random.key(NOISE_SEED[split]), size)
    sums = [
        setting.memo[key](judged.variables, batch, each)
        for batch, each in zip(setting.splits.batches(split), keys, strict=False)
    ]
    return float(np.sum(jax.device_get(sums))) / size


def reconstructions(setting: Setting, judged: Judged) -> Figure:
    images = setting.splits.images("test", np.arange(RECONSTRUCTIONS))
    decoded = _reconstruct(judged.module)(
        judged.variables, np.asarray(normalise(images, mean=setting.mean, std=setting.std))
    )
    unit = np.asarray(decoded) * np.asarray(setting.std, np.float32) + np.asarray(setting.mean, np.float32)
    decoded = np.round(255 * np.clip(unit, 0, 1)).astype(np.uint8)
    note = "Upper row: test images. Lower row: their reconstructions"
    return grid("Reconstructions", np.stack([images, decoded]), note=note)


@functools.lru_cache(maxsize=32)
def _reconstruct(module: Any):
    """Compiled `(variables, image) -> image`: what an autoencoder decodes of the posterior's mean."""

    def reconstruct(variables, image):
        full = {"params": variables["params"], **variables.get("model_state", {})}
        out, _, _ = call_module(module, full, image, train=False)
        return call_module(module, full, out["mean"], train=False, method="generate")[0]

    return parallel.compiled(reconstruct)
