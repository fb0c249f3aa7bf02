"""What every classifier of the zoo keeps: sizes as published, shapes, named features, dtypes, and its refusals."""

import jax
import jax.numpy as jnp
import pytest

from kdgan.models import MODELS, build

DISCRIMINATORS = {"label_discriminator", "output_discriminator", "dcgan_discriminator", "sngan_discriminator"}
GENERATIVE = {"dcgan_generator", "sngan_generator", "vae", "vae_generator"}
OF_FEATURES = {"adapter", "regressor", "review_fusion", "variational", "paraphraser", "translator"}
RESTORERS = {
    "identity",
    "bicubic",
    "unshuffle",
    "dncnn",
    "vdsr",
    "espcn",
    "fsrcnn",
    "carn_m",
    "imdn",
    "imdn_rtc",
    "unet",
}
OF_IMAGES = {"johnson", "multistyle26", "patch_critic", "style_images"}
WITHOUT_DATA = {"standardised_generator", "noise_images", "images", "memory", "contrast", "moving_statistics"}
BESIDE_STUDENTS = {
    *("memory_bank", "temperature", "instance_temperature"), *("past", "moving_parameters", "block_heads"),
}  # fmt: skip
OF_TEXT = {"embedding_bag", "text_cnn", "text_transformer", "causal_transformer"}
OTHERS = DISCRIMINATORS | GENERATIVE | OF_FEATURES | OF_TEXT | RESTORERS | OF_IMAGES | WITHOUT_DATA | BESIDE_STUDENTS
CLASSIFIERS = sorted(MODELS.keys() - OTHERS)
# For tests that trace: one per family and preset shape, the deep ones by their shallowest member.
SHALLOW = [
    *("mlp", "cnn", "lenet5", "lenet5_half", "kdgan_lenet_draft", "kdgan_discriminator"),
    *("resnet8", "resnet8x4", "wrn_16_1", "wrn_16_2", "vgg8", "vgg13"),
]


def images(side, channels, dtype=jnp.float32):
    return jax.ShapeDtypeStruct((2, side, side, channels), dtype)


def variables_of(module, x):
    return jax.eval_shape(module.init, jax.random.key(0), x)


def parameters(name, side, channels, classes):
    variables = variables_of(build(name, num_classes=classes), images(side, channels))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # KDGAN's code, and LeCun et al. 1998; LeNet5Half as data-free distillation has it.
        ("kdgan_mlp", 1_276_810),
        ("kdgan_lenet", 3_274_634),
        ("kdgan_discriminator", 3_274_634),
        ("lenet5", 61_706),
        ("lenet5_half", 15_738),
    ],
)
def test_parameters_published_for_mnist(name, published):
    assert parameters(name, 28, 1, 10) == published


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # CIFAR-100 counts of the contrastive representation distillation benchmark (Tian et al. 2020).
        ("resnet8", 83_892),
        ("resnet20", 278_324),
        ("resnet32", 472_756),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
        ("resnet8x4", 1_233_540),
        ("resnet32x4", 7_433_860),
        ("wrn_16_1", 180_916),
        ("wrn_16_2", 703_284),
        ("wrn_40_1", 569_780),
        ("wrn_40_2", 2_255_156),
        # The published VGGs keep a bias per convolution, which batch norm takes out again: one per channel less here.
        ("vgg8", 3_965_028 - (64 + 128 + 256 + 512 + 512)),
        ("vgg13", 9_462_180 - 2 * (64 + 128 + 256 + 512 + 512)),
        ("imagenet_resnet18", 11_220_132),
        ("imagenet_resnet34", 21_328_292),
        ("imagenet_resnet50", 23_705_252),
        ("mobilenet_v2", 812_836),
        ("shufflenet_v1", 949_258),
        ("shufflenet_v2", 1_355_528),
    ],
)
def test_parameters_published_for_cifar100(name, published):
    assert parameters(name, 32, 3, 100) == published


@pytest.mark.parametrize(
    ("name", "side", "channels"),
    # The deep ones run the code of the shallow ones, at many times their tracing time.
    [(name, 32, 3) for name in CLASSIFIERS] + [(name, side, 1) for name in SHALLOW for side in (8, 28)],
)
def test_logits_shape(name, side, channels):
    module, x = build(name, num_classes=7), images(side, channels)
    logits, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    assert logits.shape == (2, 7)
    assert logits.dtype == jnp.float32
    assert variables.keys() <= {"params", "batch_stats"}


@pytest.mark.parametrize("name", SHALLOW)
def test_embedding_and_head_are_features(name):
    module, x = build(name, num_classes=7), images(28, 1)
    variables = variables_of(module, x)
    logits, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, capture_intermediates=True, mutable=["intermediates"]), variables, x
    )
    found = state["intermediates"]
    (embedding,), (head,) = found["embedding"]["__call__"], found["head"]["__call__"]
    assert embedding.shape == (2, variables["params"]["head"]["kernel"].shape[0])
    assert head.shape == logits.shape == (2, 7)


@pytest.mark.parametrize("name", SHALLOW)
def test_half_precision_in_is_half_precision_out(name):
    # A policy casts parameters and inputs; no layer may drag the computation back to float32.
    module = build(name)
    variables = variables_of(module, images(28, 1))
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), variables["params"])
    logits, state = jax.eval_shape(
        lambda p, x: module.apply(
            {**variables_as_zeros(variables), "params": p},
            x,
            capture_intermediates=True,
            mutable=["intermediates"],
        ),
        half,
        images(28, 1, jnp.bfloat16),
    )
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state["intermediates"])} == {jnp.dtype(jnp.bfloat16)}


def variables_as_zeros(variables):
    return {k: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), v) for k, v in variables.items()}


@pytest.mark.parametrize("name", SHALLOW)
def test_training_changes_only_the_batch_statistics(name):
    module, x = build(name), images(8, 1)
    variables = variables_of(module, x)
    mutable = [collection for collection in variables if collection != "params"]
    logits, updates = jax.eval_shape(lambda v, x: module.apply(v, x, train=True, mutable=mutable), variables, x)
    assert logits.shape == (2, 10)
    assert dict(updates) == {k: v for k, v in variables.items() if k != "params"}
    assert bool(mutable) == name.startswith(("resnet", "wrn", "vgg"))


@pytest.mark.parametrize("name", [name for name in SHALLOW if name != "mlp"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (2, 28, 28), (2, 0, 28, 1), (2, 28, 28, 1, 1)])
def test_wrong_image_is_refused_by_name(name, shape):
    module = build(name)
    with pytest.raises(ValueError, match=rf"{type(module).__name__} got .*{shape[-1]}.*\[b, h, w, c\]") as error:
        variables_of(module, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    ("name", "smallest"), [("cnn", 4), ("kdgan_lenet", 4), ("vgg8", 8), ("lenet5", 1), ("resnet8", 1), ("wrn_16_1", 1)]
)
def test_smallest_image(name, smallest):
    module = build(name)
    logits, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images(smallest, 1))
    assert logits.shape == (2, 10)
    with pytest.raises(ValueError, match=rf"{type(module).__name__} .*\(2, {smallest - 1}, .* at least {smallest}\b"):
        variables_of(module, images(smallest - 1, 1))


@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.parametrize(("field", "value"), [("num_classes", 0), ("dropout", 1.0), ("dropout", -0.1)])
def test_field_values_are_checked(name, field, value):
    has = hasattr(build(name), field)
    with pytest.raises(ValueError, match=rf"\.{field} = {value}; it accepts" if has else f"no field {field!r}"):
        build(name, **{field: value})
