"""Find figures in written pages that are typed by hand instead of filled in from a file."""

from __future__ import annotations

import re
from pathlib import Path

# Measured units and comparisons; two decimals and more; a mean with its spread; a signed decimal.
_UNITS = (
    r"dB|ms|milliseconds|[MGK]B|steps/s|images/s|times|%|s|seconds|minutes|min|hours|points|parameters"
    r"|(?:above|below|higher|lower) (?:the|it|that|its)"
)
_FIGURE = re.compile(
    rf"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:\s+(?:{_UNITS})(?!\w)|%|x(?=[\s.,;)]))"
    r"|(?<![\w.])[-+]?\d+\.\d{2,}\b"
    r"|(?<![\w.])\d+(?:\.\d+)? ± \d+(?:\.\d+)?"
    r"|(?<![\w.,])[-+]\d+\.\d+\b"
)
# In a table every decimal and every number with a thousands separator counts as a result.
_IN_TABLE = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d+|\d{1,3}(?:,\d{3})+)(?![\w.])")
_EXEMPT = re.compile(
    r"```.*?```|<!--= .*?<!--/-->|<!--.*?-->|`[^`\n]*`|(?<=\n\n)(?: {4}[^\n]*\n)+"
    r"|\bPython \d+\.\d+(?: (?:to|or|and) \d+\.\d+)?|\bv?\d+\.\d+\.\d[\w.]*|arXiv:[\d.]+|https?://\S+"
    # Hyper-parameters after their name.
    r"|\b(?:Adam|AdamW|SGD|decay|rate|smoothing|gamma|alpha|eps|momentum|temperature|tolerances?|shares?|weights?)"
    r"(?:\s(?:of|at|to))?(?:\s\d+(?:\.\d+)?(?:,|\sand)?)+(?!\.\d)",
    re.DOTALL | re.MULTILINE,
)
_GIVEN = re.compile(r"[^\n|]*<!--given-->")
_GENERATED = re.compile(r"(?:.*_)?(?:results|steps)\.md|verdicts_changed\.md")


def generated(path: Path) -> bool:
    """Whether the whole page is generated: tables of `srkd compare` and of the adapters, recognised by name, and model
    cards, which have a metrics.json next to them."""
    card = path.name == "README.md" and (path.parent / "metrics.json").is_file()
    return card or bool(_GENERATED.fullmatch(path.name))


def written_by_hand(root: Path) -> list[Path]:
    """Files with hand-written text: README.md, docs/, the studies' pages, and the notes of model cards."""
    models = [*(root / "models").rglob("*.md"), *(root / "models").glob("*/about.yml")]
    found = [root / "README.md", *(root / "docs").rglob("*.md"), *models]
    return sorted(path for path in found if path.is_file() and not generated(path))


def typed(path: Path) -> list[str]:
    """Figures of a page that were typed by hand: a line for each.

    Excluded are code, markers, versions, hyper-parameters after their name (Adam 0.01), and text before `<!--given-->`
    on its line or in its table cell: chosen limits, and numbers from a cited source.
    """
    text = path.read_text(encoding="utf-8")
    for exempt in (_GIVEN, _EXEMPT):
        text = exempt.sub(lambda found: re.sub(r"[^\n]", "·", found[0]), text)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        rule = _IN_TABLE if line.lstrip().startswith("|") else _FIGURE
        found += [f'{path}, line {number}: "{figure[0].strip()}" is typed by hand' for figure in rule.finditer(line)]
    return found
