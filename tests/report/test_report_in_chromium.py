"""The slider of restored images in a real browser: it moves, its images can be chosen, and nothing is asked of a network."""

import pathlib
import sys

import pytest
from test_report_restored import written

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "export"))

import chromium

from kdgan import report

pytestmark = pytest.mark.skipif(chromium.executable() is None, reason="there is no Chromium on this machine")


@pytest.mark.parametrize("width", [1100, 390])
def test_two_images_lie_over_each_other_as_far_as_the_slider_says(tmp_path, width):
    page = report.write(written(tmp_path / "run"))
    with chromium.browser() as browser:
        browser.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        browser.send("Page.navigate", url=page.as_uri())
        browser.wait("document.querySelector('.compare')")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        clip = "getComputedStyle(document.querySelector('.compare .over')).clipPath"
        halves = browser.evaluate(clip)
        browser.evaluate(
            "const range = document.querySelector('.compare input'); range.value = 25;"
            " range.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        assert browser.evaluate(clip) != halves
        assert browser.evaluate("document.querySelector('.compare').style.getPropertyValue('--at')") == "25%"
        tile = "document.querySelectorAll('.restored .tile')[1].src"
        under = "document.querySelector('.compare .under').src"
        assert browser.evaluate(f"{under} === {tile}") is False
        browser.evaluate(
            "const select = document.querySelectorAll('.compare select')[1]; select.value = 1;"
            " select.dispatchEvent(new Event('change', {bubbles: true}))"
        )
        assert browser.evaluate(f"{under} === {tile}") is True
        assert {url.split(":")[0] for url in browser.requests} <= {"file", "data"}
        assert browser.complaints == []
