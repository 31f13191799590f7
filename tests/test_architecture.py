"""The shape of the package, as rules: where imports may point, and what no module may do.

Each rule is a function from modules to complaints, tried on a small package that breaks it before it judges ours.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOUNS = {
    "errors", "files", "kernels", "cameras", "scene", "gaussians", "features", "labels", "config", "config_file",
    "config_smoothing", "neighbours", "rotation", "weights", "edit_steps", "edit_file", "edit_yaml", "edit_flags",
    "ovs_options",
}  # fmt: skip
WHOLES = {
    "viewer", "trainer", "radiance", "start", "distill", "checkpoint", "runs", "report", "evaluation",
    "feature_evaluation",
    "feature_report", "feature_scores", "questions", "targets", "smoothness", "segments", "editing", "field",
    "sidecar", "asking", "exemplars", "answer_pictures", "subject", "stylize", "closeups", "segmentation_export",
    "ovs_evaluation", "ovs_report",
}  # fmt: skip
DOORS = {"view", "train", "evaluate", "export", "prepare", "query", "edit", "segment", "cli"}
HEAVY = {
    "gsplat", "gsplat.exporter", "gsplat.strategy", "imageio_ffmpeg", "kornia", "lpips", "numba", "numba.core",
    "numba.extending", "numba.types", "open_clip", "plyfile", "pycolmap", "scipy", "scipy.ndimage", "segment_anything",
    "skimage", "tensorboard", "timm", "torch.utils.tensorboard", "torchvision", "viser", "yaml",
}  # fmt: skip
"""A part with a name of its own here is a dependency of its own: gsplat's rasteriser, strategies and exporter."""


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, its text, and whether it is a folder's `__init__`."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """What of the package it belongs to: `gsdff.data.colmap` is of `data`, the package's own docstring of none."""
        return [*self.name.split("."), ""][1]

    @property
    def layer(self) -> str:
        """Anything that no list names is a tool, the layer with the least freedom but for the nouns."""
        named = {"": "root"} | dict.fromkeys(NOUNS, "noun") | dict.fromkeys(WHOLES, "whole")
        return (named | dict.fromkeys(DOORS, "door")).get(self.part, "tool")

    def imports(self) -> Iterator[tuple[str, str]]:
        """All that is imported, wherever in the file, as `from first import second`; `import first` has no second."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                folder = self.name.split(".")[: None if self.is_package else -1]
                above = folder[: len(folder) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                yield from ((base, alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and called_name(node).endswith("import_module"):
                yield from ((a.value, "") for a in node.args[:1] if isinstance(a, ast.Constant))


def called_name(node: ast.Call) -> str:
    """`a.b` of the call a.b(...)."""
    return ast.unparse(node.func)


def edges(package: list[Module]) -> dict[Module, set[Module]]:
    """Which module imports which. `from gsdff.data import demo` points at the file demo where there is one."""
    by_name = {module.name: module for module in package}
    return {
        module: {
            other
            for first, second in module.imports()
            if (other := by_name.get(f"{first}.{second}") or by_name.get(first)) not in (None, module)
        }
        for module in package
    }


def upward_imports(package: list[Module]) -> list[str]:
    """Imports that do not point down, or that tie one tool or one door to another."""
    below = {
        "root": set(),
        "noun": {"root", "noun"},
        "tool": {"root", "noun"},
        "whole": {"root", "noun", "tool", "whole"},
        "door": {"root", "noun", "tool", "whole"},
    }
    return [
        f"{module.name} ({module.layer}) imports {other.name} ({other.layer})"
        for module, others in edges(package).items()
        for other in others
        if other.layer not in below[module.layer] and module.part != other.part
        if not (module.layer == "door" and other.part == "cli")
    ]


def cycles(package: list[Module]) -> list[str]:
    """Modules that import one another in a ring, by the ring; found by taking away what imports nothing left."""
    left = {module.name: {other.name for other in others} for module, others in edges(package).items()}
    while leaves := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in leaves}
    if not left:
        return []
    ring = [min(left)]
    while (following := min(left[ring[-1]] & left.keys())) not in ring:
        ring.append(following)
    return [" -> ".join([*ring[ring.index(following) :], following])]


def scattered_dependencies(package: list[Module]) -> list[str]:
    """Heavy dependencies imported in more than one place."""
    places: dict[str, set[str]] = {}
    for module in package:
        for first, second in module.imports():
            matching = [name for name in HEAVY if f"{first}.{second}.".startswith(f"{name}.")]
            if matching:
                places.setdefault(max(matching, key=len), set()).add(module.name)
    return [f"{name} is imported in {sorted(where)}" for name, where in places.items() if len(where) > 1]


def long_files(package: list[Module]) -> list[str]:
    """Files over 300 lines."""
    lines = {module.name: len(module.text.splitlines()) for module in package}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > 300]


def unsafe_calls(package: list[Module]) -> list[str]:
    """eval, exec, pickle, and torch.load without weights_only=True."""
    found = []
    for module in package:
        loads = {"torch.load", "load"} if ("torch", "load") in module.imports() else {"torch.load"}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                name = called_name(node)
                safe = any(ast.unparse(keyword) == "weights_only=True" for keyword in node.keywords)
                unpickles = name.startswith("pickle.") or (name in loads and not safe)
                if unpickles or name.removeprefix("builtins.") in {"eval", "exec"}:
                    found.append(f"{module.name}:{node.lineno} calls {name}")
    return found


def broad_excepts(package: list[Module]) -> list[str]:
    """Handlers that catch everything and do not raise it again."""
    return [
        f"{module.name}:{node.lineno} catches everything"
        for module in package
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) != "raise"
        if node.type is None or {"Exception", "BaseException"} & set(re.findall(r"\w+", ast.unparse(node.type)))
    ]


def foreign_places(package: list[Module]) -> list[str]:
    """Mentions of the tests' folder beside the checkout, of package registries, of paths of one machine."""
    place = re.compile(r"\.\./shared|/work[/]|/root[/]|/home[/]|/simple\b|py[p]i|index[-]url|find[-]links")
    return [
        f"{module.name}:{number} says {found[0]}"
        for module in package
        for number, line in enumerate(module.text.splitlines(), 1)
        if (found := place.search(line))
    ]


def unread_options(package: list[Module]) -> list[str]:
    """Fields of the dataclasses of options that no other module reads as an attribute."""
    options = {"config", "config_smoothing"}
    read = {
        node.attr
        for module in package
        if module.part not in options
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
    }
    return [
        f"{owner.name}.{line.target.id} is read nowhere"
        for module in package
        if module.part in options
        for owner in ast.walk(module.tree)
        if isinstance(owner, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in owner.decorator_list)
        for line in owner.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id not in read
    ]


RULES = [upward_imports, cycles, scattered_dependencies, long_files, unsafe_calls, broad_excepts, foreign_places]
RULES += [unread_options]


def our_package() -> list[Module]:
    """Every file of gsdff."""
    modules = []
    for path in sorted((ROOT / "gsdff").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        modules.append(Module(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package))
    return modules


def doors() -> list[str]:
    """Every module that lies directly in the package and may be run with `python -m`."""
    names = [module.name for module in our_package() if 'if __name__ == "__main__":' in module.text]
    return [name for name in names if name.count(".") == 1]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    found = rule(our_package())
    assert not found, "\n" + "\n".join(found)


GOOD = {
    "gsdff": "",
    "gsdff.errors": "class UserError(Exception): ...",
    "gsdff.config": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass C:\n    steps: int = 3",
    "gsdff.ply": "import plyfile\nfrom gsdff.errors import UserError",
    "gsdff.render": "from gsdff.render.blend import blend",
    "gsdff.render.blend": "import numba\ndef blend(config): return config.steps",
    "gsdff.render.tiles": "from numba import types\ntry: f()\nexcept BaseException:\n    tidy()\n    raise",
    "gsdff.trainer": "import torch\nfrom gsdff import ply, render\ndef f(p): return torch.load(p, weights_only=True)",
    "gsdff.cli": "from gsdff.errors import UserError",
    "gsdff.train": "from gsdff.cli import run_door\ndef main():\n    from gsdff import trainer",
}


def package_of(texts: dict[str, str]) -> list[Module]:
    return [Module(name, text, any(other.startswith(f"{name}.") for other in texts)) for name, text in texts.items()]


@pytest.mark.parametrize("rule", RULES)
def test_a_package_in_order_is_not_complained_about(rule):
    assert rule(package_of(GOOD)) == []


@pytest.mark.parametrize(
    ("rule", "broken", "complaint"),
    [
        (upward_imports, {"gsdff.errors": "import gsdff.ply"}, "gsdff.errors (noun) imports gsdff.ply (tool)"),
        (upward_imports, {"gsdff.ply": "def f():\n    from . import render"}, "gsdff.ply (tool) imports gsdff.render"),
        (upward_imports, {"gsdff.render.tiles": "from ..ply import x"}, "gsdff.render.tiles (tool) imports gsdff.ply"),
        (upward_imports, {"gsdff.new": "from gsdff.render import blend"}, "gsdff.new (tool) imports gsdff.render"),
        (upward_imports, {"gsdff.ply": "from gsdff.cli import x"}, "gsdff.ply (tool) imports gsdff.cli (door)"),
        (upward_imports, {"gsdff.trainer": "from gsdff import train"}, "gsdff.trainer (whole) imports gsdff.train"),
        (upward_imports, {"gsdff.export": "import gsdff.train"}, "gsdff.export (door) imports gsdff.train (door)"),
        (cycles, {"gsdff.render.blend": "from gsdff.render import tiles, blend as b\nfrom gsdff.render.tiles import x",
                  "gsdff.render.tiles": "import gsdff.render.blend"}, "gsdff.render.blend -> gsdff.render.tiles"),
        (cycles, {"gsdff.render.tiles": "from gsdff.render import y", "gsdff.render": "from .tiles import y"}, "->"),
        (scattered_dependencies, {"gsdff.render.tiles": "import plyfile"}, "plyfile is imported in"),
        (scattered_dependencies, {"gsdff.trainer": "from numba import njit"}, "numba is imported in"),
        (scattered_dependencies, {"gsdff.trainer": "from torch.utils.tensorboard import SummaryWriter",
                                  "gsdff.report": "from torch.utils import tensorboard"}, "torch.utils.tensorboard is"),
        (scattered_dependencies, {"gsdff.ply": "from gsplat import exporter, strategy",
                                  "gsdff.trainer": "import gsplat.strategy.default"}, "gsplat.strategy is imported in"),
        (long_files, {"gsdff.ply": "\n" * 301}, "gsdff.ply has 301 lines"),
        (unsafe_calls, {"gsdff.ply": "import torch\ntorch.load(f, weights_only=0)"}, "gsdff.ply:2 calls torch.load"),
        (unsafe_calls, {"gsdff.ply": "from torch import load\nload('x')"}, "gsdff.ply:2 calls load"),
        (unsafe_calls, {"gsdff.ply": "eval('1')"}, "gsdff.ply:1 calls eval"),
        (unsafe_calls, {"gsdff.ply": "import pickle\npickle.load(f)"}, "gsdff.ply:2 calls pickle.load"),
        (broad_excepts, {"gsdff.ply": "try: 1\nexcept: 2"}, "gsdff.ply:2 catches everything"),
        (broad_excepts, {"gsdff.ply": "try: 1\nexcept (OSError, Exception): 2"}, "gsdff.ply:2 catches everything"),
        (foreign_places, {"gsdff.ply": "x = '../" + "shared/y'"}, "gsdff.ply:1 says"),
        (unread_options, {"gsdff.render.blend": "def f(config): config.steps = getattr(config, 'other')",
                          "gsdff.config": GOOD["gsdff.config"] + "\n    other: int = 1"}, "C.other is read nowhere"),
    ],
)  # fmt: skip
def test_each_rule_finds_what_it_is_for(rule, broken, complaint):
    found = rule(package_of(GOOD | broken))
    assert len(found) == 1 and complaint in found[0]


def test_every_door_of_the_list_can_be_run():
    assert {f"gsdff.{name}" for name in DOORS - {"cli"}} == set(doors())


HELP = """
import json, runpy, sys
door, heavy = sys.argv[1], json.loads(sys.argv[2])
sys.argv = [door, "--help"]
try:
    runpy.run_module(door, run_name="__main__")
except SystemExit as stop:
    status = stop.code or 0
print()
print(json.dumps([status, sorted(set(heavy) & sys.modules.keys())]))
"""


@pytest.mark.parametrize("door", doors())
def test_help_exits_0_and_loads_nothing_heavy(door):
    command = [sys.executable, "-c", HELP, door, json.dumps(sorted(HEAVY))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    status, loaded = json.loads(done.stdout.splitlines()[-1])
    assert (status, loaded) == (0, []) and "usage" in done.stdout.lower()
