"""The command `gsdff` as tests/test_readme.py runs it: short, and without a network.

Three things differ from the command itself: training takes few steps, the teacher clip is a tiny one, and the viewer is
stopped as by Ctrl-C once its page is there. Given a Python file, it is executed with the same differences.
"""

import os
import runpy
import sys
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import NoReturn

import gsdff
from gsdff.__main__ import main

STEPS = {"stage1.steps": 40, "stage2.steps": 10}
CLIP = {"teacher.model": os.environ["TINY_CLIP"], "teacher.pretrained": os.environ["TINY_CLIP_WEIGHTS"]}


def press_ctrl_c() -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    if sys.argv[1] not in ("prepare", "export", "view"):  # these load no network, and open_clip takes seconds to import
        import_module("open_clip").add_model_config(os.environ["TINY_CLIP_CONFIG"])
    match sys.argv[1:]:
        case ["train", *words]:
            options = STEPS | (CLIP if "clip" in words else {})
            sys.argv += [word for name, value in options.items() for word in (f"--{name}", str(value))]
            main()
        case ["view", *_]:
            serve = import_module("gsdff.viewer.serve")
            serve.threading = SimpleNamespace(Event=lambda: SimpleNamespace(wait=press_ctrl_c))
            main()
        case [file] if file.endswith(".py"):
            gsdff.fit = partial(gsdff.fit, options=STEPS | CLIP)
            runpy.run_path(file)
        case _:
            main()
