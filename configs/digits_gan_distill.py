"""Generators distilled on the UCI digits: a DCGAN teaches a student of half its width that has 20 images, in five arms.

python -m kdgan.main --config=configs/digits_gan_distill.py --workdir=runs/digits_gan_distill      # 6 min of a core
                        FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher            1.32 ± 0.19    0.88 ± 0.01    0.72 ± 0.01
scratch            8.47 ± 2.76    0.31 ± 0.05    0.42 ± 0.05                  +0.1 ± 1.5
scratch_matched    8.38 ± 1.92    0.19 ± 0.04    0.40 ± 0.03
mse                5.32 ± 0.30    0.68 ± 0.07    0.60 ± 0.07                  −3.1 ± 3.1
adversarial        2.72 ± 0.48    0.79 ± 0.05    0.65 ± 0.02                  −5.7 ± 2.4
fused_held         5.35 ± 0.31    0.69 ± 0.05    0.60 ± 0.03                  −3.0 ± 2.7
(test split, five seeds; differences hold for all arms at once)

The teacher has seen all 1,097 training images; the students' discriminators see 20 of them. All arms have the same batches
and learning rates, and those with a discriminator the same; what they are: configs/gan_curves.py. FD-cnn is the Fréchet
distance of features of a CNN that the first stage trains. More arms, widths, images and steps: results/gan_distill.md.
"""

from configs import gan_arms
from kdgan import config as common

SHARE, IMAGES, STEPS = 2, 20, 1_200
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
      **game: as of `gan_arms.gan`, for the teacher's.
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
