"""All generated pages by their path in the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from srkd import resources
from srkd.docs import commands, degradations, losses, metrics, recipes, zoo
from srkd.docs.zoo import Content
from srkd.studies import results

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:]+)\)")
_CHANGED = "verdicts_changed.md"  # next to the studies' folders


def pages() -> dict[str, Content]:
    """Markdown text or image bytes by path; deterministic, without network access."""
    tasks = recipes.tasks_by_name()
    found: dict[str, Content] = {
        "reference/recipes.md": recipes.index(list(tasks)),
        "reference/losses.md": losses.catalogue(),
        "reference/metrics.md": metrics.catalogue(),
        "reference/commands.md": commands.reference(),
        "reference/exit-codes.md": commands.exit_codes(),
    }
    for name, task in tasks.items():
        found[f"reference/recipes/{name}.md"] = recipes.reference(name, task)
        found[f"reference/recipes/{name}.schema.json"] = recipes.schema(task)
    return {**found, **dict(degradations.pages()), **dict(zoo.pages()), **dict(_studies())}


def _studies() -> Iterator[tuple[str, Content]]:
    """Path and content of the pages of all studies, and of the files to which they link."""
    studies = resources.folder("models") / "studies"
    folders = sorted(path.parent for path in studies.glob("*/README.md"))
    yield "studies/index.md", _index(folders)
    yield f"studies/{_CHANGED}", (studies / _CHANGED).read_text(encoding="utf-8")
    for folder in folders:
        yield from _study(folder)


def _study(folder: Path) -> Iterator[tuple[str, Content]]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    generated = {path.with_suffix(".md").name: path for path in sorted(folder.glob("*results.json"))}
    referred: set[str] = set()

    def link(found: re.Match[str]) -> str:
        _, label, target = found.groups()
        inside = (folder / target).resolve()
        if target in generated or target == f"../{_CHANGED}":
            return found[0]
        if inside.is_file() and folder.resolve() in inside.parents and inside.suffix != ".md":
            referred.add(target)
            return found[0]
        return f"{label} (`{target}`)"

    page = _LINK.sub(link, text)
    if generated:
        links = ", ".join(f"[{name.removesuffix('.md')}]({name})" for name in generated)
        page = f"{page.rstrip()}\n\n## All numbers\n\nGenerated from the studies' JSON: {links}.\n"
    yield f"studies/{folder.name}/index.md", page
    for name, path in generated.items():
        yield f"studies/{folder.name}/{name}", results.markdown(json.loads(path.read_text(encoding="utf-8")))
    for target in sorted(referred):
        yield f"studies/{folder.name}/{target}", (folder / target).read_bytes()


def _index(folders: list[Path]) -> str:
    lines = []
    for folder in folders:
        title = next(line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if line)
        lines.append(f"- [{title.lstrip('# ')}]({folder.name}/index.md)")
    intro = (
        "Each study compares variants with a control of the same steps, data and seeds. A page states what was run, "
        "the results, their limits, and the commands to reproduce them. All verdicts were computed again by a stricter "
        "rule: "
        f"[verdicts that changed]({_CHANGED})."
    )
    return "\n\n".join(["# Studies", intro, "\n".join(lines)]) + "\n"
