"""What counts: whole numbers from the least, and no truth values."""

import re

import numpy as np
import pytest

from kdgan import whole_number


@pytest.mark.parametrize(("value", "least"), [(1, 1), (7, 1), (0, 0), (-2, -2)])
def test_whole_numbers_from_the_least_are_accepted(value, least):
    whole_number.check("steps", value, least)


@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, "1", None, np.ones(1)])
def test_everything_else_is_refused_by_name_and_value(value):
    message = re.escape(f"method.padding = {value!r}: pixels, a whole number of at least 1 is accepted")
    with pytest.raises(ValueError, match=f"^{message}$"):
        whole_number.check("method.padding", value, unit="pixels")


def test_the_largest_is_the_last_that_is_accepted():
    whole_number.check("size", 1_000, most=1_000)
    with pytest.raises(ValueError, match=r"^size = 1001: a whole number from 1 to 1,000 is accepted$"):
        whole_number.check("size", 1_001, most=1_000)
