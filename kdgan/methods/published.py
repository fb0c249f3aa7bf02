"""λ's of methods that teach a classifier, of their authors or of who compared them.

They are converted to our terms where those have another constant (the table of `kdgan/losses/__init__.py`), and for the
layers that are said. No λ is here where none is published for our term: `kdsvd` (RepDistiller has the term, and no λ in
its script; mdistiller's 1 is of another matrix).
"""

from collections.abc import Mapping

# Method -> leading player -> term -> λ. The first are of RepDistiller (scripts/run_cifar_distill.sh, helper/loops.py;
# CIFAR-100, ResNet-32×4 to ResNet-8×4), whose terms are ours; mdistiller (mdistiller/engine/cfg.py) has the same.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "hint": {"student": {"ce": 1.0, "hint": 100.0}},  # one layer, the second stage
    "attention": {"student": {"ce": 1.0, "attention": 1000.0}},  # all stages, norm "squared"
    "nst": {"student": {"ce": 1.0, "nst": 50.0}},  # all stages
    "sp": {"student": {"ce": 1.0, "sp": 3000.0}},  # the last stage
    "pkt": {"student": {"ce": 1.0, "pkt": 30000.0}},  # the embedding
    "vid": {"student": {"ce": 1.0, "vid": 1.0}},  # all stages
    "rkd": {"student": {"ce": 1.0, "rkd_distance": 25.0, "rkd_angle": 50.0}},  # the embedding; distiller_zoo/RKD.py
    # Both start a student without labels (`labels=False`, helper/pretrain.py), for 30 epochs; RepDistiller alone.
    "fsp": {"student": {"fsp": 1.0}},  # stem and all stages
    "ab": {"student": {"ab": 3 / 1000}},  # three stages with weights (0.25, 0.5, 1): the factors of distiller_zoo/AB.py
    # clovaai/overhaul-distillation (CIFAR-100): its sum over a batch, through batch and 1000, with weights 2^(l − n).
    "ofd": {"student": {"ce": 1.0, "ofd": 1 / 1000}},
    # dvlab-research/ReviewKD (CIFAR-100/script/reviewKD.sh): to ResNet-8×4, WRN-16-2 and -40-1; 0.6 to ResNet-20.
    "review": {"student": {"ce": 1.0, "review": 5.0}},
    # ADLab-AutoDrive/ICKD (Cifar100/train_student.sh): the last stage, behind its embedding.
    "ickd": {"student": {"ce": 1.0, "ickd": 2.5}},
    # roymiles/Simple-Recipe-Distillation (imagenet/torchdistill/losses/single.py): beside `kd` of λ 1 at temperature 1.
    "srd": {"student": {"ce": 1.0, "srd": 2.0}},
    # Knowledge-Distillation-Zoo (example_train_script.sh, CIFAR-10): the last stage; `cc` of the embedding.
    "paraphrase": {"paraphraser": {"reconstruction": 1.0}},
    "ft": {"student": {"ce": 1.0, "ft": 200.0}},
    "cc": {"student": {"ce": 1.0, "cc": 100.0}},
    # Of logits, of several teachers, of none: from each method's authors, as its docstring says.
    "kd": {"student": {"ce": 0.1, "kd": 9.0}},  # standardised, T = 2
    # mdistiller for CIFAR-100: T = 4; `others` from 2 to 8 by the pair, both rising linearly in the first 20 epochs.
    "dkd": {"student": {"ce": 1.0, "target": 1.0, "others": 8.0}},
    # Of ImageNet, τ = 1. Its code has τ² in both: 2 of CIFAR-100, where τ is 4, is 32 here.
    "dist": {"student": {"ce": 1.0, "inter": 1.0, "intra": 1.0}},
    # Its code multiplies each by the share of examples of which the teacher is sure, too.
    "mlkd": {"student": {"ce": 0.1, "kd": 0.9, "batch": 0.9, "classes": 0.9}},
    "ctkd": {"student": {"ce": 0.1, "kd": 0.9}},
    # α 0.1 of the paper, without T²; T = 20. Of its code (`as_code`) on k classes α·100/k.
    "tfkd": {"student": {"ce": 0.9, "virtual": 0.1 / 20**2}},
    "pskd": {"student": {"ce": 0.0, "past": 1.0}},
    "cskd": {"student": {"ce": 1.0, "partner": 1.0}},
    # Its code adds up the squares of 512 features over a batch of 128, with 1e-6.
    "byot": {"student": {"ce": 0.9, "ce_blocks": 0.9, "kd_blocks": 0.1, "hint_blocks": 1e-6 * 128 * 512}},
    # Its code for CIFAR-10: 31 of 128 examples have labels; the 100 is reached by a sigmoid over 5 epochs.
    "mean_teacher": {"student": {"ce": 31 / 128, "consistency": 100.0}},
    # CA-MKD's, weights "confidence", three teachers: its code divides by their number once more.
    "several": {"student": {"ce": 1.0, "kd": 1 / 3}},
    # Its code has a mean over both halves, and no adversary: λ 1 of its one loss of the discriminator.
    "meal": {"discriminator": {"real": 0.5, "fake": 0.5}, "student": {"ce": 0.0, "kd": 1.0, "adv": 1.0}},
    "crd": {"student": {"ce": 1.0, "crd": 0.8}},
}
