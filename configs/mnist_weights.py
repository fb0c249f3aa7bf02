"""Weight distillation on MNIST with 1,000 labels.

python -m kdgan.main --config=configs/mnist_weights.py --workdir=runs/mnist_weights      # TIME
TABLE
"""

from configs import common


def arms():
    """What a student starts from, and whether it sees the teacher's soft labels of images without labels."""
    labels_only = dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0)))
    soft_labels = dict(
        method=dict(name="kd", temperature=1.0, unlabelled=True), lambdas=dict(student=dict(ce=0.1, kd=0.9))
    )
    selected = lambda how: dict(student=dict(stage="teacher", player="teacher", transfer=how, scale=0.5))
    return common.named(
        random=labels_only,
        selected=dict(**labels_only, start=selected("uniform")),
        first=dict(**labels_only, start=selected("first")),
        kd=soft_labels,
        selected_kd=dict(**soft_labels, start=selected("uniform")),
    )


def get_config():
    config = common.get_config()
    config.data.name = "mnist"
    config.data.labelled, config.data.validation, config.data.unlabelled_batch_size = 1_000, 1_000, 64
    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine")
    config.players = common.named(
        teacher=dict(model="mlp", model_args=dict(hidden=(800, 800)), optimizer=cosine(1e-3)),
        student=dict(model="mlp", model_args=dict(hidden=(100, 100)), optimizer=cosine(3e-3)),
    )
    students = dict(start=dict(teacher="teacher"), arms=arms())
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=1_000),
        short=dict(**students, steps=100),
        full=dict(**students, steps=1_000),
    )
    config.population.seeds = 5
    config.evaluate.batch_size = 1_000
    return config
