"""Methods: each a plain function that takes hyper-parameters and returns its moves; one file per family.

| file | methods |
|---|---|
| supervised.py | `supervised`: labels only |
| logits.py | `kd`, `logistic`, `mimic`, `noisy`: a frozen teacher's outputs |
| matching.py | `dkd`, `dist`, `mlkd`, `ctkd`: more of a frozen teacher's logits |
| features.py | `hint`, `attention`, `fsp`, `kdsvd`, `nst`, `ickd`, `vid`, `ab`, `ofd`, `review`, `srd`: its features |
| relations.py | `rkd`, `cc`, `sp`, `pkt`: how its examples lie to one another |
| factors.py | `paraphrase`, `ft`: factors of its features, in two stages |
| contrastive.py | `crd`, `contrastive`: embeddings against those of other examples |
| several.py | `several`, `meal`: several teachers; `adversarial_features`: a discriminator of features |
| alone.py | `tfkd`, `pskd`, `cskd`, `byot`, `mean_teacher`: no teacher |
| together.py | `joint`, `mutual`: players that learn from each other |
| adversarial.py | `adversarial`, `nagan`: a student against a discriminator |
| kdgan.py | `kdgan`: teacher, student and discriminator |
| gan.py | `gan`: a generator of images and its discriminator |
| generators.py | `generator_mimic`, `generator_distill`, `fused`: a large generator teaches a small one |
| restoration.py | `restore`, `restore_distill`: restorers, image -> image |
| style.py | `style`: style transfer |
| incremental.py | `lwf`, `lwf_exemplar`, `replay`: new classes beside those of an old model; `gan_replay` |
| transfer.py | `both_tasks`: a source and a target task at once |
| vae.py | `vae`, `vae_distill`: variational autoencoders |
| data_free.py | `dafl`, `dfad`, `zskt`, `dfq`: a student learns on images that a generator makes by its teacher's answers |
| inversion.py | `deep_inversion`: on images that are themselves learned |
| virtual.py | `virtual`: on images of a frozen generator, or on noise |
| remembered.py | `cmi`, `fast`: on all images that were made so far |
| robust.py | `robust_ce`, `trades`, `ard`, `rslad`: students that hold against small changes of their images |
| stealing.py | `copy`: a student of a black box that gives probabilities or classes alone |

taught.py makes a move of parts, and says what follows from the kind of the label; `combine`, here, makes one of several
parts by their names. layers.py makes the parts that compare features; published.py has λ's. A method from outside the
package is named by its dotted path; nothing here needs to know of it.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan import annotated
from kdgan.game import Method
from kdgan.methods.adversarial import adversarial, nagan
from kdgan.methods.alone import byot, cskd, mean_teacher, pskd, tfkd
from kdgan.methods.contrastive import contrastive, crd
from kdgan.methods.data_free import dafl, dfad, dfq, zskt
from kdgan.methods.factors import ft, paraphrase
from kdgan.methods.features import ab, attention, fsp, hint, ickd, kdsvd, nst, ofd, review, srd, vid
from kdgan.methods.gan import gan
from kdgan.methods.generators import fused, generator_distill, generator_mimic
from kdgan.methods.incremental import gan_replay, lwf, lwf_exemplar, replay
from kdgan.methods.inversion import deep_inversion
from kdgan.methods.kdgan import kdgan
from kdgan.methods.logits import kd, logistic, mimic, noisy
from kdgan.methods.matching import ctkd, dist, dkd, mlkd
from kdgan.methods.relations import cc, pkt, rkd, sp
from kdgan.methods.remembered import cmi, fast
from kdgan.methods.restoration import restore, restore_distill
from kdgan.methods.robust import ard, robust_ce, rslad, trades
from kdgan.methods.several import adversarial_features, meal, several
from kdgan.methods.stealing import copy
from kdgan.methods.style import style
from kdgan.methods.supervised import supervised
from kdgan.methods.taught import Part, method_of
from kdgan.methods.together import joint, mutual
from kdgan.methods.transfer import both_tasks
from kdgan.methods.vae import vae, vae_distill
from kdgan.methods.virtual import virtual

BY_NAME: dict[str, Callable[..., Method]] = {
    "supervised": supervised,
    "kd": kd,
    "logistic": logistic,
    "mimic": mimic,
    "noisy": noisy,
    "hint": hint,
    "attention": attention,
    "fsp": fsp,
    "kdsvd": kdsvd,
    "nst": nst,
    "sp": sp,
    "pkt": pkt,
    "ickd": ickd,
    "vid": vid,
    "ab": ab,
    "ofd": ofd,
    "review": review,
    "srd": srd,
    "paraphrase": paraphrase,
    "ft": ft,
    "rkd": rkd,
    "cc": cc,
    "joint": joint,
    "mutual": mutual,
    "adversarial": adversarial,
    "nagan": nagan,
    "kdgan": kdgan,
    "gan": gan,
    "generator_mimic": generator_mimic,
    "generator_distill": generator_distill,
    "fused": fused,
    "restore": restore,
    "restore_distill": restore_distill,
    "style": style,
    "lwf": lwf,
    "lwf_exemplar": lwf_exemplar,
    "replay": replay,
    "gan_replay": gan_replay,
    "both_tasks": both_tasks,
    "vae": vae,
    "vae_distill": vae_distill,
    "dafl": dafl,
    "dfad": dfad,
    "zskt": zskt,
    "dfq": dfq,
    "deep_inversion": deep_inversion,
    "cmi": cmi,
    "fast": fast,
    "virtual": virtual,
    "robust_ce": robust_ce,
    "trades": trades,
    "ard": ard,
    "rslad": rslad,
    "copy": copy,
    "dkd": dkd,
    "dist": dist,
    "mlkd": mlkd,
    "ctkd": ctkd,
    "tfkd": tfkd,
    "pskd": pskd,
    "cskd": cskd,
    "byot": byot,
    "mean_teacher": mean_teacher,
    "several": several,
    "meal": meal,
    "adversarial_features": adversarial_features,
    "crd": crd,
    "contrastive": contrastive,
}


LABEL_KIND = "label_kind"
# Of images in [0, 1] alone: their players' published weights, images of styles and starting points are.
OF_UNIT_PIXELS = ("restore", "restore_distill", "style")


def build(name: str, *, of_data: Mapping[str, Any] | None = None, **hyperparameters: Any) -> Method:
    """The method of that name (or dotted path), with these hyper-parameters.

    Args:
      name: a key of `BY_NAME`, or a dotted path.
      of_data: what the data say, `{"label_kind": "tags", "normalisation": {"mean": 0.5, "std": 0.5}}`: a method that has
        such an argument is given it. The hyper-parameters may say another kind of label; how images are normalised is said
        by the data alone.
      **hyperparameters: its arguments.

    Raises:
      ValueError: no such method, a hyper-parameter that it does not take, or a value that it refuses.
    """
    function = _function(name)
    _check_names(name, function, hyperparameters)
    known = {key: value for key, value in (of_data or {}).items() if key in inspect.signature(function).parameters}
    for key, value in known.items():
        said = hyperparameters.get(key, value)
        # Tags may be learned as numbers, but neither is a class.
        if said != value and (key != LABEL_KIND or "class" in (said, value)):
            raise ValueError(f"method.{key} = {said!r}: the data say {value!r}; leave it out")
    method = annotated.called(function, {**known, **hyperparameters}, "method.")
    if not isinstance(method, Method):
        raise ValueError(f"method.name = {name!r} returned {type(method).__name__}; a method returns kdgan.game.Method")
    return method


def combine(
    *, parts: Sequence[Any] = (), labels: bool = True, unlabelled: bool = False, label_kind: str = "class"
) -> Method:  # fmt: skip
    """Several ways of teaching in one move: `ce` on the labels, then the terms of each part, each with a λ of its own.

    `parts=("kd", dict(name="hint", features=("stage2",)), "my_project.methods.mine")`. Teacher and student run once for
    all, and give the features that any of them wants. A part is what `kdgan.methods.taught.as_method` makes a method of.

    Args:
      parts: names of methods, or mappings of `name` and their own arguments.
      labels: whether there is a term `ce`.
      unlabelled: whether outputs are compared on the batch's unlabelled inputs, too.
      label_kind: kind of the label; the data's where a run is asked for.

    Raises:
      ValueError: no parts, one that is no part, or whose arguments are refused; a kind of label that one is not for.
    """
    if isinstance(parts, str) or not parts:
        raise ValueError(f"method.parts = {parts!r}: names of methods, or dict(name=..., arguments), are accepted")
    return method_of(*map(_part, parts), labels=labels, unlabelled=unlabelled, label_kind=label_kind)


BY_NAME["combine"] = combine


def _part(spec: Any) -> Part:
    """A way of teaching by its name, or by a mapping of it and its arguments."""
    fields = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"method.parts: {spec!r}: the name of a method, or dict(name=..., arguments), is accepted")
    function = getattr(_function(name), "part", None)
    if function is None:
        if name not in BY_NAME:
            raise ValueError(
                f"method.parts: {name} is no part of a move; a function that returns a kdgan.methods.taught.Part, under"
                " kdgan.methods.taught.as_method, is accepted"
            )
        parts = [known for known, method in BY_NAME.items() if hasattr(method, "part")]
        raise ValueError(
            f"method.parts: {name} is no part of a move; accepted are {', '.join(parts)}, or the dotted path of a function"
            " under kdgan.methods.taught.as_method"
        )
    _check_names(name, function, fields)
    return annotated.called(function, fields, "method.parts: ")


def _function(name: str) -> Callable[..., Any]:
    """The function that a name, or a dotted path, is of."""
    if name in BY_NAME:
        return BY_NAME[name]
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"method.name = {name!r} cannot be imported: {error}") from error
        if not callable(function):
            raise ValueError(f"method.name = {name!r} is no function; a method is a function that returns its moves")
        return function
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"method.name = {name!r}: no such method; {hint}accepted are {', '.join(BY_NAME)}, or a dotted path"
    )


def _check_names(name: str, function: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> None:
    """Raises ValueError for a hyper-parameter that a method does not take."""
    accepted = inspect.signature(function).parameters
    unknown = [key for key in hyperparameters if key not in accepted]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        near = difflib.get_close_matches(unknown[0], accepted, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"method.{unknown[0]}: {name} takes no such hyper-parameter; {hint}accepted are {', '.join(accepted)}"
        )
