"""SNGANs distilled on the UCI digits: residual networks, a spectrally normalised discriminator, hinge losses.

python -m kdgan.main --config=configs/digits_sngan.py --workdir=runs/digits_sngan

Miyato et al. 2018, whose discriminator needs no gradient penalty; a sixteenth of its 256 channels, and one move of the
discriminator a step in place of five. The arms, images and steps are those of configs/digits_gan_distill.py. Not
measured yet.
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
