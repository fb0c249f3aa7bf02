"""Modules that lie around a network and change what it is given or gives: which network it is."""

from flax import linen as nn

# The field by which such a module names what is inside. Its variables are those of the network, and it has `shares_scope`.
FIELDS = ("module", "network", "classifier")


def innermost(module: nn.Module) -> nn.Module:
    """The network inside of `SelectClasses`, `LogProbabilities` and `Renormalised`, in any order; or the module itself."""
    if not getattr(module, "shares_scope", False):
        return module
    inside = (getattr(module, name, None) for name in FIELDS)
    return innermost(next(one for one in inside if isinstance(one, nn.Module)))
