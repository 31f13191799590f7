"""The loss's Triton kernels by Triton's interpreter, which has to be chosen before Triton is loaded: in a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPARE = """
import json, torch
from gsdff.losses import cuda, image_loss

rows = []
for shape, ssim_weight in (((13, 9), 0.2), ((5, 30), 1.0), ((1, 1), 0.2), ((4, 100), 0.0)):
    generator = torch.Generator().manual_seed(1)
    image, target = (torch.rand(*shape, 3, generator=generator) for _ in range(2))
    target[:2, :2] = image[:2, :2]  # where L1 has no gradient
    exact = image_loss(image.double().requires_grad_(), target.double(), ssim_weight)
    leaf = image.double().requires_grad_()
    expected = torch.autograd.grad(image_loss(leaf, target.double(), ssim_weight).loss, leaf)[0]
    *means, gradient = cuda.measure(image, target, ssim_weight)
    apart = [abs(float(mean) - float(getattr(exact, name))) for name, mean in zip(("l1", "ssim", "mse"), means)]
    scale = max(float(expected.abs().max()), 1e-2)
    rows.append([*apart, float((gradient - expected).abs().max()) / scale])
print(json.dumps(rows))
"""


@pytest.mark.timeout(300)
def test_the_kernels_and_their_gradient_are_those_of_the_float64_twin():
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout.splitlines()[0]):
        assert max(row[:3]) < 1e-6 and row[3] < 1e-5, row
