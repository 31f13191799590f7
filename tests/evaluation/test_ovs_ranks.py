"""`torchrun -m gsdff.evaluate --benchmark`: several ranks write and print what one does."""

import shutil

import pytest
from test_ovs_labels import thing, write_frame
from tiny_answers import write_asked_run
from tiny_run import HEIGHT, WIDTH
from torchrun import start_job

from gsdff import evaluate

SIZE = (WIDTH, HEIGHT)
EVERYWHERE = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
LEFT = [0, 0, WIDTH // 2 - 1, HEIGHT - 1]


def write_lerf_labels(folder):
    """Three labelled photos, which two ranks cannot share evenly."""
    for stem, photo in (("v0", "a/v0.png"), ("v1", "a/v1.png"), ("v3", "b/v3.png")):
        write_frame(
            folder, stem, thing("chair", EVERYWHERE, bbox=LEFT), thing("lamp", EVERYWHERE, bbox=LEFT), size=SIZE
        )
        path = folder / f"{stem}.json"
        path.write_text(path.read_text().replace(f"{stem}.jpg", photo))


def read_all(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize("num", [2, 4])
def test_ranks_write_and_print_what_one_does(tmp_path, generator, call, num):
    run = write_asked_run(tmp_path, generator)
    labels = tmp_path / "label"
    write_lerf_labels(labels)
    options = ("--benchmark", "lerf-ovs", "--labels", labels, "--device", "cpu")
    lines = call(evaluate, run.folder, *options)
    alone = read_all(run.folder / "evaluation")
    shutil.rmtree(run.folder / "evaluation")
    job = start_job("gsdff.evaluate", run.folder, *options, num=num, module=True)
    printed, errors = job.communicate(timeout=250)
    assert job.returncode == 0, errors[-4000:]
    assert printed.splitlines() == lines
    assert len(alone) == 8 and alone == read_all(run.folder / "evaluation")
