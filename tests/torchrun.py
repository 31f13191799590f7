"""Starts a script of the tests as a job of several ranks on the CPU, and gives what each rank reports."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsdff.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def start_job(script: Path | str, *arguments: object, num: int = 2, module: bool = False) -> subprocess.Popen[str]:
    """A job of `num` ranks, by torchrun, with one thread each; `module` is for `python -m`."""
    return _start(["--standalone", "--nproc-per-node", num], script, *arguments, module=module)


def start_nodes(script: str, *arguments: object, num: int = 2) -> list[subprocess.Popen[str]]:
    """A job of `num` nodes of one rank, which find each other by torchrun's rendezvous: all of them on this machine."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    nodes = ["--nnodes", num, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", "nodes"]
    nodes += ["--rdzv-endpoint", f"localhost:{port}", "--local-addr", "localhost"]
    return [_start(nodes, script, *arguments, module=True) for _ in range(num)]


def _start(options: Sequence[object], script: Path | str, *arguments: object, module: bool) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", *map(str, options)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }  # fmt: skip
    return subprocess.Popen(
        [*launcher, *(["-m"] if module else []), str(script), *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run_job(script: Path | str, folder: Path, *arguments: object, num: int = 2) -> list[dict[str, Any]]:
    """Runs a script that writes `folder`/rank_<n>.json; gives their contents by rank."""
    job = start_job(script, folder, *arguments, num=num)
    _, errors = job.communicate(timeout=250)
    assert job.returncode == 0, errors[-4000:]
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(num)]


def message_of(function, *arguments, **options):
    """The message of the mistake that a call finds; None if it finds none."""
    try:
        function(*arguments, **options)
    except UserError as error:
        return str(error)
    return None
