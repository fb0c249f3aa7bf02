"""Where does distillation help a generator? Curves over the student's width, the images that it learns from, and its steps.

python -m kdgan.main --config=configs/gan_curves.py --workdir=runs/gan_curves
python -m kdgan.main --config=configs/gan_curves.py:points=width_8+images_50 --workdir=runs/gan_curves_some

UCI digits. One teacher, trained on all images; at each point these arms, five seeds:

scratch          a GAN of the student alone
scratch_matched  the same, for as many operations as `fused`
weights          the same as scratch, from the teacher's units: what of `fused_init` is its start alone
mse              the teacher's images of the same noise
adversarial      a discriminator of data and teacher's images
fused            generator, discriminator and student in one game
fused_init       the same, from the teacher's units
fused_held       the same game, the generator held to the teacher and the student to the generator

Points over widths have all images; points over images a student of half the teacher's width; points over steps a student
of an eighth and all images. `lambdas` has `fused_held` with each of the five λ's at zero, where there are 20 images: without
λ4 R1 on real images is left, without λ5 the comparison of the discriminator's features.
Measured: results/gan_distill.md.
"""

from configs import digits_gan_distill, gan_arms
from kdgan import config as common

STEPS = 1_500
POINTS = dict(
    width_2=dict(width=2), width_4=dict(width=4), width_8=dict(width=8), width_16=dict(width=16),
    images_20=dict(images=20), images_50=dict(images=50), images_200=dict(images=200),
    steps_200=dict(width=8, steps=200), steps_600=dict(width=8, steps=600), steps_5000=dict(width=8, steps=5_000),
    lambdas=dict(images=20),
)  # fmt: skip


def get_config(text=None):
    chosen = common.arguments(text, points="all")
    names = common.several("points", chosen["points"], tuple(POINTS))
    config = digits_gan_distill.base()
    for name in names:
        config.stages[name] = point(name, **POINTS[name])
    return config


def point(name, width=2, images=None, steps=STEPS):
    """The stage of one point."""
    matched = digits_gan_distill.MATCHED[width]
    arms = without_each() if name == "lambdas" else gan_arms.arms(width, steps, matched)
    return gan_arms.stage(arms, width, steps, images)


def without_each():
    """The game held to the teacher, and with each λ of the source's three equations at zero."""
    return dict(all=gan_arms.held(), **{f"without_{i}": gan_arms.held(lambdas={i: 0.0}) for i in range(1, 6)})
