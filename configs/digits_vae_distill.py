"""Variational autoencoders distilled on the UCI digits.

python -m kdgan.main --config=configs/digits_vae_distill.py --workdir=runs/digits_vae_distill      # TIME
TABLE
"""

from configs import common

STEPS = 1_000


def get_config():
    config = common.get_config()
    config.data.validation = 200
    vae = dict(image_size=8, latent=8)
    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine")
    config.players = common.named(
        extractor=dict(model="cnn", model_args=dict(features=(8, 16), dense=32), optimizer=cosine(2e-3)),
        teacher=dict(model="vae", model_args=dict(**vae), optimizer=cosine(2e-3)),
        student=dict(model="vae", model_args=dict(**vae, width=1 / 4), optimizer=cosine(1e-2)),
    )
    # The KL term comes in slowly (Bowman et al. 2016): at once, it drives some latent variables to the prior for good.
    elbo = dict(reconstruction=1.0, kl=dict(kind="linear", start=0.0, end=1.0, steps=STEPS // 2))
    scratch = dict(method=dict(name="vae"), lambdas=dict(student=elbo))
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=300
        ),
        teacher=dict(method=dict(name="vae", player="teacher"), lambdas=dict(teacher=elbo), steps=2 * STEPS),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=STEPS,
            arms=common.named(
                scratch=scratch,
                scratch_long=dict(**scratch, steps=4 * STEPS),
                distill=dict(
                    method=dict(name="vae_distill"), lambdas=dict(student=dict(**elbo, latent=1.0, decoder=64.0))
                ),
                decoder_only=dict(
                    method=dict(name="vae_distill", matches=("decoder",)),
                    lambdas=dict(student=dict(**elbo, decoder=64.0)),
                ),
            ),
        ),
    )
    config.population.seeds = 3
    config.evaluate.samples, config.evaluate.validation_samples = 1_000, 500
    config.evaluate.extractor.stage = "extractor"
    return config
