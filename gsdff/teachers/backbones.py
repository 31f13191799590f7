"""The two model zoos teachers are built on, open_clip and timm: naming a network, finding its weights, making it."""

import logging
import pickle
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from gsdff.errors import UserError
from gsdff.files import hash_file

log = logging.getLogger("gsdff")

_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_VIT_FILES = ("model.safetensors", "pytorch_model.bin")
TEACHER_OPTIONS = "--teacher."
"""How the options begin that name a teacher's model and its weights, for errors."""
_VIT_FAMILIES = {"vision_transformer", "eva"}
"""timm's modules of plain ViTs, those that take images of any size: DINO and DINOv2 are of the first, DINOv3 of eva."""


@dataclass(frozen=True)
class Source:
    """A network of a zoo and where its weights are: in a file, or in a repository of huggingface.co."""

    model: str
    tag: str = ""
    """open_clip's name for one set of weights of the model."""
    file: Path | None = None
    repository: str = ""
    filenames: tuple[str, ...] = ()
    """What the weights may be called in the repository; the first that is there counts."""
    options: str = TEACHER_OPTIONS
    """How the options begin that the user names it by."""

    @cached_property
    def weights(self) -> Path:
        """The file of weights; fetched once where it is neither given nor in the hub's cache."""
        return self.file or _cached(self) or _fetch(self)

    @cached_property
    def fingerprint(self) -> str:
        """Of model and published weights by name, of a file by its bytes; fetches nothing."""
        if self.file is None:
            return f"{self.model}:{self.tag or self.repository}"
        return f"{self.model}:{hash_file(self.file)}"


def find_clip(model: str, pretrained: str, options: str = TEACHER_OPTIONS) -> Source:
    """open_clip's model of this name with one of its tags or a file; `UserError` for what a dense teacher cannot be."""
    import open_clip

    model = model.replace("/", "-")  # OpenAI's own spelling is ViT-B/16
    if model not in (known := open_clip.list_models()):
        raise UserError(f"{options}model: open_clip has no {model!r}; closest: {_closest(model, known)}")
    if (hindrance := _hindrance(open_clip.get_model_config(model))) is not None:
        raise UserError(
            f"{options}model: {model} {hindrance}; expected one of open_clip's own ViTs with its own tokenizer, such "
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
        f"{options}pretrained: {pretrained!r} is no file and no tag of open_clip's {model}; its tags: {tags}"
    )


def find_vit(model: str, pretrained: str | None) -> Source:
    """timm's ViT of this name with the weights its name says, or a file; `UserError` for what is no such ViT."""
    from timm.models import get_arch_name, get_pretrained_cfg, is_model, is_model_in_modules, list_models

    _, _, tag = model.partition(".")
    known = list_models(pretrained=True)
    if not is_model(model) or (tag and model not in known):
        raise UserError(f"--teacher.model: timm has no {model!r}; closest: {_closest(model, known)}")
    if not is_model_in_modules(get_arch_name(model), _VIT_FAMILIES):
        raise UserError(
            f"--teacher.model: timm's {model} is no plain ViT, whose tokens make a map; expected one such as "
            f"vit_small_patch14_dinov2.lvd142m or vit_small_patch16_dinov3.lvd1689m"
        )
    if pretrained is not None:
        if Path(pretrained).is_file():
            return Source(model, file=Path(pretrained))
        raise UserError(
            f"--teacher.pretrained: {pretrained}: no such file; with teacher dino the published weights are named by "
            f"--teacher.model, as in vit_small_patch14_dinov2.lvd142m"
        )
    published = get_pretrained_cfg(model, allow_unregistered=True)
    if published is None or not published.hf_hub_id:
        raise UserError(
            f"--teacher.model: timm publishes no weights of {model}; pass some with --teacher.pretrained FILE"
        )
    return Source(model, repository=published.hf_hub_id, filenames=_VIT_FILES)


@torch.inference_mode(False)  # it may be asked for inside inference mode, and used outside
def load_clip(source: Source, device: torch.device) -> nn.Module:
    """The CLIP model with its weights, in evaluation mode; `UserError` where they cannot be had or do not fit.

    Weights of a tag get the activation they were trained with (OpenAI's QuickGELU, whatever the model's name says); of
    a file only the model's name can tell. A file is taken to want the model's usual mean and standard deviation.
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
    """The ViT with its weights, for images of any size, in evaluation mode; `UserError` as `load_clip`.

    Files are read through timm's filter, so that the checkpoints DINO's authors publish fit too.
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
    """open_clip's model of this name, in evaluation mode; `pretrained` is one of its tags or a file."""
    import open_clip

    return open_clip.create_model(model, pretrained=pretrained, **options).eval()


def make_vit(model: str, **options) -> nn.Module:
    """timm's model of this name, in evaluation mode."""
    import timm

    return timm.create_model(model, **options).eval()


def tokenize(model: str, texts: list[str]) -> Int[Tensor, "Q context"]:
    """Token ids of an open_clip model; what is too long for its context is cut."""
    import open_clip

    return open_clip.get_tokenizer(model)(texts)


def standardize(
    images: Float[Tensor, "B 3 H W"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "B 3 H W"]:
    """Images in [0, 1] as a network was trained on them."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def _closest(name: str, known: list[str]) -> str:
    return ", ".join(get_close_matches(name, known, n=4)) or "nothing like it"


def _hindrance(config: dict) -> str | None:
    """What keeps an open_clip model from being a dense teacher, None where nothing does."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        return f"has timm's image tower {vision['timm_model_name']}, which pools in ways of its own"
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
    """Makes a `UserError` with the file's name of all that open_clip and timm raise for a file of something else."""
    path = source.weights
    if _is_torchscript(path):
        raise UserError(
            f"{path}: a TorchScript archive, as OpenAI published CLIP; expected its weights alone, which lie as "
            f"open_clip_model.safetensors at https://huggingface.co/timm/vit_base_patch16_clip_224.openai and beside it"
        )
    try:
        yield
    # load_state_dict raises RuntimeError; a file that holds something else than a dict of tensors, the last four
    except (
        OSError,
        RuntimeError,
        EOFError,
        SafetensorError,
        pickle.UnpicklingError,
        ValueError,
        KeyError,
        AttributeError,
        StopIteration,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: damaged, or no weights of {source.model}: {reason}") from error


def _is_torchscript(path: Path) -> bool:
    """Whether the file is a program with its weights, which is not read: that could run it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _cached(source: Source) -> Path | None:
    """The published file if it is in the hub's cache."""
    import huggingface_hub

    found = (huggingface_hub.try_to_load_from_cache(source.repository, name) for name in source.filenames)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _fetch(source: Source) -> Path:
    """The published file, from the network into the hub's cache."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    address = f"{huggingface_hub.constants.ENDPOINT}/{source.repository}"
    log.info("fetching the weights of %s from %s", source.model, address)
    reason = f"none of {', '.join(source.filenames)} is there"
    try:
        if not getproxies():  # fails at once without a network, where the hub would try for a minute
            socket.getaddrinfo(urlsplit(address).hostname, 443)
        for name in source.filenames:
            try:
                return Path(huggingface_hub.hf_hub_download(source.repository, name))
            except LocalEntryNotFoundError:  # of no connection, whereas its base means that there is no such file
                raise
            except EntryNotFoundError:
                continue
    # bases: that of the HTTP library's errors, which is another library in every major version of the hub's
    except (OSError, LocalEntryNotFoundError, *HfHubHTTPError.__bases__) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise UserError(
        f"no weights of {source.model}: not in the cache, and not to be had from {address} ({reason}); fetch "
        f"{source.filenames[0]} from there elsewhere and pass it with {source.options}pretrained FILE"
        + (", or take another --teacher" if source.options == TEACHER_OPTIONS else "")
    )
