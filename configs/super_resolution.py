"""Super-resolution by a small network: from sharp images, from a teacher, from no sharp image at all; and for the eye.

pip install -e ".[images]"
python -m kdgan.main --config=configs/super_resolution.py --workdir=runs/sr       # ×2, about 23 CPU minutes
python -m kdgan.main --config=configs/super_resolution.py:scale=3 --workdir=runs/sr3
python -m kdgan.main --config=configs/super_resolution.py:data=folder:~/photos --workdir=runs/mine

Small images are made by MATLAB's bicubic, as in published tables. PSNR and SSIM are of the luma, without `scale` pixels
on every side. Without `data` the photographs that scikit-image and scikit-learn ship, divided by image. A folder has the
sub-folders train/ and test/, or is divided by `train=all[:80%],test=all[80%:]`; `validation` and `sharp` are numbers of its
images. `student` is unshuffle, fsrcnn, espcn or imdn. With `teacher` (a file of VDSR's weights) nothing trains before the
students, and there are the stages `sharp` and `unlabelled` alone: one pass of VDSR has fifty times the operations of the
student's step. Without it a larger network, unshuffle of 48 × 7, is trained first, on all training images.

Four stages train the same student. `sharp`: every training image is there in full size; what is learned is that, the
teacher's output, half and half, or, to compare with, the small image from its own half (`half_scale`), which needs neither.
`features`: half and half, and beside it the teacher's features behind an adapter, or their affinity (FAKD). `unlabelled`:
`sharp` of them are there, of the others there is the small image only. `eye`: pixels, features of a network that was
trained to tell the training photographs apart, and a discriminator of patches, at three weights of the latter, go on from
`sharp`: what they cost in PSNR, and what that buys in a distance of that network's features.

PSNR on five test photographs, ×2, three seeds (bicubic 31.43, teacher 32.87 ± 0.06 dB):
sharp: sharp 32.71 ± 0.12, teacher 32.75 ± 0.12, half 32.72 ± 0.16, half_scale 32.56 ± 0.08
features: adapted 32.54 ± 0.19, affinity 32.66 ± 0.12
unlabelled: few 31.93 ± 2.87, teacher 32.77 ± 0.21, half_scale 32.57 ± 0.28, sharp_others 32.79 ± 0.32
eye: λ 0, 0.1, 0.3: 32.50 ± 0.31, 32.47 ± 0.25, 32.37 ± 0.18; distance 7.46 ± 0.26, 7.36 ± 0.25, 7.32 ± 0.21 thousandths
No difference in PSNR is clear at three seeds, with one photograph in `few`; results/images.md has more of both. λ 0.3 lowers
the distance by 0.14 ± 0.13 thousandths (of three comparisons at once).
"""

from kdgan import config as common

LUMA = dict(luma=True)
STUDENTS = dict(unshuffle=LUMA, fsrcnn=LUMA, espcn=LUMA, imdn=dict(width=16, blocks=2))
ADVERSARIAL = (0.0, 0.1, 0.3)
FAKD = 10 / 255  # its λ of the affinity is for pixels in 0..255


def get_config(arguments=""):
    given = common.arguments(
        arguments, scale=(2, 3, 4), data="skimage:photographs", train="train", test="test", validation="2", sharp="1",
        teacher="", student=tuple(STUDENTS), steps="400", seeds="3",
    )  # fmt: skip
    scale, steps = given["scale"], int(given["steps"])
    config = common.get_config()
    config.seed, config.population.seeds = 0, int(given["seeds"])
    config.data.name, config.data.train, config.data.test = given["data"], given["train"], given["test"]
    config.data.channels, config.data.validation = 3, int(given["validation"])
    config.data.degrade = common.named(bicubic=dict(scale=scale, trim=True))
    config.data.augment = common.named(crop=dict(size=21 if scale == 3 else 20), flip=dict(), turn=dict())

    judge = dict(name="restorer", channels="luma", rounded=True, border=scale, perceptual=None)
    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine", warmup=min(100, steps // 10))
    published = dict(model="vdsr", model_args=dict(scale=scale, luma=True), weights=given["teacher"])
    large = dict(model="unshuffle", model_args=dict(scale=scale, width=48, depth=7, **LUMA), optimizer=cosine(1e-3))
    config.players = common.named(
        teacher=dict(**(published if given["teacher"] else large), evaluate=judge),
        student=dict(
            model=given["student"], model_args=dict(scale=scale, **STUDENTS[given["student"]]), optimizer=cosine(2e-3),
            evaluate=judge,
        ),
        bicubic=dict(model="bicubic", model_args=dict(scale=scale), evaluate=judge),
        adapter=dict(model="adapter", optimizer=cosine(2e-3)),
        critic=dict(model="resnet8", model_args=dict(num_classes=10), optimizer=cosine(2e-3)),
        discriminator=dict(model="patch_critic", model_args=dict(features=(32, 64)), optimizer=cosine(3e-4)),
    )  # fmt: skip
    config.evaluate.batch_size, config.evaluate.every = 4, max(1, steps // 4)
    config.stage.batch_size, config.stage.steps, config.stage.beside = 8, steps, ("bicubic",)
    restore = lambda **method: dict(method=dict(name="restore", **method), lambdas=dict(student=dict(pixel=1.0)))
    distill = lambda λ, **method: dict(method=dict(name="restore_distill", **method), lambdas=λ)
    of_student = lambda **λ: dict(student=λ)
    stages = dict(
        critic=dict(
            data=dict(name="configs.sets.patches", args=dict(size=40), train="train", test="test", degrade={}, validation=0),
            method=dict(name="supervised", player="critic"),
            lambdas=dict(critic=dict(ce=1.0)),
            batch_size=64,
            steps=300,
            beside=(),
        ),
        sharp=dict(
            cached=("teacher",),
            arms=common.named(
                sharp=restore(),
                teacher=distill(of_student(teacher=1.0), clean=False),
                half=distill(of_student(target=0.5, teacher=0.5)),
                half_scale=restore(targets="half", scale=scale),
            ),
        ),
        features=dict(
            arms=common.named(
                adapted=distill(of_student(target=0.5, teacher=0.5, adapted=0.1), features=("body",)),
                affinity=distill(of_student(target=0.5, teacher=0.5, relations=FAKD), relations=("body",)),
            ),
        ),
        unlabelled=dict(
            data=dict(labelled=int(given["sharp"]), unlabelled_batch_size=8),
            cached=("teacher",),
            arms=common.named(
                few=restore(),
                teacher=distill(of_student(teacher=1.0), clean=False, on="others"),
                half_scale=restore(targets="half", on="others", scale=scale),
                sharp_others=restore(on="others"),
            ),
        ),
        eye=dict(
            start=dict(critic="critic", student="sharp/sharp"),
            players=dict(
                student=dict(
                    optimizer=cosine(5e-4),
                    evaluate=judge | dict(perceptual=dict(layers=("stage1", "stage2", "stage3"))),
                )
            ),
            arms=common.named(**{
                f"adv_{1000 * λ:g}": distill(  # in thousandths
                    dict(student=dict(target=1.0, perceptual=0.1, adv=λ), discriminator=dict(real=1.0, fake=1.0)),
                    pixels=False, perceptual=("stage1", "stage2"), adversarial="nonsaturating",
                )
                for λ in ADVERSARIAL
            }),
            batch_size=4,
            steps=max(1, steps // 3),  # of an image each has eight times the operations of one of `sharp`
        ),
    )  # fmt: skip
    if given["teacher"]:
        stages = {name: stages[name] for name in ("sharp", "unlabelled")}
    else:
        trained = dict(method=dict(name="restore", player="teacher"), lambdas=dict(teacher=dict(pixel=1.0)))
        for name in ("sharp", "features", "unlabelled"):
            stages[name]["start"] = dict(teacher="teacher")
        config.evaluate.extractor = dict(stage="critic", player="critic", layer="embedding")
        stages = dict(teacher=trained, **stages)
    config.stages = common.named(**stages)
    return config
