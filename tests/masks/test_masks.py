"""Which segmenter a configuration comes to."""

import logging
from pathlib import Path

import pytest

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.masks import choose_segmenter, open_segmenter


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder of fetched weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "gsdff").mkdir(parents=True)
    return tmp_path / "cache" / "gsdff"


def test_without_a_checkpoint_felzenszwalb_is_taken_and_said_once(caplog):
    caplog.set_level(logging.INFO, "gsdff")
    segmenter = open_segmenter(MaskConfig())
    assert segmenter.name == "felzenszwalb"
    assert len(caplog.records) == 1 and "download_weights.py sam_vit_b" in caplog.text


def test_felzenszwalb_asked_for_by_name_is_nothing_to_mention(caplog):
    caplog.set_level(logging.INFO, "gsdff")
    assert open_segmenter(MaskConfig(name="felzenszwalb")).name == "felzenszwalb"
    assert not caplog.records


def test_none_is_no_segmenter():
    assert open_segmenter(MaskConfig(name="none")) is None


def test_auto_takes_what_is_at_hand(cache: Path, tmp_path: Path):
    assert choose_segmenter(MaskConfig()) == "felzenszwalb"
    (cache / "demo_e200.ckpt").touch()
    assert choose_segmenter(MaskConfig()) == "felzenszwalb"
    assert choose_segmenter(MaskConfig(checkpoint=tmp_path / "sam.pth")) == "sam"
    assert choose_segmenter(MaskConfig(folder=tmp_path, checkpoint=tmp_path / "sam.pth")) == "precomputed"
    (cache / "sam_vit_l_0b3195.pth").touch()
    assert choose_segmenter(MaskConfig()) == "sam"
    assert choose_segmenter(MaskConfig(name="none")) == "none"


def test_precomputed_needs_a_folder_that_is_there(tmp_path: Path):
    with pytest.raises(UserError, match=r"^`masks\.folder`: expected the folder"):
        open_segmenter(MaskConfig(name="precomputed"))
    with pytest.raises(UserError, match=r"nowhere: no such folder; `masks\.folder` expects"):
        open_segmenter(MaskConfig(folder=tmp_path / "nowhere"))


def test_sam_without_a_checkpoint_says_how_to_get_one():
    with pytest.raises(
        UserError, match=r"sam_vit_b_01ec64\.pth: missing.*download_weights\.py sam_vit_b.*`masks\.checkpoint`"
    ):
        open_segmenter(MaskConfig(name="sam"))
