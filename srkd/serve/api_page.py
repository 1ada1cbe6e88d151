"""The page of the HTTP API, from `static/openapi.json`."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from srkd.version import __version__

_STATIC = Path(__file__).parent / "static"


def openapi() -> dict[str, Any]:
    """The description of the API (OpenAPI 3.1)."""
    return dict(json.loads((_STATIC / "openapi.json").read_text(encoding="utf-8")))


@cache
def api_page() -> str:
    """The description as HTML, without scripts."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_STATIC), autoescape=True)
    environment.filters["code"] = _code
    known = openapi()
    operations = [
        {"path": path, "method": method.upper(), "id": _anchor(method, path), **operation}
        for path, methods in known["paths"].items()
        for method, operation in methods.items()
    ]
    job = known["components"]["schemas"]["Job"]["properties"]
    page = environment.get_template("api.html.j2")
    return page.render(info=known["info"], operations=operations, job=job, kind=_kind, version=__version__)


def _anchor(method: str, path: str) -> str:
    return re.sub(r"\W+", "-", f"{method}{path}").strip("-")


def _code(text: str) -> Markup:
    """Text with `code` in backticks."""
    return Markup(re.sub(r"`(.*?)`", r"<code>\1</code>", str(escape(text))))


def _kind(field: dict[str, Any]) -> str:
    """The values of a field, or its types."""
    if "enum" in field:
        return ", ".join(field["enum"])
    return field["type"] if isinstance(field["type"], str) else " or ".join(field["type"])
