"""λ's of methods that compare a student's features with its teacher's, of their authors or of who compared them.

They are converted to our terms where those have another constant (the table of `kdgan/losses/__init__.py`), and for the
layers that are said. No λ is here where no code has our term: `kdsvd` (mdistiller's 1 is of another matrix).
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
}
