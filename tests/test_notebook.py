"""The notebook, as committed, runs in a kernel of this Python without a network, shrunk by its settings cell alone."""

import ast
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import nbformat
import pytest

from configs import quickstart
from kdgan.run.config import resolve

PATH = pathlib.Path(__file__).parent.parent / "colab" / "quickstart.ipynb"
COMMITTED = {cell.id: cell for cell in nbformat.read(PATH, as_version=4).cells}
NOWHERE = "http://127.0.0.1:9"  # a proxy at which nobody answers: what asks for the network fails at once


def tiny_settings(workdir: pathlib.Path) -> str:
    """A settings cell that leaves the quickstart its stages and arms: tiny players, two steps and, for bands, two seeds."""
    config = quickstart.get_config()
    fields = {"data.labelled": 20, "data.unlabelled_batch_size": 8, "data.validation": 20, "population.seeds": 2}
    fields |= {"evaluate.every": 2, "evaluate.latency": False, "log.every": 1, "log.tensorboard": False}
    for player in config.players:
        fields |= {f"players.{player}.model": "mlp", f"players.{player}.model_args": {"hidden": (4,)}}
    tiny = {"steps": 2, "batch_size": 8}
    for name, stage in config.stages.items():
        fields |= {f"stages.{name}.{field}": value for field, value in tiny.items()}
        for arm, own in stage.get("arms", {}).items():
            fields |= {f"stages.{name}.arms.{arm}.{field}": tiny[field] for field in tiny.keys() & own.keys()}
    return f"STEPS = 2\nSEEDS = 2\nQUICKSTART = {fields!r}\nWORKDIR = {str(workdir)!r}\nDRIVE = False"


def config_cell() -> str:
    return "from kdgan import config as common\n\n\n" + inspect.getsource(quickstart.get_config).strip()


def environment(folder: pathlib.Path) -> dict[str, str]:
    """Of the kernel: one CPU device, no network, its traces in `folder`, and as little time in the compiler as can be."""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return {
        **kept,
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
        "IPYTHONDIR": str(folder / "ipython"),
        "JAX_PLATFORMS": "cpu",
        # Nearly all of the time is compilation: the notebook's second run takes the programs of its first.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """(cell id -> cell after the run, the folder of the runs' files). A cell that fails is raised here with its trace."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(PATH, as_version=4)
    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = tiny_settings(folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        # Older jupyter_core warns, at its import, of where its folders will lie in future, unless this is decided.
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        # No folder of installed kernels is searched, where python3 may be another Python: ipykernel's own remains.
        specs = KernelSpecManager(kernel_dirs=[])
        assert specs.get_kernel_spec("python3").argv[0] == sys.executable
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
            timeout=300,
            resources={"metadata": {"path": str(PATH.parent)}},
        )
        client.execute(env=environment(folder), cleanup_kc=True)
    return {cell.id: cell for cell in notebook.cells}, folder / "runs"


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def html(cell) -> str:
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def test_the_committed_notebook_is_valid_and_bare():
    nbformat.validate(nbformat.read(PATH, as_version=nbformat.NO_CONVERT))
    code = [cell for cell in COMMITTED.values() if cell.cell_type == "code"]
    assert len(code) >= 6
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert [cell.id for cell in code if cell.metadata.get("tags") == ["parameters"]] == ["settings"]


def test_its_config_is_the_quickstarts():
    assert COMMITTED["config"].source == config_cell(), "run `python tests/test_notebook.py`, which copies it"


@pytest.mark.slow
def test_every_cell_runs_in_order_without_an_error(executed):
    cells, _ = executed
    code = [cell for cell in cells.values() if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds == {"stream", "execute_result", "display_data"}


@pytest.mark.slow
def test_inside_a_checkout_nothing_is_installed(executed):
    assert printed(executed[0]["install"]).strip() == f"Inside a checkout, {PATH.parent.parent}: nothing is installed."


@pytest.mark.slow
def test_it_says_which_accelerator_it_found_and_how_members_run(executed):
    text = printed(executed[0]["accelerator"])
    assert "Accelerator: CPU" in text
    assert "number of devices: 1." in text
    assert "'auto' trains the members in turn" in text


@pytest.mark.slow
def test_the_functional_snippet_prints_the_accuracy_of_teacher_and_student(executed):
    accuracies = re.findall(r"accuracy of the (\w+): (\d\.\d{3})\n", printed(executed[0]["functional"]))
    assert [name for name, _ in accuracies] == ["teacher", "student"]
    assert all(0 < float(value) < 1 for _, value in accuracies)


@pytest.mark.parametrize(
    ("cell", "arms"),
    [
        ("compare", ("scratch", "kd", "kdgan")),
        ("quickstart", ("scratch", "kd", "kdgan")),
        ("own", ("scratch", "kd", "soft_only", "confident")),
    ],
)
@pytest.mark.slow
def test_a_run_shows_its_table_and_curves_inline(executed, cell, arms):
    cells, workdir = executed
    shown = html(cells[cell])
    tables = re.findall(r"<table.*?</table>", shown, flags=re.S)
    assert "<svg" in shown
    for arm in arms:
        assert re.search(rf"\b{arm}\b", tables[0]), f"{arm} is missing from the table"
    assert (workdir / cell / "summary.json").exists()


@pytest.mark.slow
def test_the_page_of_the_run_lies_where_the_notebook_says(executed):
    cells, workdir = executed
    path = re.search(r"The whole report, one page: (.*)", printed(cells["quickstart"]))[1]
    assert pathlib.Path(path) == workdir / "quickstart" / "report.html"
    assert pathlib.Path(path).read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_the_λ_and_the_method_of_ones_own_are_what_the_run_explains(executed):
    text = printed(executed[0]["own"])
    assert re.search(r"soft_only\s+student\s+0·ce \+ ", text)
    assert re.search(r"confident\s+student\s+.*kd\(T=.*, where p ≥ 0\.8\)", text)


@pytest.mark.slow
def test_the_student_taken_out_predicts_as_the_run_measured(executed):
    cells, workdir = executed
    accuracy = re.search(r"student: stage distill, arm kd, .*: accuracy (\d\.\d{3})", printed(cells["predict"]))[1]
    summary = json.loads((workdir / "quickstart" / "summary.json").read_text())
    measured = summary["stages"]["distill"]["arms"]["kd"]["players"]["student"]["accuracy"]["values"][0]
    assert float(accuracy) == pytest.approx(measured, abs=1e-3)


INSTALLED = {"jax": "0.11.2", "jaxlib": "0.11.2", "jax-cuda12-plugin": "0.11.2", "jaxtyping": "0.3.0", "numpy": "2.1.0"}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Runs the install cell in a folder, its commands recorded and not run: `install(source) -> commands`.

    Beside each command stands the text of its constraints. `fails` says that pip cannot keep the constraints.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # kdgan is importable in these tests only
    commands = []

    def run(source, fails=False, **installed):
        def record(command, check=False):
            constraints = pathlib.Path(command[-1]).read_text() if "-c" in command else ""
            commands.append((command, constraints))
            return types.SimpleNamespace(returncode=int(fails and not check))

        found = [types.SimpleNamespace(name=name, version=v) for name, v in {**INSTALLED, **installed}.items()]
        monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
        monkeypatch.setattr(subprocess, "run", record)
        exec(compile(source, "install", "exec"), {})
        return commands

    return run


SOURCE = COMMITTED["install"].source
ADDRESS = SOURCE.replace("<owner>", "somebody")


def test_without_a_checkout_it_clones_and_installs_and_keeps_the_jax_that_is_there(install, tmp_path, capsys):
    (clone, _), (pip, constraints) = install(ADDRESS)
    assert clone[:2] == ["git", "clone"]
    assert clone[-2:] == ["https://github.com/somebody/kdgan", str(tmp_path / "kdgan")]
    assert pip[:-1] == [sys.executable, "-m", "pip", "install", "-q", "-e", str(tmp_path / "kdgan"), "-c"]
    assert constraints.split() == ["jax==0.11.2", "jaxlib==0.11.2", "jax-cuda12-plugin==0.11.2"]
    assert "jaxlib==0.11.2 stay" in capsys.readouterr().out
    assert sys.path[0] == str(tmp_path / "kdgan")


def test_a_jax_that_cannot_stay_is_replaced_with_its_accelerators_part(install, tmp_path, capsys):
    _, (kept, _), (pip, _) = install(ADDRESS, fails=True)
    assert "-c" in kept
    assert pip[:-1] == [sys.executable, "-m", "pip", "install", "-q", "-e", str(tmp_path / "kdgan")]
    assert pip[-1] in ("jax", "jax[cuda12]", "jax[tpu]")
    assert "restart the session" in capsys.readouterr().out  # JAX is imported here


def test_where_kdgan_is_installed_nothing_is_and_no_address_is_needed(install, capsys):
    assert install(SOURCE, kdgan="0.1.0") == []
    assert "kdgan 0.1.0 is installed" in capsys.readouterr().out


def test_the_address_is_one_line_and_refused_while_it_is_a_placeholder(install):
    assert SOURCE.count("<owner>") == 1
    with pytest.raises(ValueError, match=r"REPOSITORY = 'https://github.com/<owner>/kdgan'"):
        install(SOURCE)


def test_in_colab_a_second_run_clones_nothing_again(install, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    for file in ("kdgan/game.py", "configs/quickstart.py"):
        path = tmp_path / "kdgan" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    ((pip, _),) = install(SOURCE)
    assert pip[1:4] == ["-m", "pip", "install"]


@pytest.mark.parametrize("checkout", [None, pathlib.Path("/content/kdgan")])
def test_runs_lie_on_drive_when_asked(checkout, monkeypatch):
    colab, mounted = types.ModuleType("google.colab"), []
    colab.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    names = {"pathlib": pathlib, "sys": sys, "checkout": checkout, "here": pathlib.Path("/content")}
    exec(COMMITTED["settings"].source, names)
    exec(COMMITTED["accelerator"].source, names)
    assert names["runs"] == (checkout or pathlib.Path("/content")) / "runs" / "notebook"
    assert mounted == []
    on_drive = {**names, "DRIVE": True}
    exec(COMMITTED["accelerator"].source, on_drive)
    assert on_drive["runs"] == pathlib.Path("/content/drive/MyDrive/kdgan/runs/notebook")
    assert mounted[-1] == "/content/drive"


def test_every_field_that_it_names_is_one_of_the_config(capsys):
    config = quickstart.get_config()
    for name, value in re.findall(r"(parallel\.\w+) = ([\w']+)", "".join(cell.source for cell in COMMITTED.values())):
        config.update_from_flattened_dict({name: ast.literal_eval(value)})
        resolve(config)


if __name__ == "__main__":
    notebook = nbformat.read(PATH, as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.id == "config"]
    cell.source = config_cell()
    PATH.write_text(nbformat.writes(notebook) + "\n")
