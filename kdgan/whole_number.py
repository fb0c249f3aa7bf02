"""The check of arguments that count: moves of a step, images, pixels."""

from typing import Any


def check(name: str, value: Any, least: int = 1, *, unit: str = "") -> None:
    """Raises ValueError for what is no whole number of at least `least`; True and False are none.

    Args:
      name: of the argument, as whoever sets it knows it: "method.latent".
      value: what was given.
      least: the smallest that is accepted.
      unit: what is counted, where the name does not say it: "pixels".
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"{name} = {value!r}: {f'{unit}, ' if unit else ''}a whole number of at least {least} is accepted"
        )
