"""Runs a task of pycolmap_worker.py in its own process, so that a crash there becomes one clear error."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gsdff.errors import UserError

SCRIPT = Path(__file__).with_name("pycolmap_worker.py")
TAIL_LINES = 20

logger = logging.getLogger("gsdff")


def run_worker(task: str, request: dict, folder: Path, on_line: Callable[[str], None] = lambda line: None) -> Any:
    """Runs `task` (a name of its TASKS) and returns its answer, whose files are in `folder`, which must exist.

    `on_line` is called with each line the process logs. Raises `UserError` with the last of them if the process ends
    without an answer; the lines before are logged.
    """
    request_path, answer_path = folder / "request.json", folder / "answer.json"
    request_path.write_text(json.dumps(request))
    command = [sys.executable, str(SCRIPT), task, str(request_path), str(folder)]
    tail: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None, "it is a pipe"
        try:
            for line in process.stderr:
                on_line(line)
                tail = [*tail[-TAIL_LINES + 1 :], line.rstrip()]
        except BaseException:
            process.kill()
            raise
    if not answer_path.is_file():  # it may also abort at exit, with its work done
        for line in tail:
            logger.info("pycolmap: %s", line)
        last = next((line for line in reversed(tail) if line), "no message")
        raise UserError(f"pycolmap ended with status {process.returncode} and no result, in the task {task}: {last}")
    return json.loads(answer_path.read_text())
