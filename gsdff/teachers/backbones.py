"""Networks of open_clip and timm, on which teachers are built: they are named, their weights found, and loaded."""

import logging
import socket
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from gsdff.errors import UserError
from gsdff.files.reading import DAMAGE, check_file
from gsdff.files.writing import hash_file

log = logging.getLogger("gsdff")

_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_VIT_FILES = ("model.safetensors", "pytorch_model.bin")
TEACHER_OPTIONS = "teacher."
"""Prefix, in error messages, of the options that set a teacher's `model` and `pretrained`."""
_VIT_FAMILIES = {"vision_transformer", "eva"}
"""timm's modules of plain ViTs, which take images of any size: DINO and DINOv2 are in the first, DINOv3 in eva."""


@dataclass(frozen=True)
class Source:
    """A network of open_clip or timm, with its weights in a file or in a repository of huggingface.co."""

    model: str
    tag: str = ""
    """Name in open_clip of one set of weights of the model."""
    file: Path | None = None
    repository: str = ""
    filenames: tuple[str, ...] = ()
    """Possible names of the weights in the repository; the first file that exists is taken."""
    options: str = TEACHER_OPTIONS
    """Prefix, in error messages, of the options that set `model` and `pretrained`."""

    @cached_property
    def weights(self) -> Path:
        """File of the weights; downloaded if it is neither given nor in the hub's cache."""
        return self.file or _cached(self) or _fetch(self)

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies model and weights: published weights by name, a file by its bytes. Downloads nothing."""
        if self.file is None:
            return f"{self.model}:{self.tag or self.repository}"
        return f"{self.model}:{hash_file(self.file)}"


def find_clip(model: str, pretrained: str, options: str = TEACHER_OPTIONS) -> Source:
    """Finds open_clip's model of this name with a tag or a file of weights.

    Raises `UserError` if there is no such model, if it has no such weights, or if it cannot give dense features.
    """
    import open_clip

    model = model.replace("/", "-")  # OpenAI's own spelling is ViT-B/16
    if model not in (known := open_clip.list_models()):
        raise UserError(f"`{options}model`: open_clip has no {model!r}; closest: {_closest(model, known)}")
    config = open_clip.get_model_config(model)
    assert config is not None, "every listed model has a configuration"
    if (obstacle := _obstacle(config)) is not None:
        raise UserError(
            f"`{options}model`: {model} {obstacle}; expected one of open_clip's own ViTs with its own tokenizer, such "
            f"as ViT-B-16, ViT-L-14 or ViT-H-14"
        )
    if published := open_clip.get_pretrained_cfg(model, pretrained):
        folder, _, filename = published["hf_hub"].rpartition("/")
        filenames = (filename,) if filename else _CLIP_FILES
        return Source(model, tag=pretrained, repository=folder, filenames=filenames, options=options)
    if Path(pretrained).is_file():
        return Source(model, file=Path(pretrained), options=options)
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise UserError(
        f"`{options}pretrained`: {pretrained!r} is neither a file nor a tag of open_clip's {model}; its tags: {tags}"
    )


def find_vit(model: str, pretrained: str | None) -> Source:
    """Finds timm's ViT of this name with a file of weights, by default those of the tag in its name.

    Raises `UserError` if there is no such model, if it is not a plain ViT, or if it has no such weights.
    """
    from timm.models import get_arch_name, get_pretrained_cfg, is_model, is_model_in_modules, list_models

    _, _, tag = model.partition(".")
    known = list_models(pretrained=True)
    if not is_model(model) or (tag and model not in known):
        raise UserError(f"`teacher.model`: timm has no {model!r}; closest: {_closest(model, known)}")
    if not is_model_in_modules(get_arch_name(model), _VIT_FAMILIES):
        raise UserError(
            f"`teacher.model`: timm's {model} is not a plain ViT, whose tokens form a map; expected one such as "
            f"vit_small_patch14_dinov2.lvd142m or vit_small_patch16_dinov3.lvd1689m"
        )
    if pretrained is not None:
        if Path(pretrained).is_file():
            return Source(model, file=Path(pretrained))
        raise UserError(
            f"`teacher.pretrained`: {pretrained}: no such file; for the dino teacher, published weights are named in "
            f"`teacher.model`, as in vit_small_patch14_dinov2.lvd142m"
        )
    published = get_pretrained_cfg(model, allow_unregistered=True)
    if published is None or not published.hf_hub_id:
        raise UserError(
            f"`teacher.model`: timm publishes no weights of {model}; pass a file of weights with `teacher.pretrained`"
        )
    return Source(model, repository=published.hf_hub_id, filenames=_VIT_FILES)


@torch.inference_mode(False)  # it may be loaded inside inference mode and used outside
def load_clip(source: Source, device: torch.device) -> nn.Module:
    """Loads the CLIP model with its weights, in evaluation mode.

    Weights of a tag get the activation they were trained with (OpenAI's QuickGELU, whatever the model's name); for a
    file the model's name decides. A file is assumed to need the model's usual mean and standard deviation.
    Raises `UserError` if the weights are not available or do not fit.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(source.model)
    published = open_clip.get_pretrained_cfg(source.model, source.tag or next(iter(tags), ""))
    quick = bool(source.tag and published.get("quick_gelu"))
    with _reading(source):
        model = make_clip(
            source.model,
            str(source.weights),
            force_quick_gelu=quick,
            force_preprocess_cfg={key: published[key] for key in ("mean", "std") if key in published},
        )
    return model.requires_grad_(False).to(device)


@torch.inference_mode(False)
def load_vit(source: Source, device: torch.device) -> nn.Module:
    """Loads the ViT with its weights, for images of any size, in evaluation mode.

    Files pass timm's filter, so that the checkpoints published by DINO's authors fit too. Raises `UserError` if the
    weights are not available or do not fit.
    """
    with _reading(source):
        model = make_vit(
            source.model,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(source.weights)},
            dynamic_img_size=True,
        )
    return model.requires_grad_(False).to(device)


def make_clip(model: str, pretrained: str | None = None, **options) -> nn.Module:
    """Creates open_clip's model of this name, in evaluation mode; `pretrained` is one of its tags or a file."""
    import open_clip

    return open_clip.create_model(model, pretrained=pretrained, **options).eval()


def make_vit(model: str, **options) -> nn.Module:
    """Creates timm's model of this name, in evaluation mode."""
    import timm

    return timm.create_model(model, **options).eval()


def tokenize(model: str, texts: Sequence[str]) -> Int[Tensor, "Q context"]:
    """Token ids of an open_clip model; texts too long for its context are cut."""
    import open_clip

    return open_clip.get_tokenizer(model)(list(texts))


def standardize(
    images: Float[Tensor, "B 3 H W"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "B 3 H W"]:
    """Images in [0, 1] shifted and scaled to the mean and standard deviation of a network's training."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def _closest(name: str, known: list[str]) -> str:
    return ", ".join(get_close_matches(name, known, n=4)) or "none is similar"


def _obstacle(config: dict[str, Any]) -> str | None:
    """Reason why an open_clip model cannot give dense features, None if it can."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        return f"has timm's image tower {vision['timm_model_name']}, which pools in its own way"
    if not isinstance(vision["layers"], int):
        return "has a ResNet as its image tower"
    if vision.get("attentional_pool") or "multimodal_cfg" in config:
        return "is a CoCa, which pools by attention"
    if any(vision.get(option) for option in ("scale_heads", "scale_attn_inner", "scale_attn")):
        return "scales the values of its attention"
    if "hf_model_name" in text or text.get("hf_tokenizer_name"):
        return "needs the package transformers for its text"
    return None


@contextmanager
def _reading(source: Source) -> Iterator[None]:
    """Turns the errors of open_clip and timm about an unsuitable file into a `UserError` with the file's name."""
    path = source.weights
    check_file(path, f"the weights of {source.model}")
    if _is_torchscript(path):
        raise UserError(
            f"{path}: a TorchScript archive, as OpenAI published CLIP; expected only its weights, such as "
            f"open_clip_model.safetensors from https://huggingface.co/timm/vit_base_patch16_clip_224.openai"
        )
    try:
        yield
    except (OSError, SafetensorError, StopIteration, *DAMAGE) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: damaged, or not weights of {source.model}: {reason}") from error


def _is_torchscript(path: Path) -> bool:
    """Whether the file is a program with its weights; it is not loaded, which could run the program."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _cached(source: Source) -> Path | None:
    """The published file in the hub's cache, None if it is not there."""
    import huggingface_hub

    found = (huggingface_hub.try_to_load_from_cache(source.repository, name) for name in source.filenames)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _fetch(source: Source) -> Path:
    """Downloads the published file into the hub's cache."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    address = f"{huggingface_hub.constants.ENDPOINT}/{source.repository}"
    log.info("downloading the weights of %s from %s", source.model, address)
    reason = f"it has none of {', '.join(source.filenames)}"
    try:
        if not getproxies():  # fails at once without a network; the hub would try for a minute
            socket.getaddrinfo(urlsplit(address).hostname, 443)
        for name in source.filenames:
            try:
                return Path(huggingface_hub.hf_hub_download(source.repository, name))
            except LocalEntryNotFoundError:  # no connection; its base class means that there is no such file
                raise
            except EntryNotFoundError:
                continue
    # the bases include the HTTP library's own error; each major version of the hub uses another library
    except (OSError, LocalEntryNotFoundError, *HfHubHTTPError.__bases__) as error:  # pyright: ignore[reportGeneralTypeIssues]
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise UserError(
        f"no weights of {source.model}: not in the cache, and not available from {address} ({reason}); download "
        f"{source.filenames[0]} from there on another machine and pass it with `{source.options}pretrained`"
        + (", or choose another `teacher.name`" if source.options == TEACHER_OPTIONS else "")
    )
