"""Summary of the outcomes of `srkd upscale`, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from srkd.files.atomic import printable_path
from srkd.inference.files import Outcome

_MOST_FOLDERS = 5


def line(outcome: Outcome) -> str:
    """One line of a dry run."""
    source, target = printable_path(outcome.job.source), printable_path(outcome.job.target)
    if outcome.size is None:
        return f"skip {target}: exists" if outcome.status == "skipped" else outcome.error
    (height, width), (tall, wide) = outcome.size
    return f"{source} {width}x{height} -> {target} {wide}x{tall}"


def summary(outcomes: Sequence[Outcome], left: Sequence[Path]) -> Iterator[str]:
    """Lines with the number of images per folder and outcome, and the files left out."""
    count = Counter(outcome.status for outcome in outcomes)
    for status, words in (("written", "upscaled"), ("planned", "would be upscaled")):
        folders = Counter(
            (o.job.source.parent, o.job.target.parent) for o in outcomes if o.status == status
        ).most_common()
        for (source, target), number in folders[:_MOST_FOLDERS]:
            yield f"{number} {_images(number)} {words} from {printable_path(source)} to {printable_path(target)}"
        if len(folders) > _MOST_FOLDERS:
            number = sum(n for _, n in folders[_MOST_FOLDERS:])
            yield f"{number} {_images(number)} {words} from and to {len(folders) - _MOST_FOLDERS} more folders"
    if count["skipped"]:
        yield f"{count['skipped']} {_images(count['skipped'])} skipped: the output exists"
    if count["failed"]:
        yield f"{count['failed']} {_images(count['failed'])} failed"
    if left:
        kinds = Counter(path.suffix.lower() or "without a suffix" for path in left).most_common()
        named = ", ".join(f"{number} {kind}" for kind, number in kinds)
        yield f"{len(left)} {'file' if len(left) == 1 else 'files'} left, not named like an image that is read: {named}"


def as_json(outcomes: Sequence[Outcome], left: Sequence[Path]) -> str:
    """All outcomes as JSON; sizes are [width, height]."""

    def entry(outcome: Outcome) -> dict[str, object]:
        job, (before, after) = outcome.job, outcome.size or (None, None)
        return {
            "source": printable_path(job.source),
            "target": printable_path(job.target),
            "format": job.format,
            "status": outcome.status,
            "size": before and before[::-1],
            "upscaled_size": after and after[::-1],
            "notes": outcome.notes,
            "error": outcome.error or None,
        }

    return json.dumps({"images": [entry(o) for o in outcomes], "left": [printable_path(p) for p in left]}, indent=2)


def _images(number: int) -> str:
    return "image" if number == 1 else "images"
