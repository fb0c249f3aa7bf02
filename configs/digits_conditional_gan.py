"""Conditional generators distilled on the UCI digits: teacher, student and discriminator are given the class.

python -m kdgan.main --config=configs/digits_conditional_gan.py --workdir=runs/digits_conditional_gan

The DCGAN of configs/digits_gan_distill.py with an embedding of the class beside the noise, and a discriminator that takes
the class by projection (Miyato and Koyama 2018); the same arms, images and steps. Not measured yet.
"""

from configs import digits_gan_distill, gan_arms

SHARE, STEPS, IMAGES = digits_gan_distill.SHARE, digits_gan_distill.STEPS, digits_gan_distill.IMAGES
MATCHED = 3.07


def get_config():
    players = gan_arms.players(image_size=8, classes=10)
    config = digits_gan_distill.base(players, conditional=True)
    config.stages.student = gan_arms.stage(
        gan_arms.arms(SHARE, STEPS, MATCHED, only=gan_arms.SHORT, conditional=True), SHARE, STEPS, IMAGES
    )
    return config
