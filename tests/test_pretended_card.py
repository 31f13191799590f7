"""The pretended card keeps the rules of a real one: each rule is broken once, and what is right gets through."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended.device import CardTensor

RUNNER = Path(__file__).parent / "pretended" / "python"
MIXED = "found at least two devices"


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.stack([here[0], there[0]]),
        lambda here, there: torch.where(here > 0, here, there),
        lambda here, there: torch.nn.functional.mse_loss(here, there),
        lambda here, there: here.index_put_((torch.tensor([0, 1], device="cuda"),), there[:2]),
    ],
)
def test_tensors_of_two_devices_do_not_mix(card, mix):
    with pytest.raises(RuntimeError, match=MIXED):
        mix(torch.ones(3, device="cuda"), torch.ones(3))


def test_a_cpu_tensor_is_not_indexed_by_the_card(card):
    with pytest.raises(RuntimeError, match="indices should be"):
        torch.ones(3)[torch.tensor([0, 1], device="cuda")]


def test_numbers_and_cpu_indices_may_take_part(card):
    tensor = torch.ones(3, device="cuda")
    assert (tensor * torch.tensor(2.0)).cpu().tolist() == [2, 2, 2]
    assert tensor[torch.tensor([0, 2])].device.type == "cuda"


def test_it_has_no_numpy(card):
    tensor = torch.ones(3, device="cuda")
    for convert in (tensor.numpy, lambda: np.asarray(tensor), lambda: np.add(tensor, 1)):
        with pytest.raises(TypeError, match="cpu"):
            convert()


def test_memory_that_nobody_wrote_is_nan(card):
    for tensor in (torch.empty(3, device="cuda"), torch.empty_like(torch.ones(3, device="cuda"))):
        assert tensor.isnan().all()
    assert torch.ones(3, device="cuda").new_empty(2, 2).isnan().all()


def test_results_and_gradients_are_the_cpus(card, generator):
    A, x = torch.randn(4, 3, generator=generator), torch.randn(3, generator=generator)
    gradients = []
    for device in ("cpu", "cuda"):
        leaf = x.clone().requires_grad_()
        ((A.to(device) @ leaf.to(device)).sigmoid() ** 2).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_modules_move_and_learn(card):
    layer = torch.nn.Linear(3, 2).to("cuda")
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    layer(torch.ones(3, device="cuda")).sum().backward()
    before = layer.weight.detach().clone()
    optimizer.step()
    assert layer.weight.is_cuda and layer.weight.grad.is_cuda and (layer.weight != before).all()


def test_every_thread_and_inference_mode_have_it(card):
    found = []

    @torch.inference_mode()
    def look() -> None:
        tensor = torch.zeros(4, device="cuda")[1:].view(3, 1)
        tensor += 1
        found.append(tensor)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert isinstance(found[0], CardTensor) and found[0].cpu().tolist() == [[1], [1], [1]]


def test_modules_without_memory_are_made_as_ever(card):
    with torch.device("meta"):
        assert torch.nn.Linear(3, 2).weight.is_meta
    with torch.device("cpu"):
        assert not torch.zeros(2).is_cuda


def test_autocast_computes_in_half_precision(card):
    with torch.autocast("cuda", torch.float16):
        assert (torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")).dtype == torch.float16


def test_it_is_saved_and_loaded(card, tmp_path):
    torch.save({"a": torch.arange(3, device="cuda")}, tmp_path / "a.pt")
    for place in ("cpu", "cuda"):
        content = torch.load(tmp_path / "a.pt", map_location=place, weights_only=True)
        assert content["a"].device.type == place and content["a"].tolist() == [0, 1, 2]


# --- waits


@pytest.mark.parametrize(
    ("use", "waits"),
    [
        (lambda x: x + 1, 0),
        (lambda x: x.any(), 0),
        (lambda x: bool(x.any()), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x.masked_fill(x > 1, 0), 0),
        (lambda x: x.__setitem__(x > 1, 0.0), 0),
        (lambda x: x.__setitem__(x > 1, x[:1]), 1),
        (lambda x: x[torch.tensor([0])], 1),
        (lambda x: x[0], 0),
        (lambda x: x.cpu(), 1),
        (lambda x: x.new_tensor([1.0]), 1),
        (lambda x: x.new_zeros(3), 0),
        (lambda x: torch.linalg.inv(x.diag()), 1),
        (lambda x: torch.linalg.inv_ex(x.diag()), 0),
        (lambda x: torch.ones(3).to(x), 1),
        (lambda x: torch.ones(3).to("cuda", non_blocking=True), 1),
        (lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True), 0),
        (lambda x: x.to("cpu", non_blocking=True), 0),
    ],
)
def test_what_makes_the_host_wait_is_counted(card, use, waits):
    tensor = torch.arange(1.0, 4.0, device="cuda")
    card.clear()
    use(tensor)
    assert card.num_waits == waits, card.table()


def test_a_copy_that_is_underway_is_garbage_until_the_host_has_waited(card):
    tensor = torch.ones(3, device="cuda")
    for wait in (torch.cuda.synchronize, torch.cuda.Event().synchronize, lambda: float(tensor.sum())):
        copied = tensor.to("cpu", non_blocking=True)
        assert copied.isnan().all()
        wait()
        assert copied.tolist() == [1, 1, 1]


def test_waits_launches_and_bytes_are_those_of_a_line(card):
    (torch.ones(5, device="cuda") * 2).cpu()
    ((where, what),) = card.waits
    assert where.startswith("tests/test_pretended_card.py:") and what == "copy to the host"
    assert card.num_launches == 2 and sum(card.bytes_down.values()) == 20 and "1 host waits" in card.table()


def test_a_script_runs_on_it(tmp_path):
    (tmp_path / "script.py").write_text(
        "import torch\nprint(torch.cuda.get_device_name(), torch.ones(2).cuda().device)"
    )
    command = ["bash", RUNNER, tmp_path / "script.py"]
    environment = {"PRETENDED_PYTHON": sys.executable, "PRETENDED_COUNTS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "Pretended card cuda:0\n" and "1 host waits" in done.stderr
