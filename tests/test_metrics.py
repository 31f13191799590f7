"""Image and label metrics against values by hand and against definitions written out."""

import logging
import math
import urllib.error
from importlib.resources import files

import pytest
import torch
from torch.nn import functional

from gsdff.errors import UserError
from gsdff.metrics import confusion_matrix, label_scores, open_lpips, psnr, ssim

WEIGHTS = "alexnet-owt-7be5be79.pth"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder where torch looks for downloaded weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def random_weights(hub, generator):
    """Weights of AlexNet's shape: LPIPS with them is a distance, only not the published one."""
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    state = {}
    for i, shape in shapes.items():
        state[f"features.{i}.weight"] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
        state[f"features.{i}.bias"] = torch.randn(shape[0], generator=generator) / 10
    torch.save(state, hub / WEIGHTS)
    return state


def test_psnr_of_a_constant_error_is_known():
    target = torch.full((4, 5, 3), 0.5)
    assert psnr(target + 0.1, target) == pytest.approx(20, abs=1e-5)
    assert psnr(target + 0.01, target) == pytest.approx(40, abs=1e-4)
    assert psnr(target, target) == math.inf


@pytest.mark.usefixtures("unchecked")
def test_metrics_refuse_images_of_different_shape():
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=r"same shape, got \(20, 20, 3\) and \(20, 21, 3\)"):
            metric(torch.zeros(20, 20, 3), torch.zeros(20, 21, 3))


def ssim_by_definition(image: torch.Tensor, target: torch.Tensor) -> float:
    """Wang et al. 2004, equation 13, pixel by pixel in float64, for one channel."""
    offsets = torch.arange(11, dtype=torch.float64) - 5
    taps = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = torch.outer(taps, taps) / taps.sum() ** 2
    values = []
    for row in range(image.shape[0] - 10):
        for column in range(image.shape[1] - 10):
            x, y = (picture.double()[row : row + 11, column : column + 11] for picture in (image, target))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(torch.stack(values).mean())


def test_ssim_is_wangs_definition(generator):
    target = torch.rand(14, 13, 3, generator=generator)
    image = (target + 0.1 * torch.randn(14, 13, 3, generator=generator)).clamp(0, 1)
    expected = sum(ssim_by_definition(image[..., c], target[..., c]) for c in range(3)) / 3
    assert 0.5 < expected < 0.99
    assert ssim(image, target) == pytest.approx(expected, abs=1e-5)


def test_ssim_is_one_for_the_same_image_symmetric_and_falls_with_noise(generator):
    target = torch.rand(32, 24, 3, generator=generator)
    noise = torch.randn(32, 24, 3, generator=generator)
    assert ssim(target, target) == pytest.approx(1, abs=1e-6)
    assert ssim(target + 0.1 * noise, target) == pytest.approx(ssim(target, target + 0.1 * noise), abs=1e-6)
    assert ssim(target + 0.1 * noise, target) > ssim(target + 0.3 * noise, target)


def test_ssim_of_two_constants_has_only_its_luminance_term():
    a, b = torch.full((16, 16, 3), 0.2), torch.full((16, 16, 3), 0.8)
    assert ssim(a, b) == pytest.approx((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4), abs=1e-5)


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(UserError, match="at least 11 pixels a side, got 30x10"):
        ssim(torch.zeros(10, 30, 3), torch.zeros(10, 30, 3))


def test_lpips_is_left_out_with_one_line_where_its_weights_are_missing(hub, caplog):
    with caplog.at_level(logging.INFO, logger="gsdff"):
        assert open_lpips("cpu") is None
    assert len(caplog.records) == 1
    assert str(hub / WEIGHTS) in caplog.text and f"/{WEIGHTS}" in caplog.text.replace(str(hub / WEIGHTS), "")


def test_lpips_is_quiet_and_behaves_like_a_distance(random_weights, generator, capfd):
    lpips = open_lpips("cpu")
    image = torch.rand(64, 70, 3, generator=generator)
    noise = torch.randn(64, 70, 3, generator=generator)
    near, far = (image + 0.02 * noise).clamp(0, 1), (image + 0.3 * noise).clamp(0, 1)
    assert lpips(image, image) == 0
    assert 0 < lpips(image, near) < lpips(image, far)
    assert lpips(image, near) == pytest.approx(lpips(near, image), rel=1e-5)
    assert capfd.readouterr() == ("", "")


def test_the_weights_reach_the_layers_they_belong_to(random_weights, generator):
    """The published definition written out: unit-normed activations, squared differences, linear heads, mean, sum."""
    heads = torch.load(files("lpips") / "weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    layers = {0: (4, 2, False), 3: (1, 2, True), 6: (1, 1, True), 8: (1, 1, False), 10: (1, 1, False)}

    def activations(image: torch.Tensor) -> list[torch.Tensor]:
        x = ((image * 2 - 1 - shift) / scale).permute(2, 0, 1)[None]
        outputs = []
        for i, (stride, padding, pooled) in layers.items():
            x = functional.max_pool2d(x, 3, 2) if pooled else x
            weight, bias = random_weights[f"features.{i}.weight"], random_weights[f"features.{i}.bias"]
            x = functional.conv2d(x, weight, bias, stride=stride, padding=padding).relu()
            outputs.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return outputs

    image, other = torch.rand(2, 64, 70, 3, generator=generator)
    expected = 0
    for k, (a, b) in enumerate(zip(activations(image), activations(other), strict=True)):
        expected += ((a - b).square() * heads[f"lin{k}.model.1.weight"]).sum(1).mean()
    assert open_lpips("cpu")(image, other) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_not_alexnet_is_named(hub, content):
    (hub / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=rf"{WEIGHTS}: (expected|cannot be read as) torchvision's AlexNet weights"):
        open_lpips("cpu")


def test_weights_of_another_network_are_named(hub):
    for state in ({"conv.weight": torch.zeros(3)}, [1, 2], {f"features.{i}.weight": torch.zeros(1) for i in range(11)}):
        torch.save(state, hub / WEIGHTS)
        with pytest.raises(UserError, match=rf"{WEIGHTS}: (expected|cannot be read as) torchvision's AlexNet weights"):
            open_lpips("cpu")


def test_a_failed_download_is_an_error_that_names_the_address(hub, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(UserError, match=rf"could not download .*{WEIGHTS} .*no route to host"):
        open_lpips("cpu", download=True)


def test_confusion_matrix_and_scores_of_a_small_map_are_known():
    truth = torch.tensor([[0, 0, 1, 1], [2, 2, 255, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 1], [255, 2, 0, 3]], dtype=torch.uint8)
    confusion = confusion_matrix(predicted, truth, 4)
    assert confusion.tolist() == [[1, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]
    scores = label_scores(confusion)
    assert scores.iou[:3].tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert scores.iou[3].isnan()
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.num_pixels == 6


def test_confusion_of_views_adds_up_and_a_perfect_map_scores_one(generator):
    truth = torch.randint(0, 5, (2, 30, 20), generator=generator)
    predicted = torch.randint(0, 5, (2, 30, 20), generator=generator)
    one, two = (confusion_matrix(predicted[i], truth[i], 5) for i in range(2))
    assert torch.equal(one + two, confusion_matrix(predicted, truth, 5))
    scores = label_scores(confusion_matrix(truth, truth, 5))
    assert scores.miou == scores.accuracy == 1 and scores.num_pixels == 1200


def test_a_class_predicted_but_never_true_scores_zero_and_counts():
    scores = label_scores(confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 0]), 3))
    assert scores.iou[:2].tolist() == [0.5, 0] and scores.miou == 0.25


def test_nothing_labelled_scores_nothing():
    scores = label_scores(confusion_matrix(torch.zeros(3, dtype=torch.long), torch.full((3,), 255), 2))
    assert scores.num_pixels == 0 and math.isnan(scores.miou) and math.isnan(scores.accuracy)


@pytest.mark.parametrize(
    "predicted, truth, message",
    [([0], [3], "true labels from 0 to 2 .* got 3"), ([9], [0], "predicted .* got 9"), ([-1], [0], "got -1")],
)
def test_ids_of_no_class_are_refused(predicted, truth, message):
    with pytest.raises(UserError, match=message):
        confusion_matrix(torch.tensor(predicted), torch.tensor(truth), 3)


def test_a_prediction_equal_to_num_classes_is_not_mistaken_for_void():
    with pytest.raises(UserError, match="predicted labels from 0 to 2 or 255 for none, got 3"):
        confusion_matrix(torch.tensor([3]), torch.tensor([0]), 3)
