"""Rows of docs/odd-inputs.md, each a function that makes an odd input, runs gsdff on it and judges what happens."""

from odd_rows import cameras, damage, elsewhere, pages, photos, pictures, refused, splats, way_up, writers
from odd_rows.table import Row

ROWS: list[Row] = sorted(
    (
        row
        for module in (cameras, pictures, photos, way_up, splats, refused, elsewhere, pages, writers, damage)
        for row in module.TABLE.rows
    ),
    key=lambda row: (row.number[0], int(row.number[1:] or 0)),
)
"""All rows in the order of the document."""
