"""The check of arguments that count: moves of a step, images, pixels."""

from typing import Any


def check(name: str, value: Any, least: int = 1, *, most: int | None = None, unit: str = "") -> None:
    """Raises ValueError for what is no whole number of at least `least` and at most `most`; True and False are none.

    Args:
      name: of the argument, as whoever sets it knows it: "method.latent".
      value: what was given.
      least: the smallest that is accepted.
      most: the largest; None: there is none.
      unit: what is counted, where the name does not say it: "pixels".
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{name} = {value!r}: {f'{unit}, ' if unit else ''}a whole number {bounds} is accepted")
