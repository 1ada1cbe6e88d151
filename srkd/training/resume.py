"""Resuming a run from its newest intact training state, if the settings that affect results are unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.training import checkpoint, schedule
from srkd.training.recipe import Section, Train

if TYPE_CHECKING:
    from srkd.training.task import Task

_KEPT_STATES = 2
_MAX_CHARACTERS = 60  # of a value in a message
_FORMER_NAMES = {"the training pictures": "the training images"}


def states(folder: Path) -> list[Path]:
    """The training states of a stage's folder, newest first."""
    return sorted((folder / "training_states").glob(f"{'[0-9]' * 9}.pt"), reverse=True)


def has_results(folder: Path) -> bool:
    """Whether a stage's folder has networks or records of training."""
    records = folder / "metrics.jsonl"
    return any(folder.glob("models/*")) or (records.is_file() and records.stat().st_size > 0)


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a training state into a stage's folder, and remove all but the newest two."""
    checkpoint.save_state(folder / "training_states" / f"{state['step']:09d}.pt", state)
    for old in states(folder)[_KEPT_STATES:]:
        old.unlink()


def belongs_to(named: str | None, folder: Path) -> bool:
    """Whether a recipe's `resume_state` is a training state of the stage in this folder."""
    return named is not None and Path(named).absolute().parent == (folder / "training_states").absolute()


def candidates(folder: Path, named: str | None, auto: bool) -> list[Path]:
    """The training states from which the stage in this folder may be resumed, preferred first.

    Args:
        named: the recipe's `resume_state`.
        auto: prefer the folder's own states.

    Raises:
        SrkdError: `named` is a state of this stage, but not the newest.
    """
    own = states(folder)
    if named is None or (auto and own):
        return own if auto else []
    if belongs_to(named, folder) and own and own[0].name != Path(named).name:
        raise SrkdError(
            f"path.resume_state: {named} is not the newest state of this run, which is {own[0].name}: remove it "
            "and use --auto_resume, or train under another name"
        )
    return [Path(named)]


def newest_intact(paths: Sequence[Path], say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The first of these states that can be read, with its path; damaged ones before it are reported to `say`.

    Raises:
        SrkdError: no state can be read.
    """
    for path, older in zip(paths, [*paths[1:], None], strict=True):
        try:
            return path, checkpoint.load_state(path)
        except SrkdError as error:
            if older is None:
                raise
            say(f"notice: {error}; using the previous state {older.name}")
    raise SrkdError("no training state to resume from")


def settings(section: Section) -> dict[str, Any]:
    """The settings of a recipe that affect results: values other than the defaults, without `free` keys and paths.

    Defaults are left out so that a version with more keys can resume the state.
    """
    found: dict[str, Any] = {}
    for key, field in type(section).model_fields.items():
        value, default = getattr(section, key), field.get_default(call_default_factory=True)
        if key not in section.free and value != default:
            found[key] = _plain(value)
        if isinstance(default, Section) and not found.get(key):  # only free keys differ
            found.pop(key, None)
    extra = {key: value for key, value in (section.model_extra or {}).items() if not isinstance(value, Section)}
    return found | {key: _plain(value) for key, value in extra.items()}


def text(recipe: Mapping[str, Any]) -> str:
    """`settings` in the form stored in a training state."""
    return json.dumps(recipe, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return settings(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if not str(key).endswith("_path")}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def check(path: Path, state: Mapping[str, Any], task: Task, train: Train) -> str | None:
    """Check that a task, after `setup`, may be resumed from a state.

    The planned steps may increase once all previously planned ones are done, or if no step's results depend on them.

    Returns:
        A notice for the user, or None.

    Raises:
        SrkdError: a setting changed (the message gives its key), or more steps are done than planned.
    """
    progressing = any("progress" in getattr(module, "needs", ()) for module in task.modules())
    needs_total, total = schedule.needs_total(train) or progressing, train.total_iter
    fingerprint = task.dependencies()
    step = int(state["step"])
    if "settings" not in state:  # written by an older version, without settings
        saved = {key: value for key, value in _fingerprint(state).items() if not key.startswith("recipe.")}
        _compare(path, {}, saved, {}, {key: value for key, value in fingerprint.items() if key in saved})
        return f"{printable_path(path)} contains no recipe settings: this recipe was not compared with it"
    saved = json.loads(state["settings"])
    planned, current = int(state["total"]), json.loads(text(task.settings()))
    if planned == total or step >= planned or not needs_total:
        current["train"].pop("total_iter", None)
        saved["train"].pop("total_iter", None)
    _compare(path, saved, _fingerprint(state), current, fingerprint)
    if step > total:
        raise SrkdError(
            f"{printable_path(path)}: is at step {step}, but train.total_iter is {total}; train under another name"
        )
    if total > planned and needs_total:
        return f"resumes at step {step} with the learning rates of a run of {total} steps, not {planned}"
    return None


def _fingerprint(state: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint stored in the state, with former names replaced by current ones."""
    return {_FORMER_NAMES.get(key, key): value for key, value in state["fingerprint"].items()}


def _compare(
    path: Path,
    saved: Mapping[str, Any],
    saved_fingerprint: Mapping[str, str],
    current: Mapping[str, Any],
    fingerprint: Mapping[str, str],
) -> None:
    sections = [key for key in _keys(saved, current) if saved.get(key) != current.get(key)]
    others = [
        key for key in _keys(saved_fingerprint, fingerprint) if saved_fingerprint.get(key) != fingerprint.get(key)
    ]
    if sections or others:
        parts = ", ".join([f"recipe.{key}" for key in sections] + others)
        details = "; ".join([*_differences(saved, current), *_differences(saved_fingerprint, {**fingerprint})])
        raise SrkdError(
            f"{printable_path(path)}: cannot be resumed because {parts} changed ({details}); restore it, or train "
            "under another name"
        )


def _keys(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    return sorted(saved.keys() | current.keys())


def _differences(saved: Mapping[str, Any], current: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """A message for each changed key, at the deepest level."""
    for key in _keys(saved, current):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{where}{key}.")
        elif old != new:
            yield f"{where}{key} was {_short(old)} and is {_short(new)}"


def _short(value: Any) -> str:
    text = "the default" if value is None else json.dumps(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
