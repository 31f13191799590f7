"""The phase `report` of scripts/gpu_check.sh: figures become rows, faults become lines, pages only grow."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CARD = {"status": "ok", "card": "NVIDIA H200", "driver": "580", "torch": "2.11.0", "commit": "abc1234"}


@pytest.fixture
def phases(monkeypatch):
    """The module of the report."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from gpu_phases import report

    return report


@pytest.fixture
def write(phases, tmp_path):
    """Writes the report of a folder with these phases; gives its text."""

    def write(**items: dict) -> str:
        from gpu_phases.work import Options

        for name, content in items.items():
            file = {"phase": name, "date": "2026-11-30", "items": content}
            (tmp_path / f"{name}.json").write_text(json.dumps(file))
        phases.report(Options("report", tmp_path, pages=tmp_path))
        return (tmp_path / "report.md").read_text()

    return write


def test_rows_become_the_columns_of_a_table_with_every_figure_a_line(phases):
    table = phases.markdown_table([{"D": 3, "forward_ms": 0.123456}, {"D": 32, "quality": None, "note": "a|b"}])
    assert table.splitlines() == [
        "| D | 3 | 32 |",
        "| --- | --- | --- |",
        "| forward_ms | 0.1235 |  |",
        "| quality |  |  |",
        "| note |  | a/b |",
    ]


def test_a_page_keeps_what_it_had(phases, tmp_path):
    page = tmp_path / "nvidia-h200.md"
    for title in ("first", "second"):
        phases.append(page, "NVIDIA H200", f"## {title}\n")
    text = page.read_text()
    assert text.startswith("# NVIDIA H200\n") and text.count("# NVIDIA H200\n") == 1
    assert text.index("## first") < text.index("## second")
    assert [path.name for path in tmp_path.iterdir()] == ["nvidia-h200.md"]


def test_a_card_s_name_becomes_a_file_s(phases):
    assert phases.slug("NVIDIA GeForce RTX 4090 (Laptop)") == "nvidia-geforce-rtx-4090-laptop"


def test_nothing_that_ran_is_left_out(write, tmp_path):
    tests = {
        "tests/a.py::test_b": {"status": "ok", "seconds": 1.0},
        "tests/a.py::test_c": {"status": "crashed", "detail": "line\nSIGFPE"},
        "tests/a.py::test_d": {"status": "skipped", "detail": "Skipped: needs weights"},
        "tests/a.py::test_e": {"status": "failed", "detail": "E   ValueError: no\nx.py:3: ValueError"},
    }
    bench = {"filters": {"status": "hung", "detail": "slow"}}
    bench["features"] = {"status": "ok", "tables": {"Lift": [{"scene": "demo", "lift_s": 1.25}]}}
    train = {"fox": {"status": "ok", "scene": "fox", "psnr": 30.5, "steps": 9000}}
    text = write(build={"card": CARD}, tests=tests, bench=bench, train=train)
    assert text.startswith("# NVIDIA H200\n\n## 2026-11-30, commit abc1234\n")
    assert "1 crashed, 1 failed, 1 passed, 1 skipped." in text and "needs weights" in text
    assert "- **crashed** `tests/a.py::test_c`: SIGFPE" in text
    assert "- **failed** `tests/a.py::test_e`: ValueError: no" in text
    assert "- **hung** `filters`: slow" in text and "| lift_s | 1.25 |" in text
    assert "| psnr | 30.5 |" in text and "| steps | 9,000 |" in text
    assert text.partition("\n\n")[2] in (tmp_path / "nvidia-h200.md").read_text()


def test_phases_that_did_not_run_are_said(write):
    text = write(build={"card": {"status": "failed", "detail": "no card, or no driver"}})
    assert text.startswith("# no card\n") and "- **failed** `card`: no card, or no driver" in text
    assert text.count("Not run.") == 3
