"""Plain text as Markdown that displays it unchanged."""

from __future__ import annotations

import re
import textwrap


def prose(text: str) -> str:
    """Plain text, such as a docstring, as Markdown: paragraphs and `code` stay, nothing else becomes markup."""
    parts = re.split(r"(`[^`\n]+`)", textwrap.dedent(text).strip())
    return "".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    text = re.sub(r"[\\`*_{}\[\]#|]", r"\\\g<0>", text).replace("&", "&amp;").replace("<", "&lt;")
    # A line that starts with one of these would become a list.
    return re.sub(r"(?m)^(\s*\d+)(\. )", r"\1\\\2", re.sub(r"(?m)^(\s*)([-+] )", r"\1\\\2", text))


def cell(text: str) -> str:
    """As `prose`, in one line for a table."""
    return " ".join(prose(text).split())


def code(text: str) -> str:
    """Inline code."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{' '.join(text.split())}{fence}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table; the cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
