"""A recipe for text classification."""

from __future__ import annotations

import codecs
from typing import Literal

import pydantic

from srkd.adapters.base import AdapterRecipe
from srkd.training.recipe import Section


class Tokens(Section):
    """`data.tokens:` tokenisation."""

    type: Literal["words", "subwords", "huggingface"] = pydantic.Field("words", description="subwords: by byte pairs")
    size: int = pydantic.Field(30_000, ge=3, description="vocabulary size, learned from the training documents")
    length: int = pydantic.Field(400, gt=0, description="tokens per document; the rest is truncated")
    path: str | None = pydantic.Field(None, description="huggingface: the folder of a saved tokeniser")

    @pydantic.model_validator(mode="after")
    def _path(self) -> Tokens:
        if (self.type == "huggingface") != (self.path is not None):
            raise ValueError("path is required for the type huggingface, and only allowed there")
        return self


class TextData(Section):
    """`data:` documents, families of classes, and tokenisation."""

    free = frozenset({"root"})  # the fingerprint identifies the content
    root: str = pydantic.Field(description="20news-bydate.tar.gz, a CSV of text,label,split, or <split>/<class>/*")
    encodings: list[str] = pydantic.Field(["utf-8"], min_length=1, description="tried in order for each file or line")
    remove: list[Literal["headers", "footers", "quotes"]] = pydantic.Field([], description="parts to remove")
    hierarchy: str | None = pydantic.Field(None, description="a CSV of class,family; built in for 20 Newsgroups")
    clusters: int | None = pydantic.Field(None, gt=0, description="number of families, by clustering the classes")
    labels: Literal["classes", "families"] = pydantic.Field("classes", description="labels that the network predicts")
    encoder: Literal["universal"] | None = pydantic.Field(
        None, description="pretrained sentence encoder, for networks of the type Embedded"
    )
    unlabelled: bool = pydantic.Field(
        False, description="as many documents without label in each batch, of those that share leaves out"
    )
    share: float = pydantic.Field(1.0, gt=0, le=1, description="share of the training documents whose labels are used")
    held_out: int = pydantic.Field(0, ge=0, description="training documents scored instead of the test documents")
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
    def _one(self) -> TextData:
        if self.hierarchy is not None and self.clusters is not None:
            raise ValueError("set either hierarchy or clusters, not both")
        if self.unlabelled and self.share == 1:
            raise ValueError("unlabelled needs a share below 1: with 1 the labels of all documents are used")
        return self


class TextRecipe(AdapterRecipe):
    """Top level of the recipe."""

    data: TextData
