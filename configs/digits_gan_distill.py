"""Generators distilled on the UCI digits: a DCGAN teaches a student of half its width that has 20 images, in five arms.

python -m kdgan.main --config=configs/digits_gan_distill.py --workdir=runs/digits_gan_distill      # 6 min on 2 idle cores
                        FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher            1.25 ± 0.21    0.88 ± 0.04    0.72 ± 0.04
scratch            8.08 ± 2.79    0.37 ± 0.06    0.43 ± 0.03                  −0.1 ± 2.3
scratch_matched    8.19 ± 2.14    0.23 ± 0.04    0.41 ± 0.04
mse                8.83 ± 0.69    0.58 ± 0.07    0.50 ± 0.04                  +0.6 ± 3.7
adversarial        3.00 ± 0.95    0.83 ± 0.02    0.64 ± 0.04                  −5.2 ± 2.8
fused_held         8.50 ± 0.57    0.59 ± 0.05    0.52 ± 0.02                  +0.3 ± 3.4
(test split, five seeds; differences hold for all arms at once)

The teacher has seen all 1,097 training images; the students' discriminators see 20 of them. All arms have the same batches
and learning rates, and those with a discriminator the same; what they are: configs/gan_curves.py. FD-cnn is the Fréchet
distance of features of a CNN that the first stage trains. More arms, widths, images and steps: results/gan_distill.md.
"""

from configs import gan_arms
from kdgan import config as common

SHARE, IMAGES, STEPS = 2, 20, 800
# Operations of a step of the fused game over those of a GAN of the student alone, by the teacher's width over the student's.
MATCHED = {2: 3.06, 4: 3.54, 8: 3.75, 16: 3.81}


def get_config():
    config = base()
    config.stages.student = gan_arms.stage(
        gan_arms.arms(SHARE, STEPS, MATCHED[SHARE], only=gan_arms.SHORT), SHARE, STEPS, IMAGES
    )
    return config


def base(players=None, **game):
    """The data, the players, the CNN whose features measure images, and the teacher.

    Args:
      players: of the game; those of `gan_arms` by default.
      **game: fields of the teacher's method beside the penalty.
    """
    config = common.get_config()
    config.data.name, config.data.validation = "digits", 200
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.players = gan_arms.players(image_size=8) if players is None else players
    config.players.extractor = dict(
        model="cnn", model_args=dict(features=(8, 16), dense=32), optimizer=dict(schedule="cosine", learning_rate=2e-3)
    )
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"),
            lambdas=dict(extractor=dict(ce=1.0)),
            steps=300,
            batch_size=32,
        ),
        teacher=dict(gan_arms.gan("teacher", **game), steps=3_000),
    )
    config.stage.batch_size = 64
    config.population.seeds = 5
    config.parallel.convolutions = "patches"
    config.evaluate.every = 500
    config.evaluate.samples, config.evaluate.validation_samples = 1_000, 500
    config.evaluate.extractor.stage = "extractor"
    return config
