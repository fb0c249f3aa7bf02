"""What the explanation of a run says of its players."""

import pytest

import tiny
from configs import common
from kdgan.run import build, explain
from kdgan.run import inputs as run_inputs
from kdgan.run.config import resolve


def explained(config):
    run = resolve(config)
    loaded = run_inputs.load(run)
    return explain.explain(run, loaded, build.all_programs(run, loaded))


RULES = {
    "plain": (dict(name="adam"), "adam 0.1"),
    "adam": (dict(name="adam", b1=0.5, b2=0.9, weight_decay=0.1), "adam 0.1, b1 0.5, b2 0.9"),
    "rmsprop": (dict(name="rmsprop", momentum=0.9, decay=0.9), "rmsprop 0.1, momentum 0.9, decay 0.9"),
    "sgd": (dict(name="sgd", nesterov=True, momentum=0.0), "sgd 0.1, momentum 0, nesterov True"),
    "ignored": (dict(momentum=0.5, decay=0.5, name="adam"), "adam 0.1 (of no use to adam: momentum 0.5, decay 0.5)"),
    "lion": (dict(name="lion", b1=0.8, eps=1e-6), "lion 0.1, b1 0.8 (of no use to lion: eps 1e-06)"),
}


def test_fields_of_the_optimizers_rule_stand_beside_it_and_those_without_use_are_said():
    scratch = lambda fields: dict(lambdas=dict(student=dict(ce=1.0)), optimizers=dict(student=fields))
    config = tiny.config(seeds=1, arms=common.named(**{arm: scratch(fields) for arm, (fields, _) in RULES.items()}))
    text = explained(config)
    assert "MFLOP   adam 0.1\n" in text
    for arm, (_, shown) in RULES.items():
        assert arm == "plain" or f"MFLOP   {shown} [{arm}]\n" in text


@pytest.mark.parametrize(("last", "known"), [("linear", False), ("sigmoid", True)])
def test_a_generator_whose_range_is_not_known_is_said_to_be_one(last, known):
    config = tiny.config(seeds=1)
    config.players = common.named(
        generator=dict(model="players.Scribbles", model_args=dict(last=last), evaluate="nothing"),
        discriminator=dict(model="dcgan_discriminator", model_args=dict(width=1 / 32)),
    )
    config.stages = common.named(
        gan=dict(
            method=dict(name="gan", latent=4),
            lambdas=dict(generator=dict(adv=1.0), discriminator=dict(real=1.0, fake=1.0)),
            steps=1,
        )
    )
    line = "range of generator's images: not known; its module states it by output_range = (low, high)"
    assert explained(config).count(line) == (0 if known else 1)
