"""Generators distilled on the UCI digits: the small twin of mnist_gan_distill, with students of a quarter of the width.

python -m kdgan.main --config=configs/digits_gan_distill.py --workdir=runs/digits_gan_distill      # TIME
TABLE
"""

from configs import mnist_gan_distill


def get_config():
    config = mnist_gan_distill.get_config()
    config.data.name, config.data.validation = "digits", 200
    config.players = mnist_gan_distill.players(image_size=8)
    config.players.extractor = dict(
        model="cnn", model_args=dict(features=(8, 16), dense=32), optimizer=dict(schedule="cosine", learning_rate=2e-3)
    )
    del config.stages["half"]
    config.stages.extractor.steps, config.stages.teacher.steps, config.stages.quarter.steps = 300, 900, 300
    # As many floating-point operations of training as the fused arm takes in its 300 steps.
    arms = config.stages.quarter.arms
    arms.scratch_matched = dict(arms.scratch, steps=1_100)
    config.evaluate.every = 300
    config.evaluate.samples, config.evaluate.validation_samples = 1_000, 500
    return config
