"""Packages beyond the requirements: imported where they are, one line where they are not."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from kdgan import extras

ROOT = Path(__file__).parent.parent


def test_a_module_that_is_there_is_imported():
    assert extras.need("json.decoder", "reading x") is sys.modules["json.decoder"]


def test_an_absent_package_is_one_line_with_the_command_that_installs_it(monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)  # as an import finds what is not installed
    with pytest.raises(ValueError, match=r"reading x\.safetensors needs the package safetensors: pip") as error:
        extras.need("safetensors.numpy", "reading x.safetensors")
    assert str(error.value).endswith('pip install -e ".[safetensors]"')
    assert "\n" not in str(error.value)


def test_a_package_without_a_known_command_is_installed_by_its_name():
    with pytest.raises(
        ValueError, match="drawing needs the package nowhere_to_be_seen: pip install nowhere_to_be_seen"
    ):
        extras.need("nowhere_to_be_seen.inside", "drawing")


def test_a_module_missing_inside_a_package_is_that_packages_own_error(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import nowhere_to_be_seen\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_seen"):
        extras.need("half_installed", "drawing")


def test_every_command_names_an_extra_or_a_file_that_there_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package, command in extras._INSTALLED_BY.items():
        for extra in re.findall(r"\.\[(\w+)\]", command):
            called = {"skimage": "scikit-image"}.get(package, package)  # by pip
            assert any(re.match(rf"{called}\b", line) for line in project["optional-dependencies"][extra]), package
        for file in re.findall(r"-r (\S+)", command):
            assert (ROOT / file).is_file()
