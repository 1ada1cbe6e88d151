"""The loss catalogue: all registered losses, from the docstrings of their classes."""

from __future__ import annotations

import re

from srkd import losses
from srkd.docs.markdown import cell, code, prose, table

_KINDS = {
    "output": "Images and other outputs",
    "logits": "Logits of classifiers",
    "feature": "Features",
}


def catalogue() -> str:
    """The page of all losses, grouped by what they compare."""
    by_kind = {kind: [name for name in losses.names() if losses.get(name).kind == kind] for kind in _KINDS}
    parts = [
        "# Losses",
        f"All {sum(map(len, by_kind.values()))} losses for `train.losses` of a recipe, generated from the registry; "
        "`srkd train --list-losses` prints them, too. *s* is the student's side, *t* the teacher's, *g* the ground "
        "truth. `srkd.losses.build(name, ...)` builds one in Python.",
    ]
    for kind, names in by_kind.items():
        rows = [[f"[{code(name)}](#{_anchor(name)})", cell(_formula(name)), cell(_source(name))] for name in names]
        parts += [f"## {_KINDS[kind]}", table(["loss", "definition", "source"], rows)]
    parts.append("## Details")
    for name in losses.names():
        parts += _entry(name)
    return "\n\n".join(parts) + "\n"


def _anchor(name: str) -> str:
    return f"loss-{name.lower()}"


def _formula(name: str) -> str:
    """The first paragraph of the loss's docstring."""
    return " ".join(losses.describe(name).split("\n\n")[0].split())


def _source(name: str) -> str:
    """Authors, venue and year, without the address."""
    found = re.search(r"Source: (.+?)(?:\n\n|\Z)", losses.describe(name), re.DOTALL)
    if not found:
        return ""
    words = " ".join(found[1].split())
    title = re.search(r'^(?P<who>[^"]+?),? "[^"]+",? (?P<where>[^(;.]+)', words)
    return f"{title['who']}, {title['where'].strip()}" if title else words


def _entry(name: str) -> list[str]:
    cls = losses.get(name)
    options = ", ".join(
        key if p.default is p.empty else f"{key}={p.default!r}" for key, p in losses.options(name).items()
    )
    first, _, rest = losses.describe(name).partition("\n\n")
    layers = "a list of layers" if cls.layers == "list" else "one layer"
    facts = [f"compares {_KINDS[cls.kind].lower()}, {layers} per side"]
    if cls.reference == "target":
        facts.append("compares with the ground truth unless the recipe sets another target")
    if cls.needs:
        facts.append(f"needs {', '.join(map(code, cls.needs))}")
    if not cls.trains_student:
        facts.append("trains only its own modules")
    if cls.zero_at_equal:
        facts.append("0 if both sides are equal")
    if cls.stochastic:
        facts.append("stochastic")
    summary = "; ".join(facts)
    return [
        f"### {code(name)} {{: #{_anchor(name)} }}",
        code(f"{name}({options})"),
        prose(first),
        prose(rest),
        f"*{summary[0].upper()}{summary[1:]}.*",
    ]
