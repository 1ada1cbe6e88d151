"""The named-entity recognition task: one step of continual learning, or all types at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find, padded
from srkd.adapters.ner import continual, formats, networks, scores, tags, vocabulary
from srkd.adapters.ner.history import by_step
from srkd.adapters.ner.huggingface import SubWords
from srkd.adapters.ner.recipe import NerRecipe
from srkd.adapters.ner.tags import Sentence
from srkd.adapters.ner.vocabulary import Encoding
from srkd.distill.teachers import CachedTeacher, LiveTeacher, Teacher
from srkd.errors import SrkdError, nearest
from srkd.training.checkpoint import load_into
from srkd.training.task import SetScores

_SOURCE = (
    "KMOU: Korea Maritime and Ocean University's NLP lab, files *.words.txt and *.tags.txt; KLUE-NER: KLUE benchmark, "
    "klue-ner-v1.1_dev.tsv; Modu corpus: National Institute of Korean Language, a JSON of named entities"
)
_EVAL_BATCH = 64  # sentences
_IGNORED = -100  # by cross-entropy


class Task(AdapterTask):
    """Trains a tagger of `networks.build`; `network: {type: BiLSTM}`. Each stage of a recipe is a step of `data.steps`.

    From step 2 on, the network of the previous step is the teacher: `masked_kl` distils it where this step's labels are
    O, and the targets of cross-entropy at these tokens come from it (`continual.relabel`). Without a loss that uses the
    teacher and without `data.pseudo`, O stays O: plain fine-tuning. `data.outside` sets these targets independently of
    the losses.
    """

    recipe_type: ClassVar[type[AdapterRecipe]] = NerRecipe
    recipe: NerRecipe

    def load(self) -> int:
        data = self.recipe.data
        tags.check_steps(data.steps)
        if data.step > len(data.steps):
            raise SrkdError(f"data.step: {data.step}, but data.steps has {len(data.steps)}")
        if data.joint and (data.replay or data.pseudo is not None):
            raise SrkdError("data.joint uses all sentences and labels: remove data.replay and data.pseudo")
        everything, self.test = self._corpora()
        self.types = continual.seen_types(data)
        self.labels = tags.labels(self.types)
        self.vocabulary = self._encoding(everything)
        self.sentences = continual.sentences_of(everything, data, self.recipe.manual_seed)
        # The replayed sentences follow from the seed; all seeds of a study have one fingerprint, that of seed 0.
        self.fingerprinted = [*continual.sentences_of(everything, data, 0), *self.test]
        number = {label: n for n, label in enumerate(self.labels)}
        self.inputs = [self.vocabulary.encode(s.tokens) for s in self.sentences]
        self.targets = [np.array([number[tag] for tag in s.tags]) for s in self.sentences]
        self.previous = self._make_previous() if data.step > 1 and not data.joint else None
        return len(self.sentences)

    def _encoding(self, sentences: Sequence[Sentence]) -> Encoding:
        pieces = self.recipe.data.pieces
        if pieces not in vocabulary.SPLIT and Path(pieces).is_dir():
            return SubWords(pieces)
        return vocabulary.collect((s.tokens for s in sentences), pieces)

    def _corpora(self) -> tuple[list[Sentence], list[Sentence]]:
        """The training sentences of all steps, and the test sentences."""
        data = self.recipe.data
        parts = [
            formats.read(find(path, "a corpus of named entities", _SOURCE), data.format)
            for path in (data.train, data.test)
            if path is not None
        ]
        self.notices += [notice for corpus in parts for notice in corpus.notices]
        train = parts[0].sentences
        test = train[::5] if data.test is None else parts[1].sentences
        if data.test is None:
            train = [sentence for n, sentence in enumerate(train) if n % 5]
        train, test = train[: data.sentences], test[: data.tested]
        self._check_types(tags.types_of(train))
        return train, test

    def _check_types(self, found: set[str]) -> None:
        wanted = [kind for types in self.recipe.data.steps for kind in types]
        for kind in wanted:
            if kind not in found:
                hint = nearest(kind, found) or f"; available: {', '.join(sorted(found)) or 'none'}"
                raise SrkdError(f'data.steps: no entity of the type "{kind}" in {self.recipe.data.train}{hint}')
        if others := sorted(found - set(wanted)):
            self.notices.append(f"{self.recipe.data.train}: {', '.join(others)} in no step of data.steps, read as O")

    def _make_previous(self) -> LiveTeacher:
        """The network of the previous step; `on_stage` loads its weights."""
        old = 1 + 2 * sum(len(types) for types in self.recipe.data.steps[: self.recipe.data.step - 1])
        with torch.random.fork_rng(devices=[]):  # keeps the initial weights of the student independent of the teacher
            network = networks.build(self.recipe.network, self.vocabulary, old)
        return LiveTeacher(network.to(self.device), [], self.input)

    def check_trained(self, meta: Mapping[str, Any], path: str) -> None:
        if (meta["types"], meta["vocabulary"]) != (self.types, self.vocabulary.describe()):
            raise SrkdError(f"{path}: trained with other types or another vocabulary: train it on this data")

    def make_teacher(self) -> Teacher:
        if self.recipe.network_teacher is not None:
            raise SrkdError("network_teacher: the teacher of this task is the network of the previous step: remove it")
        if self.previous is None:
            names = ", ".join(term.name for term in self.objective.terms if term.against == "teacher")
            raise SrkdError(f"{names}: step 1 and joint training have no previous step: use other losses in this stage")
        self.objective.resolve_taps(self.network, self.previous.network)
        self.previous = LiveTeacher(self.previous.network, self.objective.teacher_taps, self.input)
        return CachedTeacher()

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        """Initialise from the weights of the previous step (`networks.grown`), and load them into the teacher."""
        step = self.recipe.data.step
        if previous is None:
            if step > 1 and not self.recipe.data.joint:
                raise SrkdError(f"data.step: {step} has no previous step: list all steps under `stages`")
            return
        weights = {k.removeprefix("network."): v for k, v in previous.items() if k.startswith("network.")}
        self.network.load_state_dict(networks.grown(self.network.state_dict(), weights))
        if self.previous is not None:
            load_into(self.previous.network, weights, f"step {step - 1}")

    def fingerprint(self) -> dict[str, str]:
        text = json.dumps([[s.tokens, s.tags] for s in self.fingerprinted])
        return {"sentences": hashlib.sha256(text.encode()).hexdigest()[:16]}

    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        return networks.build(spec, self.vocabulary, len(self.labels))

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        target = torch.from_numpy(np.concatenate([self.targets[i] for i in indices]))
        return {"input": padded([self.inputs[i] for i in indices]), "target": target, "mask": target == 0}

    def batch(self, number: int) -> dict[str, Any]:
        """As in the base class, plus the outputs of the previous step's network if a loss or the targets use them."""
        batch, outside = super().batch(number), self._outside()
        if self.previous is not None and (self.objective.needs_teacher or outside == "previous"):
            prediction = self.previous(batch)
            assert prediction.output is not None
            batch |= {"teacher_output": prediction.output, "teacher_features": prediction.features}
            if outside == "previous":
                pseudo, labels = self.recipe.data.pseudo, len(self.labels)
                batch["target"] = continual.relabel(batch["target"], batch["mask"], prediction.output, labels, pseudo)
        if outside == "ignored":
            batch["target"] = batch["target"].masked_fill(batch["mask"], _IGNORED)
        return batch

    def _outside(self) -> str:
        """The targets of tokens labelled O; see `NerData.outside`."""
        data = self.recipe.data
        if self.previous is None:
            return "label"
        distils = self.objective.needs_teacher or data.pseudo is not None
        return data.outside or ("previous" if distils else "label")

    @torch.no_grad()
    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The BIO tags of tokenised sentences."""
        found: dict[int, list[str]] = {}
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        for start in range(0, len(order), _EVAL_BATCH):
            chosen = order[start : start + _EVAL_BATCH]
            inputs = padded([self.vocabulary.encode(sentences[i]) for i in chosen]).to(self.device)
            labels = self.network(inputs).argmax(1).split([len(sentences[i]) for i in chosen])
            found |= {i: [self.labels[n] for n in row.tolist()] for i, row in zip(chosen, labels, strict=True)}
        return [found[i] for i in range(len(sentences))]

    def evaluate(self) -> dict[str, SetScores]:
        """Entity F1 (%): `micro` and `macro` over all types so far, and from step 2 on over the old and the new types.

        Macro F1 is reported by type. Types of later steps count as O.
        """
        data, test = self.recipe.data, self.test[: self.limit]
        truth = [tags.only(s.tags, self.types) for s in test]
        counts = scores.count(truth, self.predict([s.tokens for s in test]))
        groups = {"": self.types}
        if data.step > 1:
            new = data.steps[data.step - 1]
            groups |= {"_old": self.types[: -len(new)], "_new": new}
        metrics: dict[str, dict[str, float]] = {}
        for suffix, types in groups.items():
            metrics |= {f"micro{suffix}": {"all": counts.f1(types)}, f"macro{suffix}": counts.by_type(types)}
        source = data.test or f"every fifth of {data.train}"
        protocol = f"F1 of entities (seqeval) in {len(truth):,} sentences of {Path(source).name}"
        return {"test": {"protocol": protocol, "metrics": metrics}}

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """Scores after each step of the run as sets `step 1`, `step 2`, ...; from step 2 on with `forgetting`."""
        return by_step(Path(result["models"]["net"]).parent.parent)

    def meta(self, name: str) -> dict[str, Any]:
        return {**super().meta(name), "types": self.types, "vocabulary": self.vocabulary.describe()}
