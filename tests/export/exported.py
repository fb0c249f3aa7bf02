"""Small trained-looking players of every family, as `kdgan.export` takes them, and examples of what they take."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan import models
from kdgan.data.fields import Field
from kdgan.export import Exportable
from kdgan.models.heads import SelectClasses
from kdgan.models.renormalised import Renormalised

MEAN, STD = (0.3, 0.4, 0.5), (0.25, 0.3, 0.2)
NAMES = ("a cat", "ein Hündchen", '<b>"')
ABOUT = {"data": "made", "stage": "distill", "arm": "kd", "seed": "0", "step": "7"}


def examples(fields, count=5, seed=0):
    """Random examples [count, ...] of fields, in order."""
    rng = np.random.default_rng(seed)
    made = []
    for field in fields.values():
        shape = (count, *(12 if side is None else side for side in field.shape))
        if field.kind == "image":
            made.append(rng.integers(0, 256, shape).astype(np.uint8))
        elif field.kind == "mask":
            made.append(np.arange(shape[1])[None] < rng.integers(1, shape[1] + 1, (count, 1)))
        elif field.kind in ("tokens", "class"):
            made.append(rng.integers(0, field.size, shape).astype(np.int32))
        else:
            made.append(rng.normal(size=shape).astype(np.float32))
    return made


def build(module, fields, *, output="probabilities", method=None, seed=0, **more):
    """A player with random parameters and batch statistics, so that none is left out unnoticed."""
    given = [
        jnp.asarray(array, jnp.float32 if fields[name].kind == "image" else None)
        for name, array in zip(fields, examples(fields, 2), strict=True)
    ]
    how = {} if method is None else {"method": method}
    variables = dict(jax.eval_shape(lambda: module.init(jax.random.key(0), *given, **how)))
    rng, filled = np.random.default_rng(seed), {}
    for kind, tree in variables.items():
        sign = np.abs if kind == "batch_stats" else lambda x: x
        filled[kind] = jax.tree.map(
            lambda leaf, sign=sign: np.asarray(sign(rng.normal(0, 0.3, leaf.shape)) + 0.05, np.float32), tree
        )
    variables = {"params": filled.pop("params", {}), "model_state": filled}
    return Exportable(
        "student", module, variables, fields, output, MEAN, STD, class_names=NAMES, about=ABOUT, method=method, **more
    )


class Restorer(nn.Module):
    """Images of any size to images of twice the size: a convolution, and pixels shuffled."""

    @nn.compact
    def __call__(self, x, *, train=False):
        b, h, w, _ = x.shape
        x = nn.Conv(12, (3, 3))(nn.relu(nn.Conv(4, (3, 3))(x)))
        return x.reshape(b, h, w, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, 3)


OF_A_SIZE = ("bicubic", "unshuffle", "unshuffle_x2", "fsrcnn", "imdn", "unet", "johnson")
IMAGE = {"image": Field("image", (8, 8, 3))}
TEXT = {"text": Field("tokens", (6,), size=11), "text_mask": Field("mask", (6,))}
NOISE = {"noise": Field("vector", (5,))}
LABELLED = {**NOISE, "label": Field("class", (), size=3)}


def families():
    """Name -> a player of each family of kdgan.models, and of the wrappers that a config puts around one."""
    small = dict(num_classes=3)
    image = {
        "mlp": models.MLP(hidden=(6,), **small),
        "cnn": models.CNN(features=(3, 4), dense=6, **small),
        "lenet5": models.LeNet5(features=(2, 3), dense=(8, 6), **small),
        "kdgan_lenet": models.KDGANLeNet(features=(2, 3), dense=6, **small),
        "resnet": models.ResNet(depth=8, stem=4, features=(4, 6, 8), **small),
        "resnet_a": models.ResNet(depth=8, stem=4, features=(4, 8, 16), shortcut="A", **small),
        "wrn": models.WideResNet(depth=10, widen=1, **small),
        "select": SelectClasses(models.CNN(features=(3,), dense=6, num_classes=5), (4, 0, 2)),
        "renormalised": Renormalised(models.CNN(features=(3,), dense=6, **small), 0.5, 0.2, MEAN, STD, (6, 6)),
    }
    made = {name: build(module, IMAGE) for name, module in image.items()}
    made["vgg"] = build(models.VGG(features=(3, 4, 4, 5, 6), **small), IMAGE)
    text = {
        "embedding_bag": models.EmbeddingBag(vocabulary=11, **small),
        "text_cnn": models.TextCNN(vocabulary=11, width=4, maps=3, **small),
        "text_transformer": models.TextTransformer(vocabulary=11, width=4, depth=1, heads=2, hidden=6, **small),
        "causal_transformer": models.CausalTransformer(vocabulary=11, width=4, depth=1, heads=2, hidden=6),
    }
    made |= {name: build(module, TEXT) for name, module in text.items()}
    made["several"] = build(models.MLP(hidden=(6,), **small), {**IMAGE, "features": Field("vector", (4,))})
    made["tagger"] = build(models.MLP(hidden=(6,), **small), {"features": Field("vector", (4,))}, output="tags")
    made["regressor"] = build(
        models.MLP(hidden=(6,), num_classes=1), {"features": Field("vector", (4,))}, output="values"
    )
    size = dict(image_size=8, channels=3)
    made["dcgan"] = build(models.DCGANGenerator(width=0.02, **size), NOISE, output="images")
    made["dcgan_classes"] = build(models.DCGANGenerator(width=0.02, classes=3, **size), LABELLED, output="images")
    made["sngan"] = build(models.SNGANGenerator(width=0.02, **size), NOISE, output="images")
    made["sngan_classes"] = build(models.SNGANGenerator(width=0.02, classes=3, **size), LABELLED, output="images")
    for name, module in {
        "dcgan_discriminator": models.DCGANDiscriminator(width=0.02),
        "sngan_discriminator": models.SNGANDiscriminator(width=0.02),
    }.items():
        made[name] = build(module, IMAGE, output="values")
    any_sides = {"image": Field("image", (None, None, 3))}
    restorers = {
        "bicubic": models.Bicubic(3),
        "unshuffle": models.Unshuffle(width=4, depth=3),
        "unshuffle_x2": models.Unshuffle(scale=2, width=4, depth=2, luma=True),
        "dncnn": models.DnCNN(depth=3, width=4),
        "vdsr": models.VDSR(depth=2, width=4),
        "espcn": models.ESPCN(features=(4, 3)),
        "fsrcnn": models.FSRCNN(d=4, s=3, m=1),
        "carn_m": models.CARN(width=4),
        "imdn": models.IMDN(width=4, blocks=1),
        "unet": models.UNet(width=3),
        "johnson": models.Johnson(contract=(3, 4), blocks=1, outer=5),
    }
    made |= {name: build(module, any_sides, output="images") for name, module in restorers.items()}
    # LiteRT files have one size.
    made |= {f"{name}_of_a_size": build(restorers[name], IMAGE, output="images") for name in OF_A_SIZE}
    styled = models.Johnson(contract=(3, 4), blocks=1, outer=3, styles=3)
    made["johnson_styles"] = build(styled, {**IMAGE, "style": Field("class", (), size=3)}, output="images")
    made["patch_critic"] = build(models.PatchCritic(features=(3, 4)), IMAGE, output="values")
    # So deep a network of large random kernels overflows: these are as it draws them itself.
    squeezenet, photograph = models.SqueezeNet(num_classes=3, bgr=False), {"image": Field("image", (37, 40, 3))}
    drawn = squeezenet.init(jax.random.key(0), jnp.zeros((1, 37, 40, 3)))
    made["squeezenet"] = Exportable("student", squeezenet, dict(drawn), photograph, "probabilities", MEAN, STD)
    made["restorer"] = build(Restorer(), {"image": Field("image", (None, None, 3))}, output="images")
    made["vae"] = build(models.VAE(latent=5, width=0.1, **size), NOISE, output="images", method="generate")
    return made
