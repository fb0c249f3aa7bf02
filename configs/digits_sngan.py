"""SNGANs distilled on the UCI digits: residual networks, a spectrally normalised discriminator, hinge losses.

python -m kdgan.main --config=configs/digits_sngan.py --workdir=runs/digits_sngan      # half an hour of a core
                       FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher             1.8 ± 0.9    0.83 ± 0.07    0.57 ± 0.04
scratch            10.3 ± 3.8    0.56 ± 0.15    0.31 ± 0.04                  −1.3 ± 6.0
scratch_matched    11.6 ± 4.4    0.28 ± 0.14    0.34 ± 0.04
mse                22.7 ± 1.6    0.11 ± 0.06    0.17 ± 0.02                 +11.1 ± 7.5
adversarial         7.6 ± 1.7    0.66 ± 0.08    0.37 ± 0.05                  −4.0 ± 7.7
fused_held         13.7 ± 2.3    0.26 ± 0.06    0.30 ± 0.05                  +2.1 ± 4.2
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
