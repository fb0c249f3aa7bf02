"""Runs that judge other things than classes: a language model distilled token by token, and restored images of any size."""

import flax.linen as nn
import numpy as np
import pytest
from sklearn import datasets

import kdgan
import tiny
from configs import common
from kdgan import data
from kdgan.game import Method, Move
from kdgan.losses import images as image_losses
from kdgan.run import build
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError, resolve

LENGTH = 24


def text():
    """What scikit-learn says of four of the data sets that it ships: about 15,000 characters of English."""
    return "".join(
        getattr(datasets, f"load_{name}")().DESCR for name in ("wine", "breast_cancer", "diabetes", "digits")
    )


def characters(split):
    """Windows of characters, and for each the one that follows; the last window is shorter and padded."""
    whole = text()
    vocabulary = {character: number for number, character in enumerate(sorted(set(whole)))}
    tokens = np.array([vocabulary[character] for character in whole])
    rows = [tokens[start : start + LENGTH + 1] for start in range(0, len(tokens) - 1, LENGTH)]
    rows = [row for number, row in enumerate(rows) if (number % 5 == 0) == (split == "test") or number == len(rows) - 1]
    mask = np.arange(LENGTH) < np.array([len(row) - 1 for row in rows])[:, None]
    given, target = np.zeros(mask.shape, np.int32), np.zeros(mask.shape, np.int32)
    given[mask], target[mask] = (np.concatenate([row[part] for row in rows]) for part in (slice(0, -1), slice(1, None)))
    fields = {"text": given, "text_mask": mask, "target": target, "target_mask": mask}
    sizes = dict.fromkeys(("text", "target"), len(vocabulary))
    return data.from_fields(fields, kinds=dict.fromkeys(sizes, "tokens"), sizes=sizes, name="descriptions")


def base(**stages):
    config = common.get_config()
    config.data.validation = 20
    config.player.optimizer.learning_rate = 1e-2
    config.stage.batch_size = 32
    config.stages = common.named(**stages)
    config.evaluate.latency, config.log.progress, config.log.tensorboard = False, False, False
    return config


def language_model(**player):
    config = base(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=60),
        distill=dict(
            start=dict(teacher="teacher"),
            method=dict(name="kd", temperature=1.0),
            lambdas=dict(student=dict(ce=0.5, kd=0.5)),
            steps=60,
        ),
    )
    model = lambda width: dict(
        model="causal_transformer", model_args=dict(width=width, depth=1, heads=2, hidden=2 * width)
    )
    config.players = common.named(teacher=model(16), student={**model(8), **player})
    config.evaluate.every, config.log.every = 30, 30
    return config


@pytest.fixture(scope="module")
def descriptions():
    return {split: characters(split) for split in ("train", "test")}


def test_a_language_model_is_distilled_token_by_token(descriptions, tmp_path):
    summary = kdgan.train(language_model(), tmp_path, data=descriptions)
    vocabulary = descriptions["train"].fields["target"].size
    arm = summary["stages"]["distill"]["arms"]["main"]
    found = {name: arm["players"]["student"][name]["mean"] for name in ("perplexity", "token_accuracy", "bits")}
    assert found["perplexity"] < vocabulary / 3
    assert found["bits"] == pytest.approx(np.log2(found["perplexity"]), rel=1e-6)
    assert found["token_accuracy"] > 0.15  # the most frequent character, the blank
    # Frequencies of characters alone, of the training text.
    counts = np.bincount(descriptions["train"].arrays["target"].ravel(), minlength=vocabulary) + 1
    test = descriptions["test"]
    known = np.log(counts / counts.sum())[test.arrays["target"][test.arrays["target_mask"]]]
    assert found["perplexity"] < np.exp(-known.mean())
    assert summary["measures"]["perplexity"]["better"] == "lower"
    best = arm["players"]["student (best by validation)"]["perplexity"]["mean"]
    assert best == pytest.approx(found["perplexity"], rel=0.5)


def test_a_vocabulary_that_lacks_tokens_of_the_data_is_refused_with_the_first_example(descriptions):
    first = int(np.flatnonzero((descriptions["train"].arrays["text"] >= 40).any(1))[0])
    run = resolve(run_inputs.handed_over(language_model(model_args=dict(vocabulary=40)), descriptions))
    inputs = run_inputs.load(run, descriptions)
    with pytest.raises(
        ConfigError, match=rf"student.model_args.vocabulary = 40: example {first} of split .* has the token"
    ):
        build.all_programs(run, inputs)


# Restored images


class Cleans(nn.Module):
    """A residual network of two small convolutions."""

    @nn.compact
    def __call__(self, x):
        return x - nn.Conv(1, (3, 3), name="last")(nn.relu(nn.Conv(4, (3, 3), name="first")(x)))


def cleaning() -> Method:
    def terms(players, batch, key):
        return {"mse": image_losses.l2(players.student(batch["image"]), batch["target"])}

    return Method(Move("student", terms))


def noisy(count, sizes, seed):
    rng = np.random.default_rng(seed)
    clean = [
        np.repeat(np.repeat(rng.integers(0, 256, (h // 4, w // 4, 1)), 4, 0), 4, 1).astype(np.uint8)
        for h, w in (sizes[i % len(sizes)] for i in range(count))
    ]
    seen = [np.clip(x + rng.normal(0, 40, x.shape), 0, 255).astype(np.uint8) for x in clean]
    whole = lambda images: np.stack(images) if len(sizes) == 1 else images
    return data.from_fields({"image": whole(seen), "target": whole(clean)}, kinds=dict(image="image", target="image"))


def test_whole_images_of_several_sizes_are_restored_and_shown(tmp_path):
    sets = {"train": noisy(60, [(16, 16)], 0), "test": noisy(7, [(16, 20), (24, 16)], 1)}
    config = base(
        main=dict(method=dict(name="test_tasks.cleaning"), lambdas=dict(student=dict(mse=1.0)), steps=100),
    )
    config.players = common.named(student=dict(model="test_tasks.Cleans"))
    config.data.mean, config.data.std, config.data.validation = 0.4, 0.3, 8
    summary = kdgan.train(config, tmp_path, data=sets)
    found = summary["stages"]["main"]["arms"]["main"]["players"]["student"]
    images = sets["test"]
    pairs = [(images.arrays["image"][i] / 255, images.arrays["target"][i] / 255) for i in range(7)]
    before = np.mean([-10 * np.log10(np.mean((x - y) ** 2)) for x, y in pairs])
    assert found["psnr"]["mean"] > before + 0.5
    assert 0 < found["ssim"]["mean"] < 1
    shown = next(one for one in summary["figures"] if one["title"] == "Restored images")
    assert shown["kind"] == "restored"
    assert len(shown["values"]) == 4


def test_a_config_of_classes_on_tags_is_one_of_tags():
    """The loss follows from the data, unless the config names the kind; a wrong one is refused in one line."""
    config = tiny.config(seeds=1)
    config.stages.teacher.method.label_kind = "tags"
    run = resolve(config)
    with pytest.raises(ConfigError, match=r"method\.label_kind = 'tags': the data say 'class'; leave it out"):
        build.all_programs(run, run_inputs.load(run))
