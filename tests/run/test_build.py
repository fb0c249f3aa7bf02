"""A stage is built from its config, and what cannot run is named before anything compiles."""

import jax
import numpy as np
import pytest
from flax import linen as nn

import tiny
from configs import common
from kdgan.run import build, starts
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve
from kdgan.run.schema import Start


def built(config, stage=1):
    run = resolve(config)
    return run, build.all_programs(run, run_inputs.load(run))[run.stages[stage].name]


def test_arms_that_differ_in_lambdas_only_make_one_program():
    kd = lambda weight: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=weight)))
    other = dict(method=dict(name="kd", temperature=2.0), lambdas=dict(student=dict(ce=0.1, kd=0.5)))
    _, programs = built(tiny.config(arms=common.named(a=kd(0.5), b=kd(0.9), c=other)))
    assert [program.arms for program in programs] == [("a", "b"), ("c",)]
    assert programs[0].lambdas["b"] == {"student": {"ce": 0.1, "kd": 0.9}}


def test_lambdas_and_hyperparameters_take_schedules_over_the_stage():
    ramp = dict(kind="linear", start=0.0, end=1.0)
    arm = dict(
        method=dict(name="kd", temperature=dict(kind="linear", start=4.0, end=1.0)),
        lambdas=dict(student=dict(ce=1.0, kd=ramp)),
    )
    _, (program,) = built(tiny.config(arms=common.named(kd=arm)))
    schedule = program.schedules["student"]["kd"]
    assert [float(schedule(step)) for step in (0, 1, 4)] == [0.0, 0.25, 1.0]
    assert program.lambdas["kd"]["student"]["kd"] == 1.0


def set_field(path, value):
    def change(config):
        *parents, last = path.split(".")
        with config.unlocked(), config.ignore_type():
            at = config
            for name in parents:
                at = at[name]
            at[last] = value

    return change


TOO_SMALL = {"model": "vgg8", "model_args": {"pools": 5}}  # for images of 8×8
NOWHERE = {"checkpoint": "/nowhere"}
COLD = {"kind": "linear", "start": 1.0, "end": -1.0}
BOTH = {**common.get_config().parallel.to_dict(), "devices": 4, "members": "devices"}
ANOTHER = {"stage": "teacher", "player": "teacher"}  # of another width


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_field("stages.distill.arms.kd.lambdas", {"student": {"ce": 1.0}}), "lambdas.student.kd is missing"),
        (set_field("stages.distill.arms.kd.lambdas.student.hint", 1.0), "lambdas.student.hint: the method has no such term"),
        (set_field("stages.distill.arms.kd.lambdas.teacher", {"ce": 1.0}), "teacher is frozen"),
        (set_field("stages.distill.arms.kd.method.name", "kdd"), "did you mean 'kd'"),
        (set_field("stages.distill.arms.kd.method.temperature", -2.0), "temperature = -2.0: a temperature must be positive"),
        (set_field("stages.distill.arms.kd.method.name", "kdgan"), "moves 'discriminator'; the players are"),
        (set_field("stages.distill.start", {}), "teacher is frozen in this stage and starts nowhere"),
        (set_field("players.student", TOO_SMALL), r"players.student \(VGG\) cannot take inputs of shape \(8, 8, 8, 1\)"),
        (set_field("stages.distill.start.student", ANOTHER), r"dense1/bias is \(8,\), expected \(4,\)"),
        (set_field("stages.distill.start.teacher", NOWHERE), "checkpoint = '/nowhere': there is no such folder"),
        (set_field("stages.distill.start.student", "teacher"), "has no player 'student'; it has teacher"),
        (set_field("stages.distill.arms.kd.lambdas.student.kd", "a"), "lambdas.student.kd = 'a': expected a finite number"),
        (set_field("stages.distill.arms.kd.lambdas.student", 1.0), "lambdas.student = 1.0: expected a mapping"),
        (set_field("stages.distill.arms.kd.method.temperature", COLD), "a temperature must stay positive"),
        (set_field("data.std", 0.0), "config.data: std must be positive"),
        (set_field("parallel", BOTH), "set parallel.devices = 1"),
        (set_field("players.student.model", "mpl"), "mlp"),
        (set_field("players.student.model_args", {"widths": (3,)}), "config.players.student: .*widths"),
        (set_field("players.student.model_args", {"num_classes": 7}), "it tells 7 classes apart, the data have 10"),
        (set_field("players.student.model_args", {"num_classes": 12}), "players.student.classes"),
        (set_field("players.student.sync_batch_norm", True), "sync_batch_norm needs a model with a field axis_name"),
        (set_field("data.augment", {"affin": {"rotate": 1.0}}), "config.data.augment: .*affin"),
        (set_field("data.labelled", 5), "config.data.labelled = 5 is fewer than one example for each of the 10 classes"),
        (set_field("data.unlabelled_batch_size", 4), "data.unlabelled_batch_size = 4: no unlabelled examples are left"),
        (set_field("stages.distill.optimizers", {"student": {"name": "sdg"}}), "accepted are sgd, adam"),
        (set_field("parallel.devices", 3), "batch_size = 8 does not divide over 3 devices"),
        (set_field("parallel.devices", 64), "config.parallel.devices = 64: this process has 4 devices"),
        (set_field("data.train", "trian"), "trian"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_clear_error_before_compilation(change, message, monkeypatch):
    config = tiny.config()
    if "unlabelled" in message:
        set_field("data.labelled", None)(config)
    change(config)
    monkeypatch.setattr(jax, "jit", None)  # nothing may be compiled on the way
    with pytest.raises(ConfigError, match=message):
        built(config)


DEEP = {"model": "vgg8", "model_args": {"features": (2, 2, 2, 2, 2), "pools": 3}}  # its stage 4 has maps of 1×1 pixel


def with_deep(player="student", *, batch_size, devices=1, sync=False):
    """A tiny run whose second stage makes steps of `batch_size`, with a player that has batch norm on 1×1 maps."""
    config = tiny.config()
    set_field(f"players.{player}", {**DEEP, "sync_batch_norm": sync})(config)
    set_field("stages.distill.batch_size", batch_size)(config)
    set_field("parallel.devices", devices)(config)
    return config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(batch_size=1),
            r"^config.stages.distill.arms.scratch.batch_size = 1: student learns nothing: its BatchNorm stage4/bn1 has an"
            r" input of shape \(1, 1, 1, 2\) and normalises each value by itself; accepted are batches of at least 2,"
            " larger images$",
        ),
        (
            dict(batch_size=4, devices=4),
            r"batch_size = 4: student .*\(4, 1, 1, 2\), split over 4 devices, and normalises each value by itself;"
            r" accepted are batches of at least 8, larger images, or config.players.student.sync_batch_norm = True$",
        ),
    ],
)
def test_batch_norm_over_one_value_is_refused_by_its_layer(options, message, monkeypatch):
    config = with_deep(**options)
    monkeypatch.setattr(jax, "jit", None)
    with pytest.raises(ConfigError, match=message):
        built(config)


@pytest.mark.parametrize(
    "options",
    [
        dict(batch_size=2),
        dict(batch_size=8, devices=4),
        dict(batch_size=4, devices=4, sync=True),
        dict(player="teacher", batch_size=1),  # frozen: it normalises by its running averages
    ],
)
def test_batch_norm_over_two_values_and_frozen_players_pass(options):
    built(with_deep(**options))


def test_images_without_labels_count_where_the_player_sees_them():
    """One labelled image and three others in one call are four values; the labelled one alone is one."""
    config = with_deep(batch_size=1)
    config.data.unlabelled_batch_size = 3
    with pytest.raises(
        ConfigError, match=r"batch_size = 1, config.data.unlabelled_batch_size = 3: student learns nothing"
    ):
        built(config)
    kd = dict(method=dict(name="kd", unlabelled=True), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
    set_field("stages.distill.arms", common.named(scratch=kd))(config)
    _, (program,) = built(config)
    assert {norm.values for norm in program.inspection.norms["student"] if norm.path == "stage4/bn1"} == {4}


class GroupNormed(nn.Module):
    """A norm of as many groups as channels, on maps of 1×1 pixel."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x):
        x = nn.GroupNorm(num_groups=4, name="norm")(nn.Dense(4)(x.reshape(len(x), 1, 1, -1)))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


def test_group_norm_over_one_value_is_refused_at_any_batch_size():
    config = tiny.config()
    set_field("players.student", {"model": f"{__name__}.GroupNormed"})(config)
    with pytest.raises(ConfigError, match=r"players.student: its GroupNorm norm has an input of shape \(8, 1, 1, 4\)"):
        built(config)


def test_classes_map_a_teachers_label_space_onto_the_datas():
    config = tiny.config()
    set_field("players.teacher.model_args", {"hidden": (8,), "num_classes": 12})(config)
    set_field("players.teacher.classes", tuple(range(2, 12)))(config)
    _, programs = built(config)
    assert programs[1].inspection.outputs["teacher"].shape == (8, 10)


def test_a_part_of_the_parameters_can_be_taken_and_a_new_head_stays_fresh():
    fresh = {"conv": {"kernel": np.zeros(3)}, "head": {"kernel": np.zeros(5)}}
    source = {"conv": {"kernel": np.ones(3)}, "head": {"kernel": np.ones(7)}}
    merged = starts.merge_parameters(fresh, source, Start(only=("conv/*",)), "student")
    np.testing.assert_array_equal(merged["conv"]["kernel"], np.ones(3))
    np.testing.assert_array_equal(merged["head"]["kernel"], np.zeros(5))
    skipped = starts.merge_parameters(fresh, source, Start(skip=("head/*",)), "student")
    np.testing.assert_array_equal(skipped["conv"]["kernel"], np.ones(3))
    with pytest.raises(ConfigError, match=r"head/kernel is \(7,\) there and \(5,\) here; add it to skip"):
        starts.merge_parameters(fresh, source, Start(), "student")
    with pytest.raises(ConfigError, match="leave nothing to take"):
        starts.merge_parameters(fresh, source, Start(only=("body/*",)), "student")
