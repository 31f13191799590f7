"""What tests/test_ranks.py looks at: two ranks that exchange things, and write what they got to rank_<n>.json."""

import json
import sys
from pathlib import Path

import torch
from torchrun import message_of

from gsdff.ranks import hash_bits, joined, this_job

with joined("cpu") as ranks:
    folder = Path(sys.argv[1])
    own = folder / f"local_{ranks.rank}"
    own.mkdir()
    numbers, ones = torch.tensor([1.0, 2.0]) * (1 + ranks.rank), torch.ones(3)
    ranks.add_up([numbers, ones])
    means = torch.tensor([0.0, float(ranks.rank)], requires_grad=True)
    ranks.average([means])
    rows = torch.arange(3.0)[:, None] + 10 * ranks.rank
    counts = [[1, 2], [3, 0]][ranks.rank]
    came, num_came = ranks.trade(rows, counts)
    back, _ = ranks.trade(came, num_came, counts)
    shared, local = ranks.who_see(folder), ranks.who_see(own)
    same, other = torch.arange(5.0), torch.arange(5.0) + ranks.rank
    report = {
        "is_job": this_job() == ranks,
        "rank": [ranks.rank, ranks.world_size, ranks.is_first],
        "sums": [numbers.tolist(), ones.tolist()],
        "means": means.tolist(),
        "gathered": ranks.gather(f"of {ranks.rank}"),
        "from_first": ranks.from_first(ranks.rank + 7),
        "share": list(ranks.share(range(5))),
        "even": ranks.share_evenly("abcde"),
        "even results": "".join(ranks.collect(iter(ranks.share_evenly("abcde")), 5)),
        "sum": ranks.sum(3 + ranks.rank),
        "traded": [came.flatten().tolist(), num_came, back.equal(rows)],
        "collected": list(ranks.collect((i * i for i in ranks.share(range(5))), 5)),
        "shared": [shared.rank, shared.world_size],
        "local": [local.rank, local.world_size],
        "left_in_folder": len(list(folder.glob(".rank*"))),
        "equal": message_of(ranks.require_equal, {"photos": 1}, remedy="x"),
        "unequal": message_of(ranks.require_equal, {"photos": 1, "version": ranks.rank}, remedy="install the same"),
        "same_bits": message_of(ranks.require_equal_tensors, {"means": same}, remedy="x"),
        "other_bits": message_of(ranks.require_equal_tensors, {"means": same, "sh0": other}, remedy="stop"),
        "hashes": ranks.gather(hash_bits(same)),
    }
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
