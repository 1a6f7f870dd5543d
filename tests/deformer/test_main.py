"""The program `deformer`."""

import sys

import pytest

import deformer.__main__ as program
from deformer import doctor
from tests.processes import start_python


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["deformer", *arguments])
    return program.main()


@pytest.mark.parametrize("word", ["--help", "-h", "help", "--version"])
def test_help_comes_without_any_library(word):
    code = """
import sys
before = set(sys.modules)
sys.argv = ["deformer", sys.argv[1]]
from deformer.__main__ import main
status = main()
ours = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(ours - set(sys.stdlib_module_names)))
sys.exit(status)
"""
    process = start_python(code, word)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    *lines, loaded = out.splitlines()
    assert loaded == "deformer"
    wanted = "deformer-hands " if word == "--version" else "usage: deformer COMMAND"
    assert lines[0].startswith(wanted)


@pytest.mark.parametrize("name", program.COMMANDS)
def test_a_command_answers_by_the_name_it_was_called(name, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="0"):
        call(monkeypatch, name, "--help")
    assert capsys.readouterr().out.startswith(f"usage: deformer {name} ")


def test_a_module_answers_by_its_own_name(monkeypatch, capsys):
    for module in ("predict", "doctor"):
        main = __import__(f"deformer.{module}", fromlist=["main"]).main
        monkeypatch.setattr(sys, "argv", [f"/somewhere/deformer/{module}.py", "--help"])
        with pytest.raises(SystemExit, match="0"):
            main()
        assert capsys.readouterr().out.startswith(f"usage: python -m deformer.{module} ")


@pytest.mark.parametrize("arguments", [[], ["predct"], ["clip.mp4"], ["train"], ["--fast"]])
def test_another_word_is_refused_with_the_commands_there_are(arguments, monkeypatch, capsys):
    assert call(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    said = arguments[0] if arguments else "nothing"
    assert line == (
        f"error: {said} is no command of deformer: "
        "give one of predict, draw, export, export-onnx, doctor"
    )


def test_a_command_has_the_rest_of_the_line_and_gives_its_status(monkeypatch):
    lines = []
    monkeypatch.setattr(doctor, "main", lambda: lines.append(sys.argv) or 7)
    assert call(monkeypatch, "doctor", "a b", "--c") == 7
    assert lines == [["deformer doctor", "a b", "--c"]]
