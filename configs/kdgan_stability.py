"""KDGAN as published, without any cross-entropy (λ_ce = 0), from players pretrained or not: what makes it collapse?

python -m kdgan.main --config=configs/kdgan_stability.py --workdir=runs/kdgan_stability      # 2 min on 2 CPU cores

None of these arms collapsed to chance (0.1): test accuracy of the student, 3 seeds, after pretraining to 0.765 ± 0.051:
all pretrained 0.803 ± 0.079, fresh discriminator 0.802 ± 0.077, fast teacher (3e-3) 0.803 ± 0.075, none pretrained
0.799 ± 0.058. What hurts is a teacher that follows its student: γ = 1 with the L2 distance takes the student to
0.749 ± 0.083 and the teacher from 0.871 to 0.810. Hence γ = 0.01 and a slow teacher wherever this project sets them.
"""

from kdgan import config as common


def get_config():
    config = common.get_config()
    config.data.labelled = 100

    large = dict(model="cnn", model_args=dict(features=(16, 32)))
    config.players = common.named(
        teacher=dict(**large, optimizer=dict(learning_rate=1e-3)),
        student=dict(model="cnn", model_args=dict(features=(4, 8), dense=16), optimizer=dict(learning_rate=2e-3)),
        discriminator=dict(**large, optimizer=dict(learning_rate=1e-3)),
    )

    pretrained = dict(teacher="teacher", student="student")
    judge = dict(discriminator=dict(stage="teacher", player="teacher"))

    def game(start, pull=0.01, teacher_rate=2e-4, distillation="kl"):
        return dict(
            start=start,
            method=dict(name="kdgan", distillation=distillation),
            optimizers=dict(teacher=dict(learning_rate=teacher_rate)),
            lambdas=dict(  # α = 0.5, β = 1, γ = pull
                discriminator=dict(real=1.0, student=0.5, teacher=0.5),
                teacher=dict(ce=0.0, kd=pull, adv=0.5),
                student=dict(ce=0.0, kd=1.0, adv=0.5),
            ),
        )

    config.stage.batch_size = 32
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=300),
        student=dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0)), steps=300),
        game=dict(
            steps=800,
            arms=common.named(
                all_pretrained=game({**pretrained, **judge}),
                fresh_discriminator=game(pretrained),
                fast_teacher=game({**pretrained, **judge}, teacher_rate=3e-3),
                strong_pull=game({**pretrained, **judge}, pull=1.0, distillation="l2"),
                none_pretrained=game({}, teacher_rate=1e-3),
            ),
        ),
    )
    config.population.seeds = 3
    return config
