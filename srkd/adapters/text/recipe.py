"""A recipe for text classification."""

from __future__ import annotations

import codecs
from typing import Literal

import pydantic

from srkd.training.distilled import DistilledRecipe
from srkd.training.recipe import Section


class Tokens(Section):
    """`data.tokens:` what texts are cut into."""

    type: Literal["words", "subwords", "huggingface"] = pydantic.Field("words", description="sub-words: by merging")
    size: int = pydantic.Field(30_000, ge=3, description="of the vocabulary, learned from the training documents")
    length: int = pydantic.Field(400, gt=0, description="tokens of a document that are read: the first ones")
    path: str | None = pydantic.Field(None, description="huggingface: the folder of a saved tokeniser")

    @pydantic.model_validator(mode="after")
    def _path(self) -> Tokens:
        if (self.type == "huggingface") != (self.path is not None):
            raise ValueError("path belongs to the type huggingface, which needs it")
        return self


class Data(Section):
    """`data:` which documents, their families, and what of them is shown to the network."""

    free = frozenset({"root"})  # the fingerprint says what was read from there
    root: str = pydantic.Field(description="20news-bydate.tar.gz, a CSV of text,label,split, or <split>/<class>/*")
    encodings: list[str] = pydantic.Field(["utf-8"], min_length=1, description="tried in order, a file or line at once")
    remove: list[Literal["headers", "footers", "quotes"]] = pydantic.Field([], description="parts of letters")
    hierarchy: str | None = pydantic.Field(None, description="a CSV of class,family; 20 Newsgroups brings its own")
    clusters: int | None = pydantic.Field(None, gt=0, description="families made of classes whose words are alike")
    labels: Literal["classes", "families"] = pydantic.Field("classes", description="what the network learns")
    share: float = pydantic.Field(1.0, gt=0, le=1, description="of the training documents whose labels are used")
    held_out: int = pydantic.Field(0, ge=0, description="training documents scored in place of the test documents")
    tokens: Tokens = Tokens()

    @pydantic.field_validator("encodings")
    @classmethod
    def _known(cls, encodings: list[str]) -> list[str]:
        for name in encodings:
            try:
                codecs.lookup(name)
            except LookupError as error:
                raise ValueError(f"{error}") from error
        return encodings

    @pydantic.model_validator(mode="after")
    def _one(self) -> Data:
        if self.hierarchy is not None and self.clusters is not None:
            raise ValueError("families come from hierarchy or from clusters, not from both")
        return self


class TextRecipe(DistilledRecipe):
    """The top of the recipe."""

    data: Data
