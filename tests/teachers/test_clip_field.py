"""A field of a teacher that reads any words: what its PLY needs to be asked, prompts, pictures as examples."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_clip import TINY, make_view, open_tiny, tiny_clip
from tiny_run import make_gaussians, open_field, write_run

from gsdff import teachers
from gsdff.config.file import read_config, write_config
from gsdff.config.options import TeacherConfig
from gsdff.export import ExportArguments, export_run
from gsdff.field.examples import look_up
from gsdff.field.query import PictureFile, Query
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.field.search import search
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.latents import Basis, text_cosine


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_clip(tmp_path_factory.mktemp("tiny")) as path:
        yield path


@pytest.fixture
def run(tmp_path: Path, generator: torch.Generator, weights: Path) -> Path:
    """A run's folder: 4 latent channels of the tiny CLIP's 12."""
    folder = write_run(tmp_path, make_gaussians(generator, num_features=4)).folder
    teacher = TeacherConfig("clip", model=TINY, pretrained=str(weights))
    write_config(folder / "config.toml", replace(read_config(folder / "config.toml"), teacher=teacher))
    B = torch.linalg.qr(torch.randn(12, 4, generator=generator)).Q.contiguous()
    Basis(B, 0.9, "clip", "f").save(folder / "basis.safetensors")
    return folder


def test_an_export_brings_the_teachers_settings_and_loads_no_network(run, weights, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(teachers, "TEACHERS", {})
        ply = export_run(ExportArguments(run))
    sidecar = Sidecar.load(sidecar_path(ply))
    assert sidecar.teacher == TeacherConfig("clip", model=TINY, pretrained=str(weights)) and sidecar.texts is None
    query = Query(("a red mug",), ("table",))
    assert torch.equal(search(open_field(ply), query).scores, search(open_field(run), query).scores)


def test_any_words_will_do_and_the_usual_negatives_are_taken(run):
    field = open_field(run)
    assert field.vocabulary is None and field.knows("whatever")
    asked, against = search(field, Query(("mug",))), search(field, Query(("mug",), DEFAULT_NEGATIVES))
    assert torch.equal(asked.scores, against.scores)


def test_prompts_are_averaged(run, weights):
    prompts = ("a {}", "an old {}")
    phrases = open_tiny(weights).phrases(["a mug", "an old mug", "a cat", "an old cat"])
    expected = F.normalize(phrases.reshape(2, 2, -1).mean(1), dim=1)
    torch.testing.assert_close(open_field(run).encode_text(["mug", "cat"], prompts), expected)
    one = open_field(run).encode_text(["mug"], ["a photo of a {}."])
    torch.testing.assert_close(one, open_tiny(weights).text(["mug"]))


def test_a_picture_is_the_mean_of_its_map(run, weights, tmp_path):
    view = make_view(40, 48)
    Image.fromarray(view.image.numpy()).save(tmp_path / "mug.png")
    field, example = open_field(run), PictureFile(tmp_path / "mug.png")
    (features,) = open_tiny(weights).extract([view])
    torch.testing.assert_close(look_up(field, example), features.mean((1, 2)))
    expected = text_cosine(field.latents, features.mean((1, 2))[None], field.B)[:, 0]
    torch.testing.assert_close(search(field, Query(like=example)).scores, expected)
