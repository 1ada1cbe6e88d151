"""A tokenised corpus: documents as token ids, classes, and optional families of classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srkd.adapters.data import hash_of, padded
from srkd.adapters.order import stratified
from srkd.adapters.text import clusters, formats, hierarchy, newsgroups, sentences
from srkd.adapters.text.formats import Documents
from srkd.adapters.text.recipe import TextData, Tokens
from srkd.adapters.text.tokens import KINDS, Ids, Tokeniser
from srkd.errors import SrkdError


@dataclass(frozen=True)
class Split:
    """Documents, each an array of token ids, and their labels (N): indices of classes.

    `embeddings` (N, width), float32, are those of a sentence encoder, if the recipe names one.
    """

    documents: list[Ids]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None

    def first(self, count: int | None) -> Split:
        """The first documents; all for None."""
        embeddings = None if self.embeddings is None else self.embeddings[:count]
        return Split(self.documents[:count], self.labels[:count], embeddings)

    def inputs(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """The inputs of networks for these documents: `input`, token ids (N, longest), and `embedding` (N, width)."""
        found = {"input": padded([self.documents[i] for i in indices])}
        if self.embeddings is not None:
            found["embedding"] = torch.from_numpy(self.embeddings[indices])
        return found


@dataclass(frozen=True)
class Corpus:
    """The training and test documents.

    `families` has the index into `family_names` of the family of each class; both are empty without a hierarchy.
    `everything` has all training documents; only the labels of the first `used` may be trained on.
    """

    classes: list[str]
    family_names: list[str]
    families: list[int]
    vocabulary: list[str]
    everything: Split
    used: int
    scored: Split
    empty: int  # number of empty training documents, which are left out

    @property
    def train(self) -> Split:
        """The training documents whose labels are used."""
        return self.everything.first(self.used)

    @property
    def fingerprint(self) -> str:
        """A hash of the labelled training documents."""
        return hash_of(self.train.labels, *self.train.documents)

    @property
    def vocabulary_hash(self) -> str:
        return hashlib.sha256("\n".join(self.vocabulary).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read(root: Path, data: TextData) -> Corpus:
    """Read the corpus of the recipe's `data:`; recent results are cached in memory for the next run of a study.

    The held-out documents and those whose labels are used are deterministic and stratified by class; a smaller share is
    a subset of a larger one. The vocabulary is learned from all training documents that are not held out.

    Raises:
        SrkdError: unreadable documents, fewer documents than requested, or classes without a family.
    """
    return _read(root, root.stat().st_mtime_ns, data.model_dump_json())


@lru_cache(maxsize=4)
def _read(root: Path, modified: int, recipe: str) -> Corpus:
    data = TextData.model_validate_json(recipe)
    splits = formats.read(root, tuple(data.encodings), frozenset(data.remove))
    train = splits["train"]
    filled = [number for number, text in enumerate(train.texts) if text.strip()]
    known = Documents([train.texts[n] for n in filled], [train.labels[n] for n in filled])
    classes = sorted(set(train.labels))
    order = stratified(np.array([classes.index(label) for label in known.labels], np.int64))
    held, rest = order[: data.held_out], order[data.held_out :]
    used = rest[: max(1, round(data.share * len(rest)))]
    if not len(rest):
        raise SrkdError(f"{root}: {len(order)} training documents with text, {data.held_out} of which are held out")
    tokens = tokeniser(tuple(known.texts[n] for n in sorted(rest)), data.tokens)
    families = _families(root, data, classes, _chosen(known, used))
    names = sorted(set(families.values()))

    def split(documents: Documents, numbers: NDArray[np.int64] | slice = slice(None)) -> Split:
        # All are embedded before the choice, so that runs with other shares find the same embeddings in the cache.
        embeddings = sentences.embeddings(documents.texts)[numbers] if data.encoder else None
        if not isinstance(numbers, slice):
            documents = _chosen(documents, numbers)
        ids = [tokens(text, data.tokens.length) for text in documents.texts]
        return Split(ids, np.array([classes.index(label) for label in documents.labels], np.int64), embeddings)

    return Corpus(
        classes,
        names,
        [names.index(families[name]) for name in classes] if families else [],
        tokens.vocabulary,
        split(known, rest),
        len(used),
        split(known, held) if data.held_out else split(splits["test"]),
        len(train.texts) - len(filled),
    )


def _chosen(documents: Documents, numbers: NDArray[np.int64]) -> Documents:
    return Documents([documents.texts[n] for n in numbers], [documents.labels[n] for n in numbers])


def tokeniser(texts: tuple[str, ...], spec: Tokens) -> Tokeniser:
    """The tokeniser of a recipe's `data.tokens`, its vocabulary learned from these texts."""
    if spec.path is not None:
        from srkd.adapters.text.huggingface import PretrainedTokeniser

        return PretrainedTokeniser(spec.path)
    return KINDS[spec.type](texts, spec.size)


def _families(root: Path, data: TextData, classes: list[str], train: Documents) -> dict[str, str]:
    """The family of each class; empty without a hierarchy."""
    if data.hierarchy is not None:
        return hierarchy.read(Path(data.hierarchy), classes)
    if data.clusters is not None:
        absent = sorted(set(classes) - set(train.labels))
        if absent:
            raise SrkdError(f'{root}: data.clusters needs a labelled document of each class, "{absent[0]}" has none')
        return clusters.families(train.texts, train.labels, data.clusters)
    bundled = not root.is_dir() and root.suffix.lower() != ".csv"
    return {name: newsgroups.family(name) for name in classes} if bundled else {}
