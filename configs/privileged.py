"""A teacher that sees more than its student (privileged provision, the setting of KDGAN): soft labels and KDGAN.

python -m kdgan.main --config=configs/privileged.py --workdir=runs/privileged
python -m kdgan.main --config=configs/privileged.py:coarse --workdir=runs/privileged_coarse
python -m kdgan.main --config=configs/privileged.py:~/wiki.npz --workdir=runs/wiki

test accuracy of digits (500 images, seeds 0 to 9, last of 600 steps, 95 % intervals; 111 s of processor time on a CPU):
teacher (whole image) 0.896 ± 0.003; student (upper half) scratch 0.770 ± 0.009, kd 0.763 ± 0.010, kdgan 0.767 ± 0.009;
paired with scratch, three comparisons at once: kd −0.6 ± 0.6 points, worse; kdgan −0.2 ± 0.5, no clear difference. NLL is
lower with the teacher: kd −0.013 ± 0.007, kdgan −0.028 ± 0.008
test accuracy of wiki.npz (693 articles, seeds 0 to 9, last of 600 steps, 95 % intervals; 136 s of processor time on a CPU):
teacher (picture and text) 0.836 ± 0.005; student (picture) scratch 0.272 ± 0.009, kd 0.280 ± 0.008, kdgan 0.276 ± 0.007;
paired with scratch, three comparisons at once: kd +0.8 ± 0.8 points, kdgan +0.4 ± 0.9: no clear difference. Logistic
regression has 0.271 by the picture, 0.831 by the text, 0.841 by both

Without a path: the UCI digits. The teacher sees the whole image, the student its upper half (or, `coarse`, the means of four
blocks of pixels). With one: Wikipedia articles of ten classes (Rasiwasia et al. 2010). The teacher reads the text, too; the
student sees features of the picture only. No setting was tuned.
"""

from kdgan import config as common


def get_config(what="upper"):
    config = common.get_config()
    seen, all_of_it = ("part",), ("image",)
    config.data.name, config.data.args, config.data.validation = "configs.sets.halves", dict(part="upper"), 200
    if what == "coarse":
        config.data.args.part = "coarse"
    elif what != "upper":
        config.data.name, config.data.args, config.data.validation = "configs.sets.articles", dict(path=what), 300
        seen, all_of_it = ("picture",), ("picture", "words")

    cosine = lambda rate, **fields: dict(learning_rate=rate, schedule="cosine", **fields)
    large = dict(model="mlp", model_args=dict(hidden=(128,), dropout=0.5), inputs=all_of_it)
    config.players = common.named(
        teacher=dict(**large, optimizer=cosine(2e-3, weight_decay=1e-2)),
        student=dict(
            model="mlp",
            model_args=dict(hidden=(32,), dropout=0.2),
            inputs=seen,
            optimizer=cosine(2e-3, weight_decay=1e-2),
        ),
        discriminator=dict(**large, optimizer=cosine(5e-4)),
    )
    config.stage.batch_size = 32
    arm = lambda method, **lambdas: dict(method=method, lambdas=lambdas)
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=600),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=600,
            arms=common.named(
                scratch=arm(dict(name="supervised"), student=dict(ce=1.0)),
                kd=arm(dict(name="kd", temperature=2.0), student=dict(ce=0.5, kd=0.5)),
                kdgan=dict(
                    start=dict(discriminator=dict(stage="teacher", player="teacher")),
                    optimizers=dict(teacher=dict(learning_rate=1e-4)),
                    **arm(  # α = 0.3, β = 0.5, γ = 0.001
                        dict(name="kdgan", distillation="kl", temperature=2.0),
                        discriminator=dict(real=1.0, student=0.3, teacher=0.7),
                        teacher=dict(ce=1.0, kd=0.001, adv=0.7),
                        student=dict(ce=0.5, kd=0.5, adv=0.3),
                    ),
                ),
            ),
        ),
    )
    config.population.seeds = 10
    return config
