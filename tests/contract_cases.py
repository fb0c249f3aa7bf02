"""What every method's contract is tested with: hyper-parameters that make it the same on any devices, and players."""

import optax

import outside_method
import players as small
from kdgan import models
from kdgan.models import Adapter, Paraphraser, Regressor, ReviewFusion, Translator, Variational

CLASSIFIERS = {"student": small.Plain(), "teacher": small.Plain(7)}
MAPS, ALIKE = {"student": small.Maps(), "teacher": small.Maps(6)}, dict.fromkeys(CLASSIFIERS, small.Maps())
ONE, BOTH = {"features": ("first",)}, {"features": ("first", "second")}
PAINTERS, CRITIC = {"student": small.Paints(), "teacher": small.Paints(9)}, {"discriminator": small.Critic()}
SCORES = {**CLASSIFIERS, "discriminator": small.Plain(6)}
RESTORERS = {
    "student": small.Restores(), "teacher": small.Restores(6), "critic": small.Restores(5), "adapter": Adapter(),
    "discriminator": small.Patches(),
}  # fmt: skip
WITHOUT_DATA = {
    "generator": small.Paints(), "student": small.Plain(), "teacher": small.Net(), "images": models.Images(8, 4, 1),
    "memory": models.Memory(16), "contrast": models.Contrast(3, 8, 16, 8),
}  # fmt: skip


def without_data(*names):
    return {name: WITHOUT_DATA[name] for name in ("student", "teacher", *names)}


# method -> (hyper-parameters that make it the same on any devices, players)
CASES = {
    "supervised": ({"label_smoothing": 0.1}, CLASSIFIERS),
    "kd": ({"temperature": optax.linear_schedule(4.0, 1.0, 10), "teacher_temperature": 2.0}, CLASSIFIERS),
    "logistic": ({}, CLASSIFIERS),
    "mimic": ({}, CLASSIFIERS),
    "noisy": ({"sigma": 0.0}, CLASSIFIERS),
    "combine": (
        {
            "parts": (
                "kd",
                {"name": "hint", **ONE},
                {"name": "attention", **BOTH},
                {"name": "outside_method.aligned", "power": 2.0},
            )
        },
        {**MAPS, "adapter": Adapter(), "adapter_aligned": outside_method.Projection()},
    ),
    "hint": (ONE, {**MAPS, "adapter": Adapter()}),
    "attention": ({**BOTH, "norm": "length"}, MAPS),
    "fsp": (BOTH, ALIKE),
    "kdsvd": (BOTH, ALIKE),
    "nst": (BOTH, MAPS),
    "sp": (ONE, MAPS),
    "pkt": (ONE, MAPS),
    "rkd": (ONE, MAPS),
    "cc": (ONE, MAPS),
    "ickd": ({**ONE, "adapter": True}, {**MAPS, "adapter_ickd": Regressor()}),
    "vid": (BOTH, {**MAPS, "adapter_vid": Variational()}),
    "ab": ({**BOTH, "labels": False}, {**MAPS, "adapter_ab": Regressor()}),
    "ofd": (
        {"features": {"first": "norm"}, "norms": ("norm",)},
        {"student": small.Maps(), "teacher": small.Net(), "adapter_ofd": Regressor()},
    ),
    "review": ({**BOTH, "weights": (0.5, 1.0)}, {**MAPS, "adapter_review": ReviewFusion()}),
    "srd": (ONE, {**MAPS, "adapter_srd": Adapter()}),
    "paraphrase": (BOTH, {"teacher": small.Maps(6), "paraphraser": Paraphraser()}),
    "ft": (BOTH, {**MAPS, "paraphraser": Paraphraser(), "translator": Translator(normalised=False)}),
    "joint": ({}, CLASSIFIERS),
    "mutual": ({"peers": ("student", "teacher")}, CLASSIFIERS),
    "adversarial": ({"discriminator_repeats": 2}, {**CLASSIFIERS, "discriminator": small.Judge()}),
    "nagan": ({"labels": "expected"}, SCORES),
    "kdgan": ({"labels": "expected", "distillation": "kl", "temperature": 2.0}, SCORES),
    "gan": ({"latent": 3, "penalty": "r1", "discriminator_repeats": 2}, {"generator": small.Paints(), **CRITIC}),
    "generator_mimic": ({"latent": 3, "adapted": ("hidden",)}, {**PAINTERS, "adapter": Adapter()}),
    "generator_distill": ({"latent": 3, "seen": ("hidden",), "conditional": True}, {**PAINTERS, **CRITIC}),
    "fused": (
        {"latent": 3, "match": ("outputs", "weights"), "seen": ("hidden",), "penalty": "r1"},
        {**PAINTERS, "generator": small.Paints(9), **CRITIC},
    ),
    "restore": ({"loss": "charbonnier", "targets": "again", "on": "all"}, {"student": small.Restores()}),
    "restore_distill": (
        {
            "features": ("hidden",),
            "relations": ("hidden",),
            "perceptual": ("hidden",),
            "adversarial": "nonsaturating",
            "penalty": "r1",
            "on": "all",
        },
        RESTORERS,
    ),
    "style": (
        {
            "content": ("hidden",),
            "style": ("hidden", "last"),
            "tv": True,
            "pixel": "l1",
            "perceptual": ("last",),
            "adversarial": "hinge",
        },
        {**RESTORERS, "style_images": small.styles()},
    ),
    "lwf": ({"old": (0, 1), "temperature": 3.0}, CLASSIFIERS),
    "lwf_exemplar": ({"old": (0, 1)}, CLASSIFIERS),
    "replay": ({"latent": 3, "old": (0, 1)}, {**CLASSIFIERS, "generator": small.Paints()}),
    "gan_replay": (
        {"latent": 3, "share": 1.0, "penalty": "r1"},
        {"generator": small.Paints(), "old_generator": small.Paints(9), **CRITIC},
    ),
    "both_tasks": ({"source": (0, 1)}, {"student": small.Plain()}),
    "vae": ({}, {"student": small.Coder()}),
    "vae_distill": ({}, {"student": small.Coder(), "teacher": small.Coder()}),
    "dafl": ({"latent": 3, "activation": "norm"}, without_data("generator")),
    "dfad": ({"latent": 3, "student_repeats": 2}, without_data("generator")),
    "zskt": ({"latent": 3, "student_repeats": 2}, without_data("generator")),
    "dfq": ({"latent": 3, "student_repeats": 2}, without_data("generator")),
    "virtual": ({"latent": 3}, without_data("generator")),
    "deep_inversion": ({"competition": "js", "norm": "image"}, without_data("images")),
    # A student that agrees with the teacher on some images, of which alone `adversarial` is.
    "cmi": (
        {"latent": 3, "contrast_temperature": 1.0, "padding": 1},
        {**without_data("generator", "contrast", "memory"), "student": small.Plain(6)},
    ),
    "fast": (
        {"latent": 3, "padding": 1, "inner_steps": 2, "student_repeats": 2},
        without_data("generator", "memory"),
    ),
    "robust_ce": ({"epsilon": 0.1, "steps": 2, "clean": True}, {"student": small.Plain()}),
    "trades": ({"epsilon": optax.linear_schedule(0.1, 0.2, 10), "steps": 2}, {"student": small.Plain()}),
    "ard": ({"epsilon": 0.1, "steps": 2, "objective": "teacher", "temperature": 2.0}, CLASSIFIERS),
    "rslad": ({"epsilon": 0.1, "steps": 2}, CLASSIFIERS),
    "copy": ({"noise": 0.5}, CLASSIFIERS),
    "dkd": ({"standardised": False}, CLASSIFIERS),
    "dist": ({}, CLASSIFIERS),
    "mlkd": ({"temperatures": (1.0, 4.0)}, CLASSIFIERS),
    "ctkd": ({"standardised": True}, {**CLASSIFIERS, "temperature": models.Temperature()}),
    "tfkd": ({}, CLASSIFIERS),
    "pskd": ({"alpha": optax.linear_schedule(0.4, 0.8, 10)}, {**CLASSIFIERS, "memory_past": models.Past(8)}),
    "cskd": ({}, CLASSIFIERS),
    "byot": ({"blocks": ("hidden",), "last": "head"}, {**CLASSIFIERS, "adapter_heads": models.BlockHeads(3)}),
    "mean_teacher": ({}, {**CLASSIFIERS, "memory_average": models.MovingParameters()}),
    "several": ({"weights": "confidence"}, {**CLASSIFIERS, "teacher_b": small.Plain(6)}),
    "meal": ({"each_step": "all"}, {**CLASSIFIERS, "teacher_b": small.Plain(6), "discriminator": small.Judge()}),
    "adversarial_features": (
        {"features": ("hidden",), "adapter": True},
        {**CLASSIFIERS, "adapter": Adapter(), "discriminator": small.Judge()},
    ),
    "crd": ({"feature": "hidden", "negatives": 5}, {**CLASSIFIERS, "memory_bank": models.MemoryBank(16, 4)}),
    "contrastive": ({"feature": "hidden"}, {**CLASSIFIERS, "adapter": Adapter()}),
    "outside_method.aligned": ({"feature": "second"}, {**MAPS, "adapter_aligned": outside_method.Projection()}),
}
OUTSIDE = {"outside_method.aligned": outside_method.aligned}
