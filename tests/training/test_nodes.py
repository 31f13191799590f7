"""Two nodes of a rank each, which find each other by torchrun's rendezvous, train what two ranks of one node train."""

import pytest
from tiny_scene import TinyDataset
from torchrun import start_job, start_nodes

from gsdff.io.checkpoint import list_checkpoints, load_checkpoint

OPTIONS = (
    "--device", "cpu", "--teacher", "none", "--stage1.steps", 24, "--stage1.sh-degree", 1, "--stage1.refine-start", 4,
    "--stage1.refine-every", 5, "--stage1.refine-stop", 20, "--stage1.grow-grad2d", 1e-5, "--stage1.max-gaussians", 70,
    "--dataset.random-points", 40, "--picture-every", 12,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "gaussians"])
def test_two_nodes_of_one_rank_train_what_two_ranks_of_one_node_do(tmp_path, shard):
    data = TinyDataset.write(tmp_path / "data").folder
    options = ("--data", data, *OPTIONS, "--shard", shard)
    jobs = {
        "one": [start_job("gsdff.train", *options, "--out", tmp_path / "one", module=True)],
        "two": start_nodes("gsdff.train", *options, "--out", tmp_path / "two"),
    }
    for job in (job for nodes in jobs.values() for job in nodes):
        _, errors = job.communicate(timeout=250)
        assert job.returncode == 0, errors[-4000:]
    states = [load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in jobs]
    assert len(states[0]["gaussians"]["means"]) > 40
    for name, tensor in states[0]["gaussians"].items():
        assert tensor.equal(states[1]["gaussians"][name]), name
    assert (tmp_path / "one" / "scene.ply").read_bytes() == (tmp_path / "two" / "scene.ply").read_bytes()
