"""One browser for the tests of a file, where there is one."""

import chromium
import pytest

from kdgan.export import onnxruntime_web


@pytest.fixture(scope="module")
def browser():
    """Skipped with the reason where Chromium or the files of onnxruntime-web are absent."""
    if chromium.executable() is None:
        pytest.skip(f"needs Chromium: none of {', '.join(chromium.NAMES)} is installed")
    try:
        onnxruntime_web.read()
    except ValueError as error:
        pytest.skip(str(error))
    with chromium.browser() as one:
        yield one
