"""Numbers of things and classes in a GLB: vertex attributes `_FEATURE_ID_0` and on, declared by EXT_mesh_features."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from gsdff.errors import UserError
from gsdff.files.reading import read_bytes

MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
FLOAT, ARRAY_BUFFER = 5126, 34962
EXTENSION = "EXT_mesh_features"
ALIGNMENT = 4
GLB = "a GLB"


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of a GLB; raises `UserError` for another file."""
    data = read_bytes(path, GLB)
    chunks: dict[bytes, bytes] = {}
    start = 12
    while data[:4] == MAGIC and start + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, start)
        chunks[kind] = data[start + 8 : start + 8 + length]
        start += 8 + length
    if not chunks.keys() >= {JSON_CHUNK, BINARY_CHUNK}:
        raise UserError(f"{path}: expected {GLB} with a JSON and a binary chunk")
    return json.loads(chunks[JSON_CHUNK]), chunks[BINARY_CHUNK]


def write_glb(path: Path, content: Mapping[str, Any], binary: bytes) -> None:
    """Writes the two chunks."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    binary += b"\0" * (-len(binary) % ALIGNMENT)
    total = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<4sII", MAGIC, VERSION, total)
    heads = [struct.pack("<I4s", len(chunk), kind) for chunk, kind in ((text, JSON_CHUNK), (binary, BINARY_CHUNK))]
    path.write_bytes(b"".join([head, heads[0], text, heads[1], binary]))


def add_feature_ids(path: Path, ids: Mapping[str, Integer[np.ndarray, "N"]], dictionary: Mapping[str, Any]) -> None:
    """Adds numbers to the splats of a GLB, by their labels, and the dictionary as `extras` of its mesh.

    Numbers are from 1, and 0 for nothing (`nullFeatureId`); floats in the file, as EXT_mesh_features allows and glTF's
    alignment asks for: whole up to 2^24.
    """
    content, binary = read_glb(path)
    (primitive,) = content["meshes"][0]["primitives"]
    declared = []
    for index, (label, values) in enumerate(ids.items()):
        assert values.min(initial=0) == 0, "0 is nothing"
        start = len(binary)
        assert start % ALIGNMENT == 0, "attributes have numbers of four bytes"
        data = values.astype("<f4").tobytes()
        binary += data
        view = {"buffer": 0, "byteOffset": start, "byteLength": len(data), "target": ARRAY_BUFFER}
        content["bufferViews"].append(view)
        content["accessors"].append(
            {
                "bufferView": len(content["bufferViews"]) - 1,
                "componentType": FLOAT,
                "count": len(values),
                "type": "SCALAR",
            }
        )
        primitive["attributes"][f"_FEATURE_ID_{index}"] = len(content["accessors"]) - 1
        count = len(np.unique(values[values > 0]))
        declared.append({"featureCount": max(count, 1), "attribute": index, "label": label, "nullFeatureId": 0})
    primitive.setdefault("extensions", {})[EXTENSION] = {"featureIds": declared}
    content.setdefault("extensionsUsed", []).append(EXTENSION)
    content["meshes"][0]["extras"] = dict(dictionary)
    content["buffers"][0]["byteLength"] = len(binary)
    write_glb(path, content, binary)
