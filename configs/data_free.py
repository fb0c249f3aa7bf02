"""A student without data: what is left of real images when only the teacher is given away.

python -m kdgan.main --config=configs/data_free.py --workdir=runs/data_free      # about three minutes on 2 idle CPU cores
python -m kdgan.main --config=configs/data_free.py:method=deep_inversion --workdir=runs/deep_inversion
python -m kdgan.main --config=configs/data_free.py:set=mnist,method=zskt --workdir=runs/mnist_free

Methods: zskt, dafl, dfad, dfq, deep_inversion, cmi, fast. Sets: digits (UCI, nothing is downloaded), mnist (LeNet-5 to its
half; for the last four, which want batch norm, a ResNet to one of half its width), cifar10 (ResNet-56 to ResNet-20, for an
accelerator).

All students have the same network and make the same number of steps, on

labels     real images and their labels
kd         real images and the teacher's soft labels
other      images of another data set, which the teacher labels
noise      Gaussian noise, which the teacher labels
gan, vae   what a GAN and a VAE make, which were trained on the real images before these were gone
zskt, ...  what the method makes by the teacher's answers alone

On the digits (three seeds, test accuracy, %): labels 91.1 ± 1.9, kd 90.9 ± 2.7, gan 88.1 ± 3.7, vae 81.8 ± 3.5, zskt
82.3 ± 7.3, noise 68.9 ± 10.0, other 50.0 ± 13.7. On MNIST zskt 96.6 ± 0.9, noise 54.3 ± 20.3; more in
results/other_data.md. λ's are the published ones (ZSKT without its attention term, for which names of maps are wanted);
learning rates of the digits were not tuned.

The last four have `data = None`: they open no training split, and nothing selects one of their steps. The teacher, the GAN
and the VAE have seen real images. `:other=npz:/path` takes another set (or `folder:/path`), scaled to the images' size;
patches of two photographs are what the digits have. `:teacher=path` takes a teacher of one's own, a file of weights or a
workdir, and trains none: of the network that the set has, or set `config.players.teacher.model` and `model_args`, and `mean`
and `std` where its images were normalised otherwise. `:only=free` leaves out all rows that images are needed for: with both,
no training split is opened.
"""

from kdgan import config as common
from kdgan.methods.data_free import PUBLISHED
from kdgan.ranges import pixel_ranges

OTHERS = {"digits": "kdgan.data.photo_patches.load"}  # what `other` is, where nothing is said
WITH_BATCH_NORM = ("dfq", "deep_inversion", "cmi", "fast")  # they read a teacher's batch statistics
# What each method has beside its published λ's; the student's moves per step, of which all arms make as many in all.
METHODS = dict(
    zskt=dict(student_repeats=5),
    dafl=dict(joint=False, student_repeats=2),
    dfad=dict(student_repeats=5),
    dfq=dict(student_repeats=5),
    deep_inversion=dict(student_repeats=2, flip=False, jitter=1),
    cmi=dict(student_repeats=5, flip=False, padding=1),
    fast=dict(student_repeats=5, flip=False, padding=1, inner_steps=2),
)


def get_config(text=None):
    chosen = common.arguments(text, method=tuple(METHODS), set=tuple(SETS), other="", teacher="", only=("all", "free"))
    name, method = chosen["set"], chosen["method"]
    of_set = SETS[name](method in WITH_BATCH_NORM)
    config = common.get_config()
    config.data.name = name
    config.data.mean, config.data.std = of_set["pixels"]
    config.players = players(**of_set)
    config.stage.batch_size, config.stage.steps = of_set["batch_size"], of_set["moves"]
    config.stages = common.named(**stages(name, method, chosen["other"], **of_set))
    if chosen["only"] == "free":
        for stage in {*config.stages} - {"teacher", "free"}:
            del config.stages[stage]
        for arm in ("gan", "vae"):
            del config.stages.free.arms[arm]
        for player in ("discriminator", "vae"):
            del config.players[player]
    if chosen["teacher"]:
        config.players.teacher = dict(of_set["teacher"], weights=chosen["teacher"])
        del config.stages["teacher"]
        for stage in config.stages.values():
            stage.start = {player: start for player, start in stage.get("start", {}).items() if player != "teacher"}
    config.population.seeds = 3
    config.parallel.convolutions = of_set["convolutions"]
    return config


def adam(rate, b1=0.9):
    return dict(learning_rate=rate, b1=b1, schedule="cosine")


def of_digits(batch_norm):
    cnn = lambda *features: dict(model="cnn", model_args=dict(features=features, dense=4 * features[0]))
    teacher, student = (resnet(8), resnet(4)) if batch_norm else (cnn(16, 32), cnn(4, 8))
    return dict(
        pixels=(0.305, 0.376), image=dict(image_size=8, channels=1), latent=32, width=16, batch_size=64,
        teacher=dict(**teacher, optimizer=adam(2e-3)), student=dict(**student, optimizer=adam(5e-3)),
        moves=2_000, taught=400, drawn=700, convolutions="auto",
    )  # fmt: skip


def of_mnist(batch_norm):
    teacher, student = (resnet(8), resnet(4)) if batch_norm else (dict(model="lenet5"), dict(model="lenet5_half"))
    return dict(
        pixels=(0.1307, 0.3081), image=dict(image_size=28, channels=1), latent=100, width=16, batch_size=128,
        teacher=dict(**teacher, optimizer=adam(2e-3)), student=dict(**student, optimizer=adam(3e-3)),
        moves=10_000, taught=4_000, drawn=3_000, convolutions="rows",  # LeNets have few channels
    )  # fmt: skip


def resnet(stem):
    return dict(model="resnet8", model_args=dict(stem=stem, features=(stem, 2 * stem, 4 * stem)))


def of_cifar10(batch_norm):
    sgd = dict(name="sgd", learning_rate=0.1, weight_decay=5e-4, schedule="cosine")
    return dict(
        pixels=((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)), image=dict(image_size=32, channels=3), latent=256,
        width=128, batch_size=256, teacher=dict(model="resnet56", optimizer=sgd),
        student=dict(model="resnet20", optimizer=sgd), moves=80_000, taught=40_000, drawn=40_000,
        convolutions="auto",
    )  # fmt: skip


SETS = dict(digits=of_digits, mnist=of_mnist, cifar10=of_cifar10)


def players(*, image, width, teacher, student, batch_size, pixels, **of_set):
    """Teacher and student; a generator, a GAN's or one that learns from the teacher; a VAE; what methods remember."""
    bounds = tuple(zip(*pixel_ranges(*pixels), strict=True))  # (lowest, highest) of each channel
    return common.named(
        teacher=teacher,
        student=student,
        generator=dict(
            model="standardised_generator", model_args=dict(**image, features=width, bounds=bounds),
            optimizer=adam(1e-3, b1=0.5), evaluate="virtual",
        ),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 4), optimizer=adam(1e-3, b1=0.0)),
        vae=dict(model="vae", model_args=of_vae(image), optimizer=adam(2e-3), evaluate="nothing"),
        images=dict(model="images", model_args=dict(**image, number=4 * batch_size), optimizer=adam(0.1, b1=0.5)),
        memory=dict(model="memory", model_args=dict(size=16 * batch_size)),
        contrast=dict(
            model="contrast", model_args=dict(number=16 * batch_size, drawn=4 * batch_size), optimizer=adam(1e-3, b1=0.5)
        ),
    )  # fmt: skip


def of_vae(image):
    return dict(**image, latent=image["image_size"] // 2 * image["channels"], likelihood="gaussian", scale=0.5)


def stages(name, method, other, *, image, latent, taught, drawn, moves, **of_set):
    """The teacher; a GAN and a VAE of the data; students with data, of another set, and without."""
    kd = dict(method=dict(name="kd", labels=False), lambdas=dict(student=dict(kd=1.0)))
    virtual = lambda latent: dict(method=dict(name="virtual", latent=latent, temperature=4.0), lambdas=kd["lambdas"])
    other = other or OTHERS.get(name, "")
    taught_by = dict(teacher="teacher")
    made = dict(
        teacher=dict(
            method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=taught
        ),
        gan=dict(
            method=dict(name="gan", generator="generator", latent=latent, penalty="r1", penalty_every=4),
            lambdas=dict(discriminator=dict(real=1.0, fake=1.0, r1=1.0), generator=dict(adv=1.0)),
            start=taught_by, beside=("teacher",), steps=drawn,
        ),
        vae=dict(
            method=dict(name="vae", player="vae"), lambdas=dict(vae=dict(reconstruction=1.0, kl=1.0)), steps=drawn
        ),
        real=dict(
            start=taught_by,
            arms=common.named(labels=dict(lambdas=dict(student=dict(ce=1.0)), beside=("teacher",)), kd=kd),
        ),
        other=dict(data=borrowed(other, name), start=taught_by, **kd),
        free=dict(
            data=None,
            start=taught_by,
            arms=common.named(
                noise=dict(
                    **virtual(image["image_size"] ** 2 * image["channels"]),
                    players=dict(generator=dict(model="noise_images", model_args=image)),
                ),
                gan=dict(**virtual(latent), start=dict(generator="gan")),
                vae=dict(
                    **virtual(of_vae(image)["latent"]),
                    players=dict(generator=dict(model="vae_generator", model_args=of_vae(image))),
                    start=dict(generator=dict(stage="vae", player="vae")),
                ),
                **{method: free(method, latent, moves)},
            ),
        ),
    )  # fmt: skip
    return made if other else {stage: fields for stage, fields in made.items() if stage != "other"}


def borrowed(images, measured):
    """Training images of another set, without labels, of which none could validate."""
    return dict(name="kdgan.data.borrowed.load", args=dict(images=images, measured=measured), validation=0)


def free(method, latent, moves):
    """The arm whose images the method makes, with as many moves of the student as the others have steps."""
    fields = dict(METHODS[method], **({} if method == "deep_inversion" else dict(latent=latent)))
    lambdas = {lead: dict(terms) for lead, terms in PUBLISHED[method].items()}
    if method == "dafl":  # the moves are two here
        lambdas["student"] = dict(kd=lambdas["generator"].pop("kd"))
    if method == "zskt":
        lambdas["student"].pop("attention")
    return dict(method=dict(name=method, **fields), lambdas=lambdas, steps=moves // fields["student_repeats"])
