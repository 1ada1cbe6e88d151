"""Recipes: one YAML file per training run, validated in full before anything is built.

The pydantic model of a recipe belongs to its task (`Task.recipe_type`); this module reads, overrides and validates
recipes of any model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import pydantic
import yaml

from srkd.errors import SrkdError, nearest
from srkd.files.atomic import printable_path
from srkd.files.bounded import read_bytes
from srkd.files.names import check_name

S = TypeVar("S", bound="Section")

NonNegative = Annotated[int, pydantic.Field(ge=0)]
Positive = Annotated[int, pydantic.Field(gt=0)]
NonNegativeFloat = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, pydantic.Field(ge=0, lt=1 << 63)]  # torch takes 64 bits; pairs of networks add to it
_MAX_ITEMS, _MAX_DEPTH = 100_000, 50
_MAX_BYTES = 1 << 20  # of a recipe
_MAX_MERGED, _MAX_KEYS = 100, 10_000  # of one mapping


def _named(text: str) -> str:
    try:
        return check_name(text, "the name")
    except SrkdError as error:  # pydantic collects ValueErrors
        raise ValueError(str(error)) from error


# A name that becomes a folder or file.
Name = Annotated[str, pydantic.AfterValidator(_named)]


class Section(pydantic.BaseModel):
    """A part of a recipe.

    Class attributes:
        ignored: keys of other tools that have no effect here; accepted with a notice.
        ignored_values: values, by key, that are accepted with a notice.
        aliases: other tools' names for keys that exist here.
        instead: for rejected keys, the key to use instead.
        free: keys that do not affect results, so that a resumed run may change them.
        extra_key: regular expression for further keys, in a section that allows them.
        extra_section: the model of those further keys' values.
    """

    model_config = pydantic.ConfigDict(extra="forbid", protected_namespaces=())
    ignored: ClassVar[frozenset[str]] = frozenset()
    ignored_values: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    instead: ClassVar[Mapping[str, str]] = {}
    free: ClassVar[frozenset[str]] = frozenset()
    extra_key: ClassVar[str] = ".*"
    extra_section: ClassVar[type[Section] | None] = None


class Optimiser(Section):
    """An optimiser by name, with its options: of `torch.optim`, or `SOAP` (`srkd.training.soap`)."""

    model_config = pydantic.ConfigDict(extra="allow", protected_namespaces=())
    type: str = pydantic.Field("Adam", description="a class of torch.optim, or SOAP")
    lr: float = pydantic.Field(2e-4, gt=0, description="initial learning rate")


class Scheduler(Section):
    """Learning-rate schedule; see `srkd.training.schedule`. The default is one cosine over the whole run."""

    type: str = pydantic.Field(
        "cosine",
        description="cosine, constant, or a schedule of BasicSR and its forks: MultiStepLR (MultiStepRestartLR), "
        "CosineAnnealingRestartLR, CosineAnnealingRestartCyclicLR, TrueCosineAnnealingLR",
    )
    milestones: list[NonNegative] = pydantic.Field([], description="MultiStepLR: steps at which the rate drops")
    gamma: float = pydantic.Field(0.5, gt=0, allow_inf_nan=False, description="MultiStepLR: factor at each milestone")
    periods: list[Positive] = pydantic.Field([], description="CosineAnnealingRestart...LR: steps of each cosine")
    eta_mins: list[NonNegativeFloat] = pydantic.Field(
        [], description="CosineAnnealingRestartCyclicLR: lowest rate of each cosine"
    )
    T_max: Positive | None = pydantic.Field(
        None, description="steps of the cosine without restarts; default: the whole run"
    )
    restarts: list[NonNegative] = pydantic.Field([], description="MultiStepLR: steps at which it restarts, ascending")
    restart_weights: list[NonNegativeFloat] = pydantic.Field([1.0], description="factor of the rate after each restart")
    eta_min: NonNegativeFloat = pydantic.Field(1e-7, description="lowest learning rate of the cosine schedules")


class Train(Section):
    """Keys that the `train:` section of every task has."""

    free = frozenset({"monitor_freq"})
    instead = {
        "grad_clip": "train.clip_grad_norm, the largest norm, e.g. 1.0",
        "accum_iter": "train.accumulate",
        "use_amp": "train.precision",
    }
    total_iter: int = pydantic.Field(gt=0, description="optimiser steps")
    warmup_iter: int = pydantic.Field(-1, description="steps of linear warm-up; -1 for none")
    scheduler: Scheduler = Scheduler()
    ema_decay: float = pydantic.Field(0.0, ge=0, lt=1, description="exponential moving average of the weights; 0: off")
    clip_grad_norm: float = pydantic.Field(0.0, ge=0, description="maximum gradient norm per optimiser; 0: off")
    accumulate: int = pydantic.Field(1, gt=0, description="batches whose gradients are averaged into one step")
    precision: str = pydantic.Field(
        "auto", pattern="^(auto|fp32|bf16)$", description="of forward passes; auto: bf16 if the device is fast at it"
    )
    fp32_after: float = pydantic.Field(
        1.0, ge=0, le=1, description="fraction of the run after which steps use fp32, regardless of precision"
    )
    channels_last: bool = pydantic.Field(True, description="memory layout of networks and batches")
    monitor_freq: int = pydantic.Field(
        0, ge=0, description="steps between logs of each loss term's gradient norm; 0: never"
    )


class Logger(Section):
    """What is logged and saved during training, and how often (in steps)."""

    ignored = frozenset({"wandb", "save_checkpoint_format"})
    print_freq: int = pydantic.Field(100, gt=0, description="steps between records of losses in metrics.jsonl")
    save_checkpoint_freq: int = pydantic.Field(5000, gt=0, description="steps between checkpoints that are kept")
    save_state_seconds: float = pydantic.Field(
        60.0, ge=0, description="maximum training time lost if the run is killed"
    )
    use_tb_logger: bool = pydantic.Field(True, description="write a TensorBoard log too")


class Recipe(Section):
    """Top-level keys of every recipe."""

    ignored_values = {"num_gpu": ("auto", 1)}
    free = frozenset({"name", "num_gpu", "logger", "stages", "find_unused_parameters", "val"})
    instead = {
        "use_amp": "train.precision",
        "amp_bf16": "train.precision: bf16",
        "use_channels_last": "train.channels_last",
        "seed": "manual_seed",
    }
    name: Name = pydantic.Field(description="of the run: its folder under experiments/")
    task: str = pydantic.Field("sr", description="what is trained: sr, sr.gan, an adapter, or package.module:Class")
    manual_seed: Seed = pydantic.Field(0, description="of initial weights and batches")
    num_gpu: NonNegative | Literal["auto"] = pydantic.Field(
        "auto", description="0: train on the CPU; otherwise one GPU per process, and torchrun starts several processes"
    )
    train: Train
    logger: Logger = Logger()
    stages: list[dict[str, Any]] = pydantic.Field([], description="overrides, one mapping per stage")
    find_unused_parameters: bool = pydantic.Field(
        False, description="distributed training: some parameters get no gradient in some steps"
    )

    @property
    def resume_state(self) -> str | None:
        """The training state from which a run without states of its own starts, if the recipe names one."""
        return None


_SET = -1  # in place of a line number


class Located(dict[Any, Any]):
    """A mapping from a YAML file, with the line number of each key."""

    def __init__(self, values: Mapping[Any, Any] = {}, lines: Mapping[Any, int] = {}) -> None:
        super().__init__(values)
        self.lines = dict(lines)


def line(data: Any, key: Any) -> str:
    """` (line 7)` if the key was read from a file, ` (--set)` if it was set, otherwise an empty string."""
    number = data.lines.get(key) if isinstance(data, Located) else None
    if number == _SET:
        return " (--set)"
    return f" (line {number})" if number else ""


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads 1e-4 as a number (YAML 1.1 reads a string) and raises for a repeated key."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<` within limits: older versions of PyYAML copy a mapping as often as it is merged, so that ten
        levels of ten merges each give ten billion keys."""
        merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        count = sum(len(value.value) if isinstance(value, yaml.SequenceNode) else 1 for value in merged)
        if count <= _MAX_MERGED:
            super().flatten_mapping(node)
        if count > _MAX_MERGED or len(node.value) > _MAX_KEYS:
            text = f"`<<` merges more than {_MAX_MERGED} mappings or {_MAX_KEYS:,} keys"
            raise yaml.constructor.ConstructorError(problem=text, problem_mark=node.start_mark)

    def mapping(self, node: yaml.MappingNode) -> Iterator[Located]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            merged = key_node.tag == "tag:yaml.org,2002:merge"
            key = None if merged else self.construct_object(key_node, deep=True)
            if key is None or not isinstance(key, Hashable):  # PyYAML itself rejects keys that are lists or mappings
                continue
            if key in lines:
                text = f'the key "{key}" is repeated, first in line {lines[key]}'
                raise yaml.constructor.ConstructorError(problem=text, problem_mark=key_node.start_mark)
            lines[key] = key_node.start_mark.line + 1
        data = Located(lines=lines)
        yield data
        data.update(self.construct_mapping(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
yaml.SafeDumper.add_representer(Located, yaml.SafeDumper.represent_dict)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+
                   |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


def parse(text: str, origin: str = "recipe") -> Any:
    """Read YAML text: plain data only, object tags raise.

    Raises:
        SrkdError: not YAML, or a tag such as `!!python/object`, with the line; aliases that expand beyond the limits.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
        if _expanded_size(data, {}) > _MAX_ITEMS:
            raise ValueError(f"more than {_MAX_ITEMS:,} items once its aliases are expanded")
        return data
    except Exception as error:  # PyYAML raises various exceptions for a tag that does not fit its text: `!!timestamp x`
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = (str(getattr(error, "problem", None) or error).splitlines() or [type(error).__name__])[0]
        raise SrkdError(f"{origin}{where}: {problem}") from error


def _expanded_size(value: Any, known: dict[int, int], depth: int = 1) -> int:
    """Number of items in a value with every alias expanded, as code that walks over it sees them.

    Raises:
        ValueError: it is nested too deeply, or contains itself.
    """
    if not isinstance(value, (Mapping, list, tuple, set)):
        return 1
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if id(value) not in known:
        inner = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        known[id(value)] = 1 + sum(_expanded_size(item, known, depth + 1) for item in inner)
    return known[id(value)]


# The first line that is not a comment is a table header or an assignment.
_TOML = re.compile(r"""(?:\s*(?:\#.*)?\n)*\s*(?:\[\[?[\w.'"-]+\]\]?|[\w.'"-]+\s*=.*)\s*(?:\n|$)""")


def read(path: Path | str) -> dict[str, Any]:
    """Read a recipe file.

    Raises:
        SrkdError: no such file, a pipe or device, larger than 1 MiB, not text, not YAML (the message names TOML), or
            not a mapping.
    """
    path = Path(path).expanduser()
    try:
        text = read_bytes(path, _MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise SrkdError(f"{printable_path(path)}: cannot read the recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SrkdError(f"{printable_path(path)}: not a text file") from error
    except ValueError as error:
        raise SrkdError(f"{printable_path(path)}: not a recipe: {error}") from error
    try:
        data = parse(text, printable_path(path))
        if not isinstance(data, dict):
            raise SrkdError(
                f"{printable_path(path)}: a recipe is a mapping of keys to values, this is {type(data).__name__}"
            )
    except SrkdError:
        if path.suffix.lower() == ".toml" or _TOML.match(text):
            raise SrkdError(
                f"{printable_path(path)}: this is TOML, and a recipe is YAML: `key: value`, and sections by indentation"
            ) from None
        raise
    return data


def override(data: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Apply `key.sub.key=value` settings (list items by number); values are YAML. Returns a new mapping.

        >>> override({"train": {"losses": [{"weight": 1}]}}, ["train.losses.0.weight=1e-1", "name=x"])
        {'train': {'losses': [{'weight': 0.1}]}, 'name': 'x'}

    Raises:
        SrkdError: no `=`, or a key below a value that is not a mapping or list.
    """
    result: dict[str, Any] = merge(data, {})
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise SrkdError(f'--set takes key=value, got "{setting}"')
        _assign(result, key.split("."), parse(text, f"--set {key}"), key)
    return result


def _assign(node: Any, parts: list[str], value: Any, full_key: str) -> None:
    part, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if not part.isdigit() or int(part) >= len(node):
            raise SrkdError(f"--set {full_key}: {part} is not an item number (0 to {len(node) - 1})")
        if rest:
            _assign(node[int(part)], rest, value, full_key)
        else:
            node[int(part)] = value
    elif isinstance(node, dict):
        if not rest:
            node[part] = value
            if isinstance(node, Located):
                node.lines[part] = _SET
            return
        if node.get(part) is None:
            node[part] = {}
        _assign(node[part], rest, value, full_key)
    else:
        raise SrkdError(f"--set {full_key}: a {type(node).__name__} has no keys to set")


def merge(base: Any, extra: Any) -> Any:
    """`base` updated with `extra`: mappings key by key, anything else (null too) replaces. Neither is modified."""
    if not (isinstance(base, Mapping) and isinstance(extra, Mapping)):
        return _copied(extra)
    values = {
        key: _copied(base[key]) if key not in extra else merge(base.get(key), extra[key])
        for key in [*base, *(key for key in extra if key not in base)]
    }
    return Located(values, {**_lines(base, without=extra), **_lines(extra)})


def _lines(data: Mapping[Any, Any], without: Iterable[Any] = ()) -> dict[Any, int]:
    known = data.lines if isinstance(data, Located) else {}
    return {key: number for key, number in known.items() if key not in without or isinstance(data[key], Mapping)}


def _copied(data: Any) -> Any:
    """A deep copy, in which objects shared by YAML anchors are separate, so that each can be overridden."""
    if isinstance(data, Mapping):
        return Located({key: _copied(value) for key, value in data.items()}, _lines(data))
    return [_copied(value) for value in data] if isinstance(data, list) else data


def _expand_home(data: Any) -> Any:
    """A copy with `~/` or `~user/` at the start of a text, which is then a path, expanded to the home folder."""
    if isinstance(data, Mapping):
        return Located({key: _expand_home(value) for key, value in data.items()}, _lines(data))
    if isinstance(data, list):
        return [_expand_home(value) for value in data]
    return os.path.expanduser(data) if isinstance(data, str) and re.match("~[^/]*/", data) else data


def validate(model: type[S], data: Mapping[str, Any], origin: str = "recipe") -> tuple[S, list[str]]:
    """Validate data against a recipe model.

    Returns:
        The recipe, and the accepted keys that have no effect.

    Raises:
        SrkdError: one line with all mistakes: unknown keys with the nearest known one, missing keys, invalid values.
    """
    ignored: list[str] = []
    mistakes: list[str] = []
    known = _known(model, _expand_home(data), "", ignored, mistakes)
    try:
        recipe = model.model_validate(known)
    except pydantic.ValidationError as error:
        mistakes += [_explain(e) + _line_of(known, e["loc"]) for e in error.errors()]
    if mistakes:
        raise SrkdError(f"{origin}: {'; '.join(mistakes)}")
    return recipe, ignored


def _known(
    model: type[Section], data: Mapping[str, Any], where: str, ignored: list[str], mistakes: list[str]
) -> Located:
    """`data` without keys unknown to `model`; those are added to `ignored` or to `mistakes`."""
    result = Located()
    for given, value in data.items():
        key = str(model.aliases.get(str(given), given))
        field = model.model_fields.get(key)
        allowed = model.model_config.get("extra") == "allow" and re.fullmatch(model.extra_key, key)
        if (field is None and not allowed and key in model.ignored) or value in model.ignored_values.get(key, ()):
            ignored.append(f"{where}{key}")
        elif field is None and not allowed:
            near = nearest(key, model.model_fields)
            hint = f" (use {model.instead[key]})" if key in model.instead else near
            mistakes.append(f"unknown key {where}{key}{hint}{line(data, given)}")
        else:
            kind = model.extra_section if field is None else field.annotation
            result[key] = _below(kind, value, f"{where}{key}.", ignored, mistakes)
            result.lines |= {key: data.lines[given]} if isinstance(data, Located) and given in data.lines else {}
    return result


def _below(annotation: Any, value: Any, where: str, ignored: list[str], mistakes: list[str]) -> Any:
    section = next((t for t in _types(annotation) if isinstance(t, type) and issubclass(t, Section)), None)
    if section is None or not isinstance(value, Mapping):
        return value
    if any(get_origin(t) is dict for t in _types(annotation)):
        below = {k: _below(section, v, f"{where}{k}.", ignored, mistakes) for k, v in value.items()}
        return Located(below, _lines(value))
    return _known(section, value, where, ignored, mistakes)


def _types(annotation: Any) -> Iterable[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _line_of(data: Any, place: Iterable[Any]) -> str:
    """The line number of the deepest existing part of a key path."""
    found = ""
    for part in place:
        found = line(data, part) or found
        try:
            data = data[part]
        except (LookupError, TypeError):
            break
    return found


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "missing":
        return f"{where} is missing"
    given = error.get("input")
    got = f", got {given!r}" if isinstance(given, (str, int, float, bool, type(None))) else ""
    got = got if len(got) <= 200 else f"{got[:200]}..."
    if error["type"] == "string_type" and isinstance(given, (bool, int, float)):
        got += " (YAML reads yes, no, on, off and numbers as such: put the text in quotes)"
    return f"{where}: {error['msg'][:1].lower()}{error['msg'][1:]}{got}"


def dump(recipe: Section) -> str:
    """The resolved recipe as YAML text, which reproduces the run."""
    omitted = {key for key, values in recipe.ignored_values.items() if getattr(recipe, key) in values}
    data = recipe.model_dump(mode="json", exclude_defaults=False, exclude=omitted)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
