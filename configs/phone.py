"""A student for a phone: a quarter of a megabyte of teacher in, 46 kB of int8 student out, on the UCI digits.

pip install -e ".[quantise]"                                                  # qwix, of the quantised arm
python -m kdgan.main --config=configs/phone.py --workdir=runs/phone
"""

from kdgan import config as common


def get_config():
    config = common.get_config()
    config.seed, config.population.seeds = 0, 3
    config.data.validation = 200
    config.data.augment.affine = dict(rotate=10.0, shift=0.1, zoom=0.1)
    cosine = lambda rate: dict(learning_rate=rate, schedule="cosine")
    config.players = common.named(
        teacher=dict(model="cnn", model_args=dict(features=(64, 128), dense=512), optimizer=cosine(2e-3)),
        student=dict(model="cnn", optimizer=cosine(3e-3)),
    )
    soft = dict(method=dict(name="kd", temperature=4.0), lambdas=dict(student=dict(ce=0.1, kd=0.9)))
    config.stage.batch_size = 32
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=600),
        distill=dict(
            start=dict(teacher="teacher"),
            steps=600,
            arms=common.named(
                scratch=dict(lambdas=dict(student=dict(ce=1.0))),
                kd=soft,
                # It learns while its weights and the inputs of its layers are rounded to 8 bits.
                qat={**soft, "players": dict(student=dict(quantise="w8a8"))},
            ),
        ),
    )
    return config
