"""What players are judged by: an evaluator is one file, and is named in a config as a method is.

| file | evaluators |
|---|---|
| evaluator.py | what an evaluator is: `Evaluator`, `Measure` |
| figures.py | what it has to show |
| classifier.py, order.py | `classifier`: accuracy, NLL, ECE, agreement with the teacher |
| incremental.py | `incremental`: a classifier whose classes came in portions: by task, and forgetting |
| generator.py, drawing.py | `generator`: distances between features of made and of real images |
| virtual.py | `virtual`: what a teacher takes made images for, without data |
| autoencoder.py | `autoencoder`: ELBO, and what a generator is judged by |
| tagger.py, regressor.py | `tagger`: MAP, P@n, F@n, MRR, F1; `regressor`: RMSE, R², MAE |
| language.py | `language`: perplexity and accuracy of the next token |
| restorer.py | `restorer`: PSNR, SSIM, gradients' error and a perceptual distance of restored images |
| stylist.py | `stylist`: distances of content and style of painted images, and PSNR to the teacher's |
| robust.py | `robust`: a classifier's accuracy under attack, by FGSM and PGD |
| answers.py | `answers`: a classifier's accuracy where noise on its answers keeps it from being copied |
| critic.py | the networks by whose features these two compare images |
| check.py | `check(mine)`: what is wrong with an evaluator of one's own |

An evaluator from outside the package is named by its dotted path; nothing here needs to know of it.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan import annotated
from kdgan.evaluators.answers import answers
from kdgan.evaluators.autoencoder import autoencoder
from kdgan.evaluators.check import check
from kdgan.evaluators.classifier import classifier
from kdgan.evaluators.evaluator import Chosen, Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure
from kdgan.evaluators.generator import generator
from kdgan.evaluators.incremental import incremental
from kdgan.evaluators.language import language
from kdgan.evaluators.regressor import regressor
from kdgan.evaluators.restorer import restorer
from kdgan.evaluators.robust import robust
from kdgan.evaluators.stylist import stylist
from kdgan.evaluators.tagger import tagger
from kdgan.evaluators.virtual import of_places, virtual

__all__ = [
    "BY_NAME",
    "Chosen",
    "Evaluator",
    "Figure",
    "Judged",
    "Measure",
    "Setting",
    "build",
    "check",
    "fitting",
    "without_data",
]

BY_NAME: dict[str, Callable[..., Evaluator]] = {
    "classifier": classifier,
    "incremental": incremental,
    "autoencoder": autoencoder,
    "generator": generator,
    "tagger": tagger,
    "regressor": regressor,
    "language": language,
    "restorer": restorer,
    "stylist": stylist,
    "virtual": virtual,
    "robust": robust,
    "answers": answers,
}
# Kind of the label -> what a player is judged by that gives [b, k].
OF_LABEL: Mapping[str, str] = {"class": "classifier", "tags": "tagger", "number": "regressor"}


def build(name: str, **arguments: Any) -> Evaluator:
    """The evaluator of that name (or dotted path), with these arguments.

    Raises:
      ValueError: no such evaluator, an argument that it does not take, or something that is no `Evaluator`.
    """
    function = BY_NAME.get(name) or _imported(name)
    accepted = inspect.signature(function).parameters
    unknown = [key for key in arguments if key not in accepted]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        hint = _nearest(unknown[0], accepted)
        raise ValueError(
            f"evaluator {name!r} takes no {unknown[0]!r}; {hint}accepted are {', '.join(accepted) or 'none'}"
        )
    evaluator = annotated.called(function, arguments)
    if not isinstance(evaluator, Evaluator):
        raise ValueError(
            f"evaluator {name!r} gave a {type(evaluator).__name__}; a function that returns kdgan.evaluators.Evaluator is"
            " accepted"
        )
    object.__setattr__(evaluator, "name", name)
    return evaluator


def fitting(given: Any, output: Any, fields: Mapping[str, Any]) -> str | None:
    """The built-in evaluator by which a player is judged where the config names none; None: there is none.

    Args:
      given: (args, kwargs) that the player is called with, as shapes.
      output: shapes of its output.
      fields: of the data.
    """
    if isinstance(output, Mapping):
        return "autoencoder" if "decoded" in output else None
    if not hasattr(output, "shape"):  # several arrays
        return None
    kind = {name: getattr(fields.get(name), "kind", None) for name in ("label", "target")}
    if len(output.shape) == 4:
        if kind["target"] == "image" and len(given[0][0].shape) == 4:
            return "restorer"
        return "generator" if len(given[0][0].shape) == 2 else None
    if len(output.shape) == 3:
        return "language" if kind["target"] == "tokens" else None
    return OF_LABEL.get(kind["label"] or "class") if len(output.shape) == 2 else None


def without_data(chosen: Sequence[str], given: Any, output: Any, beside: Mapping[str, Any]) -> str | None:
    """The evaluator of what makes images in a stage without data, in the place of those chosen; None: they stay.

    Args:
      chosen: names of those that fit the player.
      given: (args, kwargs) that the player is called with, as shapes.
      output: shapes of its output.
      beside: player -> output, of the other players, as shapes.
    """
    makes_images = [*chosen] == ["generator"] or (not chosen and of_places(given, output))
    judges = virtual().calls  # the teacher, with what it must give
    answered = all(name in beside and look(beside[name]) is None for name, look in judges.items())
    return "virtual" if makes_images and answered else None


def way_of(name: str) -> str | None:
    """The function of a module by which images are drawn, as a workdir of an earlier version does not say."""
    return "generate" if name == "autoencoder" else None


def _imported(path: str) -> Callable[..., Any]:
    if "." not in path:
        raise ValueError(
            f"no evaluator {path!r}; {_nearest(path, BY_NAME)}accepted are {', '.join(BY_NAME)}, or a dotted path"
        )
    module, _, attribute = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"evaluator {path!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(
            f"evaluator {path!r} is a {type(function).__name__}; a function that returns an Evaluator is accepted"
        )
    return function


def _nearest(word: str, words: Any) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {near[0]!r}? " if near else ""
