"""One exported page for all tests of a file, which each of them finds as it was at first."""

from collections.abc import Iterator
from typing import Any

import pytest
from page_hand import HEIGHT, WIDTH, export_worded_run, undo_all
from page_window import open_page

from gsdff.field.field import Field


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A run with words and two things, exported as scene.html."""
    return export_worded_run(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(browser: Any, field: Field) -> Iterator[Any]:
    """The page on a desk; fails if it has logged an error."""
    page, errors = open_page(browser, field, viewport={"width": WIDTH, "height": HEIGHT})
    yield page
    assert errors == []


@pytest.fixture(autouse=True)
def _first_state(page: Any) -> None:
    undo_all(page)
