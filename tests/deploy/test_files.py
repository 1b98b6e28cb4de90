"""The starting point for several machines: its files say what they mean, and name what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import m3search

FOLDER = Path(m3search.__file__).parent / "deploy"
RULES = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
VARIABLE = re.compile(r"\$\{(\w+)")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


def _run(program: str, *arguments: str) -> None:
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip(f"{program} is not installed: it is in the dev extra")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, cwd=FOLDER, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_is_as_its_specification_says() -> None:
    _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_the_compose_file_is_tidy_yaml() -> None:
    _run("yamllint", "--strict", "-d", RULES, "compose.yaml")


def test_the_dockerfile_is_as_it_should_be() -> None:
    _run("hadolint", "--failure-threshold", "info", "Dockerfile")


def test_every_variable_is_explained() -> None:
    explained = set(re.findall(r"^(\w+)=", (FOLDER / "example.env").read_text(), re.MULTILINE))
    used = set(VARIABLE.findall((FOLDER / "compose.yaml").read_text()))
    assert used == explained
    assert set(VARIABLE.findall((FOLDER / "nginx.conf.template").read_text())) <= explained


def test_commands_are_commands(services: dict[str, Any]) -> None:
    """As our own parser sees them."""
    import typer

    from m3search.cli.commands import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    seen = set()
    for service in services.values():
        words = shlex.split(VARIABLE.sub("x", str(service.get("command", ""))).replace(":?see example.env}", ""))
        if words[:1] == ["sh"]:
            words = shlex.split(words[2].partition("exec ")[2])
        if words[:1] == ["m3search"]:
            commands[words[1]].make_context(words[1], words[2:])
            seen.add(words[1])
    assert seen == {"serve", "index", "publish"}


def test_nothing_but_the_proxy_can_be_reached(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert [name for name, service in services.items() if "outside" in service["networks"]] == ["proxy"]


def test_the_proxy_stands_before_every_reader(services: dict[str, Any]) -> None:
    named = re.findall(r"^  server (\S+):8765;", (FOLDER / "nginx.conf.template").read_text(), re.MULTILINE)
    assert named == [name for name in services if name.startswith("reader")]


def test_what_is_built_is_there() -> None:
    """What the build may see: everything a wheel is made of, and nothing else."""
    root = FOLDER.parent.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("of a checkout")
    shown = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert shown == {".ci/constraints.txt", "LICENSE", "README.md", "indexer", "m3search", "pyproject.toml", "trainer"}
    assert all((root / name).exists() for name in shown)
    version = re.search(r'^version = "(.*)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"]=={version[1]}" in (FOLDER / "Dockerfile").read_text()


def test_ray_takes_the_options_it_is_given(services: dict[str, Any]) -> None:
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    if ray is None:
        pytest.skip("Ray is not installed: it is in the cluster extra")
    told = subprocess.run([ray, "start", "--help"], capture_output=True, text=True, check=True).stdout
    given = {word for service in services.values() for word in re.findall(r"--[\w-]+", str(service.get("command", "")))
             if str(service.get("command", "")).startswith("ray start")}  # fmt: skip
    assert given
    assert all(re.search(rf"{option}\b", told) for option in given)
