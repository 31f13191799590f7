"""The documentation: it builds without a warning and names only what exists; the citation and the tour hold."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_answers import write_asked_run

import gsdff
from gsdff.cli import flags_of
from gsdff.cli.doors import DOORS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
COMMON_FLAGS = {"--help", "--help-all", "--version"}


def flags(command: str) -> set[str]:
    """Options of a command."""
    return set(flags_of(getattr(import_module(f"gsdff.{command}"), DOORS[command].arguments)).values())


# --- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built pages."""
    if missing := [name for name in ("sphinx", "furo", "myst_parser", "sphinx_copybutton") if find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}: bash scripts/setup.sh")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", DOCS, out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return out


@pytest.mark.slow
def test_every_public_name_is_on_the_page_of_the_python_api(site):
    page = (site / "python.html").read_text()
    assert [name for name in gsdff.__all__ if name != "__version__" and f'id="gsdff.{name}"' not in page] == []


@pytest.mark.slow
def test_every_option_is_on_its_commands_page(site):
    for command in DOORS:
        page = (site / "commands" / f"{command}.html").read_text()
        shown = set(re.findall(r"RUN|--[\w.-]+", re.sub(r"<[^>]*>", "", page)))
        assert sorted(flags(command) - shown) == [], command


# --- the tour


def read_tour() -> Any:
    """The notebook."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient: bash scripts/setup.sh")
    return nbformat.read(DOCS / "tour.ipynb", as_version=4)


def test_the_tour_is_stored_without_outputs():
    code = [cell for cell in read_tour().cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
def test_the_tour_runs_on_a_tiny_scene_and_shows_pictures(tmp_path, generator, monkeypatch):
    pytest.importorskip("ipykernel", reason="needs ipykernel: bash scripts/setup.sh")
    from nbclient import NotebookClient

    notebook, run = read_tour(), write_asked_run(tmp_path, generator)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = f'run, thing, ground, classes = {str(run.folder)!r}, "chair", "lamp", ["chair", "lamp", "wall"]'
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    assert (next(tmp_path.glob("*/edited.ply"))).is_file()


# --- commands that the texts name


def commands(text: str) -> Iterator[str]:
    """Lines of the shell blocks, continued ones as one."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_texts_exist(path):
    for line in commands(path.read_text()):
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "-m"] and words[2].startswith("gsdff."):
            words = ["gsdff", words[2].removeprefix("gsdff."), *words[3:]]
        if words[:1] == ["gsdff"]:
            command = next((word for word in words[1:] if not word.startswith("--")), "")
            assert command in {*DOORS, "completion", ""}, line
            known = COMMON_FLAGS | (flags(command) if command in DOORS else set())
            known |= {flag.replace("--", "--no-", 1) for flag in known}
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert sorted(used - known) == [], line
        for word in words:
            if word.startswith("scripts/"):
                assert (ROOT / word).is_file(), line


# --- the files that people look for


def test_the_citation_is_of_this_version_and_names_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["version"] == gsdff.__version__
    assert {"message", "title", "authors"} <= citation.keys()
    assert all({"type", "title", "authors"} <= reference.keys() for reference in citation["references"])
    assert citation["references"][0]["title"] == "Smoothness in Distilled Feature Fields"


def test_the_changelog_has_this_version_and_what_is_not_released():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" and headings[1].split(" - ")[0] == gsdff.__version__


def test_issue_forms_ask_for_the_version_and_the_config():
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    assert {"bug", "feature", "config"} == forms.keys()
    assert {"version", "config"} <= {field["id"] for field in forms["bug"]["body"]}
