"""Tables of every method, model and loss with its arguments, made from the code: `python -m kdgan.reference`.

`docs/reference.md` is what it prints; a test says so.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdgan import game, losses, methods, models

LINENS = ("parent", "name")  # fields that every Linen module has

HEAD = """# Methods, models and losses

Printed by `python -m kdgan.reference`. What stands in a config as a name may also be a dotted path to something of your
own, `my_project.methods.mine`. The fields of a config: `python -m kdgan.config`. What the methods that teach a classifier
compare, whose they are and which λ's were published: [methods.md](methods.md).
"""
METHODS = """## Methods

`method=dict(name="kd", temperature=2.0)`. A player that is trained may start anywhere; one that is called and not trained
is frozen, and starts from an earlier stage or a checkpoint. Each term needs a λ, by the player under which it stands:
`lambdas=dict(student=dict(ce=0.1, kd=0.9))`. The terms shown are those of the arguments' defaults; of
`style`, which has none by default, those of `content`, `style` and `tv`. Where layers are compared
with a teacher's, `features` has to name them.
"""
# Method -> arguments without which it has no terms.
OF_FEATURES = (
    "hint", "attention", "fsp", "kdsvd", "nst", "ickd", "vid", "ab", "ofd", "review", "srd", "rkd", "cc", "sp", "pkt",
    "paraphrase", "ft",
)  # fmt: skip
ASKED: Mapping[str, Mapping[str, Any]] = {
    **{name: {"features": ("stage1", "stage2")} for name in OF_FEATURES},
    "ofd": {"features": ("stage1",), "norms": ("stage1/block1/bn2",)},
    "style": {"content": ("conv1",), "style": ("conv1",), "tv": True},
    "combine": {"parts": ("kd",)},
    "lwf_exemplar": {"old": (0, 1)},  # of classifiers with as many classes
    "pskd": {"alpha": 0.8},
}
WITHOUT_DATA = ("dafl", "dfad", "zskt", "dfq", "deep_inversion", "cmi", "fast")
MODELS = """## Models

`players.student = dict(model="cnn", model_args=dict(features=(8, 16)))`. `num_classes` is taken from the data.
"""
FEATURES = """### Features

`logits, features = players.teacher(images, features=("stage2/block1", "embedding"))` in a method gives the outputs of these
modules, by their paths. `--mode=explain` lists a run's networks' with their shapes, inner ones with `--features=all`. Of the
package's:
"""
LOSSES = """## Losses

Functions of arrays for a method of your own; each gives one number per example [b] unless its docstring says otherwise.
"""


def markdown() -> str:
    """The tables, as one Markdown text."""
    parts = [HEAD, METHODS, _methods(), MODELS, _models(), FEATURES, *_features(), LOSSES, *_losses()]
    return "\n".join(parts)


def _methods() -> str:
    rows = []
    for name, make in methods.BY_NAME.items():
        method = make(**ASKED.get(name, {}))
        inspection, trained = _inspect(name, method), method.trained
        frozen = [player for player in inspection.inputs if player not in trained]
        terms = "; ".join(f"{lead}: {', '.join(own)}" for lead, own in inspection.terms.items())
        who = ", ".join(trained) + (f"; frozen: {', '.join(frozen)}" if frozen else "")
        rows.append((f"`{name}`", about(make), who, terms, arguments(make)))
    return table(("method", "what it is", "trains", "terms", "arguments"), rows)


def _inspect(name: str, method: game.Method) -> game.Inspection:
    """Who is called and which terms there are, of small players that fit the method."""
    classifier, generator = models.MLP(hidden=(4,)), models.DCGANGenerator(image_size=8, channels=1, width=1 / 64)
    images: dict[str, nn.Module] = dict.fromkeys(("student", "teacher", "generator"), generator)
    images["old_generator"] = generator
    images["discriminator"] = models.DCGANDiscriminator(width=1 / 64)
    vaes: dict[str, nn.Module] = dict.fromkeys(("student", "teacher"), models.VAE(image_size=8, latent=2, width=1 / 16))
    outputs: dict[str, nn.Module] = {"discriminator": models.OutputDiscriminator()}
    restorers: dict[str, nn.Module] = dict.fromkeys(("student", "teacher"), models.build("unshuffle", width=2, depth=2))
    stylists = {"student": restorers["student"], "critic": models.build("dncnn", width=2, depth=3)}
    stylists["style_images"] = models.Function(lambda: jnp.zeros((1, 8, 8, 1)))
    makers = {
        **dict.fromkeys(("student", "teacher"), models.ResNet(8, stem=2, features=(2, 2, 2))),
        "generator": generator, "images": models.Images(2, 8, 1), "memory": models.Memory(2),
        "contrast": models.Contrast(number=2, drawn=2),
    }  # fmt: skip
    of_features = {
        "student": makers["student"], "teacher": makers["teacher"],
        **{f"adapter{own}": models.Adapter() for own in ("", "_srd")},
        **{f"adapter_{own}": models.Regressor() for own in ("ab", "ofd")},
        "adapter_review": models.ReviewFusion(), "adapter_vid": models.Variational(),
        "paraphraser": models.Paraphraser(), "translator": models.Translator(),
    }  # fmt: skip
    others: dict[str, dict[str, nn.Module]] = {
        **dict.fromkeys(OF_FEATURES, of_features),
        **dict.fromkeys(WITHOUT_DATA, makers),
        "restore": restorers, "restore_distill": restorers, "style": stylists,
        "adversarial": outputs, "gan": images, "generator_mimic": images, "generator_distill": images, "fused": images,
        "gan_replay": images, "replay": {"generator": generator}, "virtual": {"generator": generator},
        "vae": vaes, "vae_distill": vaes, "ctkd": {"temperature": models.Temperature()},
        "pskd": {"memory_past": models.Past(2)}, "mean_teacher": {"memory_average": models.MovingParameters()},
        "byot": {"student": makers["student"], "adapter_heads": models.BlockHeads()}, "meal": outputs,
        "adversarial_features": outputs, "crd": {"memory_bank": models.MemoryBank(2)},
        "contrastive": {"adapter": models.Adapter()},
    }  # fmt: skip
    classifiers = dict.fromkeys(("student", "teacher", "teacher_b", "discriminator", "peer"), classifier)
    players = {**classifiers, **others.get(name, {})}
    whole = jax.ShapeDtypeStruct((2,), jnp.int32)
    batch = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32), "label": whole, "index": whole}
    if name.startswith("restore"):
        batch["target"] = batch["image"]
    if name in WITHOUT_DATA:
        batch = {"place": jax.ShapeDtypeStruct((2,), jnp.int32)}
    return game.inspect_method(method, players, batch)


def _models() -> str:
    rows: dict[Any, list] = {}
    for name, make in models.MODELS.items():
        module, fixed = (make.func, make.keywords) if isinstance(make, partial) else (make, {})
        rows.setdefault(module, []).append((name, fixed))
    lines = []
    for module, named in rows.items():
        (first, _), *presets = named
        sizes = ", ".join(f"`{name}`" + (f" ({_values(fixed)})" if fixed else "") for name, fixed in presets)
        lines.append((f"`{first}`", about(module), arguments(module), sizes))
    lines += [
        (f"`kdgan.models.{module.__name__}`", about(module), arguments(module), "")
        for module in (models.SelectClasses, models.Function)
    ]
    return table(("model", "what it is", "arguments", "other names, with what they fix"), lines)


def _features() -> Iterable[str]:
    """What each file of models says of the module paths in it."""
    by_file: dict[str, list[str]] = {}
    for name, make in models.MODELS.items():
        module: Any = make.func if isinstance(make, partial) else make
        by_file.setdefault(module.__module__, []).append(name)
    for file, names in by_file.items():
        _, announced, paths = (sys.modules[file].__doc__ or "").partition("Module paths to ask features for:")
        if announced:
            heads = ", ".join(f"`{name}`" for name in names)
            yield f"{heads}:\n\n```\n{inspect.cleandoc(paths)}\n```\n"


def _losses() -> Iterable[str]:
    for name in losses.__all__:
        module: ModuleType = getattr(losses, name)
        functions = [
            value for value in vars(module).values()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not value.__name__.startswith("_")
        ]  # fmt: skip
        if name != "arguments":
            rows = [(f"`{function.__name__}`", about(function), arguments(function)) for function in functions]
            yield f"### kdgan.losses.{name}\n"
            yield table(("loss", "what it is", "arguments"), rows)


def about(thing: Any) -> str:
    """The first paragraph of its docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def arguments(make: Callable[..., Any]) -> str:
    """Its arguments with their defaults, "`hidden=(64,)`, `dropout=0.0`"."""
    parameters = inspect.signature(make).parameters.values()
    own = [p for p in parameters if not (p.name in LINENS and inspect.isclass(make))]
    return ", ".join(f"`{p.name}`" if p.default is p.empty else f"`{p.name}={p.default!r}`" for p in own)


def _values(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    line = lambda cells: "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)]) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
