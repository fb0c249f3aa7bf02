"""Generators distilled on the UCI digits: the small twin of mnist_gan_distill, with students of a quarter of the width.

python -m kdgan.main --config=configs/digits_gan_distill.py --workdir=runs/digits_gan_distill      # 3 min on busy cores
FD-cnn of 1,000 images, last step, 3 seeds, 95 % intervals (teacher 29 ± 24; features of a CNN that the first stage trains):

    scratch      mse    adversarial      fused    fused_init    scratch_matched
    60 ± 63  45 ± 12        44 ± 51    26 ± 12        16 ±  9            22 ± 10

A demonstration, in few steps: the intervals are wide. `scratch_matched` trains from scratch for as many floating-point
operations as the fused arms take (730 steps, not 200): that alone closes the gap to fused. results/gan_distill.md has MNIST.
"""

from configs import mnist_gan_distill


def get_config():
    config = mnist_gan_distill.get_config()
    config.data.name, config.data.validation = "digits", 200
    config.players = mnist_gan_distill.players(image_size=8)
    config.players.extractor = dict(
        model="cnn", model_args=dict(features=(8, 16), dense=32), optimizer=dict(schedule="cosine", learning_rate=2e-3)
    )
    del config.stages["half"]
    config.stage.batch_size = 32
    config.stages.extractor.steps, config.stages.teacher.steps, config.stages.quarter.steps = 300, 600, 200
    config.stages.teacher.optimizers = dict(teacher=dict(learning_rate=1e-3), discriminator=dict(learning_rate=1e-3))
    # As many floating-point operations of training as the fused arm takes in its 200 steps.
    arms = config.stages.quarter.arms
    arms.scratch_matched = dict(arms.scratch, steps=730)
    config.evaluate.every = 300
    config.evaluate.samples, config.evaluate.validation_samples = 1_000, 500
    return config
