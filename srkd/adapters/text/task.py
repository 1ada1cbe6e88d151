"""The text classification task: a student for classes or families, with optional teachers for either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find, padded
from srkd.adapters.text import corpus, networks, scores
from srkd.adapters.text.recipe import TextRecipe
from srkd.errors import SrkdError
from srkd.training.task import SetScores

_SOURCE = "20 Newsgroups: K. Lang, J. Rennie, 20news-bydate.tar.gz"
_EVAL_BATCH = 200  # documents


class TeacherPair(nn.Module):
    """A teacher for classes, whose logits are the output, and one for families, tapped at `families`."""

    def __init__(self, classes: nn.Module, families: nn.Module) -> None:
        super().__init__()
        self.classes, self.families = classes, families

    def forward(self, ids: Tensor) -> Tensor:
        self.families(ids)
        output: Tensor = self.classes(ids)
        return output


class Task(AdapterTask):
    """Trains a network of `networks.build` on `data.root`; `network: {type: Bag, dim: 64}`.

    `network_teacher: {file: ...}` is a teacher for classes or families; `{file: ..., families: ...}` names one for
    each, and the loss on families then is `{type: coarse, at: {student: head, teacher: families}}`.
    """

    recipe_type: ClassVar[type[AdapterRecipe]] = TextRecipe
    recipe: TextRecipe

    def load(self) -> int:
        data = self.recipe.data
        self.root = find(data.root, "labelled documents", _SOURCE)
        self.corpus = corpus.read(self.root, data)
        if data.labels == "families" and not self.corpus.families:
            raise SrkdError("data.labels: families need data.hierarchy, a CSV of class,family, or data.clusters")
        if self.corpus.empty:
            self.notices.append(f"{self.corpus.empty} training documents are empty and left out")
        return len(self.corpus.train.labels)

    def fingerprint(self) -> dict[str, str]:
        return {"documents": self.corpus.fingerprint, "vocabulary": self.corpus.vocabulary_hash}

    @property
    def labels(self) -> list[str]:
        """Names of the labels that the student predicts."""
        return self.corpus.classes if self.recipe.data.labels == "classes" else self.corpus.family_names

    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        network = self._network(spec, len(self.labels))
        network.encoder.fit(self.corpus.unlabelled)
        return network

    def _network(self, spec: Mapping[str, Any], classes: int) -> networks.TextClassifier:
        return networks.build(spec, classes, len(self.corpus.vocabulary), self.recipe.data.tokens.length)

    def load_trained(self, path: str) -> nn.Module:
        """Load a teacher for the classes or the families of these documents.

        Raises:
            SrkdError: the network has other labels or another vocabulary.
        """
        weights, meta = self._read(path)
        if meta["labels"] not in (self.corpus.classes, self.corpus.family_names):
            names = ", ".join(meta["labels"][:3])
            raise SrkdError(f"{path}: a network for {names}, ...: neither the classes nor the families of {self.root}")
        if meta["vocabulary"] != self.corpus.vocabulary_hash:
            raise SrkdError(f"{path}: another vocabulary: data.tokens, remove and held_out must be those of its run")
        network = self._network(meta["network"], len(meta["labels"]))
        network.load_state_dict(weights)
        return network

    def teacher_network(self, spec: Mapping[str, Any]) -> nn.Module:
        if set(spec) != {"file", "families"}:
            return super().teacher_network(spec)
        return TeacherPair(self.load_trained(str(spec["file"])), self.load_trained(str(spec["families"])))

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        families = {"families": self.corpus.families} if self.corpus.families else {}
        return {**super().context(batch, step), **families}

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        train = self.corpus.train
        return {
            "input": padded([train.documents[i] for i in indices]),
            "target": torch.from_numpy(self._truth(train.labels[indices])),
            "index": torch.from_numpy(indices),
        }

    def _truth(self, labels: Indices) -> Indices:
        of_families = self.recipe.data.labels == "families"
        return np.array(self.corpus.families)[labels] if of_families else labels

    @torch.no_grad()
    def _predicted(self) -> Indices:
        """Predicted label of each scored document (N); documents are batched by length."""
        documents = self.corpus.scored.documents[: self.limit]
        order = np.argsort([len(document) for document in documents], kind="stable")
        found = np.empty(len(order), np.int64)
        for start in range(0, len(order), _EVAL_BATCH):
            some = order[start : start + _EVAL_BATCH]
            with self.autocast(0, self.device):
                logits = self.network(padded([documents[i] for i in some]).to(self.device))
            found[some] = logits.argmax(1).cpu().numpy()
        return found

    def evaluate(self) -> dict[str, SetScores]:
        """`accuracy` (%) of fixed samples of the documents (at most 100, of equal size), and `macro_f1` (%); a student
        for classes with families also has `family_accuracy` (%)."""
        scored, predicted = self.corpus.scored, self._predicted()
        labels = scored.labels[: self.limit]
        truth = self._truth(labels)
        metrics = {
            "accuracy": scores.accuracy_by_sample(predicted == truth),
            "macro_f1": {"all": scores.macro_f1(predicted, truth, len(self.labels))},
        }
        if self.recipe.data.labels == "classes" and self.corpus.families:
            families = np.array(self.corpus.families)
            metrics["family_accuracy"] = scores.accuracy_by_sample(families[predicted] == families[truth])
        data = self.recipe.data
        which = "held-out" if data.held_out else "test"
        removed = f", without {', '.join(sorted(data.remove))}" if data.remove else ""
        protocol = f"{len(truth)} {which} documents of {self.root.name}{removed}, {data.labels}"
        return {which: {"protocol": protocol, "metrics": metrics}}

    def meta(self, name: str) -> dict[str, Any]:
        return {**super().meta(name), "labels": self.labels, "vocabulary": self.corpus.vocabulary_hash}
