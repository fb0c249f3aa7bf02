"""Conditional generators distilled on the UCI digits: teacher, student and discriminator are given the class.

python -m kdgan.main --config=configs/digits_conditional_gan.py --workdir=runs/digits_conditional_gan

The DCGAN of configs/digits_gan_distill.py with an embedding of the class beside the noise, and a discriminator that takes
the class by projection (Miyato and Koyama 2018); the same arms, images and steps, in the same table: results/gan_distill.md.
"""

from configs import digits_gan_distill, gan_arms

SHARE, STEPS, MATCHED = digits_gan_distill.SHARE, digits_gan_distill.STEPS, 3.07


def get_config():
    players = gan_arms.players(image_size=8, classes=10)
    config = digits_gan_distill.base(players, conditional=True)
    config.stages.student = digits_gan_distill.stage(gan_arms.arms(SHARE, STEPS, MATCHED, conditional=True))
    return config
