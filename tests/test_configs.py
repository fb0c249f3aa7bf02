"""The contract of every config: it names its command, each of its arms is valid, and, shrunk to two steps, it runs."""

import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import tiny
from configs import gan_arms, gan_curves, zoo_cifar10, zoo_rows
from kdgan import models
from kdgan.run import prepare, train
from kdgan.run.config import resolve

OWN_DATA = {"diabetes", "privileged", "tags", "text", "transfer", "wine"}  # of no download, and not as digits are
OF_IMAGES = {"denoise", "super_resolution", "style"}  # windows of photographs
CONFIGS = sorted(
    {path.stem for path in (pathlib.Path(__file__).parent.parent / "configs").glob("*.py")} - tiny.PARTS_OF_CONFIGS
)

SLOW = ("resnet", "kdgan_lenet", "lenet", "cnn")  # classifiers that take long to trace and to compile

# Of the zoo's rows those that the tests of methods run as they are.
ZOO = tuple(row for row in zoo_rows.METHODS if row not in ("pskd", "ofd", "ft"))

# Ways to train a generator.
GENERATORS = tuple(gan_arms.arms(share=2, steps=2, matched=1.0))
SHORT = gan_arms.SHORT

# What a config is run with. tests/test_cifar100_zoo.py traces the other rows on their networks; methods' tests run them.
ARGUMENTS = {"cifar100_zoo": "methods=kd"}

# config -> stage -> arms that compile once more what another config or stage has (none: the whole stage).
REPEATED = {
    "digits_gan_distill": {"student": [arm for arm in SHORT if arm not in ("scratch_matched", "fused_held")]},
    "digits_conditional_gan": {"student": [arm for arm in SHORT if arm not in ("adversarial", "fused_held")]},
    "digits_sngan": {"student": [arm for arm in SHORT if arm not in ("scratch", "adversarial")]},
    "gan_curves": {
        **{point: () for point in gan_curves.POINTS if point not in ("width_16", "lambdas")},
        "width_16": [arm for arm in GENERATORS if arm not in ("weights", "mse")],
        "lambdas": ("all", "without_1", "without_2", "without_3", "without_4"),
    },
    "digits_vae_distill": {"distill": ("scratch", "scratch_long", "decoder_only")},
    "privileged": {"distill": ("scratch", "kd")},
    "tags": {"distill": ("scratch", "kd")},
    "text": {"bag": ("scratch",), "convolutional": ("scratch",)},
    "adversarial": {"distill": ("scratch", "kd", "adv_ce")},
    "zoo": {"distill": ZOO},
    "zoo_cifar10": {"distill": tuple(row for row in zoo_cifar10.ROWS if row != "kd")},
    "generations": {"third": ("scratch", "long")},
    "wine": {"distill": ("scratch",)},
    "denoise": {"clean": ("clean", "teacher"), "unlabelled": ("few", "clean_others")},
    "super_resolution": {
        "sharp": ("teacher", "half_scale"),
        "unlabelled": ("few", "sharp_others"),
        "eye": ("adv_100",),
    },
    "style": {"distill": ("losses", "distilled")},
    "robust": {
        "steal": ("labels", "noisy"),
        "steal_free": ("noise",),
        "distill": ("scratch", "kd", "robust_ce", "rslad"),
    },
    "kdgan_stability": {"game": ("fresh_discriminator", "none_pretrained", "fast_teacher")},
    "mnist_gan_distill": {"student": [arm for arm in SHORT if arm != "mse"]},
    "mnist_weights": {"full": ()},
    "incremental": {"step_2": ("finetune", "lwf"), "joint": ()},
    "data_free": {"real": ("labels",), "free": ("gan",)},
    "virtual_data": {"real_100": (), "real_1000": (), "virtual": ("images_100", "images_1000", "images_10000")},
    "transfer": {"target": ("started", "distilled"), "both": ("even",)},
    # tests/test_kdgan_configs.py runs every row.
    "kdgan_mnist": {"table": ("kd", "noisy", "codis", "nagan", "kdgan", "kdgan_ce")},
    "kdgan_cifar10": {"table": ("scratch", "kd", "noisy", "codis", "nagan", "kdgan", "kdgan_ce")},
}


def shrunk(name, arguments=""):
    """A config with its own stages, arms and players, on the digits or its own data, for two steps of one seed."""
    config = importlib.import_module(f"configs.{name}").get_config(*filter(None, [arguments]))
    config.data.validation = 0 if name == "transfer" else 10  # of 35 classes
    if name in OF_IMAGES:
        config.data.name, config.data.validation = "functions.photographs", 2
        config.data.augment.crop.size = 9 if config.data.augment.crop.size % 2 else 8
        of_stages = [stage.players for stage in config.stages.values() if "players" in stage]
        for player in (player for players in (config.players, *of_stages) for player in players.values()):
            if "warmup" in player.get("optimizer", {}):
                player.optimizer.warmup = 0
        for player in config.players.values():
            fields = {"width": 4, "depth": 3, "blocks": 1, "contract": (2, 3), "features": (2,)}
            given = dict(player.get("model_args", {}))
            player.model_args = {**given, **{key: value for key, value in fields.items() if key in given}}
    elif name not in OWN_DATA:
        config.data.name = "digits"
    if config.data.labelled:
        config.data.labelled = 20
    config.stage.steps, config.stage.batch_size, config.population.seeds = 2, 4, 1
    for stage in config.stages.values():
        stage.steps = 2
        for arm in stage.get("arms", {}).values():
            if "steps" in arm:
                arm.steps = 2
    for player in config.players.values():
        if name not in ("quickstart", "zoo", *OF_IMAGES) and str(player.get("model", "")).startswith(SLOW):
            player.model, player.model_args = "mlp", dict(hidden=(4,))
        if "image_size" in player.get("model_args", {}):
            player.model_args.image_size = 8
    if isinstance(config.data.mean, tuple):  # of three channels
        config.data.mean, config.data.std = 0.5, 0.25
    config.report.published = {}
    repeated = REPEATED.get(name, {})
    for stage, arms in ((stage, repeated[stage]) for stage in repeated if stage in config.stages):
        if not arms:
            del config.stages[stage]
        for arm in arms:
            del config.stages[stage].arms[arm]
    config.evaluate.samples = config.evaluate.validation_samples = 8
    config.evaluate.every, config.evaluate.latency = 1, False
    config.log.progress = config.log.tensorboard = False
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_the_docstring_has_the_command(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    assert re.search(rf"python -m kdgan\.main --config=configs/{name}\.py(:\S+)? --workdir=", text)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_arm_of_it_is_a_valid_one(name):
    resolve(importlib.import_module(f"configs.{name}").get_config())


# What a config needs beyond requirements.txt.
EXTRAS = {
    "phone": pytest.mark.extra("qwix"),
    "style": pytest.mark.extra("skimage"),
    "super_resolution": pytest.mark.extra("skimage"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=EXTRAS.get(name, ())) for name in CONFIGS])
def test_it_runs_and_a_classifiers_and_a_generators_stop_and_resume(name, tmp_path):
    config = shrunk(name, ARGUMENTS.get(name, ""))
    run = resolve(config)
    if name in ("quickstart", "mnist_gan_distill"):
        tiny.train_until(config, tmp_path, run.stages[0].name, 1)
    summary = train.train(config, tmp_path)
    assert list(summary["stages"]) == [stage.name for stage in run.stages]
    for stage in run.stages:
        assert list(summary["stages"][stage.name]["arms"]) == [arm.name for arm in stage.arms]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("denoise", "student=dncnn"),
        ("denoise", "student=unet,teacher=dncnn"),
        pytest.param("super_resolution", "scale=3,student=espcn", marks=EXTRAS["super_resolution"]),
        pytest.param("super_resolution", "scale=4,student=imdn", marks=EXTRAS["super_resolution"]),
        pytest.param("super_resolution", "student=fsrcnn,teacher=vdsr", marks=EXTRAS["super_resolution"]),
        pytest.param("style", "image=skimage:ihc+skimage:grass", marks=EXTRAS["style"]),
    ],
)
def test_images_arguments_make_runs_that_can_start(name, arguments, tmp_path):
    made = {"dncnn": dict(batch_norm=False), "vdsr": dict(luma=True)}
    for model, fields in made.items():
        if f"teacher={model}" in arguments:
            module = models.build(model, **fields)
            variables = jax.eval_shape(lambda module=module: module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
            (tmp_path / model).write_bytes(serialization.to_bytes(jax.tree.map(lambda x: np.zeros(x.shape), variables)))
            arguments = arguments.replace(f"teacher={model}", f"teacher={tmp_path / model}")
    config = shrunk(name, arguments)
    config.data.args = dict(side=48)
    run, prepared = resolve(config), prepare.prepare(config, None)
    assert set(prepared.programs) == {stage.name for stage in run.stages}


def test_a_published_style_network_wants_the_painting_of_its_style():
    with pytest.raises(ValueError, match=r"^image = '': with a teacher the painting of its style"):
        importlib.import_module("configs.style").get_config("teacher=multistyle26.npz,critic=squeezenet.npz")


@pytest.mark.shared
def test_mnist_is_read_through_tfds(shared_data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "cache"))
    config = shrunk("mnist_kd")
    config.data.name = "mnist"
    config.data.data_dir = str(shared_data_dir)
    config.data.train = "train[:200]"
    summary = train.train(config, tmp_path)
    assert summary["data"]["sizes"] == {"train": 190, "validation": 10, "unlabelled": 0, "test": 10_000}


def test_five_portions_start_from_one_another_and_each_student_is_judged_beside_all_before_it():
    run = resolve(importlib.import_module("configs.incremental").get_config("steps=5,exemplars=20"))
    stages = {stage.name: stage for stage in run.stages}
    last = {arm.name: arm for arm in stages["step_5"].arms}
    for name, arm in last.items():
        assert (arm.start["student"].stage, arm.start["student"].arm) == ("step_4", name)
        assert arm.players["student"].evaluate["before"] == list(arm.beside) == [f"after_{n}" for n in range(1, 5)]
        before = "shared" if name != "grow" else "grow"
        assert (arm.start["after_1"].stage, arm.start["after_1"].arm) == ("step_1", before)
    sizes = [
        last["grow"].players[name].model_args["num_classes"] for name in ("after_1", "after_3", "teacher", "student")
    ]
    assert sizes == [2, 6, 8, 10]
    assert stages["memory_4"].arms[0].method["share"] == 3 / 4
    data = stages["exemplars_5"].data
    assert (data.classes, data.exemplars, data.exemplars_of) == ((8, 9), 20, tuple(range(8)))


@pytest.mark.parametrize(("chosen", "side", "of_class"), [("digits", 8, 110), ("mnist", 28, 6_000)])
def test_exemplars_of_old_classes_are_drawn_about_as_often_as_new_images(chosen, side, of_class):
    run = resolve(importlib.import_module("configs.incremental").get_config(f"set={chosen}"))
    stages = {stage.name: stage for stage in run.stages}
    data = stages["exemplars_2"].data
    assert data.exemplars * data.exemplar_repeats == of_class
    assert (run.data.name, stages["memory_1"].arms[0].players["generator"].model_args["image_size"]) == (chosen, side)


def test_only_a_teacher_of_ones_own_and_nothing_else_opens_no_training_split():
    config = importlib.import_module("configs.data_free").get_config("method=dafl,teacher=runs/mine,only=free")
    run = resolve(config)
    assert [(stage.name, stage.data.train) for stage in run.stages] == [("free", None)]
    assert [arm.name for arm in run.stages[0].arms] == ["noise", "dafl"]


def test_letters_of_a_file_are_numbered_behind_the_digits():
    from configs import transfer

    config = transfer.get_config("target=npz:letters.npz,classes=26,labels=100")
    run = resolve(config)
    target = run.stages[-1].data
    assert (target.classes, target.exemplars, target.exemplars_of) == ((), 100, tuple(range(10, 36)))
    both = next(stage for stage in run.stages if stage.name == "both").data
    assert (target.exemplar_repeats, both.exemplar_repeats * 100 * 26) == (1, pytest.approx(15_000, rel=0.2))
    assert run.data.args == {"names": ["mnist", "npz:letters.npz"], "transposed": []}
    assert transfer.classes_of("emnist/letters", "") == tuple(range(11, 37))
    with pytest.raises(ValueError, match=r"target=npz:letters.npz: say how many classes it has, classes=26$"):
        transfer.get_config("target=npz:letters.npz")


@pytest.mark.parametrize("chosen", ["mnist", "cifar10"])
@pytest.mark.parametrize("method", ["zskt", "dafl", "dfad", "dfq", "deep_inversion", "cmi", "fast"])
def test_each_method_without_data_is_a_valid_run_of_as_many_moves_of_the_student(method, chosen):
    run = resolve(importlib.import_module("configs.data_free").get_config(f"method={method},set={chosen}"))
    stages = {stage.name: stage for stage in run.stages}
    assert "other" not in stages
    assert stages["free"].data.train is None
    moves = {arm.name: arm.steps * arm.method.get("student_repeats", 1) for arm in stages["free"].arms}
    assert set(moves) == {"noise", "gan", "vae", method}
    assert set(moves.values()) == {arm.steps for arm in stages["real"].arms}


def test_a_teacher_of_ones_own_is_not_trained():
    run = resolve(importlib.import_module("configs.data_free").get_config("teacher=mine.msgpack"))
    assert [stage.name for stage in run.stages] == ["gan", "vae", "real", "other", "free"]
    for stage in run.stages:
        for arm in stage.arms:
            assert "teacher" not in arm.method.get("player", "")
            assert stage.name == "vae" or arm.start["teacher"].checkpoint.endswith("mine.msgpack")


def test_another_set_to_learn_on_is_named_by_an_argument():
    run = resolve(importlib.import_module("configs.data_free").get_config("set=mnist,other=npz:usps.npz"))
    (stage,) = (stage for stage in run.stages if stage.name == "other")
    assert stage.data.args == {"images": "npz:usps.npz", "measured": "mnist"}
