"""segment-anything on the pretended card: the masks of a tiny network are those of the CPU."""

from dataclasses import replace

import torch
from mask_views import make_view, random_image
from segment_anything import sam_model_registry
from test_sam import EAGER, build_tiny

from gsdff.config.smoothing import MaskConfig
from gsdff.masks.sam import SamSegmenter


def test_segments_are_the_cpus(card, tmp_path, generator, monkeypatch):
    monkeypatch.setitem(sam_model_registry, "vit_b", build_tiny)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_tiny().state_dict(), tmp_path / "tiny.pth")
    image = random_image(generator, 48, 64)
    options = replace(EAGER, points_per_side=2, crop_n_layers=1)
    config = MaskConfig(checkpoint=tmp_path / "tiny.pth", sam=options, min_area=20)
    segments = [
        SamSegmenter(config, torch.device(device)).segment(make_view(image), image.to(device)).cpu()
        for device in ("cpu", "cuda")
    ]
    assert segments[0].max() >= 1
    assert (segments[0] != segments[1]).double().mean() < 0.02
