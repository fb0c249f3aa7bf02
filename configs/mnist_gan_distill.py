"""Generators distilled on MNIST: a DCGAN teaches students of half its width with 100 images, and of a quarter with all.

python -m kdgan.main --config=configs/mnist_gan_distill.py --workdir=runs/mnist_gan_distill

The arms of configs/digits_gan_distill.py, all of the same batches and learning rates. FD-lenet5 is the Fréchet distance of
features of a LeNet-5 that the first stage trains on the same images. Not measured yet.
"""

from configs import gan_arms
from kdgan import config as common

IMAGES, STEPS = 100, 1_500
MATCHED = {2: 3.56, 4: 4.44}  # see configs/digits_gan_distill.py


def get_config():
    config = common.get_config()
    config.data.name, config.data.validation = "mnist", 5_000
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.players = gan_arms.players(image_size=28)
    config.players.extractor = dict(model="lenet5", optimizer=dict(schedule="cosine", learning_rate=2e-3))
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=1_000
        ),
        teacher=dict(gan_arms.gan("teacher"), steps=3_000),
        half=gan_arms.stage(gan_arms.arms(2, STEPS, MATCHED[2], only=gan_arms.SHORT), 2, STEPS, IMAGES),
        quarter=gan_arms.stage(gan_arms.arms(4, STEPS, MATCHED[4], only=gan_arms.SHORT), 4, STEPS),
    )
    config.stage.batch_size = 64
    config.population.seeds = 3
    config.evaluate.every = 500
    config.evaluate.extractor.stage = "extractor"
    return config
