"""`torchrun -m gsdff.segment`: two ranks write what one writes."""

import pytest
from tiny_answers import write_asked_run
from torchrun import start_job

from gsdff import segment
from gsdff.labels import CLASSES_FILE

ASKED = ("--classes", "chair", "lamp", "wall", "--device", "cpu")


@pytest.fixture
def run(tmp_path, generator):
    folder = write_asked_run(tmp_path, generator)
    for path in (folder.data / "images" / "b").glob("v*.png"):  # no two photos of one stem
        path.rename(path.with_name(path.name.replace("v", "w")))
    transforms = folder.data / "transforms.json"
    transforms.write_text(transforms.read_text().replace("b/v", "b/w"))
    return folder


def read_all(folder):
    """Contents of an export by path, without the marks of other programs."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_two_ranks_write_and_print_what_one_does(run, tmp_path, call):
    alone, together = tmp_path / "alone", tmp_path / "together"
    lines = call(segment, run.folder, *ASKED, "--out", alone)
    job = start_job("gsdff.segment", run.folder, *ASKED, "--out", together, module=True)
    printed, errors = job.communicate(timeout=250)
    assert job.returncode == 0, errors[-4000:]
    assert printed.splitlines()[:-1] == lines[:-1]
    one, two = read_all(alone), read_all(together)
    assert one.keys() == two.keys() and len(one) > 20 and f"labels/{CLASSES_FILE}" in one
    assert [name for name in one if one[name] != two[name]] == []
