"""The tables of methods, models and losses are the code's."""

import inspect
import pathlib
import re

from kdgan import losses, methods, models, reference

COMMITTED = pathlib.Path(__file__).parent.parent / "docs" / "reference.md"


def test_the_committed_tables_are_what_the_code_prints():
    assert COMMITTED.read_text() == reference.markdown(), "run `python -m kdgan.reference > docs/reference.md`"


def test_every_name_is_in_a_row_with_a_sentence_and_its_arguments():
    text = COMMITTED.read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", text, flags=re.M)
    of_methods = dict(rows[: len(methods.BY_NAME)])
    for name, make in methods.BY_NAME.items():
        for argument in inspect.signature(make).parameters:
            assert f"`{argument}=" in of_methods[name]
    assert all(f"`{name}`" in text for name in models.MODELS)
    names = {name for name, _ in rows}
    assert {"cross_entropy", "feature_l2", "r1", "gan_loss"} <= names
    assert "matched" not in names  # pairs layers, and is no loss
    for name, row in rows:
        assert len(row.split(" | ")[0]) >= 30, f"{name}: its first paragraph says too little"


def test_the_terms_of_a_method_are_those_that_need_a_λ():
    (kdgan,) = re.findall(r"^\| `kdgan` .*$", COMMITTED.read_text(), flags=re.M)
    assert "discriminator: real, student, teacher; teacher: ce, kd, adv; student: ce, kd, adv" in kdgan
    (kd,) = re.findall(r"^\| `kd` .*$", COMMITTED.read_text(), flags=re.M)
    assert "| student; frozen: teacher | student: ce, kd |" in kd


def test_features_are_listed_for_every_classifier_and_generator():
    _, features = COMMITTED.read_text().split("### Features")
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^(`.*):$", features, flags=re.M))))
    without = {"adapter", "identity", "bicubic", "style_images", "images", "memory", "contrast", "moving_statistics"}
    without |= {"noise_images", "regressor", "review_fusion", "variational", "paraphraser", "translator"}
    without |= {"memory_bank", "temperature", "instance_temperature", "past", "moving_parameters", "block_heads"}
    assert named >= set(models.MODELS) - without
    assert "`stage2/block1`" in features


def test_every_file_of_losses_is_listed():
    files = {path.stem for path in pathlib.Path(losses.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(losses.__all__)
