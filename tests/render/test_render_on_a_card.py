"""Rendering on the pretended card: gsplat's Python and its compiled half by our kernels, with their checks."""

import builtins
import sys
import types

import pytest
import torch
from pretended import gsplat_stand_in as compiled
from random_splats import DIFFERENTIABLE, Splats, random_splats, render

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.render import cuda, rasterization


def moved(splats: Splats) -> dict[str, object]:
    """Arguments of `rasterization`, float32 on the card."""
    return {name: value.float().cuda() if isinstance(value, torch.Tensor) else value for name, value in vars(splats).items()}


def test_kernels_refuse_what_gsplats_do(card):
    colors = torch.ones(1, 4, 6, device="cuda")
    rest = [torch.zeros(1, 4, n, device="cuda") for n in (2, 3)]
    tail = (None, None, 16, 16, 16, *(torch.zeros(n, dtype=torch.int32, device="cuda") for n in ((1, 1, 1), 0)))

    def blend(colors: torch.Tensor) -> None:
        compiled.rasterize_to_pixels_3dgs_fwd(*rest, colors, torch.ones(1, 4, device="cuda"), *tail)

    blend(colors[..., :3].contiguous())
    for wrong, complaint in (
        (colors, "Unsupported number of channels: 6"),
        (colors[..., :3], "must be contiguous"),
        (colors[..., :3].cpu(), "must be a CUDA tensor"),
        (colors[..., :3].double().contiguous(), "expected scalar type"),
    ):
        with pytest.raises(RuntimeError, match=complaint):
            blend(wrong)


def test_rows_of_gaussians_that_are_not_seen_are_nan(card):
    splats = random_splats(n=150)
    splats.means[::2, 2] -= 1000.0  # behind the camera
    _, _, meta = rasterization(**moved(splats))
    seen = (meta["radii"] > 0).all(-1)
    assert 0 < int(seen.sum()) < 150
    for name in ("means2d", "depths", "conics"):
        assert meta[name][~seen].isnan().all() and meta[name][seen].isfinite().all()


def test_no_gaussians_end_the_process_of_gsplat(card):
    from gsplat import rasterization as gsplats

    nothing = [torch.zeros(0, *shape, device="cuda") for shape in ((3,), (4,), (3,), (), (3,))]
    camera = torch.eye(4, device="cuda")[None], torch.eye(3, device="cuda")[None]
    with pytest.raises(compiled.ProcessDied):
        gsplats(*nothing, *camera, 20, 10, packed=False)


@pytest.mark.parametrize(
    "options", [{}, {"absgrad": True}, {"render_mode": "ED"}, {"render_mode": "RGB+D"}, {"rasterize_mode": "antialiased"}]
)
@pytest.mark.parametrize("background", [False, True])
def test_no_gaussians_are_rendered_as_on_the_cpu(card, options, background):
    if background:
        options = options | {"backgrounds": torch.full((2, 3), 0.5)}
    splats = random_splats(n=0, n_cameras=2).map(torch.Tensor.float)

    def on_card(**given: object) -> tuple:
        return rasterization(**{name: x.cuda() if isinstance(x, torch.Tensor) else x for name, x in given.items()})

    def take_all(result) -> tuple:
        return torch.ones_like(result.renders), torch.ones_like(result.alphas)

    wanted = tuple(name for name in DIFFERENTIABLE if name != "colors" or "RGB" in options.get("render_mode", "RGB"))
    expected, got = (render(call, splats, wanted, take_all, **options) for call in (rasterization, on_card))
    assert torch.equal(got.renders.cpu(), expected.renders) and torch.equal(got.alphas.cpu(), expected.alphas)
    assert got.gradients.keys() == expected.gradients.keys()
    assert all(got.gradients[name].shape == gradient.shape for name, gradient in expected.gradients.items())
    for key, value in expected.meta.items():
        if isinstance(value, torch.Tensor):
            assert got.meta[key].is_cuda and got.meta[key].dtype == value.dtype, key
            assert torch.equal(got.meta[key].cpu(), value), key
        else:
            assert got.meta[key] == value, key


def test_cameras_are_cropped_and_resized_where_they_are_and_without_a_transfer(card):
    here = Camera(torch.eye(4), torch.tensor([[30.0, 0, 15], [0, 31, 11], [0, 0, 1]]), 30, 22)
    there = here.to("cuda")
    card.clear()
    pairs = [
        (here.cropped(3, -1, 10, 24), there.cropped(3, -1, 10, 24)),
        (here.resized(15, 44), there.resized(15, 44)),
    ]
    assert card.num_waits == 0, card.table()
    for expected, got in pairs:
        assert got.K.is_cuda and torch.equal(got.K.cpu(), expected.K)
        assert (got.width, got.height) == (expected.width, expected.height)
    assert torch.equal(here.K[:2, 2], torch.tensor([15.0, 11.0]))


# --- gsplat's kernels, where they cannot be had


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stands for `gsplat.cuda._backend`, which compiles when it is imported."""
    cuda.require_kernels.cache_clear()
    module = types.ModuleType("gsplat.cuda._backend")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module
    cuda.require_kernels.cache_clear()


def test_a_machine_without_a_compiler_gets_one_line(backend):
    backend._C = None
    with pytest.raises(UserError, match=r"finds no nvcc; install the CUDA toolkit .* or render on the CPU"):
        cuda.require_kernels()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (IndexError("list index out of range"), "finds no card to compile them for; .*TORCH_CUDA_ARCH_LIST"),
        (RuntimeError("Error building extension 'gsplat_cuda': x\ny\nz"), "do not compile here: Error building .*: x;"),
    ],
)
def test_a_failed_compilation_is_one_line(backend, monkeypatch, error, line):
    original = builtins.__import__

    def fail(name: str, *args: object) -> types.ModuleType:
        if name == backend.__name__:
            raise error
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UserError, match=line):
        cuda.require_kernels()
