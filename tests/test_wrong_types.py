"""Values of another type than is written beside a field: one line with the field and the value, as without annotations."""

import jaxtyping
import pytest

from kdgan import evaluators, methods, models


@pytest.fixture(autouse=True)
def unannotated(monkeypatch):
    """Without the checks of annotations, which stand in tests alone, and would come first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


LAYERS = {"content": ("a",), "style": ("a",)}


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("restore_distill", {"relations": 3}, "method.relations = 3: paths of modules"),
        ("restore_distill", {"features": {"a": 1}}, "method.features = {'a': 1}: paths of modules"),
        ("restore_distill", {"perceptual": (3,)}, r"method.perceptual = \(3,\): paths of modules"),
        ("restore_distill", {"adversarial": 3}, "method.adversarial = 3: accepted are nonsat"),
        ("restore_distill", {"adversarial": "hinge", "real_label": "x"}, "method.real_label = 'x'"),
        ("restore_distill", {"adversarial": "hinge", "penalty_every": "x"}, "method.penalty_every = 'x'"),
        ("style", {"content": 3, "style": ("a",)}, "method.content = 3: paths of modules"),
        ("style", {"pixel": "l1", "teacher_styles": 3}, "method.teacher_styles = 3"),
        ("generator_mimic", {"adapted": 3}, "method.adapted = 3: paths of modules"),
    ],
)  # fmt: skip
def test_hyperparameters(name, hyperparameters, words):
    with pytest.raises(ValueError, match=words):
        methods.build(name, **hyperparameters)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("restorer", {"perceptual": 5}, "perceptual = 5: a mapping of model, weights"),
        ("restorer", {"rounded": "yes"}, "rounded = 'yes': True or False"),
        ("restorer", {"border": True}, "border = True: pixels"),
        ("stylist", {"images": (3,), **LAYERS}, r"style_images.images = \(3,\): paths of images"),
        ("stylist", {"images": "a.png", "content": 3, "style": ("a",)}, "content = 3: paths of modules"),
        ("stylist", {"images": "a.png", "weight": "x", **LAYERS}, "weight = 'x': a positive number"),
    ],
)
def test_arguments_of_evaluators(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        evaluators.build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unshuffle", "width", "x"), ("unshuffle", "width", "16"), ("unshuffle", "scale", 2.5), ("unshuffle", "depth", "x"),
        ("espcn", "features", (4, "x")), ("imdn", "scale", True), ("unet", "levels", 2.5), ("mlp", "dropout", "x"),
    ],
)  # fmt: skip
def test_fields_of_models(name, field, value):
    with pytest.raises(ValueError, match=rf"\.{field} = .*; it accepts"):
        models.build(name, **{field: value})


@pytest.mark.parametrize("images", [5, ("a.png", 3)])
def test_style_images(images):
    with pytest.raises(ValueError, match=r"style_images\.images = .*: paths of images"):
        models.build("style_images", images=images)
