"""A network that computes with rounded numbers while it learns, so that it can be exported in them: by Google's qwix.

Quantisation-aware training (Jacob et al. 2018, arXiv 1712.05877, section 3): every convolution and dense layer rounds its
weights, with a scale for each output channel, and its input, with a scale for each example, to 8 bits, and multiplies those.
Gradients pass the rounding unchanged (straight-through), and the parameters stay float32.
"""

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from kdgan import extras
from kdgan.models.heads import training_switch

SCHEMES: Mapping[str, Mapping[str, Any]] = {
    "w8a8": {"weight_qtype": jnp.int8, "act_qtype": jnp.int8},
    "w8": {"weight_qtype": jnp.int8},
}


class Quantised(nn.Module):
    """`rounded`, which `quantised` makes of a network. Parameter tree and module paths are those of the network itself.

    Attributes:
      rounded: the network, as qwix changed its class.
      scheme: a key of `SCHEMES`.
    """

    rounded: nn.Module
    scheme: str

    def setup(self):
        nn.share_scope(self, self.rounded)

    def __call__(self, *args, train: bool = False, **kwargs) -> Any:
        """What the network gives with rounded weights and, of "w8a8", rounded inputs of its layers.

        Raises:
          ValueError: a convolution has a kernel that is made of the parameter, as `kdgan.models.transposed` does.
        """
        with warnings.catch_warnings():
            # qwix 0.1.8 asks Flax for a class that it has renamed.
            warnings.filterwarnings("ignore", message="'VariableState' was removed", category=DeprecationWarning)
            try:
                return self.rounded(*args, **training_switch(self.rounded, train), **kwargs)
            except AssertionError as error:
                raise ValueError(
                    f"quantise = {self.scheme!r}: {type(self.rounded).__name__} has a convolution whose kernel is computed,"
                    " and no parameter, which qwix cannot round; leave quantise out"
                ) from error


def quantised(module: nn.Module, scheme: str) -> nn.Module:
    """The module, computing with rounded weights ("w8"), and with rounded inputs of its layers as well ("w8a8").

    Raises:
      ValueError: no such scheme, or the package qwix is absent.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"quantise = {scheme!r}: {', '.join(map(repr, SCHEMES))} or None are accepted")
    extras.need("qwix", f"quantise = {scheme!r}")
    return Quantised(_rounded(module, scheme), scheme)


@functools.cache
def _rounded(module: nn.Module, scheme: str) -> nn.Module:
    """Made once: qwix makes a class for each module, and equal modules must stay equal, or all is compiled twice."""
    import qwix

    return qwix.quantize_model(module, qwix.QtProvider([qwix.QtRule(module_path=".*", **SCHEMES[scheme])]))
