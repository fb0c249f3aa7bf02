"""Published restorers, the network of 26 styles and SqueezeNet 1.0, read in: PSNR as published, and equal to a forward pass
written from the arrays of each file in PyTorch's functions alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import bicubic, models, weights
from kdgan.metrics import restoration

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def raw(shared_data_dir):
    folder = shared_data_dir.parent / "raw"
    if not all((folder / name).is_dir() for name in ("denoise", "sr", "style", "squeezenet_imagenet")):
        pytest.skip(
            "there are no published restorers, denoise, sr, style and squeezenet_imagenet, beside the data sets"
        )
    return folder


def on_luma(made, image, scale):
    """PSNR on the luma rounded to 8 bits of images rounded likewise, a border of `scale` pixels left out."""
    ys = [np.round(255 * np.asarray(restoration.luma(jnp.asarray(one)[None]))) for one in (made, image)]
    y, target = (one[:, scale:-scale, scale:-scale] / 255 for one in ys)
    return -10 * np.log10(np.mean(np.square(y - target)))


@pytest.mark.parametrize(
    ("file", "module", "published"),
    [
        ("imdn_rtc_x2", models.build("imdn_rtc"), 37.24),
        ("carn_m", models.CARN(4), 31.86),
    ],
)
def test_psnr_on_set5_is_the_published_one(file, module, published, raw):
    from PIL import Image

    variables, scale, values = weights.load(raw / f"sr/weights/{file}.npz", module), module.scale, []
    forward = jax.jit(module.apply)
    for path in sorted((raw / "sr/Set5").glob("*.png")):
        image = np.asarray(Image.open(path))
        image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
        small = jnp.asarray(bicubic.downscale(image, scale), jnp.float32) / 255
        made = np.round(255 * np.clip(forward(variables, small[None])[0], 0, 1)) / 255
        values.append(on_luma(made.astype(np.float32), image.astype(np.float32) / 255, scale))
    assert np.mean(values) == pytest.approx(published, abs=0.01)


def test_dncnn_removes_the_noise_that_it_was_trained_for(raw):
    # The batch norm file and the file with merged norms are of different trainings; of either 29.2 dB on all of BSD68.
    from PIL import Image

    clean = np.asarray(Image.open(raw / "denoise/BSD68/test003.png"), np.float32)[None, 100:196, 100:196, None] / 255
    noisy = clean + np.random.RandomState(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    psnr = lambda x: -10 * np.log10(np.mean(np.square(np.asarray(x) - clean)))
    made = []
    for name, norm in (("bn", True), ("merged", False)):
        module = models.DnCNN(batch_norm=norm)
        variables = weights.load(raw / f"denoise/weights/dncnn_sigma25_{name}.npz", module)
        made.append(jax.jit(module.apply)(variables, noisy))
    assert min(map(psnr, made)) > psnr(noisy) + 4
    assert abs(psnr(made[0]) - psnr(made[1])) < 0.3


def stored(path):
    with np.load(path) as file:
        return dict(file)


def chain(x, kernels, relu, stride=1):
    import torch

    for i, (kernel, bias) in enumerate(kernels):
        x = torch.nn.functional.conv2d(x, torch.from_numpy(kernel), bias, stride, kernel.shape[-1] // 2)
        x = relu(x) if i < len(kernels) - 1 else x
    return x


@pytest.mark.extra("torch")
def test_vdsr_and_dncnn_give_what_their_arrays_give_in_pytorch(raw):
    import torch

    x = np.random.default_rng(0).uniform(size=(1, 12, 15, 1)).astype(np.float32)
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    arrays = stored(raw / "sr/weights/vdsr.npz")
    expected = theirs + chain(theirs, [(arrays[f"conv{i}"], None) for i in range(20)], torch.relu)
    module = models.VDSR(1)
    made = jax.jit(module.apply)(weights.load(raw / "sr/weights/vdsr.npz", module), x)
    np.testing.assert_allclose(made, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    path = raw / "denoise/weights/dncnn_sigma25_merged.npz"
    arrays = stored(path)
    kernels = [(arrays[f"{i}.weight"], torch.from_numpy(arrays[f"{i}.bias"])) for i in range(0, 34, 2)]
    module = models.DnCNN(batch_norm=False)
    made = jax.jit(module.apply)(weights.load(path, module), x)
    np.testing.assert_allclose(
        made, (theirs - chain(theirs, kernels, torch.relu)).numpy().transpose(0, 2, 3, 1), atol=1e-5
    )


@pytest.mark.extra("torch")
def test_the_network_of_26_styles_gives_what_its_arrays_give_in_pytorch(raw):
    import torch
    from torch.nn import functional

    path = raw / "style/weights/multistyle26.npz"
    arrays = {name: torch.from_numpy(array) for name, array in stored(path).items()}
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(2, 24, 32, 3)).astype(np.float32)
    style = rng.dirichlet(np.ones(26), 2).astype(np.float32)
    w = torch.from_numpy(style)

    def normed(x, name, stride=1, relu=True):
        kernel = arrays[f"{name}.w"]
        y = functional.conv2d(functional.pad(x, (kernel.shape[-1] // 2,) * 4, "reflect"), kernel, None, stride)
        mean, var = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, unbiased=False)
        gamma, beta = ((w @ arrays[f"{name}.{leaf}"])[:, :, None, None] for leaf in ("gamma", "beta"))
        y = (y - mean) / torch.sqrt(var + 1e-5) * gamma + beta
        return torch.relu(y) if relu else y

    double = lambda x: functional.interpolate(x, scale_factor=2, mode="nearest")
    y = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
    for i, stride in enumerate((1, 2, 2)):
        y = normed(y, f"contract.{i}", stride)
    for i in range(6):
        y = y + normed(normed(y, f"res.{i}.0"), f"res.{i}.1", relu=False)
    y = normed(double(normed(double(y), "expand.0")), "expand.1")
    expected = torch.sigmoid(normed(y, "expand.2", relu=False)).numpy().transpose(0, 2, 3, 1)
    module = models.build("multistyle26")
    variables = weights.load(path, module)
    forward = jax.jit(module.apply)
    np.testing.assert_allclose(forward(variables, image, style), expected, atol=1e-4)
    # A class is the weights that are 1 at it; odd sides stay.
    classes = forward(variables, image, jnp.asarray([3, 25]))
    np.testing.assert_allclose(classes, forward(variables, image, np.eye(26, dtype=np.float32)[[3, 25]]), atol=1e-6)
    assert forward(variables, image[:, :23, :29], style).shape == (2, 23, 29, 3)


@pytest.mark.extra("skimage")
def test_squeezenet_sees_a_cat_and_an_espresso(raw):
    from PIL import Image
    from skimage import data

    module = models.SqueezeNet()
    variables = weights.load(raw / "squeezenet_imagenet/squeezenet_v1_0.npz", module)
    forward = jax.jit(module.apply)
    # Scaled to 256 on the shorter side and cut to 227×227; probabilities as stated beside the weights.
    for photograph, label, published in ((data.chelsea(), 285, 0.60), (data.coffee(), 967, 0.72)):
        image = Image.fromarray(photograph)
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - 227) // 2, (image.height - 227) // 2
        pixels = np.asarray(image.crop((left, top, left + 227, top + 227)), np.float32) / 255
        probabilities = jax.nn.softmax(forward(variables, pixels[None])[0])
        assert int(probabilities.argmax()) == label
        assert float(probabilities[label]) == pytest.approx(published, abs=0.01)
