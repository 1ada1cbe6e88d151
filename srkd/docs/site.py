"""All generated pages by their path in the documentation."""

from __future__ import annotations

from srkd.docs import commands, losses, recipes, studies, zoo
from srkd.docs.zoo import Content


def pages() -> dict[str, Content]:
    """Markdown text or image bytes by path; deterministic, without network access."""
    tasks = recipes.tasks_by_name()
    found: dict[str, Content] = {
        "reference/recipes.md": recipes.index(list(tasks)),
        "reference/losses.md": losses.catalogue(),
        "reference/commands.md": commands.reference(),
        "reference/exit-codes.md": commands.exit_codes(),
    }
    for name, task in tasks.items():
        found[f"reference/recipes/{name}.md"] = recipes.reference(name, task)
        found[f"reference/recipes/{name}.schema.json"] = recipes.schema(task)
    return {**found, **dict(zoo.pages()), **dict(studies.pages())}
