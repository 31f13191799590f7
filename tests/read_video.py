"""Reads videos back, by a process of its own: imageio-ffmpeg's reader leaves pipes open."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import torch


def read_video(path: Path) -> tuple[str, torch.Tensor]:
    """Metadata of the file by ffmpeg, and its frames [F, H, W, 3]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    done = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    said = done.stderr.decode()
    width, height = map(int, re.search(r"Video: .* (\d+)x(\d+)[ ,]", said).groups())
    return said, torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8).reshape(-1, height, width, 3)
