"""Generators distilled on MNIST: a DCGAN teaches a student of half its width that has 100 images, in five arms.

python -m kdgan.main --config=configs/mnist_gan_distill.py --workdir=runs/mnist_gan_distill

The arms of configs/digits_gan_distill.py, all of the same batches and learning rates. The teacher has seen all 55,000
training images. FD-lenet5 is the Fréchet distance of features of a LeNet-5 that the first stage trains on the same images.
The rate, R1's λ and the teacher's steps were chosen on validation images, of a seed that the table does not have. Not
measured yet.
"""

from configs import gan_arms
from kdgan import config as common

SHARE, IMAGES, STEPS = 2, 100, 1_500
MATCHED = 3.56  # see configs/digits_gan_distill.py
GAME = dict(penalty_weight=0.2)


def get_config():
    config = common.get_config()
    config.data.name, config.data.validation = "mnist", 5_000
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.players = gan_arms.players(image_size=28, rate=2e-3)
    config.players.extractor = dict(model="lenet5", optimizer=dict(schedule="cosine", learning_rate=2e-3))
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=1_000
        ),
        teacher=dict(gan_arms.gan("teacher", **GAME), steps=9_000),
        student=gan_arms.stage(gan_arms.arms(SHARE, STEPS, MATCHED, only=gan_arms.SHORT, **GAME), SHARE, STEPS, IMAGES),
    )
    config.stage.batch_size = 64
    config.population.seeds = 3
    config.evaluate.every = 500
    config.evaluate.extractor.stage = "extractor"
    return config
