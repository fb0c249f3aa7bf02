"""Style transfer: content and Gram losses teach a network, and its outputs teach one of an eighth of its operations.

pip install -e ".[images]"
python -m kdgan.main --config=configs/style.py --workdir=runs/style    # 1,350 CPU seconds, about 14 min. of 2 cores
python -m kdgan.main --mode=apply --workdir=runs/style --arm=distilled --input=photo.jpg --output=painted.png
python -m kdgan.main --config=configs/style.py:image=a.jpg+b.jpg --workdir=runs/two        # two styles in one network
python -m kdgan.main --workdir=runs/style26 \
  --config=configs/style.py:teacher=~/multistyle26.npz,critic=~/squeezenet.npz,image=painted.png

Without `teacher` and `critic` nothing is downloaded: the critic, by whose features content and style are compared, learns
first to tell the training photographs apart by patches, and the teacher is trained on its features. With them the teacher
is the published network of 26 styles, of which the student learns `number` (of several images as many: 0+7), and the critic
SqueezeNet. `image` is the painting by which pictures are judged, and whose Gram matrices teach; with a published teacher it
is the one of that style or, where that is not at hand, a picture which the teacher painted (docs/images.md). Several make
a network of several styles, by conditional norm, of which `--style` picks one or mixes them.

The student learns from the losses that its teacher had (`losses`), from its teacher's images (`distilled`), from both, or
from its teacher's images and a discriminator that takes them for real (`adversarial`).

Five test photographs, three seeds (the photograph: content 0, style 1; teacher: content 1.25 ± 0.32, style 0.37 ± 0.65):
content: losses 1.15 ± 0.34, distilled 1.19 ± 0.30, both 1.05 ± 0.15, adversarial 1.25 ± 0.30
style: losses 0.35 ± 0.29, distilled 0.49 ± 0.63, both 0.36 ± 0.18, adversarial 0.44 ± 0.56
PSNR to the teacher's pictures, dB: losses 8.8 ± 3.6, distilled 22.5 ± 3.6, both 11.7 ± 10.2, adversarial 22.3 ± 3.5
"""

from kdgan import config as common

STYLE = "skimage:ihc"
TEACHER = dict(contract=(16, 32, 64), blocks=3)
STUDENT = dict(contract=(8, 12, 24), blocks=2, outer=3)  # 1/9 of that teacher's operations
SMALLER = dict(contract=(8, 8, 16), blocks=2, outer=3)  # 1/8.9 of those of the published network
# By critic: its layers, and λ of content and style, whose scale is that of its features.
RESNET = dict(content=("stage2",), style=("stage1", "stage2", "stage3")), dict(content=1.0, style=10.0)
SQUEEZENET = dict(content=("fire3",), style=("fire2", "fire3", "fire5")), dict(content=1e-5, style=1e-8)


def get_config(arguments=""):
    given = common.arguments(
        arguments, data="skimage:photographs", train="train", test="test", image="", teacher="", number="0", critic="",
        steps="400", seeds="3",
    )  # fmt: skip
    steps = int(given["steps"])
    config = common.get_config()
    config.seed, config.population.seeds = 0, int(given["seeds"])
    config.data.name, config.data.train, config.data.test = given["data"], given["train"], given["test"]
    config.data.channels, config.data.validation = 3, 2
    config.data.augment = common.named(crop=dict(size=56), flip=dict())
    config.evaluate.batch_size, config.evaluate.every = 1, steps

    if given["teacher"] and not given["image"]:
        raise ValueError(
            "image = '': with a teacher the painting of its style, or a picture that it painted, is wanted"
        )
    images, numbers = tuple((given["image"] or STYLE).split("+")), tuple(map(int, given["number"].split("+")))
    layers, λ = SQUEEZENET if given["critic"] else RESNET
    published = dict(model="multistyle26", model_args=dict(style=numbers[0]), weights=given["teacher"])
    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine", warmup=min(50, steps // 10))
    critic = (
        dict(model="squeezenet", weights=given["critic"])
        if given["critic"]
        else dict(model="resnet8", model_args=dict(num_classes=10))
    )
    network = critic if given["critic"] else None  # None: that of evaluate.extractor
    several = dict(styles=len(images)) if len(images) > 1 else {}
    judge = dict(name="stylist", images=images, size=128, network=network, **layers, **several)
    johnson = lambda fields: dict(
        model="johnson", model_args=dict(**fields, **several), optimizer=cosine(2e-3), evaluate=judge
    )
    config.players = common.named(
        critic=dict(**critic, optimizer=cosine(2e-3)),
        teacher=dict(**published, evaluate=judge) if given["teacher"] else johnson(TEACHER),
        student=johnson(SMALLER if given["teacher"] else STUDENT),
        style_images=dict(model="style_images", model_args=dict(images=images, size=128)),
        discriminator=dict(model="patch_critic", model_args=dict(features=(32, 64)), optimizer=cosine(5e-4)),
        unpainted=dict(model="identity", evaluate=judge),
    )
    config.stage.batch_size, config.stage.steps, config.stage.beside = 4, steps, ("unpainted",)
    chosen = dict(teacher_styles=numbers) if several and given["teacher"] else {}
    painted = lambda terms, **method: dict(method=dict(name="style", **method, **several), lambdas=terms)
    taught = lambda terms, **method: painted(terms, pixel="l1", **method, **chosen)
    tenth = {name: 0.1 * value for name, value in λ.items()}
    start = {} if given["critic"] else dict(critic="critic")
    stages = dict(
        critic=dict(
            data=dict(name="configs.sets.patches", train="train", test="test", args=dict(size=32), validation=0, augment={}),
            method=dict(name="supervised", player="critic"),
            lambdas=dict(critic=dict(ce=1.0)),
            batch_size=32,
            steps=300,
            beside=(),
        ),
        teacher=dict(start=start, **painted(dict(teacher=λ), player="teacher", **layers)),
        distill=dict(
            start=start if given["teacher"] else dict(teacher="teacher", **start),
            arms=common.named(
                losses=painted(dict(student=λ), **layers),
                distilled=taught(dict(student=dict(teacher=1.0))),
                both=taught(dict(student=dict(teacher=1.0, **tenth)), **layers),
                adversarial=taught(
                    dict(student=dict(teacher=1.0, adv=0.01), discriminator=dict(real=1.0, fake=1.0)),
                    adversarial="nonsaturating",
                ),
            ),
        ),
    )  # fmt: skip
    if given["critic"]:
        del stages["critic"]
    else:
        config.evaluate.extractor = dict(stage="critic", player="critic", layer="embedding")
    if given["teacher"]:
        del stages["teacher"]
    config.stages = common.named(**stages)
    return config
