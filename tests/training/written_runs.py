"""Runs that trainings have written: their lines of metrics, and their states bit by bit."""

import json

import torch


def read_lines(folder):
    """Lines of metrics.jsonl, without what they say of time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line | {"seconds": 0} for line in lines]


def assert_same_bits(one, two):
    """Compares nested values of `state_dict`s exactly."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same_bits(one[key], two[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two
