"""A small denoiser from a large one: with clean images at hand, and without them, where a teacher is worth having.

pip install -e ".[images]"
python -m kdgan.main --config=configs/denoise.py --workdir=runs/denoise  # 1,290 CPU seconds, about 13 min. of 2 cores
python -m kdgan.main --config=configs/denoise.py:data=folder:~/photos --workdir=runs/mine
python -m kdgan.main --config=configs/denoise.py:data=folder:~/photos,train=all[:80%],test=all[80%:] --workdir=runs/flat

Without `data` the photographs that scikit-image and scikit-learn ship, grey, divided by image. A folder has sub-folders
train/ and test/, or is divided by the command as above; `validation` and `clean` are numbers of its images. Noise is
Gaussian, of `sigma` 25 of 255. `student` is unshuffle, dncnn or unet. With `teacher` (a file of weights of DnCNN, 17 layers
of 64) nothing trains before the students; without it a larger network, unshuffle of 48 × 8, is trained first.

Two stages train the same student. `clean`: every training image is there without noise. `unlabelled`: `clean` of them are,
the others are there with noise only. What is learned from these is the teacher's output (`teacher`), the same image with
another noise (`noise2noise`) or, to compare with, the clean image (`clean_others`); `few` learns from the clean ones alone.

PSNR on five test photographs, three seeds (noisy 20.42, teacher 28.18 ± 0.11 dB):
clean: from clean images 27.58 ± 0.31, from the teacher's outputs 27.44 ± 0.03, half and half 27.54 ± 0.01
unlabelled: few 26.75 ± 3.23, teacher 27.65 ± 0.24, noise2noise 27.55 ± 0.32, clean_others 27.56 ± 0.35
`few` depends on which photograph it has: three seeds show no clear difference (teacher +0.9 ± 8.2 dB, of six at once).
results/images.md has more images and more seeds.

All students see eight fixed noises of each image. The teacher that is trained here has seen all of them clean: what
`unlabelled` then shows is what its outputs are worth in place of the images, not what one gets without any.
"""

from kdgan import config as common

STUDENTS = dict(
    unshuffle=dict(width=24, depth=5),  # 17 k parameters
    dncnn=dict(width=16, depth=8, batch_norm=False),
    unet=dict(width=8, levels=3),
)


def get_config(arguments=""):
    given = common.arguments(
        arguments, data="skimage:photographs", train="train", test="test", validation="2", clean="1", teacher="",
        student=tuple(STUDENTS), sigma="25", steps="1200", seeds="3",
    )  # fmt: skip
    steps = int(given["steps"])
    config = common.get_config()
    config.seed, config.population.seeds = 0, int(given["seeds"])
    config.data.name, config.data.train, config.data.test = given["data"], given["train"], given["test"]
    config.data.channels, config.data.validation = 1, int(given["validation"])
    config.data.degrade = common.named(gaussian=dict(sigma=float(given["sigma"])))
    config.data.augment = common.named(crop=dict(size=40), flip=dict(), turn=dict())

    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine", warmup=min(100, steps // 10))
    published = dict(model="dncnn", model_args=dict(batch_norm=False), weights=given["teacher"])
    large = dict(model="unshuffle", model_args=dict(width=48, depth=8), optimizer=cosine(1e-3))
    config.players = common.named(
        teacher=published if given["teacher"] else large,
        student=dict(model=given["student"], model_args=STUDENTS[given["student"]], optimizer=cosine(2e-3)),
        noisy=dict(model="identity"),
    )
    config.evaluate.batch_size, config.evaluate.every = 4, max(1, steps // 4)
    config.stage.batch_size, config.stage.steps, config.stage.beside = 8, steps, ("noisy",)

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
                clean_others=restore(on="others"),
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
