"""docs/images.md: the networks that it names are built as it says, and take the shapes of the files."""

import pathlib
import re

import pytest

from kdgan import models

TEXT = (pathlib.Path(__file__).parent.parent / "docs" / "images.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| [^|]+ \| `(\w+)` \|([^|]*)\| [^|]+ \|$", TEXT, re.MULTILINE)[1:]  # without their header


def test_the_table_of_networks_is_read_here():
    assert len(ROWS) == 8


@pytest.mark.parametrize(("name", "fields"), ROWS)
def test_a_network_of_the_table_has_the_fields_that_stand_beside_it(name, fields):
    pairs = [pair.split("=") for pair in re.findall(r"`(\w+=\w+)`", fields)]
    given = {
        key: {"True": True, "False": False}.get(value) if value in ("True", "False") else int(value)
        for key, value in pairs
    }
    module = models.build(name, **given)
    assert {key: getattr(module, key) for key in given} == given
