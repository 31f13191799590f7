"""Ways in which a file goes wrong: its bytes, its kind, its text, and the values that its format holds.

Every mutation takes a source of randomness and what it changes, and gives it changed, so a seed gives the same file.
"""

import json
import math
import os
import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

DEEP = 100_000
"""Levels of nesting that no reader can follow."""
HUGE = 10**400
NUMBERS = (
    "nan", "inf", "-inf", "1e300", "-1e300", "1e39", "1e999", "-5", "0", "-0.0", "0.5", "1e-300", "65536", "0x10",
    "2147483648", "4294967295", "9223372036854775807", "18446744073709551615", "99999999999999999999", "1" * 5000,
    "½", "١٢", "true", "None", "''", "1_0",
)  # fmt: skip
"""Texts in place of a number."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, HUGE, 0.5, -0.0, 1e300, -1e300, math.nan, math.inf, -math.inf,
    "", " ", "nan", "5", "a:b+c", "\0", "../../etc/passwd", "/", ".", "\ud800", "é\u200b\u202e", "x" * 3000, [], {},
    [[]], [None], {"": None}, [1, 2], [math.nan] * 16, [1e300] * 3,
)  # fmt: skip
"""Values in place of any other."""
INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**40)
FLOATS = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e39, 0.0, -0.0, -1.0, 1e-300, 3e38, 1e20)
SPELLINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis")


# --- any bytes


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.choice((0, 1, 3, 7, 8, len(data) // 2, len(data) - 1, random.randrange(len(data) + 1)))]


def flip_bits(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 40))):
        if changed:
            end = random.choice((64, 400, len(changed)))  # headers are the interesting part
            changed[random.randrange(min(end, len(changed)))] ^= 1 << random.randrange(8)
    return bytes(changed)


def insert_bytes(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((b"\0", b"\xff\xfe", b"\n", b" ", random.randbytes(9), b"-", b"9")) + data[at:]


def cut_bytes(random: Random, data: bytes) -> bytes:
    at, length = random.randrange(len(data) + 1), random.choice((1, 2, 4, 8, 100))
    return data[:at] + data[at + length :]


def double_bytes(random: Random, data: bytes) -> bytes:
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


def overwrite_integer(random: Random, data: bytes) -> bytes:
    width = random.choice((1, 2, 4, 8))
    value = random.choice(INTEGERS) % 256**width
    return _overwrite(random, data, value.to_bytes(width, random.choice(("little", "little", "big"))))


def overwrite_float(random: Random, data: bytes) -> bytes:
    value = random.choice(FLOATS)
    if random.random() < 0.5:
        return _overwrite(random, data, struct.pack("<d", value))
    return _overwrite(random, data, np.float64(value).clip(-3e38, 3e38).astype("<f4").tobytes())


def _overwrite(random: Random, data: bytes, value: bytes) -> bytes:
    end = random.choice((40, len(data), len(data)))
    at = random.randrange(max(1, min(end, len(data)) // 4)) * 4
    return data[:at] + value + data[at + len(value) :]


def replace_all(random: Random, data: bytes) -> bytes:
    return random.choice((b"", b"\0", b" \n", b"\xff" * 40, b"\0" * 4000, b"{}", b"[]", b"null", random.randbytes(300)))


BYTES = (
    truncate, truncate, flip_bits, flip_bits, flip_bits, insert_bytes, cut_bytes, double_bytes, overwrite_integer,
    overwrite_integer, overwrite_float, replace_all,
)  # fmt: skip


# --- any text


def change_number(random: Random, data: bytes) -> bytes:
    """Another number, of the whole text or of its beginning."""
    text = data.decode("latin-1")
    found = list(re.finditer(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text))
    if not found:
        return insert_bytes(random, data)
    number = random.choice(found[: random.choice((5, len(found)))])
    return (text[: number.start()] + random.choice(NUMBERS) + text[number.end() :]).encode("utf-8")


def change_words(random: Random, data: bytes) -> bytes:
    words = re.split(rb"(\s+)", data)
    a, b = random.randrange(len(words)), random.randrange(len(words))
    match random.randrange(3):
        case 0:
            words[a], words[b] = words[b], words[a]
        case 1:
            words[a] = b""
        case _:
            words[a] = random.choice((b"x", b'"', b"[", b"{", b"#", b"\xe9", b"\xed\xa0\x80", b"\0", b"-", b":"))
    return b"".join(words)


def change_lines(random: Random, data: bytes) -> bytes:
    rows = data.splitlines(keepends=True)
    if not rows:
        return b"\n"
    a = random.randrange(len(rows))
    match random.randrange(4):
        case 0:
            del rows[a]
        case 1:
            rows.insert(a, rows[random.randrange(len(rows))])
        case 2:
            random.shuffle(rows)
        case _:
            rows[a] = b"\n"
    return b"".join(rows)


def respell(random: Random, data: bytes) -> bytes:
    """Another encoding, other ends of lines."""
    text = data.decode("utf-8", "replace")
    if random.random() < 0.2:
        return data.replace(b"\n", random.choice((b"\r\n", b"\r")))
    return text.encode(random.choice(SPELLINGS), "replace")


def nest(random: Random, data: bytes) -> bytes:
    """A text nested far too deep."""
    start, end = random.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"a = [", b"]"), (b"- ", b""), (b"a: [", b"]"), (b"{a: ", b"}"))
    )
    first, _, rest = start.partition(b"[")
    if rest == b"" and first:
        start = b"["
        return first + start * DEEP + end * random.choice((0, DEEP))
    return start * DEEP + end * random.choice((0, DEEP))


TEXT = (change_number, change_number, change_number, change_words, change_lines, respell, nest)


# --- plain values, of JSON, TOML, YAML


def change_value(random: Random, content: Any) -> Any:
    """The same values, one of which is another, gone, doubled or renamed."""
    places = list(_places(content))
    if not places:
        return random.choice(VALUES)
    inner, key = random.choice(places)
    value = inner[key]
    match random.choice(("replace", "replace", "replace", "remove", "rename", "wrap", "double", "many", "near")):
        case "replace":
            inner[key] = random.choice(VALUES)
        case "remove":
            del inner[key]
        case "rename" if isinstance(inner, dict):
            inner[random.choice(("x", "", f"{key}s", "__class__"))] = inner.pop(key)
        case "wrap":
            inner[key] = random.choice(([value], {"a": value}, [value] * 3))
        case "many":
            inner[key] = [value] * 2000 if isinstance(inner, dict) else value
        case "near" if isinstance(value, int | float) and not isinstance(value, bool):
            inner[key] = random.choice((-value, value * 1e6, str(value), float(value), value + 0.5, 10**18))
        case _:
            if isinstance(inner, list):
                inner.append(value)
            else:
                inner[key] = str(value)
    return content


def _places(content: Any) -> Any:
    """Every container with each of its keys."""
    if isinstance(content, dict | list):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield content, key
            yield from _places(content[key])


def change_json(random: Random, data: bytes) -> bytes:
    content = json.loads(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = change_value(random, content)
    return _dump(content)


def _dump(content: Any) -> bytes:
    text = (
        json.dumps(content, default=str)
        if not _holds_huge(content)
        else json.dumps(_spelled(content)).replace('"HUGE"', "1" * 5000)
    )
    return text.encode("utf-8", "surrogatepass")


def _holds_huge(content: Any) -> bool:
    """Whether a number has more digits than Python writes."""
    if isinstance(content, dict | list):
        return any(_holds_huge(value) for value in (content.values() if isinstance(content, dict) else content))
    return isinstance(content, int) and content == HUGE


def _spelled(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _spelled(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_spelled(value) for value in content]
    return "HUGE" if isinstance(content, int) and content == HUGE else content


def change_toml(random: Random, data: bytes) -> bytes:
    """TOML has no null, and its writer takes no lone surrogates; what it refuses is left as it is."""
    import tomli_w

    from gsdff.files.reading import tomllib

    content = tomllib.loads(data.decode())
    for _ in range(random.choice((1, 1, 2))):
        content = change_value(random, content)
    try:
        return tomli_w.dumps(content).encode("utf-8", "surrogatepass")
    except (TypeError, AttributeError, ValueError):
        return change_number(random, data)


def change_yaml(random: Random, data: bytes) -> bytes:
    import yaml

    content = change_value(random, yaml.safe_load(data))
    if random.random() < 0.2:
        rows = [
            b"a: &a [x,x,x,x,x,x,x,x,x]",
            *(b"%c: &%c [%s]" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
        ]
        rows = random.choice(
            (rows, [b"texts: !!python/object/apply:os.system ['true']"], [b"a: &a [*a]"], [b"? [1]\n: 2"])
        )
        return b"\n".join(rows)
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")


# --- arrays


def change_array(random: Random, array: np.ndarray) -> np.ndarray:
    """Another dtype, shape or value."""
    match random.choice(("dtype", "dtype", "shape", "shape", "value", "value", "empty", "big-endian", "scale")):
        case "dtype":
            kind = random.choice(("f2", "f4", "f8", "c8", "i1", "u1", "i8", "?", "S3", "U2", "M8[s]", "V4"))
            with np.errstate(all="ignore"):
                try:
                    return array.astype(kind)
                except (ValueError, TypeError):
                    return np.zeros(array.shape, kind)
        case "shape":
            ways = (
                array[None],
                array[..., None],
                array.ravel(),
                array[:0],
                array[:1],
                array[..., :-1],
                array.T,
                array[0] if array.ndim else array,
            )
            return random.choice(ways).copy()
        case "value" if array.dtype.kind == "f" and array.size:
            changed = array.copy()
            with np.errstate(all="ignore"):
                changed.ravel()[random.randrange(array.size)] = random.choice(FLOATS)
            return changed
        case "empty":
            return np.zeros((0,) * random.randrange(1, 4), array.dtype)
        case "big-endian" if array.dtype.kind in "iuf":
            return array.astype(array.dtype.newbyteorder(">"))
        case "scale" if array.dtype.kind == "f":
            with np.errstate(all="ignore"):
                return array * array.dtype.type(random.choice((0, 1e-30, 1e30, -1)))
        case _:
            return np.concatenate([array, array]) if array.ndim else array


def write_npy(array: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def change_npy(random: Random, data: bytes) -> bytes:
    """Another array, or a header that lies about this one."""
    if random.random() < 0.6:
        return write_npy(change_array(random, np.load(BytesIO(data))))
    match = re.search(rb"\{.*\}", data[:400])
    assert match, "numpy's header"
    header = match[0]
    shape = random.choice(
        (b"(1000000, 1000000, 1000)", b"(-5, 8, 8)", b"()", b"(4,)", b"(99999999999999999999,)", b"'x'")
    )
    kind = random.choice((b"'O'", b"'|O'", b"'<f3'", b"'<U9999999'", b"'<f8'", b"[('a', 'O')]"))
    lies = (
        re.sub(rb"\(.*\)", lambda _: shape, header),
        re.sub(rb"'<f\d'", kind, header),
        header.replace(b"False", random.choice((b"True", b"1", b"None"))),
        random.choice((b"{" * 3000, b"(" * 150 + b")" * 150, header[:-4] + b"}")),
    )
    wrong = random.choice(lies)
    wrong += b" " * (-len(wrong) % 64) + b"\n"
    return data[:8] + len(wrong).to_bytes(2, "little") + wrong + data[match.end() + 1 :]


def change_npz(random: Random, data: bytes) -> bytes:
    import warnings
    import zipfile

    with np.load(BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = random.choice(list(arrays))
    stream = BytesIO()
    match random.choice(("array", "array", "array", "drop", "rename", "plain", "lie", "twice", "pickle")):
        case "array":
            arrays[name] = change_array(random, arrays[name])
        case "drop":
            del arrays[name]
        case "rename":
            arrays[name + "s"] = arrays.pop(name)
        case "plain":
            return write_npy(arrays[name])
        case "lie":
            with zipfile.ZipFile(stream, "w") as archive:
                for key, array in arrays.items():
                    archive.writestr(
                        f"{key}.npy",
                        change_npy(random, write_npy(array)) if array.dtype.kind == "f" else write_npy(array),
                    )
            return stream.getvalue()
        case "twice":
            with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
                warnings.simplefilter("ignore")
                for key in (*arrays, name, "note"):
                    archive.writestr(f"{key}.npy", write_npy(arrays.get(key, np.zeros(1))))
            return stream.getvalue()
        case _:
            arrays[name] = np.array([{}, None], object)
    np.savez(stream, **arrays)
    return stream.getvalue()


# --- files of torch and safetensors


def change_tensor(random: Random, tensor: torch.Tensor) -> Any:
    """Another dtype, shape, value or kind of tensor."""
    if tensor.is_sparse or tensor.device.type == "meta":  # changed before
        return tensor
    match random.choice(("dtype", "dtype", "shape", "shape", "value", "value", "grad", "kind", "list", "fill")):
        case "dtype":
            kinds = (
                torch.float16,
                torch.bfloat16,
                torch.float64,
                torch.int64,
                torch.uint8,
                torch.bool,
                torch.complex64,
            )
            return tensor.detach().to(random.choice(kinds))
        case "shape":
            ways = [tensor[None], tensor[..., None], tensor.flatten()]
            if tensor.ndim:
                ways += [tensor[:0], tensor[:1], tensor[..., :-1], torch.cat([tensor, tensor])]
            if tensor.ndim > 1:
                ways.append(tensor.mT)
            return random.choice(ways).clone()
        case "value" if tensor.is_floating_point() and tensor.numel():
            changed = tensor.detach().clone().flatten()
            changed[random.randrange(len(changed))] = torch.tensor(random.choice(FLOATS)).to(changed)
            return changed.reshape(tensor.shape)
        case "grad" if tensor.is_floating_point():
            return tensor.clone().requires_grad_()
        case "kind":
            return random.choice((tensor.to_sparse(), torch.nn.Parameter(tensor.float()), tensor.to("meta")))
        case "list":
            return tensor.tolist()
        case "fill" if tensor.is_floating_point():
            return torch.full(tensor.shape, random.choice((math.nan, math.inf, 0.0, 1e30))).to(tensor.dtype)
        case _:
            return random.choice(VALUES)


def change_torch(random: Random, data: bytes) -> bytes:
    content = torch.load(BytesIO(data), weights_only=True)
    for _ in range(random.choice((1, 1, 2))):
        if isinstance(content, torch.Tensor):
            content = random.choice((change_tensor(random, content), content, {"a": content}, [content]))
            continue
        places = [(inner, key) for inner, key in _places(content) if isinstance(inner[key], torch.Tensor)]
        if isinstance(content, dict) and places and random.random() < 0.6:
            inner, key = random.choice(places)
            inner[key] = change_tensor(random, inner[key])
        else:
            content = change_value(random, content)
    stream = BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=random.random() < 0.9)
    return stream.getvalue()


def change_safetensors(random: Random, data: bytes) -> bytes:
    """Another tensor, other metadata, or a header that lies."""
    from safetensors.torch import load, save

    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.get("__metadata__", {})
    match random.choice(("tensor", "tensor", "metadata", "metadata", "metadata", "header", "header", "length")):
        case "tensor":
            tensors = load(data)
            name = random.choice(list(tensors))
            changed = change_tensor(random, tensors.pop(name))
            if isinstance(changed, torch.Tensor) and not changed.is_sparse and changed.device.type == "cpu":
                tensors[name] = changed.detach().contiguous()
            return save(tensors, {key: str(value) for key, value in metadata.items()})
        case "metadata" if metadata:
            key = random.choice(list(metadata))
            try:
                inner = json.loads(metadata[key])
            except ValueError:
                inner = metadata[key]
            choices = [
                random.choice(NUMBERS),
                "",
                "[" * DEEP,
                "\0",
                "nan",
                json.dumps(change_value(random, inner), default=str) if not isinstance(inner, str) else "x",
            ]
            metadata[key] = random.choice(choices)
            if random.random() < 0.2:
                del metadata[key]
            if random.random() < 0.1:
                metadata["downscale"] = random.choice(NUMBERS)
        case "length":
            return random.choice(INTEGERS).to_bytes(8, "little") + data[8:]
        case _:
            header = change_value(random, header)
    text = _dump(header)
    return len(text).to_bytes(8, "little") + text + data[end:]


# --- pictures and point clouds


def change_picture(random: Random, data: bytes) -> bytes:
    """Another mode, size, format or orientation, a header of a picture far too large."""
    picture = Image.open(BytesIO(data))
    form, options = picture.format, {}
    match random.choice(("mode", "mode", "size", "format", "turn", "header", "frames")):
        case "mode":
            picture = picture.convert("RGB").convert("L") if picture.mode not in ("RGB", "L") else picture
            mode = random.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "PA"))
            if mode == "I;16":
                picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
            elif mode in ("LA", "PA"):
                picture = picture.convert("RGBA").convert("LA")
            else:
                picture = picture.convert("L" if mode in ("I", "F") else "RGB").convert(mode)
            form = "TIFF" if mode in ("CMYK", "F", "YCbCr", "I") else "PNG"
        case "size":
            width, height = picture.size
            sizes = ((1, 1), (2000, 1), (height, width), (2 * width, 2 * height), (width + 1, height))
            picture = picture.resize(random.choice(sizes))
        case "format":
            forms = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "ICO")
            picture, form = picture.convert("RGB"), random.choice(forms)
        case "turn":
            exif = Image.Exif()
            exif[0x0112] = random.choice((2, 3, 5, 6, 8, 9, 0, "x"))
            options["exif"] = exif.tobytes() if not isinstance(exif[0x0112], str) else b"Exif\0\0MM\0*" + b"\xff" * 20
            picture, form = picture.convert("RGB"), form if form in ("JPEG", "PNG", "WEBP") else "PNG"
        case "header" if data[:8] == b"\x89PNG\r\n\x1a\n":
            size = struct.pack(">II", *(random.choice((0, 1, 30_000, 100_000, 2**31 - 1)) for _ in range(2)))
            chunk = b"IHDR" + size + data[24:29]
            return data[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]
        case _:
            picture, form = picture.convert("P"), "GIF"
            options = {"save_all": True, "append_images": [picture]}
    stream = BytesIO()
    picture.save(stream, format=form, **options)
    return stream.getvalue()


def change_ply(random: Random, data: bytes) -> bytes:
    """A header that lies, or values that no scene has."""
    end = data.index(b"end_header\n") + len(b"end_header\n")
    rows, body = data[:end].split(b"\n")[:-1], data[end:]
    ids = [i for i, row in enumerate(rows) if row.startswith(b"property")]
    place = random.choice(ids)
    match random.choice(
        (
            "count",
            "count",
            "type",
            "name",
            "drop",
            "format",
            "list",
            "element",
            "value",
            "value",
            "value",
            "long",
            "twice",
        )
    ):
        case "count":
            at = next(i for i, row in enumerate(rows) if row.startswith(b"element"))
            rows[at] = b" ".join([*rows[at].split()[:2], random.choice(NUMBERS).encode()])
        case "type":
            kind = random.choice(
                (b"double", b"uchar", b"int", b"float64", b"half", b"list uchar int", b"string", b"uint16")
            )
            rows[place] = b" ".join([b"property", kind, rows[place].split()[-1]])
        case "name":
            rows[place] = (
                rows[place].rsplit(b" ", 1)[0]
                + b" "
                + random.choice((b"x", b"", b"\xff", b"diffuse_red", b"a b", b"f_rest_7"))
            )
        case "drop":
            del rows[place]
        case "format":
            rows[1] = b"format " + random.choice(
                (b"ascii 1.0", b"binary_big_endian 1.0", b"binary 1.0", b"", b"ascii 9")
            )
        case "list":
            rows.insert(place, b"property list uchar int vertex_indices")
        case "element":
            rows.insert(
                random.randrange(1, len(rows)),
                random.choice((b"element face 3", b"element vertex 1", b"element", b"comment \xe9", b"obj_info")),
            )
        case "long":
            rows.insert(2, b"comment " + b"x" * 200_000)
        case "twice":
            rows.insert(place, rows[place])
        case _:
            for _ in range(random.choice((1, 3, 60))):
                body = overwrite_float(random, body) if body else body
    return b"\n".join(rows) + b"\n" + body


# --- the kind of a file


def no_file(random: Random, path: Path) -> None:
    """Nothing, or something that is no file, in place of a file."""
    path.unlink()
    match random.randrange(6):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to("missing")
        case 4:
            path.symlink_to("/dev/zero" if random.random() < 0.5 else "/dev/null")
        case _:
            pass


Mutation = Callable[[Random, bytes], bytes]
