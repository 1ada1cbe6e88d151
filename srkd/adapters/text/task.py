"""The text classification task: a student for classes or families, with optional teachers for either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find, hash_of
from srkd.adapters.text import corpus, networks, scores, sentences
from srkd.adapters.text.networks import Embedded, TextClassifier
from srkd.adapters.text.recipe import TextRecipe
from srkd.distill.teachers import run_network
from srkd.errors import SrkdError
from srkd.safe_load import check_spec
from srkd.training.task import SetScores

_SOURCE = "20 Newsgroups: K. Lang, J. Rennie, 20news-bydate.tar.gz"
_EVAL_BATCH = 200  # documents
_NO_LABEL = -100


class TeacherPair(nn.Module):
    """A teacher for classes, whose logits are the output, and one for families, tapped at `families`."""

    def __init__(self, classes: nn.Module, families: nn.Module) -> None:
        super().__init__()
        self.classes, self.families = classes, families

    def privileged(self, batch: Mapping[str, Any]) -> Tensor:
        run_network(self.families, batch, "input")
        output: Tensor = run_network(self.classes, batch, "input")
        return output


class TrueLabels(nn.Module):
    """A teacher that knows the true label of every document, those without label included: a positive control.

    Args:
        labels: for each class, the number of the label that the teacher gives it: its own, or its family's.
    """

    labels: Tensor

    def __init__(self, labels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("labels", torch.tensor(labels))

    def privileged(self, batch: Mapping[str, Any]) -> Tensor:
        output: Tensor = self(batch["truth"])
        return output

    def forward(self, classes: Tensor) -> Tensor:
        """Map classes (N) to logits (N, labels): 10 for the true label, 0 for the others."""
        return 10.0 * F.one_hot(self.labels[classes], int(self.labels.max()) + 1).float()


class Task(AdapterTask):
    """Trains a network of `networks.build` on `data.root`; `network: {type: Bag, dim: 64}`.

    `network_teacher: {file: ...}` is a teacher for classes or families; `{file: ..., families: ...}` names one for
    each, and the loss on families then is `{type: coarse, at: {student: head, teacher: families}}`. `{truth: classes}`
    or `{truth: families}` is a teacher that knows the labels; `{file: ..., truth: families}` has one beside a trained
    teacher for classes. A teacher may read sentence embeddings (`data.encoder`) where the student reads words.
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
        found = {"documents": self.corpus.fingerprint, "vocabulary": self.corpus.vocabulary_hash}
        if self.recipe.data.encoder:
            found["encoder"] = sentences.identity()
        if self.recipe.data.hierarchy is not None:
            found["families"] = hash_of(np.array(self.corpus.families, np.int64))
        return found

    def scored_on(self) -> str:
        return hash_of(self.corpus.scored.labels, *self.corpus.scored.documents)

    @property
    def labels(self) -> list[str]:
        """Names of the labels that the student predicts."""
        return self.corpus.classes if self.recipe.data.labels == "classes" else self.corpus.family_names

    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        network, everything = self._network(spec, len(self.labels)), self.corpus.everything
        network.encoder.fit(everything.documents)
        if isinstance(network.encoder, Embedded) and everything.embeddings is not None:
            network.encoder.standardise(torch.from_numpy(everything.embeddings))
        return network

    def _network(self, spec: Mapping[str, Any], classes: int) -> TextClassifier:
        embeddings = self.corpus.everything.embeddings
        width = 0 if embeddings is None else embeddings.shape[1]
        return networks.build(spec, classes, len(self.corpus.vocabulary), self.recipe.data.tokens.length, width)

    def _reads(self, spec: Mapping[str, Any]) -> str:
        """What the input of a network depends on: the sentence encoder, or the vocabulary."""
        return sentences.identity() if spec.get("type") == "Embedded" else self.corpus.vocabulary_hash

    def check_trained(self, meta: Mapping[str, Any], path: str) -> None:
        if meta["labels"] not in (self.corpus.classes, self.corpus.family_names):
            names = ", ".join(meta["labels"][:3])
            raise SrkdError(f"{path}: a network for {names}, ...: neither the classes nor the families of {self.root}")
        if meta["vocabulary"] != self._reads(meta["network"]):
            raise SrkdError(
                f"{path}: another vocabulary or sentence encoder: data.tokens, remove and held_out must be those of "
                "its run"
            )

    def rebuild(self, meta: Mapping[str, Any], path: str) -> nn.Module:
        """As in the base class, for classes or families. A saved encoder is read from the folder of this recipe's
        tokeniser, not from one that the checkpoint names."""
        spec = {key: value for key, value in meta["network"].items() if key != "path"}
        check_spec(spec, path)
        if "path" in meta["network"]:
            spec["path"] = self.recipe.data.tokens.path
        return self._network(spec, len(meta["labels"]))

    def teacher_network(self, spec: Mapping[str, Any]) -> nn.Module:
        if set(spec) == {"truth"}:
            return self._true_labels(spec["truth"])
        if set(spec) == {"file", "families"}:
            return TeacherPair(self.load_trained(str(spec["file"])), self.load_trained(str(spec["families"])))
        if set(spec) == {"file", "truth"}:
            return TeacherPair(self.load_trained(str(spec["file"])), self._true_labels(spec["truth"]))
        return super().teacher_network(spec)

    def _true_labels(self, kind: str) -> TrueLabels:
        labels = {"classes": list(range(len(self.corpus.classes))), "families": self.corpus.families}
        if not labels.get(kind):
            known = ", ".join(name for name, found in labels.items() if found)
            raise SrkdError(f"network_teacher.truth: must be one of {known}, got {kind!r}")
        return TrueLabels(labels[kind])

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        families = {"families": self.corpus.families} if self.corpus.families else {}
        return {**super().context(batch, step), "examples": len(self.corpus.everything.labels), **families}

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        """Also `truth`, the class of each document, for `TrueLabels` only; the target of a document without label is
        -100, which cross-entropy ignores."""
        everything, target = self.corpus.everything, self._truth(self.corpus.everything.labels[indices])
        if self.recipe.data.unlabelled:
            others = random.integers(self.corpus.used, len(everything.labels), len(indices))
            indices, target = np.append(indices, others), np.append(target, np.full(len(others), _NO_LABEL))
        return {
            **everything.inputs(indices),
            "target": torch.from_numpy(target),
            "truth": torch.from_numpy(everything.labels[indices]),
            "index": torch.from_numpy(indices),
        }

    def _truth(self, labels: Indices) -> Indices:
        of_families = self.recipe.data.labels == "families"
        return np.array(self.corpus.families)[labels] if of_families else labels

    @torch.no_grad()
    def _predicted(self) -> Indices:
        """Predicted label of each scored document (N); documents are batched by length, in fp32."""
        scored = self.corpus.scored.first(self.limit)
        order = np.argsort([len(document) for document in scored.documents], kind="stable")
        found = np.empty(len(order), np.int64)
        for start in range(0, len(order), _EVAL_BATCH):
            some = order[start : start + _EVAL_BATCH]
            inputs = {key: value.to(self.device) for key, value in scored.inputs(some).items()}
            logits = run_network(self.network, inputs, "input")
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
        return {**super().meta(name), "labels": self.labels, "vocabulary": self._reads(self.recipe.network)}
