"""Markdown tables of figures."""

from __future__ import annotations


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose columns after the first are aligned right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
