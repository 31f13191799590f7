"""scripts/append_benchmark.py: figures become rows, pages only grow."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "append_benchmark.py"


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_rows_become_the_columns_of_a_table_with_every_figure_a_line(script):
    table = script["markdown_table"]([{"D": 3, "forward_ms": 0.123456}, {"D": 32, "quality": None, "note": "a|b"}])
    assert table.splitlines() == [
        "| D | 3 | 32 |",
        "| --- | --- | --- |",
        "| forward_ms | 0.1235 |  |",
        "| quality |  |  |",
        "| note |  | a/b |",
    ]


def test_a_page_keeps_what_it_had(script, tmp_path):
    page = tmp_path / "nvidia-h200.md"
    for title in ("first", "second"):
        script["append"](page, "NVIDIA H200", script["section"](title, {"Machine": [{"card": "NVIDIA H200"}]}))
    text = page.read_text()
    assert text.startswith("# NVIDIA H200\n") and text.count("# NVIDIA H200\n") == 1
    assert text.index("## first") < text.index("## second") and text.count("| NVIDIA H200 |") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["nvidia-h200.md"]


def test_a_card_s_name_becomes_a_file_s(script):
    assert script["slug"]("NVIDIA GeForce RTX 4090 (Laptop)") == "nvidia-geforce-rtx-4090-laptop"


def test_the_scene_s_row_comes_from_its_evaluation(script, tmp_path):
    folder = tmp_path / "scene" / "evaluation"
    folder.mkdir(parents=True)
    counts = {"step": 30000, "gaussians": 9, "training_views": 43, "held_out_views": 7, "gsdff": "0.1.0"}
    scores = {"mean": {"psnr": 29.5, "ssim": 0.9}, "views": {}}
    report = {**counts, "data": "a/fox", "image_size": [540, 960], "images": scores}
    (folder / "metrics.json").write_text(json.dumps(report))
    row = script["scene_row"](tmp_path, 600)
    assert row["scene"] == "fox" and row["size"] == "540x960" and row["seconds"] == 600
    assert row["psnr"] == 29.5 and row["gaussians"] == 9
