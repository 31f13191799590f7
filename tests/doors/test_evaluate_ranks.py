"""`torchrun -m gsdff.evaluate`: two ranks give the scores and pictures that one gives."""

import json
import shutil

import torch
from PIL import Image
from tiny_answers import write_asked_run
from torchrun import start_job

from gsdff import evaluate

CLASSES = ("--classes", "chair", "lamp", "--device", "cpu")


def write_scored_run(root, generator):
    """A run of tiny answers with the teacher's maps and label images of its photos."""
    run = write_asked_run(root, generator)
    for path in (run.data / "images" / "b").glob("v*.png"):  # no two photos of one stem
        path.rename(path.with_name(path.name.replace("v", "w")))
    transforms = run.data / "transforms.json"
    transforms.write_text(transforms.read_text().replace("b/v", "b/w"))
    (run.data / "labels").mkdir()
    (run.data / "labels" / "classes.json").write_text(
        json.dumps([{"id": i, "name": name} for i, name in enumerate(("chair", "lamp"))])
    )
    for path in sorted((run.data / "images").rglob("*.png")):
        features = torch.nn.functional.normalize(torch.randn(5, 11, 15, generator=generator), dim=0)
        torch.save(features, root / "maps" / f"{path.stem}_fmap_CxHxW.pt")
        labels = torch.randint(2, (22, 30), generator=generator, dtype=torch.uint8)
        Image.fromarray(labels.numpy()).save(run.data / "labels" / f"{path.stem}.png")
    return run


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_two_ranks_write_and_print_what_one_does(tmp_path, generator, call):
    run = write_scored_run(tmp_path, generator)
    lines = call(evaluate, run.folder, *CLASSES)
    alone = read_all(run.folder / "evaluation")
    shutil.rmtree(run.folder / "evaluation")
    job = start_job("gsdff.evaluate", run.folder, *CLASSES, module=True)
    printed, errors = job.communicate(timeout=250)
    assert job.returncode == 0, errors[-4000:]
    assert printed.splitlines() == lines
    together = read_all(run.folder / "evaluation")
    assert len(alone) == 7 and "labels" in json.loads(alone["metrics.json"])["features"]
    assert alone == together
