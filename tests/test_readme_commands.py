"""Every command of README is parsed as a shell and the command line do, and run: on README's own config, made smaller."""

import pathlib
import re
import shlex
import sys

import pytest
from absl import flags

from kdgan import main
from test_readme import README, SMALLER, snippet

SMALL = {"seeds=5": "seeds=3", "steps=8_000": "steps=3", "configs/quickstart.py": "my_config.py"}
# The format that needs no extra; the others: tests/run/test_export.py, tests/export/.
SMALL |= {"configs/phone.py": "my_config.py", "--arm=qat": "--arm=kd"}
SMALL |= {"--format=onnx,stablehlo,litert,page --quantise=int8": "--format=msgpack"}
# What a row of the table stands behind.
BASE = "python -m kdgan.main --config=configs/quickstart.py --workdir=runs/x"


def commands():
    """The commands of README in the order written, the short ones of its table in full."""
    joined = re.sub(r" \\\n +", " ", README)
    lines = re.findall(r"^    (python -m kdgan\.main .*)$", joined, flags=re.M)
    rows = re.findall(r"^\| (`.*?) \|", README[README.index("| command |") :], flags=re.M)
    for row in rows:
        for text in re.findall(r"`(.+?)`", row):
            if text.startswith("python"):
                lines.append(text)
            elif text.startswith("..."):
                # A row's own --config stands in the place of the first.
                lines.append(BASE.replace("--config=configs/quickstart.py", "") + text.removeprefix("...")
                             if "--config=" in text else BASE + text.removeprefix("..."))  # fmt: skip
    return lines


def parsed(command, monkeypatch):
    """`python -m kdgan.main ...` as the command line reads it."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "kdgan.main"]
    monkeypatch.setattr(sys, "argv", ["kdgan.main", *words[3:]])
    flags.FLAGS.unparse_flags()
    for name in list(flags.FLAGS):
        if name.startswith("config."):
            delattr(flags.FLAGS, name)
        elif flags.FLAGS[name].present:
            flags.FLAGS[name].unparse()
    return main.parse_flags(sys.argv)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with README's config in it, made smaller."""
    folder = tmp_path_factory.mktemp("commands")
    code = snippet("def get_config()")
    for pattern, replacement in SMALLER.items():
        code = re.sub(pattern, replacement, code)
    (folder / "my_config.py").write_text(code)
    return folder


def test_there_are_commands_to_run():
    assert len(commands()) >= 10
    assert any("--mode=explain" in command for command in commands())


def test_every_command_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for number, command in enumerate(commands()):
        if "--coordinator" in command:  # two processes: tests/run/test_processes.py
            continue
        if command.startswith(f"{BASE} "):  # the table's rows are no sequence
            command = command.replace("runs/x", f"runs/x{number}")
        for pattern, replacement in SMALL.items():
            command = command.replace(pattern, replacement)
        read = parsed(command, monkeypatch)
        if "--mode=apply" in command:  # of a restorer: tests/run/test_apply.py
            continue
        main.main(read)
        printed = capsys.readouterr().out
        if "explain" in command:
            assert "stage     distill: 2 steps of 8" in printed, command
        elif "--mode=export" in command:
            assert "exported/student.msgpack" in printed, command
            assert "as the float student" in printed, command
        else:
            assert f"report: {pathlib.Path('runs')}" in printed, command
            assert "student · kd" in printed, command
    assert any(path.name == "distill-1" for path in pathlib.Path("runs/mine/aside").iterdir())  # --reset
