import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_scene import TinyDataset

from gsdff import train
from gsdff.config.file import read_config, write_config
from gsdff.config.options import TrainConfig
from gsdff.device import choose_device
from gsdff.errors import UserError
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.io.ply import read_ply
from gsdff.io.runs import load_run
from gsdff.train import read_arguments
from gsdff.training import logger, trainer

SHORT = """
log_every = 5
picture_every = 40
checkpoint_every = 20
[dataset]
random_points = 60
[stage1]
steps = 60
refine_start = 10
refine_every = 10
refine_stop = 50
sh_interval = 20
grow_grad2d = 1e-4
max_gaussians = 300
"""


@pytest.fixture
def dataset(tmp_path):
    return TinyDataset.write(tmp_path / "photos").folder


@pytest.fixture
def short(tmp_path):
    path = tmp_path / "short.toml"
    path.write_text(SHORT)
    return path


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    train.main()


def write_maps(dataset, folder):
    """Random maps of a precomputed teacher for every photo; returns their folder."""
    folder.mkdir()
    for photo in dataset.glob("*.png"):
        torch.save(torch.randn(6, 8, 8), folder / f"{photo.stem}_fmap_CxHxW.pt")
    return folder


def options(*arguments):
    return read_arguments(["--device", "cpu", *map(str, arguments)]).options


def test_the_flags_of_the_readme_are_understood(tmp_path):
    (tmp_path / "maps").mkdir()
    config = options(
        "--data", tmp_path, "--out", "x", "--downscale", 2, "--stage1.steps", 7, "--stage1.max-gaussians", 99,
        "--teacher", "precomputed", "--teacher.maps", tmp_path / "maps", "--dataset.background", "white",
    )  # fmt: skip
    assert (config.data, config.out, config.dataset.downscale) == (tmp_path, Path("x"), 2)
    assert (config.stage1.steps, config.stage1.max_gaussians) == (7, 99)
    assert (config.teacher.name, config.teacher.maps) == ("precomputed", tmp_path / "maps")
    assert config.dataset.background == "white"


def test_the_command_line_wins_over_the_file_the_file_over_the_devices_preset_and_that_over_the_defaults(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text("seed = 5\n[stage1]\nsteps = 11\nsh_degree = 1")
    config = options("--config", path, "--stage1.steps", 7)
    assert (config.seed, config.stage1.steps, config.stage1.sh_degree) == (5, 7, 1)
    preset = read_config(Path("configs/cpu.toml"))
    assert config.stage1.refine_stop == preset.stage1.refine_stop != TrainConfig().stage1.refine_stop
    assert config.log_every == preset.log_every == TrainConfig().log_every


def test_of_several_files_the_later_ones_win_and_presets_go_by_name(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("seed = 5\n[stage1]\nsteps = 11\nrefine_stop = 9\n[smoothing.sam]\nform = 'consistency'")
    two.write_text("[stage1]\nsteps = 12\n[smoothing.sam]\nweight = 3")
    forward, backward = options("--config", one, two), options("--config", two, one)
    assert (forward.seed, forward.stage1.steps, forward.stage1.refine_stop) == (5, 12, 9)
    assert (backward.seed, backward.stage1.steps, backward.stage1.refine_stop) == (5, 11, 9)
    for config in (forward, backward):
        assert (config.smoothing.sam.form, config.smoothing.sam.weight) == ("consistency", 3.0)
    preset = read_config(Path("configs/cuda.toml"))
    assert options("--config", one, "cuda").stage1 == preset.stage1
    assert options("--config", "cuda", one, "--stage1.steps", 8).stage1.steps == 8
    assert options("--config", "cuda", one).stage1 == replace(preset.stage1, steps=11, refine_stop=9)


def test_one_device_s_preset_leaves_nothing_of_the_other_s():
    for one, other in (("cpu", "cuda"), ("cuda", "cpu")):
        alone = read_config(Path(f"configs/{one}.toml"))
        over = read_config(Path(f"configs/{one}.toml"), read_config(Path(f"configs/{other}.toml")))
        assert (over.stage1, over.stage2, over.rates) == (alone.stage1, alone.stage2, alone.rates)


def test_files_lie_over_the_options_of_the_run_that_is_begun_with(tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    write_config(begun / "config.toml", TrainConfig(data=tmp_path, seed=4, log_every=7))
    over = tmp_path / "over.toml"
    over.write_text("log_every = 8\n[smoothing.gaussian]\nform = 'render'")
    config = options("--stage1-from", begun, "--teacher", "labels", "--config", over)
    assert (config.seed, config.log_every, config.smoothing.gaussian.form) == (4, 8, "render")
    assert config.picture_every == TrainConfig().picture_every and config.stage1.steps == 0


def test_auto_masks_come_to_a_segmenter_only_where_they_are_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert options().masks.name == "auto"
    assert options("--smoothing.bilateral.form", "target").masks.name == "auto"
    for flags in (("--smoothing.sam.form", "target"), ("--smoothing.tv.weight", 1, "--smoothing.tv.segments")):
        assert options(*flags).masks.name == "felzenszwalb"
        assert options(*flags, "--masks.folder", tmp_path).masks.name == "precomputed"
        assert options(*flags, "--masks", "none").masks.name == "none"


def with_toy(config):
    return replace(config, teacher=replace(config.teacher, name="toy"))


def test_auto_takes_the_teacher_that_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "c").touch()
    cache = tmp_path / "gsdff"
    assert options().teacher.name == "toy"
    assert options("--data", tmp_path).teacher.name == "none"
    assert options("--data", tmp_path, "--teacher.maps", "m").teacher.name == "precomputed"
    assert options("--teacher.checkpoint", "c").teacher.name == "lseg"
    assert options("--teacher", "clip").teacher.name == "clip"
    cache.mkdir()
    (cache / "demo_e200.ckpt").write_bytes(b"")
    assert options("--data", tmp_path).teacher.name == "lseg"
    assert options("--data", tmp_path, "--teacher", "none").teacher.name == "none"


def test_stage_2_on_a_finished_run_takes_its_data_and_options_and_skips_stage_1(dataset, short, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    run_main(monkeypatch, "--data", dataset, "--config", short, "--out", first, "--device", "cpu", "--seed", 4)
    maps = write_maps(dataset, tmp_path / "maps")
    for source, out in ((first, second), (first / "scene.ply", tmp_path / "from_ply")):
        data = () if source == first else ("--data", dataset, "--config", short, "--device", "cpu")
        run_main(
            monkeypatch, "--stage1-from", source, "--out", out, "--teacher.maps", maps, "--features.dim", 4,
            "--stage2.steps", 3, "--stage2.freeze-radiance", *data,
        )  # fmt: skip
        begun, ended = load_run(first), load_run(out)
        assert ended.step == 3 and ended.gaussians.features.shape == (len(begun.gaussians), 4)
        torch.testing.assert_close(ended.gaussians.means, begun.gaussians.means, atol=1e-5, rtol=1e-5)
        assert torch.equal(ended.gaussians.sh0, begun.gaussians.sh0)
    assert load_run(second).config.seed == 4 and load_run(second).config.data == dataset


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nothing", "`stage1_from` nothing: no such file or folder"),
        ("photos", "photos: expected a run's folder, a 3DGS"),
    ],
)
def test_a_splat_that_is_none_is_an_error(tmp_path, monkeypatch, source, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=complaint):
        options("--stage1-from", source, "--teacher", "clip")


def test_without_a_file_the_devices_preset_is_taken_and_said_once(caplog, monkeypatch):
    with caplog.at_level(logging.INFO, "gsdff"):
        assert options() == with_toy(replace(read_config(Path("configs/cpu.toml")), device="cpu"))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert read_arguments([]).options == with_toy(read_config(Path("configs/cuda.toml")))
    assert [record.message for record in caplog.records] == [
        "device cpu: taking the preset cpu.toml (`config` lays others over it)",
        "device cuda: taking the preset cuda.toml (`config` lays others over it)",
    ]


def test_cuda_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="`device` cuda: torch finds no CUDA card"):
        read_arguments(["--device", "cuda"])


def test_an_unknown_flag_stops_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as stop:
        options("--stage1.step", 3)
    assert stop.value.code != 0 and "--stage1.steps" in capsys.readouterr().err


def test_paths_are_made_absolute_but_the_built_in_scene_stays_a_word(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "maps").mkdir()
    assert options("--data", "photos").data == tmp_path / "photos"
    assert options("--teacher.maps", "maps").teacher.maps == tmp_path / "maps"
    assert options().data == Path("demo")


def test_a_run_is_named_after_its_data(tmp_path, monkeypatch):
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "transforms.json").touch()
    for data in (tmp_path / "fox", tmp_path / "fox" / "transforms.json"):
        assert TrainConfig(data=data).run_folder == Path("runs/fox")
    monkeypatch.chdir(tmp_path / "fox")
    assert TrainConfig(data=Path(".")).run_folder == TrainConfig(data=Path("../fox/")).run_folder == Path("runs/fox")
    assert TrainConfig().run_folder == Path("runs/demo")
    assert TrainConfig(out=Path("here")).run_folder == Path("here")


def test_a_run_leaves_a_folder_with_everything_in_it(dataset, short, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    run_main(monkeypatch, "--data", dataset, "--config", short, "--out", out, "--device", "cpu")
    assert {path.name for path in out.iterdir()} == {
        "config.toml", "metrics.jsonl", "events", "checkpoints", "pictures", "scene.ply",
    }  # fmt: skip
    run = load_run(out)
    assert (run.step, run.config.data, run.config.out) == (60, dataset, None)
    assert [path.name for path in list_checkpoints(out / "checkpoints")] == ["step_000040.pt", "step_000060.pt"]
    exported = read_ply(out / "scene.ply")
    torch.testing.assert_close(exported.means, run.gaussians.to_input_frame(run.frame).means)
    last = read_lines(out)[-1]
    printed = capsys.readouterr().out
    assert f"PSNR {last['heldout_psnr']:.2f} dB" in printed and str(out / "scene.ply") in printed


def test_the_saved_config_makes_the_same_run_again(dataset, short, tmp_path, monkeypatch):
    run_main(monkeypatch, "--data", dataset, "--config", short, "--out", tmp_path / "a", "--device", "cpu", "--seed", 3)
    run_main(monkeypatch, "--config", tmp_path / "a" / "config.toml", "--out", tmp_path / "b")
    assert (tmp_path / "a" / "config.toml").read_bytes() == (tmp_path / "b" / "config.toml").read_bytes()
    assert (tmp_path / "a" / "scene.ply").read_bytes() == (tmp_path / "b" / "scene.ply").read_bytes()


def test_a_folder_that_holds_a_run_is_not_overwritten(dataset, short, tmp_path, monkeypatch):
    (tmp_path / "config.toml").touch()
    with pytest.raises(UserError, match=f"{tmp_path}: holds a run already; continue it with `resume`, or .*`out`"):
        run_main(monkeypatch, "--data", dataset, "--config", short, "--out", tmp_path)


def test_resuming_where_there_is_no_run_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"`out` .*/x: no such file or folder"):
        run_main(monkeypatch, "--out", tmp_path / "x", "--resume")
    with pytest.raises(UserError, match=f"{tmp_path}: no run to resume here"):
        run_main(monkeypatch, "--out", tmp_path, "--resume")


def test_data_that_is_not_there_leaves_no_run_behind(short, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"`data` {tmp_path}/photos: no such"):
        run_main(monkeypatch, "--data", tmp_path / "photos", "--config", short, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_refused_at_its_start_may_be_corrected_with_the_same_command(
    dataset, short, tmp_path, monkeypatch
):
    splat, maps, out = tmp_path / "broken.ply", write_maps(dataset, tmp_path / "maps"), tmp_path / "run"
    splat.write_text("not a PLY")
    arguments = ("--data", dataset, "--config", short, "--out", out, "--device", "cpu")
    with pytest.raises(UserError, match=r"broken.ply: expected Gaussian splats"):
        run_main(monkeypatch, *arguments, "--stage1-from", splat, "--teacher.maps", maps)
    run_main(monkeypatch, *arguments)
    assert (out / "scene.ply").is_file()


def test_a_resumed_run_takes_its_own_options_and_refuses_others(dataset, short, tmp_path, monkeypatch):
    out = tmp_path / "run"
    run_main(monkeypatch, "--data", dataset, "--config", short, "--out", out, "--device", "cpu")
    before = (out / "scene.ply").read_bytes()
    with pytest.raises(UserError, match=r"options it was started with \(stage1.steps was 60, now 99\)"):
        run_main(monkeypatch, "--out", out, "--resume", "--stage1.steps", 99)
    with pytest.raises(UserError, match=r"stage1.steps was 60, now 2000"):
        run_main(monkeypatch, "--data", dataset, "--config", "cpu", "--out", out, "--resume")
    (out / "scene.ply").unlink()
    run_main(monkeypatch, "--out", out, "--resume", "--checkpoint-every", 7)
    assert (out / "scene.ply").read_bytes() == before


def test_a_run_that_died_before_its_first_checkpoint_starts_again(dataset, short, tmp_path, monkeypatch):
    out = tmp_path / "run"
    run_main(monkeypatch, "--data", dataset, "--config", short, "--out", out, "--device", "cpu")
    before = (out / "scene.ply").read_bytes()
    for path in list_checkpoints(out / "checkpoints"):
        path.unlink()
    run_main(monkeypatch, "--out", out, "--resume")
    assert (out / "scene.ply").read_bytes() == before
    assert [line["step"] for line in read_lines(out)] == list(range(5, 61, 5))


def test_a_disk_that_fills_up_is_an_error_that_names_the_run_and_the_run_goes_on_from_there(
    dataset, short, tmp_path, monkeypatch
):
    arguments = ("--data", dataset, "--config", short, "--device", "cpu")
    run_main(monkeypatch, *arguments, "--out", tmp_path / "whole")
    out = tmp_path / "run"
    with monkeypatch.context() as full_disk, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        full_disk.setattr(logger, "save_png", fail_as_full)
        run_main(full_disk, *arguments, "--out", out)
    assert error.value.filename == str(out)
    # pictures are written while the training goes on: the error is that of the next thing to be written
    assert newest_step(out) == 40 and load_run(out).step == 20
    run_main(monkeypatch, "--out", out, "--resume")
    assert (out / "scene.ply").read_bytes() == (tmp_path / "whole" / "scene.ply").read_bytes()


def fail_as_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_interrupted_run_says_how_to_go_on(dataset, short, tmp_path, monkeypatch, caplog):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO, "gsdff"):
        run_main(monkeypatch, "--data", dataset, "--config", short, "--out", tmp_path / "a run", "--device", "cpu")
    assert caplog.messages[-1] == f"stopped; continue with: gsdff train --out '{tmp_path / 'a run'}' --resume"


def test_the_built_in_scene_is_written_once_into_the_runs_folder(short, tmp_path, monkeypatch):
    written = []

    def copy_demo_scene(folder):
        TinyDataset.write(folder)
        written.append(folder)
        if len(written) == 1:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "gsdff.data.demo", SimpleNamespace(copy_demo_scene=copy_demo_scene))
    monkeypatch.chdir(tmp_path)
    begin = ("--config", short, "--device", "cpu", "--teacher", "none")
    with pytest.raises(KeyboardInterrupt):  # a scene that is not finished does not count
        run_main(monkeypatch, *begin)
    assert not Path("runs/demo/data").exists()
    run_main(monkeypatch, *begin)
    assert load_run(Path("runs/demo")).config.data == Path("runs/demo/data")
    run_main(monkeypatch, "--resume")
    assert len(written) == 2


def test_features_are_trained_with_a_teacher_and_resume_within_stage_2(dataset, short, tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    maps.mkdir()
    generator = torch.Generator().manual_seed(0)
    for photo in dataset.glob("*.png"):
        torch.save(torch.randn(6, 8, 8, generator=generator), maps / f"{photo.stem}_fmap_CxHxW.pt")
    out = tmp_path / "run"
    run_main(
        monkeypatch, "--data", dataset, "--config", short, "--out", out, "--device", "cpu", "--teacher", "precomputed",
        "--teacher.maps", maps, "--features.dim", 4, "--stage2.steps", 30,
    )  # fmt: skip
    run = load_run(out)
    assert run.step == 90 and run.gaussians.features.shape == (len(run.gaussians), 4)
    assert (out / "basis.safetensors").is_file()
    lines = [line for line in read_lines(out) if "feature" in line]
    assert [line["step"] for line in lines] == [65, 70, 75, 80, 85, 90]
    assert torch.equal(read_ply(out / "scene.ply").features, run.gaussians.features)

    assert [path.name for path in list_checkpoints(out / "checkpoints")] == ["step_000080.pt", "step_000090.pt"]
    before = (out / "scene.ply").read_bytes()
    (out / "checkpoints" / "step_000090.pt").unlink()
    run_main(monkeypatch, "--out", out, "--resume")
    assert (out / "scene.ply").read_bytes() == before


@pytest.mark.parametrize(
    ("smoothing", "left"),
    [
        (["--smoothing.sam.form", "consistency", "--masks", "felzenszwalb"], {"masks"}),
        (["--smoothing.sam.form", "target", "--smoothing.sam.ramp", 9, "--smoothing.tv.weight", 0.1,
          "--smoothing.graph.form", "consistency", "--masks.refresh", 20], {"masks", "graph.pt"}),
    ],
)  # fmt: skip
def test_a_smoothed_run_resumes_within_stage_2_to_the_same_bits(dataset, short, tmp_path, monkeypatch, smoothing, left):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing fetched"))
    maps, whole, torn = tmp_path / "maps", tmp_path / "whole", tmp_path / "torn"
    maps.mkdir()
    generator = torch.Generator().manual_seed(0)
    for photo in dataset.glob("*.png"):
        torch.save(torch.randn(6, 8, 8, generator=generator), maps / f"{photo.stem}_fmap_CxHxW.pt")
    begin = [
        "--data", dataset, "--config", short, "--device", "cpu", "--teacher.maps", maps, "--features.dim", 4,
        "--stage1.steps", 30, "--stage2.steps", 25, "--checkpoint-every", 10, *smoothing,
    ]  # fmt: skip
    run_main(monkeypatch, *begin, "--out", whole)
    advance, steps = trainer.Trainer.advance, []

    def advance_and_die(self):
        if self.step == 53:
            raise KeyboardInterrupt
        steps.append(self.step)
        return advance(self)

    with monkeypatch.context() as mortal, pytest.raises(KeyboardInterrupt):
        mortal.setattr(trainer.Trainer, "advance", advance_and_die)
        run_main(mortal, *begin, "--out", torn)
    assert list_checkpoints(torn / "checkpoints")[-1].name == "step_000050.pt" and steps[-1] == 52
    assert (torn / "filtered").is_dir() == ("target" in smoothing)
    run_main(monkeypatch, "--out", torn, "--resume")
    assert {"masks", "filtered", "graph.pt"} & {path.name for path in torn.iterdir()} == left  # large ones are gone
    assert (torn / "scene.ply").read_bytes() == (whole / "scene.ply").read_bytes()
    lines = [[line | {"seconds": 0} for line in read_lines(out)] for out in (torn, whole)]
    assert lines[0] == lines[1]
    assert {"feature", "smooth_sam"} <= lines[0][-1].keys()
    assert load_run(torn).config.masks.name == "felzenszwalb"


def test_a_missing_teacher_map_is_an_error_before_training_starts(dataset, short, tmp_path, monkeypatch):
    (tmp_path / "maps").mkdir()
    with pytest.raises(UserError, match=r"view_0_fmap_CxHxW\.pt: missing"):
        run_main(
            monkeypatch, "--data", dataset, "--config", short, "--out", tmp_path / "run", "--device", "cpu",
            "--teacher", "precomputed", "--teacher.maps", tmp_path / "maps",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_mistakes_are_one_line_and_a_non_zero_exit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gsdff.train", "--data", tmp_path / "none", "--config", "cpu", "--out", tmp_path / "x"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"error: --data {tmp_path}/none: no such file or folder\n"


def start(arguments, log):
    """The door in a process of its own, on one thread."""
    command = [sys.executable, "-m", "gsdff.train", *map(str, arguments)]
    with log.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})


def read_lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def newest_step(out):
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines and lines[-1].endswith("}") else 0


@pytest.mark.slow
def test_a_run_killed_again_and_again_reaches_the_bits_of_one_that_was_not(dataset, short, tmp_path):
    steps = ["--stage1.steps", 400, "--stage1.refine-stop", 300]
    first = ["--data", dataset, "--config", short, "--device", "cpu", *steps]
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    log = tmp_path / "log"
    assert start([*first, "--out", whole], log).wait() == 0, log.read_text()
    arguments = [*first, "--out", torn]
    for kill_after in (10, 130, 250):  # about the first checkpoint, and between later ones
        process = start(arguments, log)
        while newest_step(torn) < kill_after:
            assert process.poll() is None, log.read_text()
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, log.read_text()
        arguments = ["--out", torn, "--resume"]
    assert start(arguments, log).wait() == 0, log.read_text()

    assert (torn / "scene.ply").read_bytes() == (whole / "scene.ply").read_bytes()
    states = [load_checkpoint(list_checkpoints(out / "checkpoints")[-1]) for out in (torn, whole)]
    for part in ("gaussians", "densifier", "random"):
        for name, value in states[1][part].items():
            same = torch.equal(states[0][part][name], value) if isinstance(value, torch.Tensor) else True
            assert same, (part, name)
    lines = [read_lines(out) for out in (torn, whole)]
    assert [line | {"seconds": 0} for line in lines[0]] == [line | {"seconds": 0} for line in lines[1]]
    assert [line["step"] for line in lines[0]] == list(range(5, 401, 5))
    assert not list(torn.rglob("*.partial"))
