"""The README is a promise: every command and example in it is run, or checked as far as a test can."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3search.cli.commands import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", README, flags=re.MULTILINE)
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `m3search demo` has run."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, ["demo", "--patients", "3"])
    assert result.exit_code == 0, result.output
    assert (folder / "demo" / "sheet.html").read_text().count("<img ") > 10
    return folder


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("m3search ")])
def test_a_command_of_the_readme_runs(command: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[1] == "train":  # takes an hour: its configuration must be there and valid
        from m3search.trainer.config import load_config

        load_config(ROOT / words[2])
        return
    monkeypatch.chdir(demo)
    monkeypatch.setenv("M3SEARCH_INDEX", str(demo / "demo" / ".m3search"))
    if "--store" in words:  # what a copy is searched for was published by the command before, maybe in another process
        assert CliRunner().invoke(app, ["publish", "--to", words[words.index("--store") + 1]]).exit_code == 0
    result = CliRunner().invoke(app, [item_id(demo) if word == "ITEM" else word for word in words[1:]])
    assert result.exit_code == 0, result.output or result.exception


def item_id(demo: Path) -> str:
    from m3search.search import Engine

    return Engine.open(demo / "demo" / ".m3search").search("ct", k=1)[0].item_id


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("m3search ")])
def test_other_commands_of_the_readme_exist(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        if shutil.which("make") is None:
            pytest.skip("make is not installed")
        subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.search(r"\[(.+)\]", words[2])
        assert wanted is not None
        assert set(wanted[1].split(",")) <= set(extras)
    elif words[0] == "python":
        subprocess.run(["python", *words[1:3], "--help"], cwd=ROOT, check=True, capture_output=True)
    else:
        assert words[0] == "source", f"this test does not know how to check: {command}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_readme_runs(example: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_every_command_is_in_the_readme() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__.replace("_", "-")
        assert f"m3search {name}" in README, name


def test_paths_in_the_readme_exist() -> None:
    for path in re.findall(r"\]\(([A-Za-z][\w./-]+)\)", README):
        assert (ROOT / path).exists(), path
