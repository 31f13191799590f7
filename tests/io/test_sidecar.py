"""The file beside a PLY: read back as written, and refused when its content is missing or of the wrong kind."""

import json

import pytest
import torch

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.files.writing import save_tensors
from gsdff.io.sidecar import Sidecar
from gsdff.latents import BASIS_FORMAT, Basis

FACTS = {"format": BASIS_FORMAT, "energy": "0.5", "teacher": "lseg", "fingerprint": "abc"}
VECTORS = torch.eye(4)[:2]


def test_what_is_saved_is_what_is_loaded(tmp_path):
    texts = {"a cup": VECTORS[0], "Stühle": VECTORS[1]}
    teacher = TeacherConfig("clip", model="ViT", pretrained="openai")
    basis = Basis(torch.eye(4, 3), 0.5, "clip", "f")
    Sidecar(basis, teacher, texts, "", "antialiased", 4, "turned").save(tmp_path / "a")
    read = Sidecar.load(tmp_path / "a")
    assert read.basis.B.equal(torch.eye(4, 3))
    assert (read.rasterize_mode, read.downscale, read.poses) == ("antialiased", 4, "turned")
    assert read.teacher == teacher
    assert read.texts.keys() == texts.keys() and all(read.texts[name].equal(texts[name]) for name in texts)


@pytest.mark.parametrize(
    ("tensors", "facts", "message"),
    [
        ({}, {"downscale": "0"}, "expected a downscale of 1 or more, got '0'"),
        ({}, {"downscale": "9" * 4000}, "expected a downscale of 1 or more, got '9999"),
        ({}, {"downscale": "two"}, "expected a downscale of 1 or more, got 'two'"),
        ({}, {"poses": "lying"}, "expected poses of .*, got 'lying'"),
        ({}, {"rasterize_mode": "fast"}, "expected a rasterize_mode of .*, got 'fast'"),
        ({}, {"origin": "[1, 2]"}, r"expected an origin of three finite numbers, got \[1, 2\]"),
        ({}, {"origin": f"[1, 2, {'9' * 400}]"}, r"expected an origin of three finite numbers, got \[1, 2, 999"),
        ({}, {"origin": "[1, 2, NaN]"}, r"expected an origin of three finite numbers, got \[1, 2, nan"),
        ({}, {"origin": '"none"'}, "origin is no list"),
        ({}, {"settings": "[" * 100_000}, "nested too deep"),
        ({}, {"settings": "[]"}, "settings is no dict"),
        ({}, {"settings": '{"model": 7}'}, "of a teacher 'lseg' that this gsdff does not know"),
        ({}, {"teacher": "oracle"}, "of a teacher 'oracle' that this gsdff does not know"),
        ({}, {"energy": ""}, "expected an energy from 0 to 1, got ''"),
        ({"texts": VECTORS}, {"texts": '{"a": 1}'}, "texts is no list"),
        ({"texts": VECTORS}, {"texts": "not JSON"}, "cannot be read as the file beside a PLY"),
        ({"texts": VECTORS}, {"texts": '["a"]'}, r"finite text vectors \[1, 4\], one per name, got .*\[2, 4\]"),
        ({"texts": VECTORS}, {}, r"finite text vectors \[0, 4\]"),
        ({"texts": VECTORS}, {"texts": "[1, 2]"}, r"different names of its text vectors, got \[1, 2\]"),
        ({"texts": VECTORS}, {"texts": '["a", "a"]'}, "different names of its text vectors"),
        ({"texts": VECTORS[:, :3].contiguous()}, {"texts": '["a", "b"]'}, r"got torch.float32 \[2, 3\]"),
        ({"texts": VECTORS.long()}, {"texts": '["a", "b"]'}, "got torch.int64"),
        ({"texts": VECTORS / 0}, {"texts": '["a", "b"]'}, "expected finite text vectors"),
    ],
)
def test_missing_or_misshapen_content_is_refused(tmp_path, tensors, facts, message):
    path = tmp_path / "scene.basis.safetensors"
    save_tensors(path, {"B": torch.eye(4, 3), **tensors}, FACTS | facts)
    with pytest.raises(UserError, match=rf"scene\.basis\.safetensors: .*{message}.*; export the run again"):
        Sidecar.load(path)


def test_texts_of_another_precision_become_float32(tmp_path):
    names = json.dumps(["a", "b"])
    save_tensors(tmp_path / "a", {"B": torch.eye(4, 3).double(), "texts": VECTORS.half()}, FACTS | {"texts": names})
    read = Sidecar.load(tmp_path / "a")
    assert read.texts["b"].dtype == read.basis.B.dtype == torch.float32 and read.texts["b"].equal(VECTORS[1])
