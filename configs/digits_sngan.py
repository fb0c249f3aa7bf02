"""SNGANs distilled on the UCI digits: residual networks, a spectrally normalised discriminator, hinge losses.

python -m kdgan.main --config=configs/digits_sngan.py --workdir=runs/digits_sngan      # 22 min of a core
                       FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher             2.2 ± 0.8    0.81 ± 0.08    0.56 ± 0.06
scratch             9.3 ± 3.1    0.49 ± 0.07    0.35 ± 0.06                 −3.1 ± 10.4
scratch_matched    12.5 ± 5.1    0.23 ± 0.12    0.34 ± 0.05
mse                14.4 ± 1.3    0.22 ± 0.04    0.26 ± 0.03                  +1.9 ± 9.0
adversarial         7.1 ± 2.7    0.57 ± 0.09    0.37 ± 0.06                  −5.4 ± 9.8
fused_held          7.5 ± 2.0    0.46 ± 0.10    0.41 ± 0.05                  −5.0 ± 8.6
(test split, five seeds; differences hold for all arms at once)

Miyato et al. 2018, whose discriminator needs no gradient penalty; a sixteenth of its 256 channels, and one move of the
discriminator a step in place of five. The arms, images and steps are those of configs/digits_gan_distill.py.
"""

from configs import digits_gan_distill, gan_arms

WIDTH = 1 / 16
SHARE, STEPS, IMAGES = digits_gan_distill.SHARE, digits_gan_distill.STEPS, digits_gan_distill.IMAGES
MATCHED = 3.87
GAME = dict(loss="hinge", penalty=None)


def get_config():
    players = gan_arms.players(image_size=8, model="sngan", width=WIDTH, rate=5e-4)
    config = digits_gan_distill.base(players, **GAME)
    config.stages.student = gan_arms.stage(
        gan_arms.arms(SHARE, STEPS, MATCHED, only=gan_arms.SHORT, **GAME), SHARE, STEPS, IMAGES, width=WIDTH
    )
    return config
