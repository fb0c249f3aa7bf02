"""Conditional generators distilled on the UCI digits: teacher, student and discriminator are given the class.

python -m kdgan.main --config=configs/digits_conditional_gan.py --workdir=runs/digits_conditional_gan      # 7 min of a core
                        FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher            1.11 ± 0.34    0.67 ± 0.05    0.77 ± 0.01
scratch            8.19 ± 2.30    0.00 ± 0.00    0.18 ± 0.04                  +0.1 ± 4.8
scratch_matched    8.13 ± 2.41    0.00 ± 0.00    0.15 ± 0.06
mse                3.93 ± 0.31    0.31 ± 0.06    0.64 ± 0.05                  −4.2 ± 3.4
adversarial        2.16 ± 0.51    0.49 ± 0.07    0.73 ± 0.03                  −6.0 ± 3.2
fused_held         4.25 ± 0.39    0.27 ± 0.06    0.64 ± 0.05                  −3.9 ± 3.5
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
