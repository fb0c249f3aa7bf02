"""The classifiers, generators, discriminators and adapters, and `build`, which makes one from its name in a config.

Every classifier is a Linen module `(images [b, h, w, c], train=False) -> logits [b, num_classes]` and knows no method.
All of them give features at the module paths `embedding` ([b, d], what the head reads) and `head` (logits); those with
convolutions at `stage1`, `stage2`, ... (what each resolution ends with), those with hidden dense layers at `hidden1`,
...; each file lists what else its family has.

Classifiers of texts and the language model take `(tokens [b, t], mask=None, train=False)`: see `kdgan.models.text`. `mlp`
takes any number of inputs.

A generator is a module `(noise [b, d], label=None, train=False) -> image [b, h, w, c]` in [-1, 1]; a discriminator of
images `(image [b, h, w, c], label=None, train=False) -> score [b]`, a logit. The label, whole numbers [b], is given
exactly where the module has `classes`. A variational autoencoder is `(image, train=False) -> {"mean", "log_variance",
"decoded"}` with the methods `decode` and `generate`: see `kdgan.models.vae`. `Function` makes a module of any function.

A restorer is a module `(image [b, h, w, c], train=False) -> image [b, s·h, s·w, c]` in [0, 1], of any sides; s is its
`scale`, 1 of denoisers. Its last layer reads the feature at the module path `body`.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import linen as nn

from kdgan import extras
from kdgan.models import onnx_module, style_images, torch_module
from kdgan.models.adapters import Adapter
from kdgan.models.baselines import Bicubic, Identity
from kdgan.models.block_heads import BlockHeads
from kdgan.models.carn import CARN
from kdgan.models.cnn import CNN
from kdgan.models.contrast import Contrast
from kdgan.models.dcgan import DCGANDiscriminator, DCGANGenerator
from kdgan.models.dncnn import VDSR, DnCNN
from kdgan.models.espcn import ESPCN, FSRCNN
from kdgan.models.function import Function
from kdgan.models.heads import SelectClasses
from kdgan.models.image_parameters import Images
from kdgan.models.imagenet_resnet import ImageNetResNet
from kdgan.models.imdn import IMDN
from kdgan.models.johnson import Johnson
from kdgan.models.lenet import KDGANLeNet, LeNet5
from kdgan.models.memory import Memory
from kdgan.models.memory_bank import MemoryBank
from kdgan.models.mlp import MLP, LabelDiscriminator, OutputDiscriminator
from kdgan.models.mobilenet import MobileNetV2
from kdgan.models.moving_parameters import MovingParameters
from kdgan.models.moving_statistics import MovingStatistics
from kdgan.models.noise_images import NoiseImages
from kdgan.models.onnx_module import OnnxModule
from kdgan.models.paraphraser import Paraphraser, Translator
from kdgan.models.past import Past
from kdgan.models.patch_critic import PatchCritic
from kdgan.models.probabilities import LogProbabilities
from kdgan.models.regressors import Regressor
from kdgan.models.resnet import ResNet
from kdgan.models.review_fusion import ReviewFusion
from kdgan.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from kdgan.models.sngan import SNGANDiscriminator, SNGANGenerator
from kdgan.models.squeezenet import SqueezeNet
from kdgan.models.standardised import StandardisedGenerator
from kdgan.models.temperature import InstanceTemperature, Temperature
from kdgan.models.text import CausalTransformer, EmbeddingBag, TextCNN, TextTransformer
from kdgan.models.torch_module import TorchModule
from kdgan.models.unet import UNet
from kdgan.models.unshuffle import Unshuffle
from kdgan.models.vae import VAE, VAEGenerator
from kdgan.models.variational import Variational
from kdgan.models.vgg import VGG
from kdgan.models.wrn import WideResNet

__all__ = [
    "CARN",
    "CNN",
    "ESPCN",
    "FSRCNN",
    "IMDN",
    "MLP",
    "MODELS",
    "VAE",
    "VDSR",
    "VGG",
    "Adapter",
    "Bicubic",
    "BlockHeads",
    "CausalTransformer",
    "Contrast",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DnCNN",
    "EmbeddingBag",
    "Function",
    "Identity",
    "ImageNetResNet",
    "Images",
    "InstanceTemperature",
    "Johnson",
    "KDGANLeNet",
    "LabelDiscriminator",
    "LeNet5",
    "LogProbabilities",
    "Memory",
    "MemoryBank",
    "MobileNetV2",
    "MovingParameters",
    "MovingStatistics",
    "NoiseImages",
    "OnnxModule",
    "OutputDiscriminator",
    "Paraphraser",
    "Past",
    "PatchCritic",
    "Regressor",
    "ResNet",
    "ReviewFusion",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "SelectClasses",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "SqueezeNet",
    "StandardisedGenerator",
    "Temperature",
    "TextCNN",
    "TextTransformer",
    "TorchModule",
    "Translator",
    "UNet",
    "Unshuffle",
    "Variational",
    "WideResNet",
    "build",
]

Constructor = Callable[..., nn.Module]

MODELS: Mapping[str, Constructor] = {
    "mlp": MLP,
    "kdgan_mlp": partial(MLP, hidden=(800, 800)),
    "cnn": CNN,
    "lenet5": LeNet5,
    "lenet5_half": partial(LeNet5, features=(3, 8), dense=(60, 42)),
    "kdgan_lenet": KDGANLeNet,
    "kdgan_lenet_draft": partial(KDGANLeNet, features=(20, 20), dense=500),
    "kdgan_lenet_cifar": partial(KDGANLeNet, features=(64, 128), dense=1024),
    "resnet": ResNet,
    "resnet8": partial(ResNet, depth=8),
    "resnet14": partial(ResNet, depth=14),
    "resnet20": partial(ResNet, depth=20),
    "resnet32": partial(ResNet, depth=32),
    "resnet44": partial(ResNet, depth=44),
    "resnet56": partial(ResNet, depth=56),
    "resnet110": partial(ResNet, depth=110),
    "resnet8x4": partial(ResNet, depth=8, stem=32, features=(64, 128, 256)),
    "resnet32x4": partial(ResNet, depth=32, stem=32, features=(64, 128, 256)),
    "wrn": WideResNet,
    "wrn_16_1": partial(WideResNet, depth=16, widen=1),
    "wrn_16_2": partial(WideResNet, depth=16, widen=2),
    "wrn_40_1": partial(WideResNet, depth=40, widen=1),
    "wrn_40_2": partial(WideResNet, depth=40, widen=2),
    "wrn_40_4": partial(WideResNet, depth=40, widen=4),
    "wrn_28_10": partial(WideResNet, depth=28, widen=10),
    "vgg": VGG,
    "vgg8": partial(VGG, depth=8),
    "vgg11": partial(VGG, depth=11),
    "vgg13": partial(VGG, depth=13),
    "vgg16": partial(VGG, depth=16),
    "vgg19": partial(VGG, depth=19),
    "imagenet_resnet": ImageNetResNet,
    "imagenet_resnet18": partial(ImageNetResNet, blocks=(2, 2, 2, 2), block="basic"),
    "imagenet_resnet34": partial(ImageNetResNet, blocks=(3, 4, 6, 3), block="basic"),
    "imagenet_resnet50": partial(ImageNetResNet, blocks=(3, 4, 6, 3), block="bottleneck"),
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v1": ShuffleNetV1,
    "shufflenet_v2": ShuffleNetV2,
    # Of token sequences.
    "embedding_bag": EmbeddingBag,
    "text_cnn": TextCNN,
    "text_transformer": TextTransformer,
    "causal_transformer": CausalTransformer,
    # Discriminators. KDGAN's gives k scores of an image, one per label; the others one score of their pair.
    "kdgan_discriminator": KDGANLeNet,
    "label_discriminator": LabelDiscriminator,
    "output_discriminator": OutputDiscriminator,
    # Of images: generators and their discriminators.
    "dcgan_generator": DCGANGenerator,
    "dcgan_discriminator": DCGANDiscriminator,
    "sngan_generator": SNGANGenerator,
    "sngan_discriminator": SNGANDiscriminator,
    "vae": VAE,
    "vae_generator": VAEGenerator,
    "noise_images": NoiseImages,
    # Of distillation without data: a generator of standardised images, images as parameters, what CMI and Fast remember.
    "standardised_generator": StandardisedGenerator,
    "images": Images,
    "contrast": Contrast,
    "moving_statistics": MovingStatistics,
    # Restorers: from image to image.
    "identity": Identity,
    "bicubic": Bicubic,
    "unshuffle": Unshuffle,
    "dncnn": DnCNN,
    "vdsr": VDSR,
    "espcn": ESPCN,
    "fsrcnn": FSRCNN,
    "carn_m": CARN,
    "imdn": IMDN,
    "imdn_rtc": partial(IMDN, width=12, blocks=5, rtc=True),
    "unet": UNet,
    # Style transfer, and what judges or describes images.
    "johnson": Johnson,
    "multistyle26": partial(Johnson, contract=(32, 32, 32), blocks=6, expand=(8, 4), styles=26),
    "patch_critic": PatchCritic,
    "squeezenet": SqueezeNet,
    "style_images": style_images.build,
    # What a method keeps of the images that its players made.
    "memory": Memory,
    # What is learned or kept beside a student: CRD's embeddings, CTKD's temperatures; its past, average and inner heads.
    "memory_bank": MemoryBank,
    "temperature": Temperature,
    "instance_temperature": InstanceTemperature,
    "past": Past,
    "moving_parameters": MovingParameters,
    "block_heads": BlockHeads,
    # Between the features of two networks.
    "adapter": Adapter,
    "regressor": Regressor,
    "review_fusion": ReviewFusion,
    "variational": Variational,
    "paraphraser": Paraphraser,
    "translator": Translator,
}

_OTHER_SIZES = "resnet{6n+2}, resnet{6n+2}x4, wrn_{6n+4}_{k}"


def build(name: str, /, **kwargs: Any) -> nn.Module:
    """The module called `name`, with its fields set from `kwargs`.

    Args:
      name: a key of `MODELS`; a size that is not listed there, as `resnet26`, `resnet14x4`, `wrn_22_8`; or the dotted
        path of any Linen module class, or of a function that returns a module, e.g. `my_project.models.Mine`; behind
        "torch:" that of a `torch.nn.Module` class, or of a function that returns one, and behind "onnx:" the path of a file.
      **kwargs: fields of the module. Those that the name itself fixes (the depth of `resnet20`) cannot be set.

    Raises:
      ValueError: unknown name (the nearest valid ones are given), unknown, fixed or missing fields, or a dotted path
        that leads to no Linen module. An error raised inside the module that a dotted path names is not caught.
    """
    kind, separator, rest = name.partition(":")
    if separator and kind in FROM_ELSEWHERE:
        return FROM_ELSEWHERE[kind](rest, {key: hashable(value) for key, value in kwargs.items()})
    dotted = "." in name and all(name.split("."))
    constructor = MODELS.get(name) or _other_size(name) or (_import(name) if dotted else None)
    if constructor is None:
        raise ValueError(
            f"unknown model {name!r}{_nearest(name, MODELS)}; it accepts {', '.join(MODELS)}; other sizes as"
            f" {_OTHER_SIZES}; or a dotted path such as 'my_project.models.Mine', 'torch:my_project.nets.Net' of a PyTorch"
            " module, 'onnx:teacher.onnx' of a file"
        )
    _check_arguments(name, constructor, kwargs)
    module = constructor(**{key: hashable(value) for key, value in kwargs.items()})
    if not isinstance(module, nn.Module):
        raise ValueError(f"model {name!r} gave a {type(module).__name__}; it accepts what makes a flax.linen.Module")
    return module


def hashable(value: Any) -> Any:
    """A field's value with tuples for lists, also inside: configs from JSON hold lists, which have no hash."""
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def _of_torch(path: str, kwargs: Mapping[str, Any]) -> nn.Module:
    name = f"torch:{path}"
    if "." not in path or not all(path.split(".")):
        raise ValueError(f"model {name!r}: a dotted path of a torch.nn.Module is accepted, 'torch:my_project.nets.Net'")
    extras.need("torch", f"model {name!r}")
    constructor = _import(path)
    _check_arguments(name, constructor, kwargs)
    return torch_module.build(name, constructor, kwargs)


# What stands before a colon -> the module of what stands behind it.
FROM_ELSEWHERE: Mapping[str, Callable[[str, Mapping[str, Any]], nn.Module]] = {
    "torch": _of_torch,
    "onnx": onnx_module.build,
}


def _other_size(name: str) -> Constructor | None:
    if match := re.fullmatch(r"resnet(\d+)(x4)?", name):
        wide: dict[str, Any] = {"stem": 32, "features": (64, 128, 256)} if match[2] else {}
        return partial(ResNet, depth=int(match[1]), **wide)
    if match := re.fullmatch(r"wrn_(\d+)_(\d+)", name):
        return partial(WideResNet, depth=int(match[1]), widen=int(match[2]))
    return None


def _import(path: str) -> Constructor:
    module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module missing inside the one that was asked for is that module's own error.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"model {path!r}: there is no module {error.name!r} to import") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ValueError(
            f"model {path!r}: {module_name} has no class or function {attribute!r}{_nearest(attribute, vars(module))}"
        )
    return found


def _check_arguments(name: str, constructor: Constructor, kwargs: Mapping[str, Any]) -> None:
    fixed = constructor.keywords if isinstance(constructor, partial) else {}
    parameters = {
        key: parameter
        for key, parameter in inspect.signature(constructor).parameters.items()
        # `parent` and `name` are Linen's own; what a preset fixes is part of its name.
        if key not in ("parent", "name") and key not in fixed
    }
    kinds = {parameter.kind for parameter in parameters.values()}
    named = {key: p for key, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    accepted = ", ".join(named) or "none"
    unknown = [key for key in kwargs if key not in named]
    if unknown and (inspect.Parameter.VAR_KEYWORD not in kinds or fixed.keys() & set(unknown)):
        hints = "; ".join(
            f"{key!r} (fixed by the name: {fixed[key]!r})" if key in fixed else f"{key!r}{_nearest(key, named)}"
            for key in unknown
        )
        raise ValueError(f"model {name!r} has no field {hints}; it accepts {accepted}")
    missing = [key for key, p in named.items() if p.default is p.empty and key not in kwargs]
    if missing:
        raise ValueError(f"model {name!r} needs the field {', '.join(missing)}; it accepts {accepted}")


def _nearest(word: str, words: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, words, n=3)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
