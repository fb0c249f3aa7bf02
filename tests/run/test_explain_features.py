"""What an explanation lists of networks' features, and what it says of networks that learn with a student."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import tiny
from configs import common
from kdgan import main, methods
from kdgan.game import Method, Move, call_module
from kdgan.losses.logits import cross_entropy
from kdgan.models import Function
from kdgan.run import build, costs, explain, explain_features, modes
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve

KD = common.named(**{name: dict(method=dict(name="kd"), lambdas=dict(student=dict(ce=0.1, kd=0.9))) for name in "ab"})


def programs_of(config):
    run = resolve(config)
    inputs = run_inputs.load(run)
    return run, inputs, build.all_programs(run, inputs)


MLP = """features of teacher
          dense1     [b, 8]
          hidden1    [b, 8]
          Dropout_0  [b, 8]
          embedding  [b, 8]
          head       [b, 10]

features of student
          dense1     [b, 4]
          hidden1    [b, 4]
          Dropout_0  [b, 4]
          embedding  [b, 4]
          head       [b, 10]
"""


def test_each_network_has_a_block_of_its_paths_behind_the_explanation(capsys):
    config = tiny.config(seeds=1, arms=KD)
    modes.explain(config, None)
    plain = capsys.readouterr().out
    assert "features of" not in plain
    modes.explain(config, None, features="outer")
    assert capsys.readouterr().out == f"{plain}\n{MLP}"
    assert main.FEATURES.default == "outer"


def test_the_inner_modules_of_a_deep_network_are_counted_and_listed_where_all_are_asked_for():
    config = tiny.config(seeds=1, arms=KD)
    config.players.student = dict(model="resnet8")
    _, _, programs = programs_of(config)
    block = lambda text: text.partition("features of student\n")[2]
    outer, every = (block(explain_features.explain(programs, every=every)) for every in (False, True))
    rows = re.findall(r"^ {10}(\S+) +\[b, (.*)\]$", outer, re.M)
    assert [path for path, _ in rows] == [
        *("conv1", "bn1", "stem", "stage1/block1", "stage1", "stage2/block1", "stage2", "stage3/block1", "stage3"),
        *("embedding", "head"),
    ]
    assert dict(rows)["stage2"] == "4, 4, 32"
    assert outer.endswith("          and 19 inside of these: --features=all")
    rows = re.findall(r"^ {10}(\S+) +\[b, (.*)\]$", every, re.M)
    assert len(rows) == 30
    # Under every path a method is given a feature of that shape.
    module, image = programs["distill"][0].local_modules["student"], jax.ShapeDtypeStruct((3, 8, 8, 1), jnp.float32)
    look = lambda image: call_module(
        module, module.init(jax.random.key(0), image), image, train=False, features=tuple(path for path, _ in rows)
    )[2]
    given = {path: ", ".join(map(str, leaf.shape[1:])) for path, leaf in jax.eval_shape(look, image).items()}
    assert given == dict(rows)


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"a": x, "b": x}


class Several(nn.Module):
    """A module that is called twice, one that gives two arrays, and one that does neither."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, image):
        once, twice = nn.Dense(6, name="once"), nn.Dense(6, name="twice")
        x = twice(twice(once(image.reshape(len(image), -1))))
        return nn.Dense(self.num_classes, name="head")(Pair(name="pair")(x)["a"])


def constant():
    """A function as a teacher."""
    return Function(lambda image: image.reshape(len(image), -1)[:, :10])


def test_of_modules_called_twice_of_several_arrays_and_of_functions_nothing_is_listed():
    config = tiny.config(seeds=1, arms=KD)
    own = common.named(teacher=dict(model=f"{__name__}.constant"), student=dict(model=f"{__name__}.Several"))
    with config.unlocked():
        config.players = own
        del config.stages.teacher
        config.stages.distill.start = {}
    expected = "features of student\n          once  [b, 6]\n          head  [b, 10]"
    assert explain_features.explain(programs_of(config)[2], every=True) == expected


def test_a_player_that_is_another_network_in_another_arm_has_a_block_for_each():
    config = tiny.config(seeds=1, arms=KD)
    config.stages.distill.arms.b.players = dict(student=dict(model_args=dict(hidden=(5,))))
    listed = explain_features.explain(programs_of(config)[2])
    assert "features of student [distill/a]\n          dense1     [b, 4]" in listed
    assert "features of student [distill/b]\n          dense1     [b, 5]" in listed
    assert listed.count("features of teacher\n") == 1


def hinted(adapter):
    """The student's hidden units, twice or through an adapter, follow the teacher's."""

    def terms(players, batch, key):
        outputs, mine = players.student(batch["image"], features=("dense1",))
        _, theirs = players.teacher(batch["image"], features=("dense1",))
        twice = {"dense1": jnp.concatenate([mine["dense1"]] * 2, -1)}
        followed = (players.adapter(mine, theirs) if adapter else twice)["dense1"]
        hint = ((followed - theirs["dense1"]) ** 2).sum(-1)
        return {"ce": cross_entropy(outputs, batch["label"]), "hint": hint}

    return Method(Move(("student", "adapter") if adapter else "student", terms))


@pytest.fixture
def taught(monkeypatch):
    monkeypatch.setitem(methods.BY_NAME, "hinted", hinted)
    arm = lambda adapter: dict(
        method=dict(name="hinted", adapter=adapter), lambdas=dict(student=dict(ce=1.0, hint=1.0))
    )
    config = tiny.config(seeds=1, arms=common.named(bare=arm(False), adapted=arm(True)))
    with config.unlocked():
        config.players.adapter = dict(model="adapter")
    return programs_of(config)


def test_networks_that_learn_with_the_student_are_said_to_with_their_size_and_operations(taught):
    run, inputs, programs = taught
    text = explain.explain(run, inputs, programs)
    # 4 -> 8: two operations a weight, one a bias
    row = "adapter        adapter                      40 parameters  7.2e-05 MFLOP   sgd 0.1, learns with student"
    assert f"\n          {row}\n" in text
    assert text.count("learns with") == 1
    assert "adapter        float32 [b, 4], float32 [b, 8]" in text
    assert "features of adapter\n          dense1  [b, 8]" in explain_features.explain(programs)


def test_the_operations_of_training_count_those_of_an_adapter(taught):
    run, inputs, programs = taught
    bare, adapted = (costs.step_cost(run, program).flops for program in programs["distill"])
    # Of 8 examples: forward, and the gradients of weights and of inputs; then what the optimizer does with 40 parameters.
    matrices, biases = 3 * 2 * 4 * 8 * 8, 2 * 8 * 8
    assert matrices + biases <= adapted - bare <= matrices + biases + 6 * 40
    whole = [costs.training_flops(run, program, inputs) for program in programs["distill"]]
    np.testing.assert_allclose(whole[1] - whole[0], 4 * (adapted - bare))
