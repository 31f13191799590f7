"""Selections in the exported page that are hidden, shown alone, and deleted by their text, in Chromium."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_hand import BOX, download, drag, selected
from page_window import wait_until
from tiny_words import WORDS

from gsdff.editing.edit import Edit
from gsdff.editing.operations.delete import Delete
from gsdff.editing.toml_file import read_edits


def drawn(page: Any, count: int) -> set[int]:
    """Gaussians that the picture shows."""
    alphas = page.evaluate(f"[...window.gsdff.picture.shapes(1).splats.subarray(0, 16 * {count})]")
    return set(np.flatnonzero(np.array(alphas).reshape(count, 16)[:, 3]).tolist())


def take_answer(page: Any, text: str, *, rim: bool) -> set[int]:
    """Selects what answers a question, by the button."""
    page.click("#tabs button[value=search]")
    page.fill("#search", text)
    page.keyboard.press("Enter")
    page.locator("#answer", has_text=f"{text}: ").wait_for()
    page.set_checked("#rim", rim)
    page.click("#take-answer")
    wait_until(page, "window.gsdff.editor.numSelected > 0 && !window.gsdff.isTaking")
    return selected(page)


def saved_edits(page: Any, folder: Path) -> list[Edit]:
    with zipfile.ZipFile(io.BytesIO(download(page, "#save-edits"))) as archive:
        archive.extractall(folder)
    return list(read_edits(folder / "edits.toml").edits)


# --- hiding


def test_a_selection_is_hidden_and_shown_again_without_an_edit(page, field):
    everything = drawn(page, len(field))
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    chosen = selected(page)
    page.keyboard.press("h")
    assert drawn(page, len(field)) == everything - chosen and not selected(page)
    assert page.get_by_text(f"{len(chosen)} hidden", exact=True).is_visible()
    page.keyboard.press("Control+a")
    assert selected(page) == everything - chosen
    page.keyboard.press("u")
    assert drawn(page, len(field)) == everything and page.locator("#reveal").is_disabled()
    assert page.evaluate("window.gsdff.editor.edits.length") == 0


def test_a_selection_is_shown_alone_by_its_button_and_all_comes_back(page, field):
    everything = drawn(page, len(field))
    page.keyboard.press("r")
    drag(page, BOX[:2], BOX[2:])
    chosen = selected(page)
    page.click("#alone")
    assert drawn(page, len(field)) == chosen == selected(page)
    page.click("#conceal")
    assert drawn(page, len(field)) == set()
    page.keyboard.press("Control+z")
    assert drawn(page, len(field)) == chosen
    page.click("#reveal")
    assert drawn(page, len(field)) == everything


# --- by text


@pytest.mark.parametrize("rim", [True, False])
def test_what_is_deleted_by_text_is_what_was_counted_and_what_gsdff_edit_deletes(page, field, tmp_path, rim):
    text = WORDS[0]
    chosen = take_answer(page, text, rim=rim)
    answered = set(page.evaluate("window.gsdff.selected()"))
    assert chosen >= answered if rim else chosen == answered
    page.click("#tabs button[value=select]")
    assert page.inner_text("#delete") == f"delete {len(chosen)}"
    page.click("#delete")
    (edit,) = saved_edits(page, tmp_path)
    assert isinstance(edit, Delete) and edit.positives == (text,) and edit.rim == rim
    assert list(tmp_path.iterdir()) == [tmp_path / "edits.toml"]
    left = [number for number in range(len(field)) if number not in chosen]
    assert np.array_equal(field.edit(edit).gaussians.means, field.gaussians.means[left])


def test_the_rim_is_drawn_as_selected_and_may_be_left(page, field):
    with_rim, without = (take_answer(page, WORDS[0], rim=rim) for rim in (True, False))
    assert without < with_rim <= set(range(len(field)))


def test_a_changed_selection_by_text_is_saved_by_its_gaussians(page, tmp_path):
    take_answer(page, WORDS[0], rim=True)
    page.keyboard.press("Control+i")
    page.keyboard.press("Control+i")
    page.keyboard.press("Delete")
    (edit,) = saved_edits(page, tmp_path)
    assert edit.selection is not None


def test_a_text_that_a_locked_thing_takes_part_of_is_saved_by_its_gaussians(page, tmp_path):
    page.click("#tabs button[value=things]")
    lock = page.locator('#tab-things .thing[data-id="1"] .lock')
    lock.click()
    take_answer(page, WORDS[0], rim=True)
    page.keyboard.press("Delete")
    (edit,) = saved_edits(page, tmp_path)
    page.click("#tabs button[value=things]")
    lock.click()
    assert edit.selection is not None


# --- scores


def test_an_answer_that_the_page_finds_itself_is_its_workers_to_the_bit(page):
    wait_until(page, "window.gsdff.scorer.here !== null")
    for word in WORDS:
        own, workers = page.evaluate(
            """async (word) => {
              const { scorer, words } = window.gsdff;
              const { here } = scorer;
              const { positives, negatives } = words.compare([words.find(word)], []);
              const own = await scorer.score(positives, negatives);
              scorer.here = null;
              const workers = await scorer.score(positives, negatives);
              scorer.here = here;
              return [own, workers].map(({ scores, threshold, range }) => [[...scores], threshold, range]);
            }""",
            word,
        )
        assert own == workers
