"""What the sections of the page are written with: titles, sentences, parts that fold, and marks of arms."""

import re
from collections.abc import Mapping
from html import escape

from kdgan.report import numbers
from kdgan.report.drawing import REST, css


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def sentence(text: str) -> str:
    """Escaped, and no line break inside a number or before its unit."""
    unbroken = escape(text).replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")
    return re.sub(r"(?<=\d) (?=(?:points?|seeds?|arms?|dB)\b)", "\u00a0", unbroken)


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """A part that opens at a click."""
    return f'<details class="more"{" open" if is_open else ""}><summary>{escape(title)}</summary>{body}</details>'


def chip(colour: str | None) -> str:
    """The mark of an arm; without a colour, its place."""
    return f'<i class="chip" style="background:{css(colour) if colour else "none"}"></i>'


def legend(palette: Mapping[str, str]) -> str:
    """Arm by arm its mark and name, those without a colour of their own counted; "" where there is nothing to tell apart."""
    if len(palette) < 2:
        return ""
    named = {arm: colour for arm, colour in palette.items() if colour != REST}
    items = [f"<li>{chip(colour)}{escape(arm)}</li>" for arm, colour in named.items()]
    if len(named) < len(palette):
        items.append(f"<li>{chip(REST)}{numbers.plural(len(palette) - len(named), 'further arm')}</li>")
    return f'<ul class="chips">{"".join(items)}</ul>'
