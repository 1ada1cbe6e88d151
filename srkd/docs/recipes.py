"""The recipe reference: every key of a task's recipe, from the pydantic models that check it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from srkd.distill.objective import Term
from srkd.docs.markdown import cell, code, prose, table
from srkd.errors import SrkdError
from srkd.training import task as tasks
from srkd.training.recipe import Section

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none", Any: "anything"}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "at least", "pattern": "matches"}


def tasks_by_name() -> dict[str, type[tasks.Task]]:
    """Every task of srkd that a recipe may name."""
    found = {}
    for name in ["sr", "sr.gan", *tasks.adapters()]:
        try:
            found[name] = tasks.find(name)
        except SrkdError:  # a module of the adapters that is no task
            continue
    return found


def reference(name: str, task: type[tasks.Task]) -> str:
    """The page of one task's recipe."""
    parts = [f"# Recipe of `{name}`", prose(inspect.getdoc(task.recipe_type) or "")]
    parts.append(f"As a JSON schema, for editors: [{name}.schema.json]({name}.schema.json).")
    for where, model in sections(task.recipe_type):
        heading = f"## {code(where)}" if where else "## Top"
        described = inspect.getdoc(model) or ""
        parts += [heading, prose(described)] if where else [heading]
        if model.model_fields:
            rows = [[code(key), *_row(field)] for key, field in model.model_fields.items()]
            parts.append(table(["key", "value", "default", "meaning"], rows))
        if model.aliases:
            others = ", ".join(f"{code(old)} for {code(new)}" for old, new in model.aliases.items())
            parts.append(f"Also accepted: {others}.")
        if model.model_config.get("extra") == "allow" and model.extra_section is None:
            parts.append("Further keys are handed on as they are.")
        if model.ignored:
            parts.append(f"Accepted and ignored, with a notice: {', '.join(map(code, sorted(model.ignored)))}.")
        if free := sorted(model.free & model.model_fields.keys()):
            parts.append(f"A resumed run may change {', '.join(map(code, free))}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def schema(task: type[tasks.Task]) -> str:
    """The JSON schema of a task's recipe."""
    return json.dumps(task.recipe_type.model_json_schema(), indent=2, sort_keys=True) + "\n"


def sections(model: type[Section], where: str = "") -> Iterator[tuple[str, type[Section]]]:
    """A recipe's sections with their places, `train.scheduler`, the recipe itself first."""
    yield where, model
    for key, field in model.model_fields.items():
        for inner, place in _sections_in(field.annotation):
            yield from sections(inner, ".".join(filter(None, [where, key])) + place)
    if model.extra_section is not None:
        yield from sections(model.extra_section, f"{where}.{_example(model.extra_key)}")


def _example(pattern: str) -> str:
    """`(val|test)\\w*` as people write it."""
    return "<" + re.sub(r"\\w\*|[()]", "", pattern).replace("|", "... or ") + "...>"


def _sections_in(annotation: Any, place: str = "") -> Iterator[tuple[type[Section], str]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, place
        return
    inside = {list: "[]", dict: ".<name>"}.get(get_origin(annotation), "")
    for inner in get_args(annotation):
        yield from _sections_in(inner, place + inside)


def _row(field: FieldInfo) -> list[str]:
    bounds = [
        f"{sign} {code(str(limit)) if name == 'pattern' else limit}"
        for constraint in field.metadata
        for name, sign in _BOUNDS.items()
        if (limit := getattr(constraint, name, None)) is not None
    ]
    kind = _type(field.annotation)
    return [f"{kind} {', '.join(bounds)}".strip(), _default(field), cell(meaning(field))]


def meaning(field: FieldInfo) -> str:
    """What a key says of itself, or the first line of the section that it holds."""
    inner = next(_sections_in(field.annotation), None)
    described = inspect.getdoc(inner[0]) if inner else None
    return field.description or (described or "").partition("\n")[0]


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(code(str(value)) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if origin is Annotated:
        return _type(inner[0])
    if origin in (list, tuple):
        return f"list of {' and '.join(dict.fromkeys(_type(one) for one in inner))}"
    if origin is dict or annotation is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _WORDS.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, BaseModel) or (
        isinstance(value, dict) and any(isinstance(v, BaseModel) for v in value.values())
    ):
        return "its own" if isinstance(value, BaseModel) else ", ".join(map(code, value))
    return code(yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip())


def index(names: list[str]) -> str:
    """The page that leads to the others."""
    lines = [f"- [{code(name)}](recipes/{name}.md)" for name in names]
    said = (
        "One YAML file describes a training. `task:` says which of these it is; without it, it is `sr`. These pages "
        "are generated from the models that check the recipes, so they say what your version accepts."
    )
    terms = (inspect.getdoc(Term.parse) or "").partition("\n\n")[2].partition("\n\nRaises:")[0]
    terms = f"## Loss terms\n\nAn item of `train.losses` is {_TERM}\n\n{prose(terms)}"
    return "\n\n".join(["# Recipes", said, "\n".join(lines), _READING, terms]) + "\n"


_TERM = (
    "`{type, at, weight, balance, target, name}` with the loss's own options beside them; `type` is a name of the "
    "[catalogue](losses.md)."
)
_READING = """\
## How a recipe is read

- `1e-4` is a number. Object tags (`!!python/...`) are refused, and so is a key that is there twice. Text that starts
  with `~/` is a path below your home folder.
- All mistakes are reported at once, in words and with their line, before anything is built:
  `srkd train -opt recipe.yml --dry-run`. It also tries one step of each stage, and of each validation set the smallest
  image and that of the oddest sides.
- `--set train.total_iter=100` overrides a key, `--set datasets.val.name=x` a deeper one; items of lists go by number.
- `stages:` is a list of overrides; each stage starts from the weights of the one before.
- `--auto_resume` goes on from the newest training state that can be read, if all that numbers depend on is what it
  was: data, teachers and other files may move, and validation may change; the batch over all processes may not. A
  finished run goes on when `train.total_iter` is raised.
- Where a recipe validates while it trains (`val.val_freq`), the best networks are kept beside `..._latest` as
  `models/net_g_best.safetensors`: `val.best` names the score that decides, and with `val.patience` training stops once
  nothing better comes.
- The resolved recipe, every default filled in, is saved with the run as `recipe.yml` and trains the same again."""
