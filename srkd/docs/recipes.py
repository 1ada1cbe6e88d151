"""The recipe reference: all keys of a task's recipe, from the pydantic models that validate it."""

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

_WORDS = {int: "integer", float: "number", str: "string", bool: "true or false", type(None): "none", Any: "anything"}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "at least", "pattern": "matches"}


def tasks_by_name() -> dict[str, type[tasks.Task]]:
    """All tasks of srkd that a recipe may use, by name."""
    found = {}
    for name in ["sr", "sr.gan", "sr.real_esrgan", "imitation", *tasks.adapters()]:
        try:
            found[name] = tasks.find(name)
        except SrkdError:  # a module of the adapters without a task
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
            parts.append("Further keys are passed on unchanged.")
        if model.ignored:
            parts.append(f"Accepted and ignored, with a notice: {', '.join(map(code, sorted(model.ignored)))}.")
        if free := sorted(model.free & model.model_fields.keys()):
            parts.append(f"A resumed run may change {', '.join(map(code, free))}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def schema(task: type[tasks.Task]) -> str:
    """The JSON schema of a task's recipe."""
    return json.dumps(task.recipe_type.model_json_schema(), indent=2, sort_keys=True) + "\n"


def sections(model: type[Section], where: str = "") -> Iterator[tuple[str, type[Section]]]:
    """A recipe's sections with their dotted keys, e.g. `train.scheduler`; the recipe itself comes first."""
    yield where, model
    for key, field in model.model_fields.items():
        for inner, place in _sections_in(field.annotation):
            yield from sections(inner, ".".join(filter(None, [where, key])) + place)
    if model.extra_section is not None:
        yield from sections(model.extra_section, f"{where}.{_example(model.extra_key)}")


def _example(pattern: str) -> str:
    """A readable form of a key pattern such as `(val|test)\\w*`."""
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
    """The description of a key, or else the first line of its section's docstring."""
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
        return "its defaults" if isinstance(value, BaseModel) else ", ".join(map(code, value))
    return code(yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip())


def index(names: list[str]) -> str:
    """The index page of the recipe reference."""
    lines = [f"- [{code(name)}](recipes/{name}.md)" for name in names]
    intro = (
        "One YAML file describes a training. `task:` selects one of these tasks; the default is `sr`. These pages are "
        "generated from the models that validate recipes, so they match the installed version."
    )
    terms = (inspect.getdoc(Term.parse) or "").partition("\n\n")[2].partition("\n\nRaises:")[0]
    terms = f"## Loss terms\n\nAn item of `train.losses` is {_TERM}\n\n{prose(terms)}"
    return "\n\n".join(["# Recipes", intro, "\n".join(lines), _READING, terms]) + "\n"


_TERM = (
    "`{type, at, weight, balance, target, name}` plus the options of the loss; `type` is a name of the "
    "[catalogue](losses.md)."
)
_READING = """\
## How a recipe is read

- `1e-4` is a number. Object tags (`!!python/...`) and duplicate keys are errors. Text that starts with `~/` is a path
  in your home folder.
- All errors are reported at once, with their lines, before anything is built: `srkd train -opt recipe.yml --dry-run`.
  It also tries one step of each stage, and for each validation set the smallest image and one with odd sides.
- `--set train.total_iter=100` overrides a key, `--set datasets.val.name=x` a nested one; items of lists are selected by
  index.
- `stages:` is a list of overrides; each stage starts from the weights of the previous one.
- `--auto_resume` resumes from the newest readable training state, if everything that affects the results is unchanged:
  data, teachers and other files may move, and validation may change; the total batch size may not. A finished run
  continues if `train.total_iter` is raised.
- If a recipe validates during training (`val.val_freq`), the best networks are kept in addition to `..._latest` as
  `models/net_g_best.safetensors`: `val.best` names the deciding score, and with `val.patience` training stops when it
  no longer improves.
- The resolved recipe with all defaults is saved with the run as `recipe.yml` and reproduces it."""
