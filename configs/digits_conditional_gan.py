"""Conditional generators distilled on the UCI digits: teacher, student and discriminator are given the class.

python -m kdgan.main --config=configs/digits_conditional_gan.py --workdir=runs/digits_conditional_gan      # 9 min of a core
                      FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher            1.1 ± 0.4    0.65 ± 0.06    0.77 ± 0.02
scratch            9.2 ± 3.1    0.00 ± 0.00    0.17 ± 0.04                  +1.0 ± 6.3
scratch_matched    8.2 ± 1.5    0.00 ± 0.00    0.14 ± 0.04
mse                5.4 ± 1.2    0.17 ± 0.05    0.54 ± 0.08                  −2.8 ± 0.8
adversarial        2.4 ± 0.7    0.44 ± 0.09    0.69 ± 0.04                  −5.8 ± 1.4
fused_held         5.6 ± 1.1    0.14 ± 0.06    0.54 ± 0.08                  −2.6 ± 0.7
(test split, five seeds; differences hold for all arms at once)

The DCGAN of configs/digits_gan_distill.py with an embedding of the class beside the noise, and a discriminator that takes
the class by projection (Miyato and Koyama 2018); the same arms, images and steps.
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
