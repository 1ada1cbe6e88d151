"""A recipe for named-entity recognition, with all types at once or step by step."""

from __future__ import annotations

from typing import Literal

import pydantic

from srkd.adapters.base import AdapterRecipe
from srkd.training.recipe import Section


class NerData(Section):
    """`data:` the sentences, and the types that each step adds."""

    format: str = pydantic.Field(description="kmou, klue, conll or modu")
    train: str = pydantic.Field(description="the training corpus; for kmou its *.words.txt")
    test: str | None = pydantic.Field(None, description="the test corpus; by default every fifth sentence of train")
    sentences: int | None = pydantic.Field(None, gt=0, description="training sentences of all steps; all by default")
    tested: int | None = pydantic.Field(None, gt=0, description="test sentences; all by default")
    pieces: str = pydantic.Field("characters", description="pieces of words: characters, jamo, or a tokeniser's folder")
    steps: list[list[str]] = pydantic.Field(min_length=1, description="the types that each step adds")
    step: int = pydantic.Field(1, gt=0, description="number of the step that a stage trains")
    joint: bool = pydantic.Field(False, description="train on all sentences and types up to this step: the upper bound")
    replay: int = pydantic.Field(0, ge=0, description="sentences replayed from each earlier step, with its labels")
    pseudo: float | None = pydantic.Field(
        None, gt=0, le=1, description="confidence at which the previous model's prediction becomes a pseudo-label"
    )
    outside: Literal["previous", "label", "ignored"] | None = pydantic.Field(
        None,
        description="targets of tokens labelled O from step 2 on: the previous model's probabilities, O, or none; by "
        "default previous if a loss uses the teacher or with pseudo, otherwise label",
    )

    @pydantic.model_validator(mode="after")
    def _pseudo(self) -> NerData:
        if self.pseudo is not None and self.outside not in (None, "previous"):
            raise ValueError("pseudo replaces O by the previous model's prediction: remove outside, or set previous")
        return self


class NerRecipe(AdapterRecipe):
    """Top level of the recipe."""

    data: NerData
