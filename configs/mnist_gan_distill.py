"""Generators distilled on MNIST: a DCGAN teaches a student of half its width that has 100 images, in five arms.

python -m kdgan.main --config=configs/mnist_gan_distill.py --workdir=runs/mnist_gan_distill      # about 2 h 20 min of a core
                     FD-lenet5         recall       coverage    FD-lenet5 − scratch_matched
teacher              4.7 ± 0.6    0.89 ± 0.01    0.75 ± 0.02
scratch             33.9 ± 6.9    0.57 ± 0.05    0.41 ± 0.04                   −17.6 ± 21.6
scratch_matched    51.5 ± 18.7    0.45 ± 0.06    0.45 ± 0.03
mse                 21.5 ± 1.5    0.74 ± 0.02    0.66 ± 0.02                   −30.0 ± 29.5
adversarial          8.5 ± 1.1    0.88 ± 0.01    0.63 ± 0.02                   −43.0 ± 29.6
fused_held          18.8 ± 1.3    0.76 ± 0.02    0.67 ± 0.02                   −32.7 ± 29.0
(test split, five seeds; differences hold for all arms at once)

The teacher has seen all 55,000 training images, the students' discriminators see 100 of them; the arms are those of
configs/digits_gan_distill.py. FD-lenet5 is the Fréchet distance of features of a LeNet-5 that the first stage trains. The
rate, R1's λ and the teacher's steps were chosen on validation images, by a seed that the table does not have:
results/gan_distill.md.
"""

from configs import gan_arms
from kdgan import config as common

SHARE, IMAGES, STEPS = 2, 100, 1_500
MATCHED = 3.56  # see configs/digits_gan_distill.py
GAME = dict(penalty_weight=0.2)


def get_config():
    config = common.get_config()
    config.data.name, config.data.validation = "mnist", 5_000
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.players = gan_arms.players(image_size=28, rate=2e-3)
    config.players.extractor = dict(model="lenet5", optimizer=dict(schedule="cosine", learning_rate=2e-3))
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=1_000
        ),
        teacher=dict(gan_arms.gan("teacher", **GAME), steps=9_000),
        student=gan_arms.stage(gan_arms.arms(SHARE, STEPS, MATCHED, only=gan_arms.SHORT, **GAME), SHARE, STEPS, IMAGES),
    )
    config.stage.batch_size = 64
    config.population.seeds = 5
    config.evaluate.every = 500
    config.evaluate.extractor.stage = "extractor"
    return config
