"""An autoencoder in a run: its ELBO against a closed form, and its reconstructions against its own two halves."""

import jax
import numpy as np
import pytest
from scipy.special import expit, xlog1py, xlogy

import tiny
from configs import common
from kdgan.evaluators.autoencoder import measure_elbo, reconstructions
from kdgan.run import build
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve
from kdgan.run.evaluate import Evaluation
from kdgan.state import variable_shapes

NARROW = -40.0  # log-variance of a posterior that is a point in float32: one draw of it is its mean


@pytest.fixture(scope="module")
def measured():
    """(evaluation, program, variables) of a VAE whose posterior is a point, in a run of the digits."""
    config = tiny.config(validation=20)
    config.players = common.named(
        extractor=dict(model="mlp", model_args=dict(hidden=(4,))),
        student=dict(model="vae", model_args=dict(image_size=8, latent=2, width=1 / 32)),
    )
    config.stages = common.named(
        extractor=dict(method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0))),
        main=dict(method="vae", lambdas=dict(student=dict(reconstruction=1.0, kl=1.0))),
    )
    config.evaluate.samples = config.evaluate.validation_samples = 8
    config.evaluate.extractor.stage = "extractor"
    config.evaluate.batch_size = 15  # the second of 20 images is filled up with 10 that do not count
    run = resolve(config)
    inputs = run_inputs.load(run)
    programs = build.all_programs(run, inputs)
    (program,) = programs["main"]
    rng = np.random.default_rng(0)
    shapes = variable_shapes(program.local_modules["student"], program.inspection.inputs["student"])["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    point = params["encoder"]["log_variance"]
    params["encoder"]["log_variance"] = {"kernel": 0 * point["kernel"], "bias": 0 * point["bias"] + np.float32(NARROW)}
    return Evaluation(run, inputs, programs), program, {"params": params, "model_state": {}}


def by_hand(program, variables, images):
    """(posterior mean, decoded probabilities) of uint8 images."""
    module = program.local_modules["student"]
    out = module.apply({"params": variables["params"]}, jax.numpy.asarray(images / 255, jax.numpy.float32))
    return np.asarray(out["mean"], np.float64), expit(np.asarray(out["decoded"], np.float64))


def test_the_elbo_is_the_likelihood_less_the_divergence_of_each_image_once(measured):
    evaluation, program, variables = measured
    images = evaluation.on(program).splits.images("validation", np.arange(20))
    mean, p = by_hand(program, variables, images)
    x = images / 255
    likelihood = (xlogy(x, p) + xlog1py(1 - x, -p)).sum((1, 2, 3))
    divergence = 0.5 * (mean**2 + np.exp(NARROW) - 1 - NARROW).sum(1)
    found = measure_elbo(evaluation.on(program).setting, evaluation.judged(program, "student", variables), "validation")
    np.testing.assert_allclose(found, (likelihood - divergence).mean(), rtol=1e-5)


def test_reconstructions_stand_beside_the_test_images_that_they_are_of(measured):
    evaluation, program, variables = measured
    images = evaluation.on(program).splits.images("test", np.arange(8))
    found = reconstructions(evaluation.on(program).setting, evaluation.judged(program, "student", variables)).array
    assert found.shape == (2, 8, 8, 8, 1)
    np.testing.assert_array_equal(found[0], images)
    difference = found[1].astype(float) - 255 * by_hand(program, variables, images)[1]
    assert np.abs(difference).max() < 0.51  # rounded to 256 levels
