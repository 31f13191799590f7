"""The table of odd inputs: its rows judge by themselves, the page lists all of them, and tests of these names exist."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / part) for part in ("scripts", "tests/fuzz", "tests/viewer")]
QUICK = (
    "two_models", "frame_twice", "ten_poses", "behind", "turned_labels", "infinite", "colours", "strays", "spellings",
    "ambiguous_stem", "sheared", "outside", "huge_grow", "nested", "filenames", "far_points",
)  # fmt: skip
"""Names of the functions of rows that take less than a second."""


@pytest.fixture(scope="module")
def rows() -> Iterator[list]:
    """All rows of the table."""
    before = [*sys.path]
    sys.path[:0] = PATHS
    from odd_rows import ROWS

    yield ROWS
    sys.path[:] = before


@pytest.mark.parametrize("name", QUICK)
def test_a_row_is_right(rows, name):
    from odd_rows.table import judge

    (row,) = (row for row in rows if row.run.__name__ == name)
    result = judge(row)
    assert result.is_right and len(result.happens) > 10, result.happens


def test_a_row_that_is_not_right_is_marked(rows):
    from odd_rows.table import Row, document, expect, judge

    def accept(here):
        return here.refused(lambda: 5, "no")

    def fail(here):
        raise ValueError("odd")

    def silent(here):
        return here.said("a word")

    def differ(here):
        expect([], "3 of 4 photos")
        return "4 photos"

    results = [judge(Row("A1", "input", ("test_x",), run)) for run in (accept, fail, silent, differ)]
    assert not any(result.is_right for result in results)
    page = document(results)
    assert page.count("**WRONG**") == 4 and "4 of 4 rows are not right" in page
    for words in ("accepted, gave 5", "ValueError", "nothing says a word", "3 of 4 photos"):
        assert words in page


def test_every_kind_of_the_table_has_a_row(rows):
    numbers = {row.number for row in rows}
    kinds = {*(f"A{i}" for i in range(1, 14)), *(f"B{i}" for i in range(1, 10)), *(f"C{i}" for i in range(1, 8))}
    assert numbers == kinds | {"D", "E"}
    assert sum(row.number == "D" for row in rows) >= 12


def test_the_page_lists_every_row(rows):
    page = (ROOT / "docs" / "odd-inputs.md").read_text("utf-8")
    listed = [line.split(" | ")[:2] for line in page.splitlines() if re.match(r"\| [A-E]\d* \| ", line)]
    assert listed == [[f"| {row.number}", row.given.replace("|", r"\|")] for row in rows]


def test_the_tests_that_rows_name_exist(rows):
    texts = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", texts, re.MULTILINE))
    named = {name for row in rows for name in row.tests}
    assert named - known == set() and all(row.tests for row in rows)
