"""Errors about data: those that name an argument, so that a config can name its own field; images that cannot be read."""

import re
import warnings
from collections.abc import Mapping

ARGUMENTS = (
    "name", "split", "data_dir", "image_key", "label_key", "size", "channels", "num_classes", "on_bad_image",
    "memory_limit", "fields", "kinds", "args", "validation", "labelled", "seed", "validation_seed",
    "classes", "exemplars", "exemplars_of", "exemplar_repeats",
)  # fmt: skip


class ArgumentError(ValueError):
    """A wrong argument, or data that another argument would admit.

    The text names arguments in braces, "give {size}=(h, w)". `str` shows them as Python has them; `named` shows what they
    are called elsewhere.
    """

    def named(self, names: Mapping[str, str]) -> str:
        """The text with the arguments' names in another interface: {"size": "config.data.image_size"}."""
        known = {argument: names.get(argument, argument) for argument in ARGUMENTS}
        return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], match[0]), str(self.args[0]))

    def __str__(self) -> str:
        return self.named({})


class UnreadableImageError(ArgumentError):
    """An image that was in order when the set was loaded cannot be read, and nothing stands in for it."""


class UnreadableImageWarning(UserWarning):
    """An image cannot be read, and is left out or replaced."""


def tell_unreadable(known: dict[str, str], unreadable: Mapping[str, str]) -> None:
    """Add images that cannot be read to those that are known, with a warning for each new one."""
    for path, reason in unreadable.items():
        if known.setdefault(path, reason) is reason:  # whichever thread is first
            warnings.warn(
                f"image {path} cannot be read ({reason}); the next image of its class stands in for it. Up to now"
                f" {len(known):,} such",
                UnreadableImageWarning,
                stacklevel=2,
            )
