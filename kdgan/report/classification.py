"""The sections of a classifier's test images: the confusion matrix of the chosen student, and where the teacher differs."""

from collections.abc import Sequence
from html import escape

import numpy as np

from kdgan.report import choice, pictures
from kdgan.report.entries import ALONE, last_stage
from kdgan.report.markup import section, sentence
from kdgan.report.read import Results

SMALL_IMAGE = 64  # pixels up to which an image is enlarged without smoothing
LONG_NAME = 5  # characters of a class from which an image needs a wider place


def confusion(results: Results) -> str:
    """The confusion matrix of the arm that is chosen, all of its seeds counted together."""
    chosen = choice.chosen_arm(results.summary)
    if chosen is None:
        return ""
    label = results.evaluation.get("label")
    predicted = results.evaluation.get(f"prediction/{last_stage(results.summary)}/{chosen.arm}/{chosen.player}")
    if label is None or predicted is None or not label.size or not predicted.size:
        return ""
    names = class_names(results)
    shares = pictures.confusion(label, predicted, len(names))
    rows = "".join(
        f'<tr><th scope="row">{escape(true)} → {escape(taken)}</th><td>{100 * share:.1f} %</td></tr>'
        for true, taken, share in pictures.most_confused(shares, names)
    )
    errors = '<p class="note">No test image is misclassified.</p>'
    if rows:
        errors = (
            '<h3 class="first">Most frequent errors</h3><table><thead><tr><td></td>'
            f'<th scope="col">share of the class</th></tr></thead><tbody>{rows}</tbody></table>'
            '<p class="note">True class → predicted class.</p>'
        )
    seeds = f", {len(predicted)} seeds together" if len(predicted) > 1 else ""
    whose = chosen.player if chosen.arm == ALONE else f"{chosen.player} · {chosen.arm}"
    why = f" ({chosen.words})" if chosen.of > 1 else ""
    caption = f"{whose}{why}{seeds}, test split. Each row sums to 100 %; errors are shaded by the largest of them."
    return section(
        f"Confusion matrix of the {chosen.player}",
        f'<div class="two"><figure class="matrix">{pictures.confusion_matrix(shares, names)}'
        f'<figcaption>{sentence(caption)}</figcaption></figure><div class="errors">{errors}</div></div>',
    )


def class_names(results: Results) -> list[str]:
    """Names of the classes, as many as the labels and predictions speak of."""
    names = [str(name) for name in (results.summary.get("data") or {}).get("class_names") or ()]
    arrays = (
        a for key, a in results.evaluation.items() if (key == "label" or key.startswith("prediction/")) and a.size
    )
    largest = max((int(np.max(array)) for array in arrays), default=-1)
    return names + [str(i) for i in range(len(names), largest + 1)]


def disagreements(results: Results) -> str:
    found = pictures.disagreements(results.evaluation)
    if not found:
        return ""
    names = class_names(results)
    cards = "".join(_card(each, names) for each in found)
    wide = " wide" if max(map(len, names), default=0) > LONG_NAME else ""
    about = str(results.evaluation.get("disagreement/about", ""))
    stage, _, rest = about.partition("/")
    arm, _, seed = rest.rpartition("/")
    whose = "" if not seed else f"seed {seed}, stage {stage}" if arm == ALONE else f"{arm}, seed {seed}"
    why = str(results.evaluation.get("disagreement/chosen", ""))
    whose += f" ({why})" if why else ""
    student = sum(each.student == each.true for each in found)
    teacher = sum(each.teacher == each.true for each in found)
    counts = f"Of the {len(found)} shown, the student is right on {student}, the teacher on {teacher}"
    neither = len(found) - student - teacher
    counts += f", neither on {neither}." if neither else "."
    intro = f'<p class="caption">{escape(counts)}{" Student: " + escape(whose) + "." if whose else ""}</p>'
    return section("Where student and teacher disagree", f'{intro}<div class="images{wide}">{cards}</div>')


def _card(each: pictures.Disagreement, names: Sequence[str]) -> str:
    def guess(who: str, taken: int) -> str:
        kind, sign = ("right", "✓") if taken == each.true else ("wrong", "✗")
        return f'<dt>{who}</dt><dd class="{kind}">{escape(name(taken))} {sign}</dd>'

    name = lambda index: names[index] if 0 <= index < len(names) else str(index)
    small = ' class="small"' if max(each.image.shape[:2]) <= SMALL_IMAGE else ""
    alt = escape(f"test image {each.index}: {name(each.true)}")
    return (
        f'<figure><img{small} alt="{alt}" title="test image {each.index}" src="{pictures.png(each.image)}">'
        f"<dl><dt>true</dt><dd>{escape(name(each.true))}</dd>"
        f"{guess('student', each.student)}{guess('teacher', each.teacher)}</dl></figure>"
    )
