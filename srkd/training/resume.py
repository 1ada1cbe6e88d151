"""Where a run goes on: its newest whole training state, if what its numbers depend on is what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.training import checkpoint
from srkd.training.recipe import Section

_LONGEST = 60  # characters of a value that a message shows


_FORMER_NAMES = {"the training pictures": "the training images"}


def states(folder: Path) -> list[Path]:
    """The training states of a stage's folder, newest first."""
    return sorted((folder / "training_states").glob(f"{'[0-9]' * 9}.pt"), reverse=True)


def newest_whole(paths: Sequence[Path], say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The first of these states that can be read; `say` is told of those before it.

    Raises:
        SrkdError: none can be read.
    """
    for path, older in zip(paths, [*paths[1:], None], strict=True):
        try:
            return path, checkpoint.load_state(path)
        except SrkdError as error:
            if older is None:
                raise
            say(f"notice: {error}; the state before it is {older.name}")
    raise SrkdError("no training state to go on from")


def settings(section: Section) -> dict[str, Any]:
    """What of a recipe decides its numbers: values that are not their defaults, without those of `free` keys and paths.

    Defaults are left out so that a state can be resumed by a version that has more keys.
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
    """`settings` as a state holds them."""
    return json.dumps(recipe, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return settings(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if not str(key).endswith("_path")}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def check(
    path: Path,
    state: Mapping[str, Any],
    recipe: Mapping[str, Any],
    prints: Mapping[str, str],
    total: int,
    schedule_needs_total: bool,
) -> str | None:
    """Check that a run may go on from a state.

    Args:
        recipe: its settings, and `prints`, what else it depends on: hashes and numbers by name.
        total: its planned steps; they may grow once all that were planned are done.
        schedule_needs_total: whether the numbers of a step depend on how many there will be.

    Returns:
        What the user should know, if anything.

    Raises:
        SrkdError: what changed, with its key; or more steps done than are planned.
    """
    step = int(state["step"])
    if "settings" not in state:  # a state from before settings were kept
        theirs = {key: value for key, value in _fingerprint(state).items() if not key.startswith("recipe.")}
        _compare(path, {}, theirs, {}, {key: value for key, value in prints.items() if key in theirs})
        return f"{printable_path(path)} does not say which recipe it is of, so that this one was not compared with it"
    theirs = json.loads(state["settings"])
    planned, mine = int(state["total"]), json.loads(text(recipe))
    if planned == total or step >= planned or not schedule_needs_total:
        mine["train"].pop("total_iter", None)
        theirs["train"].pop("total_iter", None)
    _compare(path, theirs, _fingerprint(state), mine, prints)
    if step > total:
        raise SrkdError(
            f"{printable_path(path)}: is at step {step}, and train.total_iter is {total}; train under another name"
        )
    if total > planned and schedule_needs_total:
        return f"goes on from step {step} with the learning rates of a run of {total} steps, not {planned}"
    return None


def _fingerprint(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the state says that its numbers depend on, under today's names."""
    return {_FORMER_NAMES.get(key, key): value for key, value in state["fingerprint"].items()}


def _compare(
    path: Path,
    theirs: Mapping[str, Any],
    their_prints: Mapping[str, str],
    mine: Mapping[str, Any],
    prints: Mapping[str, str],
) -> None:
    sections = [key for key in _keys(theirs, mine) if theirs.get(key) != mine.get(key)]
    others = [key for key in _keys(their_prints, prints) if their_prints.get(key) != prints.get(key)]
    if sections or others:
        parts = ", ".join([f"recipe.{key}" for key in sections] + others)
        details = "; ".join([*_differences(theirs, mine), *_differences(their_prints, {**prints})])
        raise SrkdError(
            f"{printable_path(path)}: cannot go on from there, since {parts} changed ({details}); restore it, or train "
            "under "
            "another name"
        )


def _keys(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    return sorted(theirs.keys() | mine.keys())


def _differences(theirs: Mapping[str, Any], mine: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Each key, at the deepest level, that is not what it was."""
    for key in _keys(theirs, mine):
        old, new = theirs.get(key), mine.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{where}{key}.")
        elif old != new:
            yield f"{where}{key} was {_short(old)} and is {_short(new)}"


def _short(value: Any) -> str:
    text = "the default" if value is None else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
