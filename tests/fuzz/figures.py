"""Figures of docs/robustness.md, between two comments of its text."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"


def write_figures(name: str, text: str, page: Path = PAGE) -> None:
    """Puts a text between the comments of this name."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)"
    content, count = re.subn(
        pattern, lambda match: f"{match[1]}{text}\n{match[2]}", page.read_text("utf-8"), flags=re.S
    )
    if count != 1:
        raise ValueError(f"{page}: expected one place for the figures {name}, found {count}")
    page.write_text(content, encoding="utf-8")


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
