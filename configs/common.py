"""Where a config of your own begins: the defaults, and how players, stages and arms are named.

    from configs import common            # in a clone; from anywhere: from kdgan import config as common

    def get_config():
        config = common.get_config()      # every field with its default: python -m kdgan.config prints them
        config.data.name = "mnist"
        config.players = common.named(teacher=dict(model="lenet5"), student=dict(model="mlp"))
        config.stages = common.named(...)
        return config

Everything here stands in the package, so that a config outside of this repository needs nothing of this folder.
"""

from kdgan.config import ConfigDict, anything, arguments, get_config, named, several

__all__ = ["ConfigDict", "anything", "arguments", "get_config", "named", "several"]
