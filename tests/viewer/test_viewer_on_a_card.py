"""The viewer on the pretended card: every mode, edits, files, and a run that trains."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from app_wire import AppPage, bits, first, rows, serve_shared, wait_until, window_of
from page_file import write_things
from pretended.budget import PICTURES
from tiny_answers import NUM_CHAIR
from tiny_field import write_maps
from tiny_scene import tiny_scene
from tiny_viewer import TinyViewer, look_at, see

import gsdff
from gsdff.config.file import write_config
from gsdff.config.options import FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.field.query import Query
from gsdff.io.camera_paths import interpolate
from gsdff.io.runs import RunFolder
from gsdff.training.initialise import initial_gaussians
from gsdff.training.logger import TrainingLogger
from gsdff.training.loop import train
from gsdff.training.trainer import Trainer
from gsdff.viewer.address import Address
from gsdff.viewer.modes import MODES
from gsdff.viewer.rendering import render_mode
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene
from gsdff.viewer.visible_scene import VisibleScene
from gsdff.viewer.wire import live as live_app_module
from gsdff.viewer.wire.live import LiveApp

CHAIR = Query(positives=("chair",))
NAMES = ("lamp", "wall", "chair")


@pytest.fixture
def shared(card, tiny: TinyViewer) -> SharedScene:
    """The scene of `tiny`, on the card."""
    write_things(tiny.run.folder)
    return open_shared_scene(gsdff.load(tiny.run.folder, device="cuda"))


def ask(shared: SharedScene) -> VisibleScene:
    """The scene with a query and classes, and the chair marked."""
    marked = torch.arange(60, device=shared.device) < NUM_CHAIR
    return see(shared, CHAIR, classes=NAMES, marked=marked)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_the_cpus(tiny, shared, mode):
    camera = look_at(tiny.shared)
    expected, got = (render_mode(scene, ask(scene), mode, camera) for scene in (tiny.shared, shared))
    assert not got.is_cuda
    assert ((expected.int() - got.int()).abs().amax(-1) > 2).double().mean() < 0.02
    for top, bottom in pairwise((0, 7, 30)):
        assert render_mode(shared, ask(shared), mode, camera, slice(top, bottom)).shape == (bottom - top, 40, 3)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_waits_no_more_than_allowed(card, shared, mode):
    visible, camera = ask(shared), look_at(shared)
    render_mode(shared, visible, mode, camera)  # what is kept for the next picture is made now
    card.clear()
    render_mode(shared, visible, mode, camera)
    assert card.num_waits <= PICTURES[mode], card.table()


def test_a_path_of_cameras_on_the_card_is_interpolated(card, tiny):
    cameras = [view.camera.to("cuda") for view in tiny.shared.views[:3]]
    expected = interpolate([view.camera for view in tiny.shared.views[:3]], 5)
    for ours, theirs in zip(interpolate(cameras, 5), expected, strict=True):
        torch.testing.assert_close(ours.viewmat.cpu(), theirs.viewmat)


def make_trainer(tmp_path: Path, generator: torch.Generator) -> tuple[Trainer, RunFolder]:
    """A short run on the card."""
    scene = tiny_scene()
    config = TrainConfig(
        device="cuda", log_every=2, picture_every=6, checkpoint_every=6,
        stage1=Stage1Config(steps=8, refine_start=2, refine_every=3, refine_stop=7, max_gaussians=80),
        stage2=Stage2Config(steps=4),
        teacher=TeacherConfig("precomputed", write_maps(tmp_path / "maps", scene, generator)),
        features=FeatureConfig(4),
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_config(folder.config, config)
    trainer = Trainer(config, scene, torch.device("cuda"), initial_gaussians(config, scene))
    return trainer, folder


def test_the_app_answers_from_the_card_as_from_the_cpu(shared):
    edits = [{"operation": "recolor", "rows": rows(first(30)), "color": [1, 0, 0]}]
    edits += [{"operation": "delete", "rows": rows(first(20))}]
    camera = look_at(shared)
    with serve_shared(shared, page=True) as server, AppPage(server) as page:
        for mode in server.answers.modes:
            classes = ["chair", "lamp"] if mode == "classes" else []
            scenery = {"hidden": bits(first(10)), "marked": bits(first(40)), "edits": edits, "classes": classes}
            assert page.draw(camera, mode, **scenery).shape == (30, 40, 3)
        number = page.send("find_similar", window=window_of(camera), scenery={"mode": "colour"}, place=[0.5, 0.5])
        answer, scores = page.receive()
        assert (answer["type"], answer["id"], len(scores)) == ("scored", number, 240), answer
        page.send("modify", selected=bits(first(25)), hidden=bits(first(5)), how="grow")
        assert page.receive()[0]["type"] == "selected"
        kept = {"edits": edits, "selected": bits(first(40))}
        for kind, fields in (("save_scene", kept), ("save_page", {"window": window_of(camera), "edits": edits})):
            answer = page.ask(kind, **fields)
            assert answer["type"] == "saved", answer
        answer = page.ask("name_classes", names=["wall", "lamp"])
        assert len(answer["vectors"]) == 2


def test_a_run_that_trains_on_the_card_is_followed(card, tmp_path, generator, monkeypatch):
    for name, value in (("MIN_REFRESH_INTERVAL", 0.0), ("REFRESH_SHARE", 1e9)):
        monkeypatch.setattr(live_app_module, name, value)
    trainer, folder = make_trainer(tmp_path, generator)
    live = LiveApp(Address("127.0.0.1", 0), trainer, folder)
    received = []
    scene = live.server.answers.scene

    def advance(trainer: Trainer) -> dict[str, torch.Tensor]:
        measures = live.advance(trainer)
        with AppPage(live.server) as page:
            wait_until(lambda: live.server.tabs)
            page.send("follow", scene=scene, version=0, holds=False)
            wait_until(lambda: any(tab._following is not None for tab in live.server.tabs))
            live.update_pages()
            answer, columns = page.receive()
            received.append((answer["is_other"], len(columns) > 0))
        wait_until(lambda: not live.server.tabs)
        return measures

    try:
        with TrainingLogger(trainer.config, trainer.scene, folder, 0, trainer.total_steps) as logger:
            train(trainer, logger, folder, advance)
        live.finish()
        assert live.make_page().columns
    finally:
        live.__exit__()
    assert received == [(False, True)] * 8 + [(True, False)] * 4
