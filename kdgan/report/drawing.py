"""What figures share: colours that follow the page, a ground to draw on, and its SVG as an element of a page.

A figure is drawn in the colours of a light page; each is then named by a CSS variable that falls back to it, so that a
page in dark mode recolours its figures, and a figure outside of it still has its colours.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

INK, MUTED, LINE = "#23272e", "#69707a", "#e3e4e0"
# After Okabe and Ito (2008), told apart with any colour vision; the first, a grey, is the baseline's.
SERIES = ("#737a84", "#0072b2", "#d55e00", "#009e73", "#b5549a", "#a67c00", "#3d9bd1")
REST = "#b3b8bf"  # of the arms that are one among many
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", REST: "--rest"}
VARIABLES |= {colour: f"--s{i}" for i, colour in enumerate(SERIES)}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def colours_of(arms: Sequence[str], best: Sequence[str] = ()) -> dict[str, str]:
    """Arm -> colour, the same in every figure of a run. The first of several arms, the baseline, is grey.

    Args:
        arms: in the order of the config.
        best: from the best on. Of more arms than there are colours the first of these have one; all others share a light
            grey, so that no colour stands for two arms.
    """
    if len(arms) == 1:
        return {arms[0]: SERIES[1]}
    order = list(arms[1:])
    if len(arms) > len(SERIES):
        order = list(dict.fromkeys([*(arm for arm in best if arm in order), *order]))
    colours = dict(zip(order, SERIES[1:], strict=False))
    return {arm: SERIES[0] if arm == arms[0] else colours.get(arm, REST) for arm in arms}


def css(colour: str) -> str:
    """A colour as the page names it."""
    return f"var({VARIABLES[colour]}, {colour})" if colour in VARIABLES else colour


def shortened(name: str, most: int = 14) -> str:
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"


@contextmanager
def drawing(width: float, height: float, *, left: float, right: float, bottom: float, top: float) -> Iterator[tuple]:
    """A figure with one pair of axes; sizes in points. It belongs to nobody's pyplot and changes no setting."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": MUTED,
        "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.labelsize": 8, "axes.spines.top": False,
        "axes.spines.right": False, "axes.spines.left": False, "xtick.major.size": 3, "ytick.major.size": 0,
        "svg.fonttype": "none", "svg.hashsalt": "kdgan", "axes.unicode_minus": True, "text.usetex": False,
        "path.simplify": True, "axes.linewidth": 0.8,
    }  # fmt: skip
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # An arm may be named in a script that the measuring font lacks; the reader's browser has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
        )
        yield figure, axes


def svg(figure, label: str) -> str:
    """The figure as an element of a page: its size is the page's, nothing in it refers elsewhere."""
    buffer = io.BytesIO()
    metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href").replace("'DejaVu Sans'", FONT)
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text))
    used = {name for pair in used for name in pair if name}
    # Every figure calls its parts axes_1, line2d_3, ...: several on one page would share their ids.
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    view_box = re.search(r'viewBox="([^"]+)"', text[: text.index(">")])
    body = text[text.index(">") + 1 :]
    for colour, variable in VARIABLES.items():
        body = re.sub(colour, f"var({variable}, {colour})", body, flags=re.IGNORECASE)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg viewBox="{view_box[1] if view_box else ""}" role="img" aria-label="{html.escape(label)}">{body}'
