"""A recipe for named entities, all types at once or step by step."""

from __future__ import annotations

import pydantic

from srkd.training.distilled import DistilledRecipe
from srkd.training.recipe import Section


class Data(Section):
    """`data:` which sentences, and which of their types arrive when."""

    format: str = pydantic.Field(description="kmou, klue, conll or modu")
    train: str = pydantic.Field(description="the corpus; of KMOU its file of words")
    test: str | None = pydantic.Field(None, description="the corpus for scores; by default every fifth sentence")
    sentences: int | None = pydantic.Field(None, gt=0, description="training sentences of all steps; all by default")
    tested: int | None = pydantic.Field(None, gt=0, description="sentences to score; all by default")
    pieces: str = pydantic.Field("characters", description="beside words: characters, jamo, or a tokeniser's folder")
    steps: list[list[str]] = pydantic.Field(min_length=1, description="the types that each step brings")
    step: int = pydantic.Field(1, gt=0, description="which of the steps a stage is")
    joint: bool = pydantic.Field(False, description="all sentences and types up to this step, as if all were kept")
    replay: int = pydantic.Field(0, ge=0, description="sentences kept of each earlier step, with the labels of then")
    pseudo: float | None = pydantic.Field(
        None, gt=0, le=1, description="confidence from which the previous step's answer is a label like the corpus's"
    )


class NerRecipe(DistilledRecipe):
    """The top of the recipe."""

    data: Data
