"""The command `gsdff`: its list of doors, their help, and mistakes that are answered before torch is loaded."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tiny_answers import write_asked_run
from tiny_run import make_gaussians, write_run

import gsdff
from gsdff.cli import flags_of, read_options
from gsdff.cli.doors import DOORS, FOREIGN_OPTIONS, NEEDLESS_OPTIONS, find_own_names
from gsdff.cli.help import options_of
from gsdff.config.file import read_config
from gsdff.errors import command
from gsdff.export import ExportArguments, export_run
from gsdff.train import TrainArguments

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import json, runpy, sys
sys.argv, status = ["gsdff", *sys.argv[1:]], 0
try:
    runpy.run_module("gsdff", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    status = stop.code
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
print()
print(json.dumps([status or 0, sorted({"torch", "numpy"} & sys.modules.keys())]))
"""


def start(*words, cwd=ROOT):
    """Runs the command in a process of its own; status, stdout, stderr, and which of torch and numpy it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, words)], capture_output=True, text=True, cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out, _, last = done.stdout.rstrip().rpartition("\n")
    status, loaded = json.loads(last)
    return status, out, done.stderr, loaded


def arguments_of(door):
    return getattr(import_module(f"gsdff.{door.name}"), door.arguments)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_command_lists_its_doors_with_a_line_each(words):
    status, out, err, loaded = start(*words)
    assert (status, err, loaded) == (0, "", [])
    for door in DOORS.values():
        assert f"  {door.name} " in out and door.line in out


def test_the_version_is_printed():
    assert start("--version")[:2] == (0, f"gsdff {gsdff.__version__}\n")


def test_the_console_script_is_this_command():
    from test_packaging import PROJECT

    module, _, function = PROJECT["project"]["scripts"]["gsdff"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_importing_the_package_loads_neither_torch_nor_numpy():
    check = "import sys, gsdff; print(sorted({'torch', 'numpy', 'tyro'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("qurey", "x"), "error: qurey: no command of gsdff; did you mean query?"),
        (("--data", "demo"), "error: --data: no command of gsdff; expected one of prepare, train, "),
    ],
)
def test_an_unknown_door_exits_2_with_the_nearest_one(words, message):
    status, out, err, loaded = start(*words)
    assert (status, out, loaded) == (2, "", []) and err.startswith(message) and err.count("\n") == 1


def test_an_error_names_the_option_of_the_door_that_the_command_runs(tmp_path):
    status, _, err, _ = start("query", str(tmp_path), "--text", "a", "--negative", "a")
    assert (status, err) == (1, "error: --negative: a cannot be positive and negative at once\n")


def test_an_empty_word_is_refused_as_empty(tmp_path):
    status, _, err, _ = start("query", str(tmp_path), "--text", "")
    assert status == 1 and "is empty" in err and "did you mean" not in err


# --- help


@pytest.mark.parametrize("door", DOORS.values(), ids=lambda door: door.name)
def test_help_lists_at_most_two_dozen_options_and_three_examples_and_loads_nothing(door):
    status, out, err, loaded = start(door.name, "--help")
    assert (status, err, loaded) == (0, "", [])
    assert f"usage: gsdff {door.name} " in out and out.count(f"\n  gsdff {door.name} ") == 3
    options = list(options_of(arguments_of(door)))
    flags = {option.name: option.flag for option in options}
    common = door.common or list(flags)
    assert len(common) <= 24 or door.name == "edit"
    shown = [flag for flag in flags.values() if f"\n│ {flag} " in out or f"\n│ {flag}," in out]
    assert sorted(shown) == sorted(flags[name] for name in common)
    assert (f"gsdff {door.name} --help-all` lists all {len(options)} options" in out) == (len(common) < len(options))


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_full_help_lists_every_option_and_loads_nothing(name):
    status, out, err, loaded = start(name, "--help-all")
    assert (status, err, loaded) == (0, "", [])
    for option in options_of(arguments_of(DOORS[name])):
        assert f"│ {option.flag}" in out, option.name


def test_the_help_of_train_knows_the_presets_and_files(tmp_path):
    cpu, cuda = (read_config(ROOT / "configs" / f"{name}.toml").stage1.steps for name in ("cpu", "cuda"))
    assert f"(default: {cpu} on the CPU, {cuda} with CUDA)" in re.sub(r"[│\s]+", " ", start("train", "--help")[1])
    (tmp_path / "a.toml").write_text("[features]\ndim = 19")
    assert "(default: 19)" in start("train", "--config", tmp_path / "a.toml", "--help")[1]
    out = start("train", "--device", "cuda", "--help-all")[1]
    assert f"(default: {cuda})" in out and "Defaults are those of the preset cuda" in out
    assert start("train", "--stage1.step", 3, "--help")[0] == 0  # a mistake is no reason to withhold the help


@pytest.mark.parametrize("line", [line for door in DOORS.values() for line in door.examples])
def test_examples_are_understood(line):
    gsdff_, name, *words = shlex.split(line)
    assert gsdff_ == "gsdff"
    read_options(arguments_of(DOORS[name]), name, words)


def test_common_options_exist():
    for door in DOORS.values():
        assert set(door.common) <= flags_of(arguments_of(door)).keys()


def test_positional_arguments_are_known_by_their_placeholder():
    assert flags_of(arguments_of(DOORS["query"]))["run"] == "RUN"


def test_options_carry_the_values_of_an_instance():
    defaults = TrainArguments(options=read_config(ROOT / "configs" / "cpu.toml"))
    values = {option.name: option.default for option in options_of(TrainArguments, defaults)}
    assert values["stage1.steps"] == 2000 and values["resume"] is False


# --- mistakes


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (("train", "--stage1.step", 3), ["Unrecognized options: --stage1.step", "--stage1.steps INT"]),
        (("train", "--iterations", 3), ["--iterations: no option of `gsdff train`; use --stage1.steps and --stage2.s"]),
        (("train", "--source_path=x"), ["error: --source_path: no option of `gsdff train`; use --data\n"]),
        (("train", "-m", "x"), ["error: -m: no option of `gsdff train`; use --out\n"]),
        (("train", "-r", "2"), ["use --downscale\n"]),
        (("train", "--eval"), ["--eval: no option of `gsdff train`; every 8th photo"]),
        (("query", "runs/x", "--txt", "a"), ["Unrecognized options: --txt", "--text"]),
        (("view", "--model-path", "x"), ["error: --model-path: no option of `gsdff view`; use RUN\n"]),
        (("prepare", "--source_path", "x"), ["use --images\n"]),
        (("train", "--teacher", "lsg"), ["invalid choice 'lsg'", "'lseg'"]),
        (("export",), ["RUN"]),
    ],
)
def test_a_mistaken_option_exits_2_with_the_right_name_before_torch(words, messages):
    status, out, err, loaded = start(*words)
    assert (status, out, loaded) == (2, "", [])
    for message in messages:
        assert message in " ".join(err.replace("│", " ").split(" ")), err


def test_options_of_other_programs_lead_to_options_of_ours():
    flags = {door.name: flags_of(arguments_of(door)) for door in DOORS.values()}
    for names in FOREIGN_OPTIONS:
        for option in names.split():
            found = {door: find_own_names(option, flags[door]) for door in flags}
            assert any(found.values()), option
            assert all(set(own) <= flags[door].keys() for door, own in found.items())
    assert find_own_names("--nothing", flags["train"]) == []
    assert not [option for option in NEEDLESS_OPTIONS if option in " ".join(FOREIGN_OPTIONS).split()]


def test_our_own_option_of_a_foreign_name_stays_ours(tmp_path):
    assert read_options(arguments_of(DOORS["view"]), "view", ["x", "--port", "9"]).port == 9
    assert str(read_options(arguments_of(DOORS["prepare"]), "prepare", ["--images", "x"]).images) == "x"


@pytest.fixture
def places(tmp_path):
    """A folder with runs/street, photos/garden and an edit list."""
    for name in ("runs/street", "photos/garden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "edits.toml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "runs/stret", "--text", "a"), "RUN runs/stret: no such file or folder; did you mean runs/street?"),
        (("view", "run/street"), "RUN run/street: no such file or folder; did you mean runs/street?"),
        (("export", "elsewhere"), "RUN elsewhere: no such file or folder"),
        (("segment", "runs/street", "--data", "photo/garden"), "--data photo/garden: no such file or folder; did you"),
        (("evaluate", "runs/street", "--labels", "photos/gardn"), "--labels photos/gardn: no such file or folder; did"),
        (("edit", "runs/street", "--edits", "edit.toml"), "--edits edit.toml: no such file or folder; did you mean ed"),
        (("prepare", "--images", "photo"), "--images photo: no such file or folder; did you mean photos?"),
        (("train", "--data", "photos/gardn"), "--data photos/gardn: no such file or folder; did you mean photos/gard"),
        (("train", "--stage1-from", "runs/stret"), "--stage1-from runs/stret: no such file or folder; did you mean r"),
        (("train", "--teacher.maps", "map"), "--teacher.maps map: no such file or folder"),
        (("train", "--resume", "--out", "runs/stret"), "--out runs/stret: no such file or folder; did you mean runs/s"),
        (("train", "--resume", "--out", "runs/street"), "runs/street: no run to resume here (no config.toml)"),
        (("train", "--config", "cpuu"), "cpuu: no such config file"),
    ],
)
def test_a_mistaken_path_is_answered_before_torch_with_the_nearest_one(places, words, message):
    status, out, err, loaded = start(*words, cwd=places)
    assert (status, out, loaded) == (1, "", [])
    assert err.startswith(f"error: {message}") and err.count("\n") == 1, err


def test_paths_in_files_of_options_are_checked_too(places):
    (places / "a.toml").write_text('data = "photos/gardn"')
    status, _, err, loaded = start("train", "--config", "a.toml", cwd=places)
    assert (status, loaded) == (1, []) and "did you mean photos/garden?" in err
    status, _, err, loaded = start(
        "train", "--config", "a.toml", "--data", "photos/garden", "--device", "cpu", cwd=places
    )
    assert status == 1 and "photos/garden: neither a COLMAP model" in err  # the command line wins over the file


@pytest.mark.parametrize("kind", ["run", "ply"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "--text", "chiar"), "--text: {}: unknown name 'chiar'; did you mean 'chair'? Known: chair, "),
        (("query", "--text", "lamp", "--negative", "lmap"), "--negative: {}: unknown name 'lmap'; did you mean 'lamp'"),
        (("segment", "--classes", "chair", "wal"), "--classes: {}: unknown name 'wal'; did you mean 'wall'?"),
        (("edit", "--delete", "chair+sofa"), "--delete: {}: unknown name 'sofa'; did you mean"),
    ],
)
def test_a_mistaken_word_is_answered_before_torch_with_the_nearest_one(tmp_path, generator, kind, words, message):
    source = write_asked_run(tmp_path, generator).folder
    if kind == "ply":
        source = export_run(ExportArguments(source))
    door, *rest = words
    status, out, err, loaded = start(door, source, *rest)
    assert (status, out, "torch" in loaded) == (1, "", False)
    assert err.startswith(f"error: {message.format(source)}") and err.count("\n") == 1, err


def test_a_mistaken_class_to_evaluate_is_answered_before_torch(tmp_path, generator):
    source = write_asked_run(tmp_path, generator).folder
    status, _, err, loaded = start("evaluate", source, "--classes", "chair", "sofa")
    assert (status, "torch" in loaded) == (1, False) and "--classes: " in err and "unknown name 'sofa'" in err


# --- hints and completion


def test_commands_to_paste_are_quoted_for_the_shell():
    assert command("train", "--out", Path("my runs/a"), "--resume") == "gsdff train --out 'my runs/a' --resume"
    assert command("view", "runs/a") == "gsdff view runs/a"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_doors_and_options(shell):
    status, out, err, loaded = start("completion", shell)
    assert (status, err, loaded) == (0, "", [])
    assert all(door in out for door in DOORS) and "stage1.max-gaussians" in out and "felzenszwalb" in out


def test_bash_completes_doors_options_and_values(tmp_path):
    script = tmp_path / "gsdff"
    script.write_text(start("completion", "bash")[1])

    def complete(*words):
        ask = f"source {shlex.quote(str(script))}; COMP_WORDS=(gsdff {shlex.join(words)}); COMP_CWORD={len(words)}; "
        ask += '_tyro_gsdff; printf "%s\\n" "${COMPREPLY[@]}"'
        return subprocess.run(["bash", "-c", ask], capture_output=True, text=True).stdout.split()

    assert complete("qu") == ["query"]
    assert "--stage1.steps" in complete("train", "--stage1.st")
    assert set(complete("train", "--masks", "")) >= {"sam", "felzenszwalb"}


@pytest.mark.parametrize(("words", "status"), [((), 0), (("tcsh",), 2)])
def test_without_a_known_shell_the_command_says_how_to_install_completion(words, status):
    got, out, _, loaded = start("completion", *words)
    assert (got, loaded) == (status, []) and "gsdff completion bash > " in out


def test_a_run_that_the_checks_cannot_judge_is_left_to_the_library(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    status, _, err, _ = start("query", run.folder, "--text", "chair")
    assert status == 1 and "has no features to query" in err
