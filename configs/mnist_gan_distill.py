"""Generators distilled on MNIST: a DCGAN teaches students of a half and a quarter of its width, in five arms.

python -m kdgan.main --config=configs/mnist_gan_distill.py --workdir=runs/mnist_gan_distill      # 45 min on 2 busy CPU cores
FD-lenet5 of 5,000 images, last step, 3 seeds (teacher 25.3 ± 11.1):

    width      scratch        mse    adversarial      fused    fused_init
    1/2      77 ± 36    58 ± 32      39 ±  2     23 ±  3      19 ± 7
    1/4     100 ±  5   105 ± 59      88 ± 36     60 ± 33    22.3 ± 0.4

All arms have the same steps, batches, discriminator and learning rates. The whole table, what it costs and how the setting
was chosen: results/gan_distill.md. FD-lenet5 is the Fréchet distance of features of a LeNet-5 that the first stage trains.
"""

from kdgan import config as common

LATENT = 64
WIDTH = 1 / 4  # of the DCGAN's 256-128-64 channels
SEEN = ("stage1", "stage2")  # features of the discriminator


def players(image_size: int) -> common.ConfigDict:
    """Teacher, its continuation in the fused game, student, discriminator, and the classifier that measures them."""
    generator = dict(image_size=image_size, channels=1)
    adam = lambda rate, schedule="constant": dict(learning_rate=rate, b1=0.5, schedule=schedule)
    return common.named(
        extractor=dict(model="lenet5", optimizer=dict(schedule="cosine", learning_rate=2e-3)),
        teacher=dict(model="dcgan_generator", model_args=dict(width=WIDTH, **generator), optimizer=adam(5e-4)),
        generator=dict(
            model="dcgan_generator",
            model_args=dict(width=WIDTH, **generator),
            optimizer=adam(2e-4, "cosine"),
            evaluate="nothing",
        ),
        student=dict(model="dcgan_generator", model_args=generator, optimizer=adam(2e-3, "cosine")),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=WIDTH), optimizer=adam(5e-4)),
    )


def arms() -> common.ConfigDict:
    """The five ways to train a student; all have the same teacher, discriminator, steps and learning rates."""
    fused = dict(
        method=dict(name="fused", latent=LATENT, seen=SEEN),
        start=dict(generator=dict(stage="teacher", player="teacher")),
        lambdas=dict(
            discriminator=dict(real=1.0, fake=0.5, fake_student=0.5),  # λ4, λ3
            generator=dict(mse=5.0, adv=1.0),  # λ1, λ2
            student=dict(match=1.0, adv=1.0, seen=5.0),  # λ5
        ),
    )
    selected = dict(stage="teacher", player="teacher", transfer="uniform", scale=0.5)
    return common.named(
        scratch=dict(
            method=dict(name="gan", generator="student", latent=LATENT),
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0), student=dict(adv=1.0)),
        ),
        mse=dict(method=dict(name="generator_mimic", latent=LATENT), lambdas=dict(student=dict(pixel=1.0))),
        adversarial=dict(
            method=dict(name="generator_distill", latent=LATENT, seen=SEEN),
            lambdas=dict(
                discriminator=dict(real=0.5, teacher=0.5, fake=1.0), student=dict(adv=1.0, pixel=0.0, seen=5.0)
            ),
        ),
        fused=fused,
        fused_init=dict(fused, start=dict(**fused["start"], student=selected)),
    )


def get_config():
    config = common.get_config()
    config.data.name, config.data.validation = "mnist", 5_000
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.players = players(image_size=28)
    students = dict(
        start=dict(teacher="teacher"),
        steps=600,
        optimizers=dict(discriminator=dict(learning_rate=2e-3, schedule="cosine")),
    )
    config.stages = common.named(
        extractor=dict(
            method=dict(name="supervised", player="extractor"), lambdas=dict(extractor=dict(ce=1.0)), steps=1_000
        ),
        teacher=dict(
            method=dict(name="gan", generator="teacher", latent=LATENT),
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0), teacher=dict(adv=1.0)),
            steps=3_000,
        ),
        half=dict(players=dict(student=dict(model_args=dict(width=WIDTH / 2))), arms=arms(), **students),
        quarter=dict(players=dict(student=dict(model_args=dict(width=WIDTH / 4))), arms=arms(), **students),
    )
    config.population.seeds = 3
    config.evaluate.every = 200
    config.evaluate.extractor.stage = "extractor"
    return config
