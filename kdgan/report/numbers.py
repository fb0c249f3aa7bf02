"""How a number is written: digits by its own uncertainty, k and M, ms and µs, and "–" for what is missing or no number."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

MISSING = "–"
MINUS = "−"


def is_number(value: Any) -> TypeGuard[float]:
    """A finite number (a diverged seed gives NaN; JSON may hold null)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimals(half_widths: Iterable[Any], *, default: int, lowest: int, highest: int, significant: int = 2) -> int:
    """Decimals at which an interval's typical half width shows `significant` digits, within [lowest, highest].

    Args:
        half_widths: of the numbers that stand in one column; None and NaN do not count.
        default: the answer where none of them is positive, as with one seed.
        lowest: fewest decimals.
        highest: most decimals.
        significant: digits of the median half width to show.
    """
    widths = sorted(width for width in half_widths if is_number(width) and width > 0)
    if not widths:
        return default
    needed = significant - 1 - math.floor(math.log10(widths[len(widths) // 2]))
    return min(max(needed, lowest), highest)


def telling(places: int, intervals: Iterable[tuple[float, float | None]], *, highest: int = 15) -> int:
    """Decimals, `places` or more, at which a mean beyond its half width is also written as one: not as "1.9 ± 1.9".

    Args:
        places: decimals to begin with.
        intervals: (mean, half width) of the numbers in one column.
        highest: most decimals.
    """
    for mean, half in intervals:
        while half is not None and abs(mean) > half and places < highest:
            if f"{abs(mean):.{places}f}" != f"{half:.{places}f}":
                break
            places += 1
    return places


def with_interval(mean: Any, half: Any, places: int, *, unit: str = "", signed: bool = False) -> str:
    """As "93.42 ± 0.31 %"; without "± ..." where the half width is unknown; "–" where the mean is."""
    if not is_number(mean):
        return MISSING
    shown = f"{mean:{'+' if signed else ''}z.{places}f}".replace("-", MINUS)  # z: no sign of a zero
    if is_number(half):
        shown += f" ± {half:.{places}f}"
    return f"{shown} {unit}" if unit else shown


def probability(p: Any) -> str:
    """0.0312 -> "0.031", 0.00004 -> "< 0.001"; two digits, and at most three decimals."""
    if not is_number(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def count(value: Any) -> str:
    """61706 -> "61.7 k"; three digits, and a space before k, M, G or T."""
    if not is_number(value):
        return MISSING
    if abs(value) < 999.5:
        return f"{value:.0f}"
    for power, unit in ((3, "k"), (6, "M"), (9, "G"), (12, "T")):
        if abs(value) < 999.5 * 10**power or unit == "T":
            return f"{_three(value / 10**power)} {unit}"
    return MISSING


def size(value: Any) -> str:
    """4120 -> "4.12 kB": bytes, in thousands."""
    if not is_number(value):
        return MISSING
    shown = count(value)
    return f"{shown}B" if " " in shown else f"{shown} B"


def milliseconds(value: Any) -> str:
    """0.0312 -> "31.2 µs", 4.5 -> "4.50 ms", 2300 -> "2.30 s"; three digits."""
    if not is_number(value):
        return MISSING
    if value < 0.9995:
        return f"{_three(value * 1e3)} µs"
    return f"{_three(value)} ms" if value < 999.5 else f"{_three(value / 1e3)} s"


def duration(seconds: Any) -> str:
    """75.2 -> "1 min 15 s"."""
    if not is_number(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(names: Sequence[str]) -> str:
    """As "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    places = max(0, 2 - magnitude)
    shown = f"{value:.{places}f}"
    # 9.996 rounds to 10.00, which is one digit too many.
    return shown if len(shown.lstrip("-").replace(".", "").lstrip("0")) <= 3 else f"{value:.{max(0, places - 1)}f}"
