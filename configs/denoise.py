"""A small denoiser from a large one: with clean images at hand, and without them, where a teacher is worth having.

pip install -e ".[images]"
python -m kdgan.main --config=configs/denoise.py --workdir=runs/denoise
python -m kdgan.main --config=configs/denoise.py:data=folder:~/photos --workdir=runs/mine

Without `data` the photographs that scikit-image and scikit-learn ship, grey, divided by image. Noise is Gaussian, of
`sigma` 25 of 255. With `teacher` (a file of weights of DnCNN, 17 layers of 64) nothing trains before the students;
without it a larger network of the student's kind, 64 × 8, is trained first.

Two stages train the same student of 17 k parameters. `clean`: every training image is there without noise. `unlabelled`:
`clean` of them are (three by default), the others are there with noise only. What is learned from these is the teacher's
output (`teacher`), the same image with another noise (`noise2noise`) or, to compare with, the clean image (`clean_all`);
`few` learns from the clean ones alone. All students see eight fixed noises of each image.
"""

from kdgan import config as common

STUDENT = dict(model="unshuffle", model_args=dict(width=24, depth=5))


def get_config(arguments=""):
    given = common.arguments(
        arguments, data="skimage:photographs", train="train", test="test", validation="2", clean="3", teacher="",
        sigma="25", steps="1500", seeds="3",
    )  # fmt: skip
    config = common.get_config()
    config.seed, config.population.seeds = 0, int(given["seeds"])
    config.data.name, config.data.train, config.data.test = given["data"], given["train"], given["test"]
    config.data.channels, config.data.validation = 1, int(given["validation"])
    config.data.degrade = common.named(gaussian=dict(sigma=float(given["sigma"])))
    config.data.augment = common.named(crop=dict(size=40), flip=dict(), turn=dict())

    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine", warmup=100)
    published = dict(model="dncnn", model_args=dict(batch_norm=False), weights=given["teacher"])
    large = dict(model="unshuffle", model_args=dict(width=64, depth=8), optimizer=cosine(1e-3))
    config.players = common.named(
        teacher=published if given["teacher"] else large,
        student=dict(**STUDENT, optimizer=cosine(2e-3)),
        adapter=dict(model="adapter", optimizer=cosine(3e-3)),
        noisy=dict(model="identity"),
    )
    config.evaluate.batch_size = 4
    config.stage.batch_size, config.stage.steps, config.stage.beside = 8, int(given["steps"]), ("noisy",)

    restore = lambda **method: dict(
        method=dict(name="restore", loss="l2", **method), lambdas=dict(student=dict(pixel=1.0))
    )
    distill = lambda λ, **method: dict(
        method=dict(name="restore_distill", loss="l2", **method), lambdas=dict(student=λ)
    )
    stages = dict(
        clean=dict(
            data=dict(noises=8),
            cached=("teacher",),
            arms=common.named(
                clean=restore(),
                teacher=distill(dict(teacher=1.0), clean=False),
                half=distill(dict(target=0.5, teacher=0.5)),
            ),
        ),
        unlabelled=dict(
            data=dict(noises=8, labelled=int(given["clean"]), unlabelled_batch_size=8),
            cached=("teacher",),
            arms=common.named(
                few=restore(),
                teacher=distill(dict(teacher=1.0), clean=False, on="others"),
                noise2noise=restore(targets="again", on="others"),
                clean_all=restore(on="others"),
            ),
        ),
    )
    if not given["teacher"]:
        trained = dict(method=dict(name="restore", player="teacher", loss="l2"), lambdas=dict(teacher=dict(pixel=1.0)))
        stages = dict(
            teacher=trained, **{name: dict(start=dict(teacher="teacher"), **stage) for name, stage in stages.items()}
        )
    config.stages = common.named(**stages)
    return config
