"""Texts: a bag of embeddings, and a small convolutional network, learn from a transformer encoder.

python -m kdgan.main --config=configs/text.py --workdir=runs/text
python -m kdgan.main --config=configs/text.py:~/sst2 --workdir=runs/sst2

Without a path: paragraphs of Python's own reference and the chapter that they stand in. With one: the folder of SST-2's
sst2.train.tsv and sst2.test.tsv (Socher et al. 2013). Of an .npz with tokens `text`, `text_mask` and `label`:
--config.data.name=npz:/path.
"""

from kdgan import config as common


def get_config(folder=""):
    config = common.get_config()
    config.data.name, config.data.validation = "configs.sets.sentences", 200
    if folder:
        config.data.args, config.data.validation = dict(folder=folder), 700

    cosine = lambda rate, **fields: dict(learning_rate=rate, schedule="cosine", **fields)
    config.players = common.named(
        teacher=dict(
            model="text_transformer",
            model_args=dict(width=64, depth=1, heads=4, hidden=128, dropout=0.3),
            optimizer=cosine(1e-3, weight_decay=1e-2),
        ),
        student=dict(model="embedding_bag", model_args=dict(width=16, dropout=0.3), optimizer=cosine(3e-3)),
    )
    config.stage.batch_size = 32
    convolutional = dict(student=dict(model="text_cnn", model_args=dict(width=16, maps=16, dropout=0.5)))
    scratch = lambda **fields: dict(method=dict(name="supervised"), lambdas=dict(student=dict(ce=1.0)), **fields)
    kd = lambda **fields: dict(
        method=dict(name="kd", temperature=2.0), lambdas=dict(student=dict(ce=0.1, kd=0.9)), **fields
    )
    config.stages = common.named(
        teacher=dict(method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=600),
        bag=dict(start=dict(teacher="teacher"), steps=600, arms=common.named(scratch=scratch(), kd=kd())),
        convolutional=dict(
            players=convolutional,
            start=dict(teacher="teacher"),
            steps=600,
            arms=common.named(scratch=scratch(), kd=kd()),
        ),
    )
    config.population.seeds = 10
    return config
