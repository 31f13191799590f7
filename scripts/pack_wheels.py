"""Collects the wheels that a machine with torch and without a network lacks: bash scripts/pack_wheels.sh DIR

They are of the versions in requirements.lock, for Linux on x86-64 and the Python of that machine, where
`scripts/gpu_check.sh` installs them. torch, torchvision and what these bring stay as they are there. The two largest
are left out: pycolmap (scenes with poses do not need it) and imageio-ffmpeg (videos); `--with pycolmap imageio-ffmpeg`
adds them.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
THERE = ("torch", "torchvision")
"""Distributions that the machine has, with all that they bring."""
LEFT_OUT = ("pycolmap", "imageio-ffmpeg")
FOR_TESTS = ("pytest", "pytest-timeout", "beartype", "hypothesis")
"""What the tests need that run on the card; the phase `bench` needs nothing more than gsdff itself."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def environment_of(python: str) -> dict[str, str]:
    """Values of the markers on the other machine."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
    version = {"python_version": python, "python_full_version": f"{python}.3", "implementation_name": "cpython"}
    return {**default_environment(), **linux, **version, "platform_python_implementation": "CPython", "extra": ""}


def read_lock(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Version of each distribution in a lock, by its normalised name."""
    lines = (line for line in text.splitlines() if line and line[0] not in " #")
    pins = (Requirement(line) for line in lines)
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(dict(environment))
    }


def needs_of(name: str, extras: Iterable[str], environment: Mapping[str, str]) -> Iterator[Requirement]:
    """Requirements of an installed distribution on the other machine; none if it is not installed here."""
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, requires):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield requirement


def collect(first: Iterable[Requirement], without: set[str], environment: Mapping[str, str]) -> dict[str, set[str]]:
    """Normalised names of distributions and of all that they need, apart from those in `without`, with their extras."""
    found: dict[str, set[str]] = {}
    queue = list(first)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in without or (name in found and requirement.extras <= found[name]):
            continue
        found[name] = found.get(name, set()) | requirement.extras
        queue += needs_of(name, found[name], environment)
    return found


def read_list(text: str) -> dict[str, str]:
    """Versions by normalised name, of lines `name==version`, `name @ place` or `name`."""
    words = (re.split(r"\s*(?:==|@|\s)\s*", line.strip(), maxsplit=1) for line in text.splitlines() if line.strip())
    return {canonicalize_name(name): (rest or [""])[0] for name, *rest in words}


def is_enough(requirement: Requirement, version: str) -> bool:
    """Whether a version satisfies a requirement; an unknown one is believed to."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def choose(python: str, listed: Mapping[str, str], extra: Iterable[str] = ()) -> list[str]:
    """Pins of the wheels that a machine with the `listed` packages lacks, or has too old for gsdff."""
    environment = environment_of(python)
    lock = read_lock((ROOT / "requirements.lock").read_text(), environment)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in (*project["dependencies"], *FOR_TESTS, *extra)]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate(environment)]
    floors = {canonicalize_name(one.name): one for one in wanted}
    recent = {name for name, version in listed.items() if name not in floors or is_enough(floors[name], version)}
    there = collect(map(Requirement, THERE), set(), environment).keys()
    left_out = {*LEFT_OUT} - {canonicalize_name(name) for name in extra}
    needed = collect(wanted, {*there, *recent, *left_out}, environment)
    if unlocked := sorted(needed.keys() - lock.keys()):
        sys.exit(f"pack_wheels: not in requirements.lock: {', '.join(unlocked)}")
    return [f"{name}=={lock[name]}" for name in sorted(needed)]


def download(pins: list[str], folder: Path, python: str) -> None:
    """Puts one wheel of each pin into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    if subprocess.run([*command, *pins]).returncode:
        sys.exit("pack_wheels: pip could not fetch every wheel; its own message is above")


def main() -> None:
    """Collects the wheels and prints their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder for the wheels; other wheels in it are removed"
    )
    parser.add_argument("--have", type=Path, metavar="LIST", help="packages of the other machine, a line each")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="Python of the other machine (default: 3.12)")
    parser.add_argument("--with", dest="extra", nargs="*", default=[], metavar="NAME", help="distributions to add")
    options = parser.parse_args()
    if options.have and not options.have.is_file():
        parser.error(f"--have {options.have}: no such file; make it there with `python3 -m pip list --format=freeze`")

    pins = choose(options.python, read_list(options.have.read_text()) if options.have else {}, options.extra)
    options.folder.mkdir(parents=True, exist_ok=True)
    for wheel in options.folder.glob("*.whl"):
        wheel.unlink()
    download(pins, options.folder, options.python)
    wheels = sorted(options.folder.glob("*.whl"), key=lambda wheel: -wheel.stat().st_size)
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:7.1f} MB  {wheel.name}")
    print(
        f"{sum(wheel.stat().st_size for wheel in wheels) / 1e6:7.1f} MB  in {len(wheels)} wheels, in {options.folder}"
    )


if __name__ == "__main__":
    main()
