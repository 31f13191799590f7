"""Networks of the model zoos: names, weights, fingerprints, and what is refused; all by way of CLIP."""

import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from tiny_clip import TINY, cut_network, make_view, make_weights, open_tiny, tiny_clip
from torch import nn

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.teachers.clip import ClipTeacher


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_clip(tmp_path_factory.mktemp("tiny")) as path:
        yield path


@pytest.fixture(autouse=True)
def no_network(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_network(monkeypatch)


# --- weights


def test_opening_loads_no_network_and_the_fingerprint_needs_none(weights: Path) -> None:
    teacher = open_tiny(weights)
    assert teacher.fingerprint and "_network" not in vars(teacher)


def test_the_fingerprint_changes_with_what_changes_a_map_and_nothing_else(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save(make_weights(1), other)
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    base = open_tiny(weights).fingerprint
    assert open_tiny(copy).fingerprint == base == open_tiny(weights, batch=1, multi_scale=True).fingerprint
    changed = [open_tiny(other), open_tiny(weights, size=48), open_tiny(weights, model="ViT-B-16")]
    published = [ClipTeacher(TeacherConfig(model=model, pretrained=tag)) for model, tag in
                 [(None, None), ("ViT-B-16", "laion2b_s34b_b88k"), ("ViT-L-14", "openai")]]  # fmt: skip
    assert len({base, *(teacher.fingerprint for teacher in changed + published)}) == 7


def publish(monkeypatch: pytest.MonkeyPatch, **entry: object) -> None:
    """Gives the tiny model a tag `theirs` in open_clip's table."""
    published = {"hf_hub": "someone/tiny/", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), **entry}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, {"theirs": published})


@pytest.mark.parametrize(("quick", "activation"), [(True, open_clip.transformer.QuickGELU), (False, nn.GELU)])
def test_published_weights_bring_their_activation_and_colour_statistics(
    weights: Path, monkeypatch: pytest.MonkeyPatch, quick: bool, activation: type
) -> None:
    publish(monkeypatch, quick_gelu=quick)
    asked = []

    def find(*names: str) -> str | None:
        asked.append(names)
        return str(weights) if names[1].endswith(".bin") else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    network = open_tiny("theirs")._network
    assert isinstance(network.visual.transformer.resblocks[0].mlp.gelu, activation)
    assert isinstance(network.transformer.resblocks[0].mlp.gelu, activation)
    assert network.visual.image_mean == (0.5, 0.4, 0.3) and network.visual.image_std == (0.2, 0.3, 0.4)
    assert asked == [("someone/tiny", f"open_clip_{name}") for name in ("model.safetensors", "pytorch_model.bin")]


def test_the_default_is_openais_vit_b_16_with_quick_gelu() -> None:
    source = ClipTeacher(TeacherConfig()).source
    assert (source.model, source.tag) == ("ViT-B-16-quickgelu", "openai")
    assert open_clip.get_model_config(source.model)["quick_gelu"]


def test_checking_a_view_fetches_weights_once_and_says_so(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append(name)
        if name.endswith(".safetensors"):
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    teacher = open_tiny("theirs")
    with caplog.at_level("INFO", logger="gsdff"):
        teacher.check(make_view(8, 8))
        teacher.check(make_view(8, 8))
    assert asked == ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    assert caplog.text.count("downloading the weights of gsdff-tiny from https://huggingface.co/someone/tiny") == 1
    assert next(teacher.extract([make_view(32, 32)])).shape == (12, 8, 8)


# --- what it refuses


def test_weights_that_cannot_be_had_are_named_with_where_they_are_and_what_to_do() -> None:
    teacher = ClipTeacher(TeacherConfig())
    with pytest.raises(UserError) as caught:
        teacher.check(make_view(8, 8))
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "no weights of ViT-B-16-quickgelu",
        "https://huggingface.co/timm/vit_base_patch16_clip_224.openai",
        "Name or service not known",
        "open_clip_model.safetensors",
        "`teacher.pretrained`",
        "another `teacher.name`",
    ):
        assert part in message
    for ask in (lambda: teacher.text(["chair"]), lambda: next(teacher.extract([make_view(8, 8)]))):
        with pytest.raises(UserError, match="no weights of ViT-B-16-quickgelu"):
            ask()


@pytest.mark.parametrize(
    "error",
    [
        huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand much more"),
        HfHubHTTPError.__bases__[0]("broken off"),
        OSError("disk full"),
        huggingface_hub.errors.EntryNotFoundError("no such file"),
    ],
)
def test_a_download_that_fails_is_a_users_error_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: str) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"no weights of ViT-B-16-quickgelu: .*(connection|broken|disk|none)") as caught:
        ClipTeacher(TeacherConfig()).check(make_view(8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-17", None, r"`teacher.model`: open_clip has no 'ViT-B-17'; closest: .*ViT-B-16"),
        ("ViT-B-16-SigLIP", None, "timm's image tower vit_base_patch16_siglip_224"),
        ("RN50", None, "RN50 has a ResNet as its image tower; expected one of open_clip's own ViTs"),
        ("coca_ViT-B-32", None, "is a CoCa, which pools by attention"),
        ("xlm-roberta-base-ViT-B-32", None, "needs the package transformers"),
        ("ViT-H-14", None, "'openai' is neither a file nor a tag of open_clip's ViT-H-14; its tags: laion2b_s32b_b79k"),
        (
            "ViT-B/16",
            "nowhere/at/all.pt",
            "'nowhere/at/all.pt' is neither a file nor a tag of open_clip's ViT-B-16",
        ),
        ("ViT-e-14", None, "its tags: none"),
    ],
)
def test_what_no_map_can_be_made_of_is_refused_when_it_is_opened(
    model: str, pretrained: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ClipTeacher(TeacherConfig(model=model, pretrained=pretrained))


def write(path: Path, content: object) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pt", b""),
        ("a.pt", b"no weights"),
        ("a.safetensors", b"no weights"),
        ("a.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "),
        ("a.pt", {}),
        ("a.pt", [1, 2]),
        ("a.pt", {"visual.proj": torch.zeros(3, 3)}),
        ("a.pt", {1: 2}),
    ],
)
def test_a_file_of_something_else_is_refused_with_its_name(tmp_path: Path, name: str, content: object) -> None:
    write(tmp_path / name, content)
    with pytest.raises(UserError, match=rf"{name}: damaged, or not weights of {TINY}: ") as caught:
        open_tiny(tmp_path / name).text(["chair"])
    assert "\n" not in str(caught.value)


def test_a_torchscript_archive_is_not_run_but_its_weights_are_pointed_at(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ViT-B-16.pt", "w") as archive:
        archive.writestr("ViT-B-16/constants.pkl", b"")
    with pytest.raises(UserError, match=r"ViT-B-16\.pt: a TorchScript archive, .*https://huggingface\.co/timm"):
        open_tiny(tmp_path / "ViT-B-16.pt").text(["chair"])
