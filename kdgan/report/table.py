"""A table as data: rows of cells under columns, with its notes. `rendering` writes it."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number as shown, and as it is.

    Attributes:
        text: what stands in the table.
        mean: the number behind it, in the unit shown; None where there is none.
        ci95: half width of its 95 % interval, in the same unit; None with one seed.
        best: the number by which its arm was chosen among the others.
        known: False where the row has no such number at all, which is other than one that diverged.
    """

    text: str
    mean: float | None = None
    ci95: float | None = None
    best: bool = False
    known: bool = True


Column = tuple[str, list[Cell]]  # its head, and a cell for each row


@dataclasses.dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    arm: str | None = None  # gives the row its colour on the page
    secondary: bool = False  # shown beside the row above, and lighter


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        columns: their heads.
        rows: with a cell for each column.
        notes: what stands below.
        groups: how many columns belong together, from the left: a table too wide goes on below between two groups,
            with the rows that have anything there. () is one group of all.
        marked: what the mark of the best cell means; "" where none is marked.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    marked: str = ""


def of_columns(columns: Sequence[Column], rows: Sequence[Row], **more) -> Table:
    """A table of these columns; the rows have no cells yet."""
    filled = (dataclasses.replace(row, cells=tuple(cells[i] for _, cells in columns)) for i, row in enumerate(rows))
    return Table(tuple(head for head, _ in columns), tuple(filled), **more)
