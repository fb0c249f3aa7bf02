"""Virtual data: a generator draws the images, the source model labels them, and the target model learns from nothing else.

python -m kdgan.main --config=configs/virtual_data.py --workdir=runs/virtual_data      # about 4 min on 2 idle CPU cores
python -m kdgan.main --config=configs/virtual_data.py:set=mnist --workdir=runs/virtual_mnist

How far do virtual images come towards real ones, against their number? A source model and a conditional GAN are trained on
real images (stages `source`, `generator`). The GAN is kept by validation where the source model agrees most often with the
classes that it was asked for. Then the data are gone: in stage `virtual` the target model learns from the source model's
soft labels (T 4) of 30, 100, 1,000 and 10,000 virtual images, or of new ones in every step (`endless`). It has
`data = None`, and nothing selects a step. Stage `real` is what as many steps give on all real images, by their labels
(`labels`) and by soft labels (`kd`); `real_30`, `real_100`, `real_1000` have soft labels of so many of them.

On the digits (three seeds, test accuracy, %): 30 real images 77.9 ± 14.5, virtual 68.5 ± 20.2; 100: 87.2 ± 8.6 and
81.5 ± 5.9; 1,000: 91.7 ± 3.5 and 85.2 ± 11.4; endless 86.1 ± 13.6. More in results/other_data.md.
"""

from kdgan import config as common

LATENT, CLASSES = 32, 10
NUMBERS = (30, 100, 1_000, 10_000)
BEST = "generator (best by validation)"


def get_config(text=None):
    chosen = common.arguments(text, set=("digits", "mnist"))
    small = chosen["set"] == "digits"
    config = common.get_config()
    config.data.name = chosen["set"]
    config.data.mean = config.data.std = 0.5  # tanh makes images in [-1, 1]
    config.data.validation = 200 if small else 5_000
    config.players = players(small)
    config.stage.batch_size, config.stage.steps = (64, 1_000) if small else (128, 4_000)
    config.stages = common.named(**stages(drawn=1_200 if small else 4_000))
    config.population.seeds = 3
    return config


def players(small):
    """Source model, target model, and a conditional GAN."""
    cosine = lambda rate, b1=0.9: dict(learning_rate=rate, b1=b1, schedule="cosine")
    cnn = lambda *features: dict(model="cnn", model_args=dict(features=features, dense=4 * features[0]))
    source, target = (cnn(16, 32), cnn(4, 8)) if small else (dict(model="lenet5"), dict(model="lenet5_half"))
    gan = dict(width=1 / 4, classes=CLASSES)
    return common.named(
        teacher=dict(**source, optimizer=cosine(2e-3)),
        student=dict(**target, optimizer=cosine(5e-3 if small else 2e-3)),
        generator=dict(
            model="dcgan_generator", model_args=dict(**gan, image_size=8 if small else 28, channels=1),
            optimizer=cosine(1e-3, b1=0.0), evaluate=dict(name="virtual", by="label_agreement"),
        ),
        discriminator=dict(model="dcgan_discriminator", model_args=gan, optimizer=cosine(1e-3, b1=0.0)),
    )  # fmt: skip


def stages(drawn):
    soft = dict(student=dict(kd=1.0))
    kd = dict(method=dict(name="kd", labels=False), lambdas=soft)
    virtual = lambda images: dict(
        method=dict(name="virtual", latent=LATENT, classes=CLASSES, images=images, temperature=4.0), lambdas=soft
    )
    source = dict(teacher="source")
    few = {f"real_{n}": dict(data=dict(labelled=n), start=source, **kd) for n in NUMBERS[:3]}
    return dict(
        source=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0))),
        generator=dict(
            method=dict(
                name="gan", generator="generator", latent=LATENT, conditional=True, penalty="r1", penalty_every=4
            ),
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0, r1=1.0), generator=dict(adv=1.0)),
            start=source, beside=("teacher",), steps=drawn,
        ),
        real=dict(
            start=source,
            arms=common.named(labels=dict(lambdas=dict(student=dict(ce=1.0)), beside=("teacher",)), kd=kd),
        ),
        **few,
        virtual=dict(
            data=None,
            start=dict(**source, generator=dict(stage="generator", player=BEST)),
            arms=common.named(**{f"images_{n}": virtual(n) for n in NUMBERS}, endless=virtual(None)),
        ),
    )  # fmt: skip
