"""SNGANs distilled on the UCI digits: residual networks, a spectrally normalised discriminator, hinge losses.

python -m kdgan.main --config=configs/digits_sngan.py --workdir=runs/digits_sngan      # 37 min of a core
                         FD-cnn         recall       coverage    FD-cnn − scratch_matched
teacher             1.07 ± 0.12    0.87 ± 0.04    0.69 ± 0.04
scratch            10.61 ± 1.89    0.34 ± 0.09    0.34 ± 0.03                  −1.0 ± 3.1
scratch_matched    11.60 ± 2.80    0.13 ± 0.07    0.33 ± 0.03
mse                10.82 ± 0.64    0.38 ± 0.04    0.36 ± 0.02                  −0.8 ± 4.9
adversarial         4.65 ± 0.91    0.72 ± 0.03    0.49 ± 0.03                  −6.9 ± 4.0
fused_held          8.80 ± 0.88    0.48 ± 0.05    0.41 ± 0.03                  −2.8 ± 4.5
(test split, five seeds; differences hold for all arms at once)

Miyato et al. 2018, an eighth of its 256 channels, and one move of the discriminator a step in place of five. R1 beside the
spectral norms, as in every game of configs/gan_arms.py: with half of these channels the teacher was nearer to validation
images than without. The arms, images and steps are those of configs/digits_gan_distill.py.
"""

from configs import digits_gan_distill, gan_arms

WIDTH = 1 / 8
SHARE, STEPS, IMAGES = digits_gan_distill.SHARE, digits_gan_distill.STEPS, digits_gan_distill.IMAGES
MATCHED = 3.71
GAME = dict(loss="hinge")


def get_config():
    players = gan_arms.players(image_size=8, model="sngan", width=WIDTH, rate=5e-4)
    config = digits_gan_distill.base(players, **GAME)
    config.stages.student = gan_arms.stage(
        gan_arms.arms(SHARE, STEPS, MATCHED, only=gan_arms.SHORT, **GAME), SHARE, STEPS, IMAGES, width=WIDTH
    )
    return config
