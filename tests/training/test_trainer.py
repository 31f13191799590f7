from dataclasses import replace

import pytest
import torch
from tiny_scene import TinyDataset, tiny_scene
from written_runs import assert_same_bits, read_lines

from gsdff.config.file import read_config
from gsdff.config.file import write_config as write_toml
from gsdff.config.options import DataConfig, FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.errors import UserError
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.io.runs import RunFolder, load_run
from gsdff.training import loop
from gsdff.training import radiance_loss as radiance
from gsdff.training import trainer as trainer_module
from gsdff.training.feature_loss import PreparedFeatures
from gsdff.training.initialise import initial_gaussians
from gsdff.training.logger import TrainingLogger
from gsdff.training.loop import train
from gsdff.training.pace import view_at
from gsdff.training.run import complete, train_run
from gsdff.training.trainer import Trainer

CPU = torch.device("cpu")
STAGE1 = Stage1Config(
    steps=24, sh_degree=1, sh_interval=8, refine_start=4, refine_every=5, refine_stop=20, grow_grad2d=1e-5,
    reset_every=12, max_gaussians=70,
)  # fmt: skip
CONFIG = TrainConfig(
    teacher=TeacherConfig(name="none"), stage1=STAGE1, stage2=Stage2Config(steps=6), log_every=4, picture_every=12,
    checkpoint_every=10,
)  # fmt: skip
WITH_TEACHER = replace(CONFIG, teacher=TeacherConfig(name="precomputed"), features=FeatureConfig(dim=3))


class PullTowardsOne:
    """A term of stage 2 that pulls all features towards one."""

    weight = 2.0

    def __call__(self, gaussians, view_id, step):
        pull = (gaussians.features - 1).square().mean()
        return pull, {"pull": pull}


@pytest.fixture
def fake_features(monkeypatch):
    """Replaces the teacher's features; the fixture is the list of the values of `lift` in the calls."""
    calls = []

    def prepare_features(config, scene, gaussians, run_folder, data, lift=True, reliability=None):
        if config.teacher.name == "none":
            return PreparedFeatures(None, None, [])
        calls.append(lift)
        features = torch.zeros(len(gaussians), config.features.dim) if lift else None
        return PreparedFeatures(features, torch.full((len(gaussians),), 0.5) if lift else None, [PullTowardsOne()])

    monkeypatch.setattr(trainer_module, "prepare_features", prepare_features)
    return calls


def make_trainer(config, scene=None):
    """Makes a trainer on the CPU, from the points of the scene."""
    scene = scene or tiny_scene()
    return Trainer(config, scene, CPU, initial_gaussians(config, scene))


def run(folder, config, state=None):
    """Trains a run as the command does; returns the trainer."""
    names = RunFolder(folder)
    folder.mkdir(exist_ok=True)
    write_toml(names.config, config)
    trainer = make_trainer(config)
    with TrainingLogger(config, trainer.scene, names, state["step"] if state else 0, trainer.total_steps) as logger:
        if state:
            trainer.load_state_dict(state["step"], state)
            logger.load_state_dict(state["report"], CPU)
        train(trainer, logger, names)
    return trainer


def test_torchs_global_generators_are_left_alone():
    before = torch.get_rng_state()
    trainer = make_trainer(replace(CONFIG, dataset=DataConfig(background="random")))
    for _ in range(12):  # random backgrounds, and splits from step 5 on
        trainer.advance()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_runs_random_numbers_are_those_of_a_seeded_generator(monkeypatch):
    drawn = []
    original = radiance.RadianceTerm._draw_background
    monkeypatch.setattr(
        radiance.RadianceTerm, "_draw_background", lambda term: drawn.append(original(term)) or drawn[-1]
    )
    trainer = make_trainer(replace(CONFIG, dataset=DataConfig(background="random"), seed=3))
    for _ in range(3):
        trainer.advance()
        torch.randn(5)  # others draw too
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(torch.stack(drawn), torch.stack([torch.rand(3, generator=generator) for _ in range(3)]))


def test_training_brings_the_renderings_closer_to_the_photos(tmp_path):
    config = replace(CONFIG, stage1=replace(STAGE1, steps=150, reset_every=0, refine_stop=100))
    run(tmp_path, config)
    lines = read_lines(tmp_path)
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 2.5
    assert lines[-1]["heldout_psnr"] > lines[2]["heldout_psnr"] + 2.5


def test_the_count_grows_in_stage_1_and_stays_below_the_cap(tmp_path):
    run(tmp_path, CONFIG)
    counts = [line["gaussians"] for line in read_lines(tmp_path)]
    assert counts[0] == 40 and 40 < max(counts) <= 70


def test_two_runs_of_one_seed_are_the_same_and_of_two_are_not(tmp_path):
    states = [run(tmp_path / str(i), replace(CONFIG, seed=seed)).state_dict() for i, seed in enumerate((1, 1, 2))]
    assert_same_bits(states[0], states[1])
    assert not torch.equal(states[0]["gaussians"]["means"][:10], states[2]["gaussians"]["means"][:10])


@pytest.mark.parametrize("background", ["black", "random"])
def test_a_resumed_run_reaches_the_bits_and_the_lines_of_one_that_was_not_interrupted(
    tmp_path, fake_features, background
):
    config = replace(WITH_TEACHER, dataset=DataConfig(background=background))
    whole = run(tmp_path / "whole", config)
    for stop in (10, 20, 24, 27):  # in stage 1, at its end, in stage 2
        folder = tmp_path / str(stop)
        torn = make_trainer(config)
        with TrainingLogger(config, torn.scene, RunFolder(make(folder)), 0, torn.total_steps) as logger:
            while torn.step < stop:
                if torn.step == STAGE1.steps:
                    torn.start_stage2(RunFolder(folder))
                measures = torn.advance()
                logger.add(torn.step, torn.gaussians, measures)
            state = {"step": stop, **torn.state_dict(), "report": logger.state_dict()}
        torch.save(state, folder / "state.pt")
        torch.randn(7)  # another process has other random numbers
        resumed = run(folder, config, torch.load(folder / "state.pt", weights_only=True))
        assert_same_bits(resumed.state_dict(), whole.state_dict())
        assert read_lines(folder) == read_lines(tmp_path / "whole")


def make(folder):
    folder.mkdir()
    return folder


def test_checkpoints_come_when_due_at_the_end_of_stage_1_and_at_the_end(tmp_path, fake_features, monkeypatch):
    saved = []
    original = loop.save_checkpoint

    def save(folder, step, state):
        saved.append((step, "features" in state["gaussians"]))
        return original(folder, step, state)

    monkeypatch.setattr(loop, "save_checkpoint", save)
    run(tmp_path, WITH_TEACHER)
    assert saved == [(10, False), (20, False), (24, False), (30, True)]


def test_stage_2_trains_features_on_a_fixed_number_of_gaussians(tmp_path, fake_features):
    trainer = run(tmp_path, WITH_TEACHER)
    assert trainer.step == 30 and fake_features == [True]
    counts = {line["gaussians"] for line in read_lines(tmp_path) if line["step"] >= 24}
    assert len(counts) == 1
    features = trainer.gaussians.features.detach()
    expected = torch.full_like(features, 6 * WITH_TEACHER.rates.features)  # Adam moves by its rate: six steps
    torch.testing.assert_close(features, expected, atol=0.1 * WITH_TEACHER.rates.features, rtol=0)
    last = read_lines(tmp_path)[-1]
    assert last["loss"] == pytest.approx(0.8 * last["l1"] + 0.2 * (1 - last["ssim"]) + 2 * last["pull"], abs=1e-5)


def test_stage_2_of_no_steps_keeps_the_lifted_features(tmp_path, fake_features):
    config = replace(WITH_TEACHER, stage2=Stage2Config(steps=0))
    run(tmp_path, config)
    features = load_run(tmp_path).gaussians.features
    assert features is not None and features.shape[1] == 3 and not features.any()


def test_the_reliability_of_the_lift_is_kept_with_the_run_and_through_a_resume(tmp_path, fake_features):
    trainer = run(tmp_path, WITH_TEACHER)
    expected = torch.full((len(trainer.gaussians),), 0.5)
    assert "reliability" not in trainer.optimizers and torch.equal(trainer.result.reliability, expected)
    assert torch.equal(load_run(tmp_path).gaussians.reliability, expected)
    resumed = run(tmp_path, WITH_TEACHER, load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0]))
    assert torch.equal(resumed.result.reliability, expected)


def test_features_of_a_resumed_run_are_not_lifted_again(tmp_path, fake_features):
    run(tmp_path, WITH_TEACHER)
    last = list_checkpoints(tmp_path / "checkpoints")[-1]
    resumed = run(tmp_path, WITH_TEACHER, load_checkpoint(last))
    assert fake_features == [True, False]
    assert_same_bits(resumed.state_dict()["gaussians"], load_checkpoint(last)["gaussians"])


def test_without_a_teacher_there_is_no_stage_2(tmp_path, fake_features):
    trainer = run(tmp_path, CONFIG)
    assert trainer.step == trainer.total_steps == 24 and trainer.gaussians.features is None


def test_a_finished_run_loads_with_its_config_frame_and_step(tmp_path):
    trainer = run(tmp_path, replace(CONFIG, data=tmp_path))
    loaded = load_run(tmp_path)
    assert (loaded.step, loaded.frame) == (24, trainer.scene.frame)
    assert loaded.config == read_config(tmp_path / "config.toml")
    assert torch.equal(loaded.gaussians.means, trainer.gaussians.means.detach())


def test_every_pass_shows_every_training_view_once_in_an_order_of_its_own():
    train_ids = [1, 2, 3, 5, 8, 13, 21, 34]
    epochs = [[view_at(8 * epoch + i, train_ids, seed=0) for i in range(8)] for epoch in range(3)]
    assert all(sorted(epoch) == train_ids for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [view_at(i, train_ids, seed=1) for i in range(8)] != epochs[0]


def test_the_rate_of_the_means_falls_to_a_hundredth_in_units_of_the_extent():
    trainer = make_trainer(CONFIG)
    rates = []
    for trainer.step in (0, 12, 24, 30):
        trainer._set_rates()
        rates.append(trainer.optimizers["means"].param_groups[0]["lr"])
    first = CONFIG.rates.means * trainer.scene.extent
    assert rates == pytest.approx([first, first / 10, first / 100, first / 100])


def test_the_other_rates_fall_to_their_final_share_at_the_end_of_stage_1():
    config = replace(CONFIG, stage1=replace(CONFIG.stage1, steps=100, final_rates=0.25))
    trainer = make_trainer(config)
    rates = {"sh0": [], "logit_opacities": []}
    for trainer.step in (0, 50, 75, 100, 130):
        trainer._set_rates()
        for name, values in rates.items():
            values.append(trainer.optimizers[name].param_groups[0]["lr"])
    for name, values in rates.items():
        first = getattr(config.rates, name)
        assert values == pytest.approx([first, first, first / 2, first / 4, first / 4])


def test_bands_of_harmonics_come_one_by_one(monkeypatch):
    degrees = []
    original = radiance.render_rgb

    def spy(gaussians, camera, **options):
        degrees.append(options["sh_degree"])
        return original(gaussians, camera, **options)

    monkeypatch.setattr(radiance, "render_rgb", spy)
    trainer = make_trainer(CONFIG)
    for _ in range(20):
        trainer.advance()
    assert degrees == [0] * 8 + [1] * 12


@pytest.mark.parametrize("background", ["black", "white", "random"])
def test_the_background_shows_behind_the_last_gaussian(monkeypatch, background):
    seen = []
    original = radiance.image_loss

    def spy(image, target, *options):
        seen.append(image.detach()[0, 0])
        return original(image, target, *options)

    monkeypatch.setattr(radiance, "image_loss", spy)
    config = replace(CONFIG, dataset=DataConfig(background=background))
    trainer = make_trainer(config)
    trainer.gaussians.logit_opacities.data.fill_(-20)
    trainer.advance()
    trainer.advance()
    if background == "random":
        assert not torch.equal(seen[0], seen[1]) and seen[0].min() > 0 and seen[0].max() < 1
    else:
        torch.testing.assert_close(seen[0], torch.full((3,), float(background == "white")))


def test_a_transparent_photo_is_compared_over_the_background_of_the_step(monkeypatch):
    targets = []
    original = radiance.image_loss
    monkeypatch.setattr(radiance, "image_loss", lambda i, t, *o: (targets.append(t), original(i, t, *o))[1])
    scene = tiny_scene()
    clear = [replace(view, image=view.image * 0, alpha=view.image[..., 0] * 0) for view in scene.views]
    trainer = make_trainer(replace(CONFIG, dataset=DataConfig(background="random")), replace(scene, views=clear))
    trainer.advance()
    color = targets[0][0, 0]
    assert color.min() > 0 and torch.equal(targets[0], color.expand_as(targets[0]))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_its_checkpoints(tmp_path, monkeypatch):
    original = radiance.image_loss

    def break_down(image, target, *options):
        return original(image * (float("nan") if trainer.step >= 12 else 1), target, *options)

    monkeypatch.setattr(radiance, "image_loss", break_down)
    trainer = make_trainer(CONFIG)
    with (
        TrainingLogger(CONFIG, trainer.scene, RunFolder(make(tmp_path / "run")), 0, 24) as logger,
        pytest.raises(UserError, match=r"loss became nan after step 12; .*lower learning rates"),
    ):
        train(trainer, logger, RunFolder(tmp_path / "run"))
    (last,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert load_checkpoint(last)["step"] == 10
    assert read_lines(tmp_path / "run")[-1]["step"] == 12


@pytest.mark.parametrize("name", ["log_scales", "means"])
def test_a_gaussian_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Trainer, "_densify", lambda trainer, before: trainer.step == 13 and break_down(trainer))

    def break_down(trainer):  # a Gaussian that no loss shows, as it is not drawn
        getattr(trainer.gaussians, name).data[3] = float("inf")

    folder = RunFolder(make(tmp_path / "run"))
    trainer = make_trainer(CONFIG)
    with (
        TrainingLogger(CONFIG, trainer.scene, folder, 0, 24) as logger,
        pytest.raises(
            UserError, match=rf"{name} of 1 of 40 Gaussians became infinite or NaN after step 12; .*`rates.{name}`"
        ),
    ):
        train(trainer, logger, folder)
    assert [load_checkpoint(path)["step"] for path in list_checkpoints(folder.checkpoints)] == [10]
    assert load_run(write_config_of(folder)).gaussians.means.isfinite().all()


def write_config_of(folder):
    write_toml(folder.config, CONFIG)
    return folder.path


def test_a_checkpoint_is_checked_before_it_is_written(tmp_path):
    config = replace(CONFIG, log_every=100, picture_every=100, checkpoint_every=3)
    folder = RunFolder(make(tmp_path / "run"))
    trainer = make_trainer(config)

    def advance(trainer):
        scalars = trainer.advance()
        if trainer.step == 5:
            trainer.gaussians.quats.data[0] = float("nan")
        return scalars

    with TrainingLogger(config, trainer.scene, folder, 0, 24) as logger, pytest.raises(UserError, match="quats of 1"):
        train(trainer, logger, folder, advance)
    assert [path.name for path in list_checkpoints(folder.checkpoints)] == ["step_000003.pt"]


def test_frozen_radiance_leaves_all_but_the_features_as_stage_1_left_them(tmp_path, fake_features):
    run(tmp_path / "stage1", CONFIG)
    frozen = run(tmp_path / "frozen", replace(WITH_TEACHER, stage2=Stage2Config(steps=6, freeze_radiance=True)))
    before = load_run(tmp_path / "stage1").gaussians
    for name, tensor in before.items():
        assert torch.equal(getattr(frozen.gaussians, name).detach(), tensor), name
    assert frozen.gaussians.features.detach().any()
    last = read_lines(tmp_path / "frozen")[-1]
    assert last["loss"] == pytest.approx(2 * last["pull"]) and "l1" not in last and "psnr" not in last


def test_a_run_of_no_steps_at_all_still_says_how_good_it_is(tmp_path, fake_features):
    stage1 = replace(STAGE1, steps=0)
    run(tmp_path, replace(WITH_TEACHER, stage1=stage1, stage2=Stage2Config(steps=0)))
    (line,) = read_lines(tmp_path)
    assert line["step"] == 0 and line["heldout_psnr"] > 0 and line["gaussians"] == 40
    assert load_run(tmp_path).gaussians.features is not None


def complex_moments(saved):
    """The state of an optimizer with numbers of another kind."""
    moments = {name: value.to(torch.complex64) for name, value in saved["state"][0].items()}
    return saved | {"state": {0: moments}}


def on_disk(folder):
    """The options of a run in a folder, on photos there."""
    data = TinyDataset.write(folder / "data").folder
    return complete(replace(CONFIG, data=data, out=folder / "run", device="cpu"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("optimizers", lambda old: {key: value for key, value in old.items() if key != "means"}),
        ("optimizers", lambda old: [1, 2]),
        ("optimizers", lambda old: old | {"means": old["quats"]}),
        ("optimizers", lambda old: old | {"means": {"state": {}, "param_groups": []}}),
        ("optimizers", lambda old: old | {"means": complex_moments(old["means"])}),
        ("random", lambda old: {}),
        ("random", lambda old: {"cpu": old["cpu"][1:], "cuda": None}),
        ("random", lambda old: {"cpu": "seed", "cuda": None}),
        ("densifier", lambda old: None),
        ("report", lambda old: {"sums": {}}),
    ],
)
def test_a_state_of_other_optimizers_is_refused_with_a_word(tmp_path, name, change):
    config = replace(on_disk(tmp_path), stage1=replace(STAGE1, steps=10))
    train_run(config)
    (last,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    state = load_checkpoint(last)
    state[name] = change(state[name])
    torch.save(state, last)
    with pytest.raises(UserError, match=r"cannot be read as the state of a training .*; copy the run again"):
        train_run(config, resume=True)


def test_a_run_of_an_earlier_version_resumes_without_the_options_that_there_were_not(tmp_path):
    config = replace(on_disk(tmp_path), stage1=replace(STAGE1, steps=10))
    train_run(config)
    (last,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    state = load_checkpoint(last)
    for name in ("poses", "made_from", "masks", "memory", "allow_outside"):
        del state["config"]["dataset"][name]
    torch.save(state, last)
    train_run(config, resume=True)
    train_run(replace(config, dataset=replace(config.dataset, memory=0.0)), resume=True)  # changes no bit
    with pytest.raises(UserError, match=r"dataset.masks was True, now False"):
        train_run(replace(config, dataset=replace(config.dataset, masks=False)), resume=True)


@pytest.mark.parametrize("content", [None, "", '{"step": 24, "loss": 1}\n', '{"step": 24, "heldout_psnr": null}\n'])
def test_a_finished_run_resumes_without_its_metrics(tmp_path, content, capsys):
    config = on_disk(tmp_path)
    train_run(config)
    capsys.readouterr()
    path = tmp_path / "run" / "metrics.jsonl"
    path.unlink() if content is None else path.write_text(content)
    train_run(config, resume=True)
    printed = capsys.readouterr().out
    assert "scene.ply: " in printed and "after 24 steps" in printed and "PSNR" not in printed


def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog):
    config = on_disk(tmp_path)
    train_run(config)
    whole = load_run(tmp_path / "run").gaussians
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    damaged = bytearray(newest.read_bytes())
    damaged[1000] ^= 1
    newest.write_bytes(damaged)
    train_run(config, resume=True)
    assert "step_000024.pt: cannot be read as a checkpoint" in caplog.text and "of step 20" in caplog.text
    again = load_run(tmp_path / "run")
    assert again.step == 24 and again.gaussians.means.equal(whole.means)
