"""Installation on a fresh machine: the lock, the set-up scripts, the wheel."""

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").glob("*.sh"))]
MACHINES = [(python, machine) for python in ("3.10", "3.11", "3.12", "3.13") for machine in ("x86_64", "aarch64")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# --- the lock


def environment_of(python: str, machine: str) -> dict[str, str]:
    """Environment of that machine for markers."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "platform_machine": machine,
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }


def locked(environment: dict[str, str]) -> dict[str, str]:
    """Version by name of all that the lock installs there."""
    found: dict[str, str] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pin = Requirement(line)
            (specifier,) = pin.specifier
            assert specifier.operator == "==", line
            if pin.marker is None or pin.marker.evaluate(environment):
                name = canonicalize_name(pin.name)
                assert name not in found, f"{name} is locked twice for {environment}"
                found[name] = specifier.version
    return found


def wanted() -> list[str]:
    return PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]


@pytest.mark.parametrize(("python", "machine"), MACHINES)
@pytest.mark.parametrize("requirement", wanted())
def test_the_lock_satisfies_every_declared_dependency(requirement, python, machine):
    environment, asked = environment_of(python, machine), Requirement(requirement)
    if asked.marker is None or asked.marker.evaluate(environment):
        version = locked(environment)[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version), f"{requirement} but locked at {version}"


def test_the_lock_holds_all_that_gsdff_pulls_in_here():
    here = locked(environment_of(f"3.{sys.version_info.minor}", platform.machine()))
    waiting, seen = [(text, frozenset([""])) for text in wanted()], set()
    while waiting:
        text, extras = waiting.pop()
        asked = Requirement(text)
        applies = asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras)
        key = asked.name, frozenset(asked.extras)
        if applies and key not in seen:
            seen.add(key)
            assert canonicalize_name(asked.name) in here, f"{text} is not locked"
            waiting += [(inner, frozenset(["", *asked.extras])) for inner in metadata.requires(asked.name) or []]


def test_the_build_backend_is_locked_for_a_build_without_isolation():
    here = locked(environment_of("3.12", "x86_64"))
    assert PROJECT["build-system"]["requires"] == ["hatchling"]
    assert {"hatchling", "editables"} <= here.keys()


# --- the scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_bash_that_stops_at_the_first_error(script):
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


FAKE_PYTHON = """#!/bin/sh
echo "$0 $*" >> "{log}"
case "$*" in
  "-m venv --clear "*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; touch "$4/pyvenv.cfg" ;;
  *"import ensurepip"*) {ensurepip} ;;
  *"sys.exit(sys.version_info"*) {new_enough} ;;
  *"python%d.%d-venv"*) echo python3.10-venv ;;
  "-m pip install"*) {install} ;;
  --version) echo "Python 3.99" ;;
esac
"""


class Machine:
    """A copy of the set-up in a folder with a space, on a machine that has only the programs put into `bin`."""

    def __init__(self, folder: Path):
        self.repo, self.bin, self.log = folder / "a clone", folder / "bin", folder / "log"
        self.bin.mkdir()
        self.log.touch()
        shutil.copytree(ROOT / "scripts", self.repo / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.repo)
        for name in ("bash", "sh", "dirname", "cat", "sha256sum", "cut", "df", "awk", "mkdir", "cp", "touch"):
            (self.bin / name).symlink_to(shutil.which(name))

    def put(self, name: str, text: str) -> None:
        program = self.bin / name
        program.unlink(missing_ok=True)
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def put_python(self, name="python3", ensurepip="true", new_enough="true", install="true") -> None:
        fields = {"log": self.log, "ensurepip": ensurepip, "new_enough": new_enough, "install": install}
        self.put(name, FAKE_PYTHON.format(**fields))

    def run(self, script: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        command = [self.bin / "bash", self.repo / "scripts" / script]
        environment = {"PATH": str(self.bin), **variables}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd or self.bin, env=environment)

    def pip_calls(self) -> list[str]:
        return [line.partition(" -m ")[2] for line in self.log.read_text().splitlines() if "-m pip install" in line]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_setup_installs_the_lock_then_the_package_and_only_once(machine):
    machine.put_python()
    machine.put("df", "#!/bin/sh\necho head\necho fs 1 1 99000000 1% /")
    assert machine.run("setup.sh").returncode == 0
    lock, package = machine.pip_calls()
    assert lock.endswith(f"-r {machine.repo}/requirements.lock")
    assert "--no-deps --no-build-isolation" in package and package.endswith(f"-e {machine.repo}")
    assert machine.run("setup.sh", cwd=machine.repo).returncode == 0
    assert len(machine.pip_calls()) == 2
    with (machine.repo / "requirements.lock").open("a") as lock_file:
        lock_file.write("another==1\n")
    assert machine.run("setup.sh").returncode == 0
    assert len(machine.pip_calls()) == 4


def test_setup_says_what_to_do_without_a_python(machine):
    machine.put_python(new_enough="false")
    done = machine.run("setup.sh")
    assert done.returncode == 1 and "expected Python 3.10 or newer, found Python 3.99" in done.stderr
    assert not (machine.repo / ".venv").exists()


def test_setup_passes_by_a_python_that_is_too_old_or_runs_nothing(machine):
    machine.put_python(new_enough="false")
    machine.put("python3.13", "#!/bin/sh\nexit 127")
    machine.put_python("python3.12")
    machine.put("df", "#!/bin/sh\necho head\necho fs 1 1 99000000 1% /")
    assert machine.run("setup.sh").returncode == 0
    assert "python3.12 -m venv" in machine.log.read_text()


def test_setup_takes_the_python_it_is_told_or_none(machine):
    machine.put_python()
    done = machine.run("setup.sh", PYTHON="python-of-mine")
    assert done.returncode == 1 and "found none" in done.stderr


def test_setup_names_the_package_of_a_missing_venv_module(machine):
    machine.put_python(ensurepip="false")
    done = machine.run("setup.sh")
    assert done.returncode == 1 and "apt install python3.10-venv" in done.stderr


def test_setup_stops_before_a_disk_runs_full(machine):
    machine.put_python()
    machine.put("df", "#!/bin/sh\necho head\necho fs 1 1 3000000 1% /")
    done = machine.run("setup.sh")
    assert done.returncode == 1 and "expected 7 GB of free disk" in done.stderr and "found 2 GB" in done.stderr
    assert machine.pip_calls() == [] and not (machine.repo / ".venv").exists()


def test_setup_is_not_done_where_pip_failed(machine):
    machine.put_python(install="exit 1")
    machine.put("df", "#!/bin/sh\necho head\necho fs 1 1 99000000 1% /")
    for _ in range(2):
        done = machine.run("setup.sh")
        assert done.returncode == 1 and "installing failed" in done.stderr
    assert len(machine.pip_calls()) == 2


def test_setup_leaves_a_folder_alone_that_is_no_environment(machine):
    machine.put_python()
    (machine.repo / ".venv").mkdir()
    (machine.repo / ".venv" / "letter").write_text("mine")
    done = machine.run("setup.sh")
    assert done.returncode == 1 and "is no virtual environment" in done.stderr
    assert (machine.repo / ".venv" / "letter").read_text() == "mine"


@pytest.mark.parametrize("driver", [None, "#!/bin/sh\necho no driver >&2\nexit 9"])
def test_gpu_check_without_a_card_says_so_and_writes_nothing(machine, driver):
    if driver:
        machine.put("nvidia-smi", driver)
    before = sorted(machine.repo.rglob("*"))
    done = machine.run("gpu_check.sh")
    assert done.returncode == 1
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and "no CUDA card" in done.stderr
    assert sorted(machine.repo.rglob("*")) == before


# --- what is shipped


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs the git checkout, to know what is tracked")
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_package_registry_or_a_place_of_one_machine():
    place = re.compile(r"py[p]i\.org|python[h]osted|(index|links)[-_]url\W|--find-link[s]|/work[/]|/root[/]|file:/[/]")
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in place.finditer(data.decode("utf-8"))]
    assert found == []


def test_the_wheel_holds_the_presets_and_the_licence(tmp_path):
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    presets = {f"gsdff/configs/{path.name}" for path in (ROOT / "configs").glob("*.toml")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "gsdff").rglob("*.py")}
    assert presets and presets | modules <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not {name for name in names if not name.startswith(("gsdff/", "gsdff-"))}


def test_the_wheel_holds_the_page_built_with_its_licences_and_not_its_source(tmp_path):
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    page = {
        "bundle/app.js.gz",
        "bundle/shell.html",
        "bundle/LICENSES.txt",
        "nouns.txt",
        "wordnet_nouns.txt",
        "wordnet_licence.txt",
    }
    assert {f"gsdff/viewer/page/{name}" for name in page} <= names
    assert not {name for name in names if name.startswith("gsdff/viewer/app") or "node_modules" in name}


def test_the_licence_is_apache_2():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
