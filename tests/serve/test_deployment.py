"""What the wheel and the container need is there."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from phoneme_moe.cli import app

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy" / "Containerfile"


def test_the_page_and_the_licence_of_its_parts_come_with_the_package() -> None:
    page = resources.files("phoneme_moe.serve").joinpath("page")
    vendor = page.joinpath("vendor", "wavesurfer")
    assert "BSD 3-Clause" in vendor.joinpath("LICENSE").read_text(encoding="utf-8")
    html = page.joinpath("index.html").read_text(encoding="utf-8")
    for name in re.findall(r'(?:src|href)="/page/([^"]+)"', html):
        assert page.joinpath(*name.split("/")).is_file()
    scripts = [part for part in page.joinpath("js").iterdir() if part.name.endswith(".js")]
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        for name in re.findall(r'from "(\.[^"]+)"', text):
            assert (Path(str(script)).parent / name).resolve().is_file()
        # Nothing is loaded from elsewhere.
        assert not re.search(r'["\'`]https?://', text)


def test_the_container_installs_extras_and_versions_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = CONTAINER.read_text()
    extras = re.search(r"\[([a-z,]+)\]", text)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    for pinned in ("torchaudio==2.11.0", "torch==2.11"):
        assert any(dependency.startswith(pinned) for dependency in project["dependencies"])
        assert pinned in text


def test_the_containers_command_exists_and_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHONEME_MOE_TOKEN", raising=False)
    command = re.search(r"^CMD (\[.*\])$", CONTAINER.read_text(), re.M)
    assert command is not None
    arguments = json.loads(command[1])
    result = CliRunner().invoke(app, arguments)
    assert "expected a --token as well" in str(result.exception)


def test_nobody_is_root_and_health_is_checked() -> None:
    text = CONTAINER.read_text()
    assert re.search(r"^USER (?!root)", text, re.M)
    assert "/healthz" in text


def test_what_the_image_is_built_from_is_not_ignored() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml"}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_compose_file_hardens_the_service() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    service = compose["services"]["workbench"]
    assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert ":?" in service["environment"]["PHONEME_MOE_TOKEN"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
