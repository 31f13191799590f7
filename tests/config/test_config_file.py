import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from gsdff.config.checks import OptionError
from gsdff.config.file import (
    PRESET_FOLDERS,
    find_preset,
    flatten,
    locate,
    read_config,
    to_table,
    write_config,
)
from gsdff.config.options import LearningRates, Stage1Config, TrainConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians


def write(folder, text):
    path = folder / "some.toml"
    path.write_text(text)
    return path


def test_values_of_a_file_replace_the_defaults_and_nothing_else(tmp_path):
    path = write(tmp_path, 'data = "photos"\n[stage1]\nsteps = 7\nssim_weight = 1\n[teacher]\nname = "precomputed"\n')
    config = read_config(path)
    expected = TrainConfig(data=Path("photos"), stage1=replace(Stage1Config(), steps=7, ssim_weight=1.0))
    assert config == replace(expected, teacher=replace(expected.teacher, name="precomputed"))
    assert type(config.stage1.ssim_weight) is float


def test_values_of_a_file_lie_over_those_of_another_table_by_table(tmp_path):
    below = TrainConfig(seed=3, stage1=Stage1Config(steps=5, sh_degree=1))
    config = read_config(write(tmp_path, "log_every = 2\n[stage1]\nsteps = 7\n[smoothing.sam]\nwindow = 3"), below)
    sam = replace(below.smoothing.sam, window=3)
    expected = replace(below, log_every=2, stage1=replace(below.stage1, steps=7))
    assert config == replace(expected, smoothing=replace(below.smoothing, sam=sam))
    assert below == TrainConfig(seed=3, stage1=Stage1Config(steps=5, sh_degree=1))


@pytest.mark.parametrize(
    ("text", "key", "instead"),
    [
        ("[stage1]\nmax_gausians = 3", "stage1.max_gausians", "stage1.max_gaussians"),
        ("[stage1]\ndownscale = 2", "stage1.downscale", "dataset.downscale"),
        ("step = 3", "step", "stage1.steps"),
        ("[stages]\nsteps = 3", "stages", "stage1"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_file_key_and_the_nearest_valid_one(tmp_path, text, key, instead):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_config(path)
    assert str(error.value) == f"{path}: unknown key {key}; did you mean {instead}?"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[stage1]\nsteps = "7"', "stage1.steps: expected int, got '7'"),
        ("[stage1]\nsteps = 7.0", "stage1.steps: expected int, got 7.0"),
        ("[stage1]\nsteps = true", "stage1.steps: expected int, got True"),
        ("[stage1]\nabsgrad = 1", "stage1.absgrad: expected bool, got 1"),
        ("[rates]\nmeans = true", "rates.means: expected float, got True"),
        ("data = 3", "data: expected a path in quotes, got 3"),
        ("out = 3", "out: expected a path in quotes, got 3"),
        ("stage1 = 3", "stage1: expected a table, got 3"),
        ("[seed]\nx = 1", "seed: expected int, got {'x': 1}"),
        ('device = "gpu"', "device: expected one of 'auto', 'cpu', 'cuda', got 'gpu'"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_says_what_was_expected(tmp_path, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_config(path)
    assert str(error.value) == f"{path}: {complaint}"


def test_a_file_that_is_not_toml_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path, "[stage1\n")
    with pytest.raises(UserError, match=f"{path}: cannot be read as a TOML file"):
        read_config(path)
    path.write_bytes(b"\xff\xfa")
    with pytest.raises(UserError, match=f"{path}: cannot be read as a TOML file"):
        read_config(path)


def test_a_written_config_reads_back_equal(tmp_path):
    config = TrainConfig(data=Path("a b"), out=Path("c"), stage1=Stage1Config(steps=5, absgrad=True, grow_grad2d=1e-7))
    path = tmp_path / "config.toml"
    for version in (config, TrainConfig()):
        write_config(path, version)
        assert read_config(path) == version
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_flattened_keys_are_dotted():
    flat = dict(flatten(to_table(TrainConfig())))
    assert flat["stage1.steps"] == 30_000 and flat["data"] == "demo" and "out" not in flat


PRESETS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("name", [*PRESETS, "cpu.toml", "configs/cuda.toml"])
def test_the_presets_are_found_by_name_and_make_sense(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read_config(find_preset(name)).check()


def test_presets_are_looked_up_where_a_wheel_and_where_a_checkout_has_them():
    package = Path(__file__).parents[2] / "gsdff"
    assert list(PRESET_FOLDERS) == [package / "configs", package.parent / "configs"]


def test_a_path_wins_over_a_preset_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu.toml").write_text("seed = 4")
    assert read_config(find_preset("cpu.toml")).seed == 4


def test_an_unknown_preset_is_an_error_that_lists_the_presets():
    with pytest.raises(UserError, match=r"gpu: no such config file; .*: bilateral, cpu, cuda, naive"):
        find_preset("gpu")


CONTRADICTIONS = [
    ({"stage1.steps": 0}, "`stage1.steps`: expected at least 1"),
    ({"stage1_from": Path("x.ply")}, "`stage1.steps`: expected at least 1, or 0 with `stage1_from`"),
    ({"stage1_from": Path("x.ply"), "stage1.steps": 0, "teacher.name": "none"}, "`stage1_from`: expected a teacher"),
    ({"teacher.name": "precomputed"}, "`teacher.name` precomputed: expected the folder .*set `teacher.maps`"),
    ({"masks.refresh": 7}, "`masks.refresh`: expected a multiple of `checkpoint_every`, got 7"),
    ({"shard": "gaussians", "stage1.refine_poses": True}, "`stage1.refine_poses`: cannot move cameras with `shard`"),
]


@pytest.mark.parametrize(("values", "complaint"), CONTRADICTIONS)
def test_options_that_contradict_one_another_are_errors_once_all_are_read(values, complaint):
    TrainConfig().check()
    config = TrainConfig()
    for key, value in values.items():
        config = with_value(config, key, value)
    with pytest.raises(UserError, match=f"^{complaint}"):
        config.check()


def with_value(config, key, value):
    """The same config but for the option of this dotted key."""
    first, _, rest = key.partition(".")
    return replace(config, **{first: with_value(getattr(config, first), rest, value) if rest else value})


FILTERS = ("sam", "bilateral", "gaussian")
NAN = float("nan")
OUT_OF_RANGE = [
    ("dataset.downscale", 0), ("stage1.steps", -3), ("stage1.sh_degree", 4), ("stage1.ssim_weight", 1.5),
    ("stage1.prune_opacity", 0.2), ("stage1.agreed_points", -0.1),
    ("stage1.refine_every", 0), ("rates.log_scales", -1.0), ("rates.means", NAN), ("checkpoint_every", 0),
    ("teacher.batch", 0), ("teacher.size", 16), ("teacher.toy.channels", 1), ("teacher.toy.blur", -0.1),
    ("teacher.toy.noise", NAN), ("teacher.toy.mistakes", 1.1), ("features.energy", 0.0), ("features.energy", 1.5),
    ("stage2.huber", -0.1), ("masks.sam.points_per_side", 0), ("masks.sam.points_per_batch", 0),
    ("masks.sam.pred_iou_thresh", 1.1), ("masks.sam.stability_score_thresh", -0.1), ("masks.sam.crop_n_layers", -1),
    ("masks.sam.min_mask_region_area", -1), ("masks.min_area", -1), ("masks.nms_iou", 1.5), ("masks.nms_iou", -0.5),
    ("masks.refresh", -1), ("masks.felzenszwalb.scale", 0.0), ("masks.felzenszwalb.sigma", -0.5),
    ("masks.felzenszwalb.min_size", -1), ("smoothing.sam.purity", -1.0), ("smoothing.sam.window", 4),
    ("smoothing.sam.window", -1), ("smoothing.bilateral.window", 0), ("smoothing.bilateral.window", 6),
    ("smoothing.gaussian.window", 0), ("smoothing.gaussian.window", -3), ("smoothing.bilateral.sigma_range", 0.0),
    ("smoothing.graph.sigma", 0.0), ("smoothing.graph.sigma_color", 0.0), ("smoothing.graph.sigma_feature", -1.0),
    ("smoothing.graph.steps", 0), ("smoothing.graph.neighbours", 0), ("smoothing.graph.weight", -0.1),
    *[(f"smoothing.{name}.sigma", value) for name in FILTERS for value in (0.0, -1.0)],
    *[(f"smoothing.{name}.{key}", -1) for name in (*FILTERS, "tv") for key in ("weight", "start", "ramp")],
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_an_error_that_names_the_option(key, value, tmp_path):
    with pytest.raises(OptionError) as error:
        with_value(TrainConfig(), key, value)
    located = str(locate(error.value))
    assert located.startswith(f"`{key}`: expected ") and located.endswith(f"got {value}")
    table, _, name = key.rpartition(".")
    path = write(tmp_path, f"[{table}]\n{name} = {value}" if table else f"{name} = {value}")
    with pytest.raises(UserError, match=rf"^{path}: {key}: expected .*, got {value}(\.0)?$"):
        read_config(path)


def test_an_option_set_in_python_is_named_by_its_class():
    with pytest.raises(OptionError, match=r"^`Stage1Config\.steps`: expected at least 0, got -3$"):
        Stage1Config(steps=-3)


def test_a_bad_value_on_the_command_line_is_one_line_that_names_the_flag_and_a_non_zero_exit():
    command = [sys.executable, "-m", "gsdff.train", "--smoothing.sam.window", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: --smoothing.sam.window: expected an odd number of pixels, got 4\n"


def test_no_number_of_masks_or_smoothing_is_below_zero_or_nan():
    table = to_table(TrainConfig())
    numbers = {
        key: float("nan") if isinstance(value, float) else -1
        for key, value in flatten({part: table[part] for part in ("masks", "smoothing")})
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert len(numbers) > 30
    for key, value in numbers.items():
        with pytest.raises(OptionError) as error:
            with_value(TrainConfig(), key, value)
        assert str(locate(error.value)).startswith(f"`{key}`: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stage2.huber", 0.0), ("smoothing.sam.window", 0), ("smoothing.sam.window", 1), ("smoothing.sam.purity", 0.0),
        ("smoothing.tv.weight", 0.0), ("smoothing.graph.sigma", float("inf")), ("masks.nms_iou", 1.0),
        ("masks.refresh", 0), ("masks.felzenszwalb.sigma", 0.0),
    ],
)  # fmt: skip
def test_values_at_the_edge_of_their_range_are_accepted(key, value):
    with_value(TrainConfig(), key, value).check()


def test_every_attribute_of_the_gaussians_has_a_learning_rate():
    assert {entry.name for entry in fields(LearningRates)} == {entry.name for entry in fields(Gaussians)} - {
        "reliability",
        "rasterize_mode",
        "origin",
        "is_part",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"seed = {'9' * 400}", "seed: expected a number of 64 bits, got a whole number of about 398 digits"),
        (
            f"stage1.steps = 0x{'f' * 6000}",
            "stage1.steps: expected a number of 64 bits, got a whole number of about 72",
        ),
        (f"origin = [0, {'9' * 400}, 0]", "origin: expected one of 'auto', 'none' or a list of 3 numbers, got "),
        (f"stage1.ssim_weight = {'9' * 400}", "stage1.ssim_weight: expected a number of 64 bits"),
        (f"stage1.steps = {'9' * 5000}", "cannot be read as a TOML file (it has a whole number of more than"),
        ("stage1.steps = 1000000000000", "stage1.steps: expected at least 0, at most 1e+09, got 1000000000000"),
        ("stage1.grow_grad2d = nan", "stage1.grow_grad2d: expected at least 0, got nan"),
        ("stage2.feature_weight = inf", "stage2.feature_weight: expected at least 0, at most 1e+09, got inf"),
        ("rates.sh0 = 1e300", "rates.sh0: expected at least 0, at most 1e+09, got 1e+300"),
        ("smoothing.graph.neighbours = 1000000", "smoothing.graph.neighbours: expected at least 1, at most 1000"),
        (
            "smoothing.gaussian.window = 1000001",
            "smoothing.gaussian.window: expected an odd number of pixels, at most 1001",
        ),
        (
            "smoothing.gaussian.sigma = 1e9",
            "smoothing.gaussian.sigma: expected more than 0 and at most 1001, got 1000000000.0",
        ),
        ("masks.felzenszwalb.sigma = 1e9", "masks.felzenszwalb.sigma: expected at least 0, at most 1001"),
        ('data = ""', "data: expected a path in quotes, got ''"),
        ('teacher.maps = "a\\u0000b"', "teacher.maps: expected a path in quotes, got 'a\\x00b'"),
        ("stage1 = " + "[" * 3000 + "]" * 3000, "cannot be read as a TOML file (nested too deep)"),
        ("a." * 3000 + "b = 1", "unknown key a; did you mean"),
        ("stage1.steps." + "a." * 3000 + "b = 1", "stage1.steps: expected int, got {'a': {'a': "),
        ("device = [" + "1," * 10**5 + "]", "device: expected one of 'auto', 'cpu', 'cuda', got [1, 1, "),
    ],
    ids=range(19),
)
def test_absurd_values_are_refused_in_one_line(tmp_path, text, complaint):
    path = write(tmp_path, text + "\n")
    with pytest.raises(UserError) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: {complaint}") and len(str(error.value)) < 500


def test_an_empty_file_changes_nothing_and_what_is_no_file_is_refused(tmp_path):
    path = write(tmp_path, "")
    assert read_config(path) == TrainConfig()
    with pytest.raises(UserError, match="expected a TOML file, it is a folder"):
        read_config(tmp_path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(UserError, match="expected a TOML file, it is a link that leads back to itself"):
        read_config(path)
