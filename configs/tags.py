"""Tags, several for each example: a small network learns to rank them from a large one; MAP, P@n, F@n, MRR and F1.

python -m kdgan.main --config=configs/tags.py --workdir=runs/tags
python -m kdgan.main --config=configs/tags.py:~/corel5k.npz --workdir=runs/corel5k
test measures of bags (500 examples, seeds 0 to 9, last of 800 steps, 95 % intervals; 149 s of processor time on a CPU):

|  | P@3 | P@5 | F@3 | F@5 | MAP | MRR |
|---|---|---|---|---|---|---|
| teacher | .419 ± .003 | .341 ± .002 | .419 ± .002 | .411 ± .002 | .600 ± .002 | .738 ± .004 |
| student, scratch | .301 ± .018 | .272 ± .010 | .288 ± .020 | .322 ± .014 | .442 ± .023 | .562 ± .034 |
| student, kd | .307 ± .015 | .276 ± .012 | .292 ± .017 | .326 ± .016 | .447 ± .022 | .565 ± .026 |
| student, kdgan | .306 ± .016 | .277 ± .012 | .293 ± .017 | .327 ± .016 | .448 ± .022 | .564 ± .028 |

MAP, paired with scratch, three comparisons at once: kd +0.5 ± 0.7 points, kdgan +0.6 ± 0.8: no clear difference.

test measures of Corel5k (seeds 0 to 9, last of 800 steps, 95 % intervals, on a CPU). By popularity P@5 is .090, by a vote of
50 nearest neighbours .255:

|  | P@3 | P@5 | F@3 | F@5 | MAP | MRR |
|---|---|---|---|---|---|---|
| teacher | .233 ± .002 | .205 ± .001 | .214 ± .002 | .239 ± .002 | .269 ± .001 | .506 ± .004 |
| student, scratch | .243 ± .008 | .204 ± .006 | .223 ± .007 | .237 ± .007 | .267 ± .009 | .490 ± .014 |
| student, kd | .222 ± .004 | .187 ± .003 | .203 ± .004 | .218 ± .003 | .238 ± .005 | .463 ± .010 |
| student, kdgan | .224 ± .005 | .191 ± .002 | .205 ± .005 | .222 ± .003 | .243 ± .006 | .471 ± .010 |

MAP, paired as above: kd −2.9 ± 0.9 points, kdgan −2.4 ± 0.9, both worse: their teacher is hardly better than the student
from scratch. No setting was tuned.

Without a path the data are made by scikit-learn: bags of 60 words with about three of 20 tags. With one they are Corel5k
(Duygulu et al. 2002; the arrays x_train, y_train, x_test, y_test of Mulan's files): photographs as 499 region words, with
about 3.5 of 374 tags.
"""

from kdgan import config as common


def get_config(path=""):
    config = common.get_config()
    config.data.name, config.data.validation = "configs.sets.bags", 400
    if path:
        config.data.name = f"npz:{path}"
        config.data.fields = dict(words="x", label="y")
        config.data.kinds = dict(words="vector", label="tags")

    cosine = lambda rate, **fields: dict(learning_rate=rate, schedule="cosine", **fields)
    large = dict(model="mlp", model_args=dict(hidden=(256,), dropout=0.5))
    config.players = common.named(
        teacher=dict(**large, optimizer=cosine(2e-3, weight_decay=1e-2)),
        student=dict(model="mlp", model_args=dict(hidden=(8,)), optimizer=cosine(1e-2)),
        discriminator=dict(**large, optimizer=cosine(5e-4)),
    )
    config.stage.batch_size = 64
    arm = lambda method, **lambdas: dict(method=method, lambdas=lambdas)
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=800),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=800,
            arms=common.named(
                scratch=arm(dict(name="supervised"), student=dict(ce=1.0)),
                kd=arm(dict(name="kd", temperature=1.0), student=dict(ce=0.1, kd=0.9)),
                kdgan=dict(
                    start=dict(discriminator=dict(stage="teacher", player="teacher")),
                    optimizers=dict(teacher=dict(learning_rate=1e-4)),
                    **arm(
                        dict(name="kdgan", distillation="kl", draws=5),
                        discriminator=dict(real=1.0, student=0.3, teacher=0.7),
                        teacher=dict(ce=1.0, kd=0.001, adv=0.7),
                        student=dict(ce=0.1, kd=0.9, adv=0.3),
                    ),
                ),
            ),
        ),
    )
    config.population.seeds = 10
    return config
