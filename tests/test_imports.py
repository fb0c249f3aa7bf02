"""Imports run one way: read off the source, so that an import inside a function counts as well."""

import ast
import pathlib

import pytest

import kdgan

PACKAGE = pathlib.Path(kdgan.__file__).parent
ROOT = PACKAGE.parent
ABOVE_THE_CORE = {"config", "direct", "main", "report", "run"}
FOR_REPORTS = {"files", "metrics", "older", "pictures"}  # what a report may know beside the files of a run


def imports_of(folder):
    """Module -> modules of the same package that its file imports, anywhere in it.

    The package's own `__init__` is left out: what it names is imported when it is asked for.
    """
    package = folder.name
    paths = {}
    for path in folder.rglob("*.py"):
        names = path.relative_to(folder).with_suffix("").parts
        paths[".".join((package, *(names[:-1] if names[-1] == "__init__" else names)))] = path
    graph = {}
    for module, path in paths.items():
        if module == package:
            continue
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative import"
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                named = [name if name in paths else node.module for name in inside]
            else:
                continue
            graph[module] |= {name for name in named if name.split(".")[0] == package}
    return graph


def room(module):
    """The folder or file directly inside the package: `run` of `kdgan.run.train`, `game` of `kdgan.game`."""
    return module.split(".")[1] if "." in module else module


def circle(graph):
    """The nodes of one circle, in order, or []."""
    done = set()

    def walk(node, above):
        if node in above:
            return [*above[above.index(node) :], node]
        if node not in done:
            for following in sorted(graph.get(node, ())):
                if nodes := walk(following, [*above, node]):
                    return nodes
            done.add(node)
        return []

    return next((nodes for node in sorted(graph) if (nodes := walk(node, []))), [])


@pytest.fixture(scope="module")
def modules():
    return imports_of(PACKAGE)


@pytest.fixture(scope="module")
def rooms(modules):
    graph = {}
    for module, imported in modules.items():
        graph.setdefault(room(module), set()).update({room(name) for name in imported} - {room(module)})
    return graph


def test_imports_are_read_wherever_they_stand(tmp_path):
    folder = tmp_path / "package"
    (folder / "a").mkdir(parents=True)
    (folder / "__init__.py").write_text("from package import a\n")
    (folder / "a" / "__init__.py").write_text("import os, package.b\n")
    (folder / "a" / "c.py").write_text("from package.a import d, name\n")
    (folder / "a" / "d.py").write_text("")
    (folder / "b.py").write_text("def f():\n    from package.a.c import g\n")
    graph = imports_of(folder)
    assert graph == {
        "package.a": {"package.b"}, "package.b": {"package.a.c"}, "package.a.c": {"package.a.d", "package.a"},
        "package.a.d": set(),
    }  # fmt: skip
    assert circle(graph) == ["package.a", "package.b", "package.a.c", "package.a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_the_core_knows_no_config_no_run_and_no_report(modules):
    core = {module: imported for module, imported in modules.items() if room(module) not in ABOVE_THE_CORE}
    assert {room(module) for module in core} > {
        "game",
        "step",
        "state",
        "data",
        "losses",
        "methods",
        "models",
        "metrics",
    }
    upward = {module: {name for name in imported if room(name) in ABOVE_THE_CORE} for module, imported in core.items()}
    assert {module: names for module, names in upward.items() if names} == {}


def test_no_circle_between_rooms_or_files(modules, rooms):
    assert circle(rooms) == []
    assert circle(modules) == []


def test_a_report_knows_nothing_of_a_run_but_its_files(modules):
    known = {
        name.removeprefix("kdgan.") for module, names in modules.items() if room(module) == "report" for name in names
    }
    others = {name for name in known if name.split(".")[0] != "report"}
    assert others
    assert {name for name in others if not {name, name.split(".")[0]} & FOR_REPORTS} == set()


def test_nothing_inside_asks_the_package_itself_but_for_its_version():
    """`kdgan.train` inside of kdgan would be an import that no graph of files shows."""
    asked = {
        (path.name, node.attr)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kdgan"
    }
    assert {name for _, name in asked} <= {"__version__"}


def test_files_of_the_benchmarks_and_configs_make_no_circle_either():
    for folder in ("benchmarks", "configs"):
        assert circle(imports_of(ROOT / folder)) == []


def test_no_file_is_longer_than_two_screens_of_a_reader():
    """Past 400 lines a file has two subjects."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path.name: length for path, length in lengths.items() if length > 400} == {}


def test_no_two_modules_of_the_tests_have_one_name():
    """They are imported by their file's name alone: of two with one name, which is found depends on the order."""
    names = sorted(path.stem for path in (ROOT / "tests").rglob("*.py") if path.stem != "conftest")
    assert sorted(set(names)) == names
