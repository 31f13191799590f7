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
RANKS = (
    {"errors"},
    {"files"},
    {"nouns"},
    {"config"},
    {"data", "losses", "masks", "render", "smoothing", "teachers", "things"},
    {"io"},
    {"editing"},
    {"field"},
    {"training"},
    {"evaluation"},
    {"viewer"},
    {"cli"},
    {"doors"},
)
"""Packages from the bottom up. Those of one rank do not import one another; a file that lies directly in `gsdff` is of
`nouns` unless it is a door, or `errors`, which every file may raise."""
DOORS = {"__main__", "view", "train", "evaluate", "export", "prepare", "query", "edit", "segment", "objects"}
HEAVY = {
    "gsplat", "gsplat.exporter", "gsplat.strategy", "imageio_ffmpeg", "kornia", "lpips", "numba", "numba.core",
    "numba.extending", "numba.types", "open_clip", "plyfile", "pycolmap", "scipy", "scipy.ndimage", "segment_anything",
    "skimage", "tensorboard", "timm", "torch.utils.tensorboard", "torchvision", "triton",
    "yaml",
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
        """Second part of its dotted name: "data" of `gsdff.data.colmap`; "" for the package itself."""
        return [*self.name.split("."), ""][1]

    @property
    def package(self) -> str:
        """The name in `RANKS` that it goes by; "" for the package's own docstring."""
        lies_deeper = self.is_package or self.name.count(".") > 1
        if lies_deeper or self.part in ("", "errors"):
            return self.part
        return "doors" if self.part in DOORS else "nouns"

    @property
    def rank(self) -> int:
        """The index in `RANKS`; -1 for the package's own docstring."""
        return next((i for i, packages in enumerate(RANKS) if self.package in packages), -1)

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
    """Imports that do not point down, or that tie one door, or one of two packages of a rank, to another."""
    return [
        f"{module.name} ({module.package}) imports {other.name} ({other.package or 'gsdff'})"
        for module, others in edges(package).items()
        for other in others
        if other.rank >= module.rank and (module.package != other.package or module.package == "doors")
    ]


def unranked_packages(package: list[Module]) -> list[str]:
    """Folders of the package that `RANKS` does not name."""
    known = set().union(*RANKS)
    return sorted({f"{module.part} has no rank" for module in package if module.package not in known | {""}})


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


def names_of_two_classes(package: list[Module]) -> list[str]:
    """Classes of one name in several modules: one word, one meaning."""
    places: dict[str, list[str]] = {}
    for module in package:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module.name)
    return [f"{name} is a class of {' and of '.join(modules)}" for name, modules in places.items() if len(modules) > 1]


def long_files(package: list[Module]) -> list[str]:
    """Files over 400 lines."""
    lines = {module.name: len(module.text.splitlines()) for module in package}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > 400]


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


Fields = dict[str, dict[str, str]]
"""By a class's name, its attributes and their annotations."""


def dataclass_fields(node: ast.ClassDef) -> dict[str, str]:
    """Annotations that a class declares itself."""
    lines = [line for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    return {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}


def option_classes(package: list[Module]) -> Fields:
    """The dataclasses of `config` and the fields each declares itself."""
    nodes = [node for module in package if module.part == "config" for node in module.tree.body]
    return {
        node.name: dataclass_fields(node)
        for node in nodes
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list)
    }


def class_attributes(package: list[Module]) -> Fields:
    """All classes of the package: fields, inherited ones too, properties, what `__init__` keeps of its parameters."""
    found: Fields = {}
    nodes = [node for module in package for node in module.tree.body if isinstance(node, ast.ClassDef)]
    for node in nodes:
        found.setdefault(node.name, {}).update(dataclass_fields(node))
        for method in [line for line in node.body if isinstance(line, ast.FunctionDef)]:
            if any("property" in ast.unparse(d) for d in method.decorator_list) and method.returns is not None:
                found[node.name][method.name] = ast.unparse(method.returns)
            if method.name == "__init__":
                kinds = {arg.arg: ast.unparse(arg.annotation) for arg in method.args.args if arg.annotation}
                for line in ast.walk(method):
                    if isinstance(line, ast.Assign) and ast.unparse(line.value) in kinds:
                        name = ast.unparse(line.targets[0]).removeprefix("self.")
                        found[node.name][name] = kinds[ast.unparse(line.value)]
    for node in nodes:
        for base in map(ast.unparse, node.bases):
            found[node.name] = found.get(base, {}) | found[node.name]
    return found


def classes_in(annotation: str, fields: Fields) -> set[str]:
    """The classes of the package that an annotation names."""
    return set(re.findall(r"\w+", annotation)) & fields.keys()


def is_dynamic_getattr(node: ast.expr) -> bool:
    """Whether this is getattr(x, name) of a name that is found out at run time."""
    return isinstance(node, ast.Call) and called_name(node) == "getattr" and not isinstance(node.args[1], ast.Constant)


class Types:
    """Which classes of the package the expressions of one module may be of.

    Names count for the whole file: parameters and attributes that are annotated, and what is assigned from an
    expression whose class is known, until nothing more is found.
    """

    def __init__(self, module: Module, fields: Fields):
        self.fields = fields
        self.names: dict[str, set[str]] = {}
        self.nodes = list(ast.walk(module.tree))
        for node in self.nodes:
            if isinstance(node, ast.arg) and node.annotation is not None:
                self._bind(node.arg, classes_in(ast.unparse(node.annotation), fields))
            elif isinstance(node, ast.ClassDef):
                for name, kind in fields.get(node.name, {}).items():
                    self._bind(f"self.{name}", classes_in(kind, fields))
        while any([self._bind(name, self.of(value)) for name, value in self._assignments()]):
            pass

    def of(self, node: ast.expr) -> set[str]:
        """The classes that an expression may be of; none where that is not known."""
        if is_dynamic_getattr(node):  # one of the tables in a table
            kinds = [kind for owner in self.of(node.args[0]) for kind in self.fields[owner].values()]
            return set().union(*(classes_in(kind, self.fields) for kind in kinds))
        found = self.names.get(ast.unparse(node), set())
        if isinstance(node, ast.Attribute):
            kinds = [self.fields[owner].get(node.attr, "") for owner in self.of(node.value)]
            found = found.union(*(classes_in(kind, self.fields) for kind in kinds))
        return found

    def read(self) -> set[tuple[str, str]]:
        """Pairs of class and attribute that the module reads.

        getattr(x, name) of a name found out at run time reads every field of x, if none of them is a table.
        """
        pairs = set()
        for node in self.nodes:
            if isinstance(node, ast.Attribute):
                pairs |= {(owner, node.attr) for owner in self.of(node.value)}
            elif is_dynamic_getattr(node):
                for owner in self.of(node.args[0]):
                    if not any(classes_in(kind, self.fields) for kind in self.fields[owner].values()):
                        pairs |= {(owner, name) for name in self.fields[owner]}
        return pairs

    def _bind(self, name: str, classes: set[str]) -> bool:
        known = self.names.setdefault(name, set())
        is_new = not classes <= known
        known |= classes
        return is_new

    def _assignments(self) -> Iterator[tuple[str, ast.expr]]:
        for node in self.nodes:
            if isinstance(node, ast.NamedExpr):
                yield node.target.id, node.value
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=False)
                    else:
                        yield ast.unparse(target), node.value


def unread_options(package: list[Module]) -> list[str]:
    """Fields of the dataclasses of options that no module outside `config` reads from something of their class.

    A table is read where its options are, unless another table has the same class.
    """
    options, fields = option_classes(package), class_attributes(package)
    read = {pair for module in package if module.part != "config" for pair in Types(module, fields).read()}
    nodes = [node for module in package for node in module.tree.body if isinstance(node, ast.ClassDef)]
    heirs = {owner: {owner} | {n.name for n in nodes if owner in map(ast.unparse, n.bases)} for owner in options}
    tables = [kind for own in options.values() for kind in own.values() if kind in options]
    return [
        f"{owner}.{name} is read nowhere"
        for owner, own in options.items()
        for name, kind in own.items()
        if tables.count(kind) != 1
        if not any((other, name) in read for other in heirs[owner])
    ]


RULES = [upward_imports, cycles, scattered_dependencies, long_files, unsafe_calls, broad_excepts, foreign_places]
RULES += [unranked_packages, unread_options, names_of_two_classes]


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
    "gsdff.config": "",
    "gsdff.config.options": "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass C:\n    steps: int = 3",
    "gsdff.io": "",
    "gsdff.io.ply": "import plyfile\nfrom gsdff.errors import UserError",
    "gsdff.render": "from gsdff.render.blend import blend",
    "gsdff.render.blend": "import numba\ndef blend(config: C): return config.steps",
    "gsdff.render.tiles": "from numba import types\ntry: f()\nexcept BaseException:\n    tidy()\n    raise",
    "gsdff.training": "",
    "gsdff.training.trainer": "import torch\nfrom gsdff.io import ply\nfrom gsdff import render\n"
    "def f(p): return torch.load(p, weights_only=True)",
    "gsdff.cli": "from gsdff.cli.command_line import run_door",
    "gsdff.cli.command_line": "from gsdff.errors import UserError",
    "gsdff.train": "from gsdff.cli import run_door\ndef main():\n    from gsdff.training import trainer",
}


def package_of(texts: dict[str, str]) -> list[Module]:
    return [Module(name, text, any(other.startswith(f"{name}.") for other in texts)) for name, text in texts.items()]


@pytest.mark.parametrize("rule", RULES)
def test_a_package_in_order_is_not_complained_about(rule):
    assert rule(package_of(GOOD)) == []


OPTIONS = GOOD["gsdff.config.options"]


@pytest.mark.parametrize(
    ("rule", "broken", "complaint"),
    [
        (upward_imports, {"gsdff.errors": "import gsdff.io.ply"}, "gsdff.errors (errors) imports gsdff.io.ply (io)"),
        (upward_imports, {"gsdff.render.tiles": "def f():\n    from ..io import ply"}, "imports gsdff.io.ply (io)"),
        (upward_imports, {"gsdff.data": "from gsdff.render import blend"}, "gsdff.data (nouns) imports gsdff.render"),
        (upward_imports, {"gsdff.data": "", "gsdff.data.a": "from gsdff import render"}, "gsdff.data.a (data) imports"),
        (upward_imports, {"gsdff.io.ply": "from gsdff.cli import x"}, "gsdff.io.ply (io) imports gsdff.cli (cli)"),
        (upward_imports, {"gsdff.training.trainer": "from gsdff import train"}, "imports gsdff.train (doors)"),
        (upward_imports, {"gsdff.export": "import gsdff.train"}, "gsdff.export (doors) imports gsdff.train (doors)"),
        (unranked_packages, {"gsdff.new": "", "gsdff.new.a": ""}, "new has no rank"),
        (cycles, {"gsdff.render.blend": "from gsdff.render import tiles, blend as b\nfrom gsdff.render.tiles import x",
                  "gsdff.render.tiles": "import gsdff.render.blend"}, "gsdff.render.blend -> gsdff.render.tiles"),
        (cycles, {"gsdff.render.tiles": "from gsdff.render import y", "gsdff.render": "from .tiles import y"}, "->"),
        (scattered_dependencies, {"gsdff.render.tiles": "import plyfile"}, "plyfile is imported in"),
        (scattered_dependencies, {"gsdff.train": "from numba import njit"}, "numba is imported in"),
        (scattered_dependencies, {"gsdff.view": "from torch.utils.tensorboard import SummaryWriter",
                                  "gsdff.train": "from torch.utils import tensorboard"}, "torch.utils.tensorboard is"),
        (scattered_dependencies, {"gsdff.view": "from gsplat import exporter, strategy",
                                  "gsdff.train": "import gsplat.strategy.default"}, "gsplat.strategy is imported in"),
        (names_of_two_classes, {"gsdff.io.ply": "class UserError: ..."}, "UserError is a class of gsdff.errors and of"),
        (long_files, {"gsdff.io.ply": "\n" * 401}, "gsdff.io.ply has 401 lines"),
        (unsafe_calls, {"gsdff.io.ply": "import torch\ntorch.load(f, weights_only=0)"}, "ply:2 calls torch.load"),
        (unsafe_calls, {"gsdff.io.ply": "from torch import load\nload('x')"}, "gsdff.io.ply:2 calls load"),
        (unsafe_calls, {"gsdff.io.ply": "eval('1')"}, "gsdff.io.ply:1 calls eval"),
        (unsafe_calls, {"gsdff.io.ply": "import pickle\npickle.load(f)"}, "gsdff.io.ply:2 calls pickle.load"),
        (broad_excepts, {"gsdff.io.ply": "try: 1\nexcept: 2"}, "gsdff.io.ply:2 catches everything"),
        (broad_excepts, {"gsdff.io.ply": "try: 1\nexcept (OSError, Exception): 2"}, "ply:2 catches everything"),
        (foreign_places, {"gsdff.io.ply": "x = '../" + "shared/y'"}, "gsdff.io.ply:1 says"),
        (unread_options, {"gsdff.render.blend": "def f(config): config.steps = getattr(config, 'other')",
                          "gsdff.config.options": OPTIONS}, "C.steps is read nowhere"),
        (unread_options, {"gsdff.config.options": OPTIONS + "\n@dataclass\nclass D:\n    steps: int = 1"},
         "D.steps is read nowhere"),
        (unread_options, {"gsdff.config.options": OPTIONS + "\n@dataclass\nclass D:\n    c: C\n    e: int = 1",
                          "gsdff.render.blend": "def f(self, d: D):\n    self.x = d.c\n    return self.x.steps"},
         "D.e is read nowhere"),
        (unread_options, {"gsdff.config.options": OPTIONS + "\n@dataclass\nclass D:\n    c: C\n    e: C",
                          "gsdff.render.blend": "def f(d: D): return d.c.steps"},
         "D.e is read nowhere"),
    ],
)  # fmt: skip
def test_each_rule_finds_what_it_is_for(rule, broken, complaint):
    found = rule(package_of(GOOD | broken))
    assert len(found) == 1 and complaint in found[0]


def test_every_door_of_the_list_can_be_run():
    assert {f"gsdff.{name}" for name in DOORS} == set(doors())


HELP = """
import json, runpy, sys
door, heavy = sys.argv[1], json.loads(sys.argv[2])
sys.argv, status = [door, "--help"], 0
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
