"""Adam in one pass: against torch's, and what it leaves alone."""

import pytest
import torch

from gsdff.training.adam import follow

OPTIONS = {"lr": 0.01, "eps": 1e-15, "betas": (0.9, 0.999)}


def make_pair(*shape):
    """Two equal parameters with an optimizer each."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    parameters = [torch.nn.Parameter(values.clone()) for _ in range(2)]
    return [(parameter, torch.optim.Adam([parameter], **OPTIONS)) for parameter in parameters]


def gradient(step, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(100 + step))


@pytest.mark.parametrize("shape", [(50,), (50, 3), (50, 15, 3), (5000, 4), (0, 3)])
def test_it_follows_torchs_adam(shape):
    (expected, torch_adam), (found, own) = make_pair(*shape)
    for step in range(30):
        expected.grad, found.grad = gradient(step, shape), gradient(step, shape)
        torch_adam.step()
        follow(own)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_it_goes_on_from_the_state_of_torchs_and_torchs_from_its_own():
    (expected, first), (found, second) = make_pair(20, 3)
    for step in range(10):
        expected.grad, found.grad = gradient(step, (20, 3)), gradient(step, (20, 3))
        first.step()
        if step % 2:
            follow(second)
        else:
            second.step()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_columns_without_gradients_follow_torchs_adam_too():
    (expected, torch_adam), (found, own) = make_pair(20, 15, 3)
    for columns in (0, 9, 9, 24, 45):  # degrees 0 to 3, rising
        for parameter in (expected, found):
            parameter.grad = gradient(columns, (20, 15, 3))
            parameter.grad.view(20, -1)[:, columns:] = 0
        torch_adam.step()
        follow(own, columns)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_cleared_and_columns_beyond_the_first_are_left_alone():
    _, (parameter, adam) = make_pair(10, 5, 3)
    before = parameter.detach().clone()
    parameter.grad = torch.zeros(10, 5, 3)
    parameter.grad[:, :2] = 1
    follow(adam, 6)
    assert torch.equal(parameter[:, 2:], before[:, 2:]) and (parameter[:, :2] != before[:, :2]).all()
    assert not parameter.grad.any()


def test_a_parameter_without_a_gradient_stays():
    _, (parameter, adam) = make_pair(10, 3)
    before = parameter.detach().clone()
    follow(adam)
    assert torch.equal(parameter, before) and not adam.state[parameter]
