"""Small files of many kinds, to lie where a file of another kind is expected."""

import gzip
import os
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

MARK = Path(tempfile.gettempdir()) / f"gsdff-fuzz-executed-{os.getpid()}"
"""A file that only code of a file makes."""


def _torch(content: object) -> bytes:
    stream = BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _picture(form: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(9, 12, 3)).save(stream, form)
    return stream.getvalue()


def _numpy(**arrays: np.ndarray) -> bytes:
    stream = BytesIO()
    if "only" in arrays:
        np.save(stream, arrays["only"])
    else:
        np.savez(stream, **arrays)
    return stream.getvalue()


def _zip() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return stream.getvalue()


FOREIGN = {
    "html": b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n",
    "json": b'{"frames": [], "classes": [], "edit": [], "info": {}, "annotations": []}',
    "json-list": b'["a", 1, null, {}]',
    "toml": b'[stage1]\nsteps = 5\n[[edit]]\noperation = "delete"\n',
    "yaml": b"texts: [a, b]\noperations: deletion\n",
    "csv": b"id,predicted_iou\n0,0.5\n",
    "png": _picture("PNG"),
    "jpeg": _picture("JPEG"),
    "npy": _numpy(only=np.ones((2, 3), np.float32)),
    "npz": _numpy(names=np.array(["a"]), vectors=np.ones((1, 5), np.float32)),
    "torch": _torch(torch.ones(2, 3)),
    "torch-dict": _torch({"state_dict": {"a": torch.ones(1)}, "format": 1}),
    "safetensors": save({"B": torch.eye(3)}, {"format": "gsdff-basis-1"}),
    "mesh": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 0\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n",
    "zip": _zip(),
    "gzip": gzip.compress(b"hello" * 20, mtime=0),
    "pickle": b"cos\nsystem\n(S'touch " + str(MARK).encode() + b"'\ntR.",
    "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 60,
    "elf": b"\x7fELF\2\1\1" + b"\0" * 60,
}
