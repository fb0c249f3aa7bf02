"""Numbers: the progression of diabetes after a year, from ten measurements of 442 patients; RMSE and R².

python -m kdgan.main --config=configs/diabetes.py --workdir=runs/diabetes      # 44 s of processor time on a CPU
test error (89 patients, seeds 0 to 9, last of 600 steps, 95 % intervals): teacher RMSE 0.747 ± 0.024, R² 0.495 ± 0.032;
student from 60 patients RMSE 0.880 ± 0.081, R² 0.290 ± 0.135; with the teacher's predictions for all of them RMSE
0.748 ± 0.027, R² 0.493 ± 0.037: paired over the seeds RMSE −0.13 ± 0.07, R² +0.20 ± 0.11, better

The teacher is a network with dropout, the student one of four units; both know the numbers of 60 patients. The student is
taught by squared error, on the others, too. The number is in its standard deviations over the training patients. No setting
was tuned.
"""

from kdgan import config as common


def get_config():
    config = common.get_config()
    config.data.name = "sklearn:diabetes"
    config.data.labelled, config.data.validation, config.data.unlabelled_batch_size = 60, 60, 32

    cosine = lambda rate, **fields: dict(learning_rate=rate, schedule="cosine", **fields)
    config.players = common.named(
        teacher=dict(
            model="mlp", model_args=dict(hidden=(64,), dropout=0.5), optimizer=cosine(3e-3, weight_decay=1e-2)
        ),
        student=dict(model="mlp", model_args=dict(hidden=(4,)), optimizer=cosine(1e-2)),
    )
    config.stage.batch_size = 20
    distilled = lambda name: dict(method=dict(name=name, unlabelled=True), lambdas=dict(student={"ce": 0.1, name: 0.9}))
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=300),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=600,
            arms=common.named(
                scratch=dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0))),
                mimic=distilled("mimic"),
            ),
        ),
    )
    config.population.seeds = 10
    return config
