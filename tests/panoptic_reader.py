"""A reader of COCO's panoptic format that checks what the format demands, as its evaluation does."""

from typing import Any

import numpy as np


def read_segments(
    picture: np.ndarray, annotation: dict[str, Any], categories: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Every segment with its mask; AssertionError if the picture and the list do not agree."""
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    red, green, blue = (picture[..., channel].astype(np.int64) for channel in range(3))
    ids = red + 256 * green + 256**2 * blue
    rows, known = annotation["segments_info"], {row["id"]: row for row in categories}
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["id"] for row in rows} == set(np.unique(ids).tolist()) - {0}
    segments = []
    for row in rows:
        assert row.keys() == {"id", "category_id", "area", "bbox", "iscrowd"} and row["category_id"] in known
        assert row["iscrowd"] in (0, 1) and known[row["category_id"]]["isthing"] in (0, 1)
        assert not (row["iscrowd"] and not known[row["category_id"]]["isthing"])
        mask = ids == row["id"]
        places = np.argwhere(mask)
        (top, left), (bottom, right) = places.min(0), places.max(0)
        assert row["area"] == len(places)
        assert row["bbox"] == [left, top, right - left + 1, bottom - top + 1]
        segments.append((row, mask))
    return segments
