"""Edit files of DFF and Feature 3DGS: understood, or refused."""

import pytest

from gsdff import Delete, Extract
from gsdff.editing.toml_file import read_edits
from gsdff.errors import UserError

FEATURE_3DGS = """
edit:
  operations: "extraction"
  objects: [a_wooden_table, "apple", "wall"]
  targets: "apple, a_wooden_table"
  threshold: 0.4
"""
DFF = """
texts: [flower, other]
positive_ids: [0]
score_threshold: 0.75
operations: [deletion]
"""
NESTED = """
edit_config:
  edit_dict:
    texts: flower,leaf,pot
    positive_ids: 1
    operations: {deletion: true, extraction: false}
"""
DFF_LAYOUT = """
query:
  query_type: text
  texts: [cup, plate, table]
  positive_ids: [1]
  score_threshold:
edit:
  operations:
    - edit_type: deletion
"""


def read(folder, text):
    path = folder / "edit.yaml"
    path.write_text(text)
    return read_edits(path)


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        (
            FEATURE_3DGS,
            Extract(
                ("apple", "a wooden table"), negatives=["wall"], only_negatives=True, threshold=0.4, temperature=1.0
            ),
        ),
        (DFF, Delete("flower", negatives=["other"], only_negatives=True, threshold=0.75, temperature=1.0)),
        (DFF_LAYOUT, Delete("plate", negatives=["cup", "table"], only_negatives=True)),
        (NESTED, Delete("leaf", negatives=["flower", "pot"], only_negatives=True)),
        (
            "query: {texts: [flower], score_threshold: 0.3}\nedit: {operations: deletion}",
            Delete("flower", negatives=(), threshold=0.3),
        ),
        (
            "texts: [a_b, c]\noperations: [extraction]\ncolor_func: 'lambda c: boom()'",
            Extract("a_b", negatives="c", only_negatives=True),
        ),
    ],
    ids=["feature 3dgs", "dff", "dff's own layout", "nested", "one text", "code that is not asked for"],
)
def test_the_keys_of_other_programs_are_understood(tmp_path, text, edit):
    edits = read(tmp_path, text)
    assert edits.edits == (edit,) and edits.background is None


@pytest.mark.parametrize(
    "text",
    [
        DFF.replace("deletion", "color_func") + "color_func: \"__import__('pathlib').Path('BAD').touch()\"",
        "edit: {objects: [apple], operations: 'color_func', colorFunc: \"open('BAD', 'w')\"}",
        "texts: [apple]\noperations: {extraction: true, color_func: \"open('BAD', 'w')\"}",
    ],
)
def test_code_is_refused_with_a_hint_and_never_run(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'Python code, which is not run; .*"recolor", positives = .*, color = "#'):
        read(tmp_path, text)
    assert [path.name for path in tmp_path.iterdir()] == ["edit.yaml"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "cannot be read as a YAML file of edits"),
        ("when: 2001-99-99", "cannot be read as a YAML file of edits"),
        (
            "!!python/object/apply:os.getcwd []",
            "cannot be read as a YAML file of edits (could not determine a constructor",
        ),
        ("[1, 2]", "expected a table of keys and values, got list"),
        ("", "expected a table of keys and values, got NoneType"),
        ("1: 2", "expected a table of keys and values, got dict"),
        (DFF + "score_treshold: 1", "unknown key score_treshold; did you mean score_threshold?"),
        ("edit: {object: [a]}", "unknown key edit.object; did you mean objects?"),
        ("edit: {1: 2}", "unknown key edit.1; did you mean"),
        ("edit: 3", "edit: expected a table of keys and values, got 3"),
        (DFF + "threshold: 1", "threshold: means the same as score_threshold; expected only one of them"),
        (DFF.replace("texts", "#"), "texts: expected this key"),
        (DFF.replace("operations", "#"), "operations: expected this key"),
        (DFF.replace("[flower, other]", "[1, 2]"), "texts: expected a list of texts, got [1, 2]"),
        (DFF.replace("[flower, other]", "[]"), "texts: expected a list of texts, got []"),
        (DFF.replace("[0]", "[2]"), "positive_ids: expected indices of texts, 0 to 1, got [2]"),
        (DFF.replace("[0]", "[]"), "positive_ids: expected indices of texts"),
        (DFF.replace("[0]", "[0, 1]"), "texts: expected more texts than those to select"),
        (FEATURE_3DGS.replace("apple, ", "aple,"), "edit.targets: 'aple' is none of the texts; did you mean 'apple'?"),
        (DFF.replace("0.75", "high"), "score_threshold: expected a number, got 'high'"),
        (DFF.replace("0.75", "75"), "edit 1: threshold: expected a score in -1..1, got 75"),
        (DFF.replace("deletion", "deletions"), "operations: unknown operation 'deletions'; did you mean 'deletion'?"),
        (DFF.replace("deletion", "extraction, deletion"), "operations: expected extraction or deletion, got both"),
        (DFF.replace("[deletion]", "{deletion: false}"), "operations: expected a list of texts, got []"),
        ("edit: [{operation: delete, 3: 4}]", "edit 1: unknown key 3 of delete; did you mean"),
        ("edit: [{operation: delete, positives: a}]\ntexts: [a]", "unknown key texts; did you mean"),
    ],
)
def test_a_mistake_is_an_error_that_names_file_and_key(tmp_path, text, complaint):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'edit.yaml'}: ") and complaint in message and "\n" not in message


def test_a_query_by_other_than_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"query\.query_type: expected text, got 'patch'"):
        read(tmp_path, DFF_LAYOUT.replace("query_type: text", "query_type: patch"))


def test_code_beside_an_edit_type_is_refused_and_not_run(tmp_path):
    code = "    - {edit_type: color_func, func_str: 'lambda c: c[..., [2, 1, 0]]'}"
    with pytest.raises(UserError, match=r"color_func is Python code, which is not run"):
        read(tmp_path, DFF_LAYOUT + code)
