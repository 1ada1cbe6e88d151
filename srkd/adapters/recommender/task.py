"""The recommender task: a student with an optional teacher, ranking metrics over all items, and rating errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find, hash_of
from srkd.adapters.recommender import interactions, networks, scores
from srkd.adapters.recommender.interactions import Pairs
from srkd.adapters.recommender.peer import Peer
from srkd.adapters.recommender.recipe import RecommenderRecipe
from srkd.adapters.recommender.samplers import share_of, with_negatives
from srkd.distill.objective import Objective, Step, parse_terms
from srkd.errors import SrkdError
from srkd.training.task import SetScores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SOURCE = (
    "MovieLens 100K: GroupLens, University of Minnesota, ml-100k.zip; FilmTrust and Jester: the tables of LibRec and "
    "recommenderlab"
)
_EVAL_BATCH = 1_000_000  # logits


class Task(AdapterTask):
    """Trains a network of `networks.build` on the pairs of `data.root`; an example is a user with all items."""

    recipe_type: ClassVar[type[AdapterRecipe]] = RecommenderRecipe
    recipe: RecommenderRecipe
    network: networks.Recommender

    def load(self) -> int:
        data = self.recipe.data
        self.root = find(data.root, "ratings, or a folder of pair lists", _SOURCE)
        self.pairs = interactions.read(self.root, data)
        self.notices += self.pairs.notices
        items = len(self.pairs.item_ids)
        if self.recipe.top > items:
            raise SrkdError(f"top is {self.recipe.top}, but there are only {items} items to recommend")
        for name in ("validation", "test"):
            if not (getattr(self.pairs, name).values >= self.pairs.threshold).any():
                raise SrkdError(
                    f"{self.root}: no {name} pair is relevant (at least {self.pairs.threshold}): lower data.relevant"
                )
        classes = self._classes(self.pairs.train)
        self.number = int(classes.max())
        self.levels = self.pairs.levels if self.number > 1 else self.pairs.train.values.mean(keepdims=True)
        self.rated = self.pairs.matrix(self.pairs.train, classes)
        self.trained_on = share_of(self.rated, data.train_share, np.random.default_rng(data.seed))
        return len(self.pairs.user_ids)

    def _classes(self, pairs: Pairs) -> np.ndarray:
        found = self.pairs.classes(pairs)
        return np.ones_like(found) if self.recipe.data.setting == "one" else found

    def fingerprint(self) -> dict[str, str]:
        train, rated = self.pairs.train, self.rated
        return {"pairs": hash_of(train.users, train.items, rated.data)}

    def scored_on(self) -> str:
        both = (self.pairs.validation, self.pairs.test)
        return hash_of(*(part for pairs in both for part in (pairs.users, pairs.items, pairs.values)))

    def build(self, spec: Mapping[str, Any]) -> networks.Recommender:
        return networks.build(spec, self.number, self.trained_on)

    def check_trained(self, meta: Mapping[str, Any], path: str) -> None:
        if meta.get("pairs") != self.fingerprint()["pairs"]:
            raise SrkdError(f"{path}: trained on other pairs or classes, perhaps test pairs: train it on this data")

    def load_trained(self, path: str) -> networks.Recommender:
        network = cast("networks.Recommender", super().load_trained(path))
        network.observe(self.rated)
        return network

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        classes = self.trained_on[indices].toarray()
        labels = with_negatives(classes, self.recipe.data.negatives, random)
        return {
            "input": torch.from_numpy(indices),
            "target": torch.from_numpy(labels),
            "mask": torch.from_numpy(classes > 0),
        }

    def setup(self, fabric: Fabric) -> None:
        super().setup(fabric)
        if self.recipe.train.teacher_losses:
            self._set_up_teacher()

    def _set_up_teacher(self) -> None:
        """Bidirectional distillation: the teacher has its own losses and optimiser, and the student is its teacher."""
        specs = self.teacher_specs() if self.objective.needs_teacher else []
        if len(specs) != 1:
            raise SrkdError("train.teacher_losses needs network_teacher, a single one, and a student loss that uses it")
        self.network_teacher = self.teacher_network(specs[0][0]).to(self.device)
        self.objective_teacher = Objective(parse_terms(self.recipe.train.teacher_losses))
        self.objective_teacher.resolve_taps(self.network_teacher, self.network)
        self.objective.resolve_taps(self.network, self.network_teacher)
        self.teacher = Peer(self.network_teacher, self.objective.teacher_taps)
        self.peer = Peer(self.network, self.objective_teacher.teacher_taps)
        step = Step(self.network_teacher, self.objective_teacher, self.input, self.target)
        self.prepare_losses(step, self.peer)
        self.register("teacher", step, self.recipe.train.optim_teacher or self.recipe.train.optim)

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        yield from super().steps(batch, step)
        if self.recipe.train.teacher_losses:
            with self.autocast(step, self.device):
                _, total, values = self.wrapped["teacher"](batch, self.peer(batch), self.context(batch, step))
            self.log.update({f"l_teacher_{name}": value.detach() for name, value in values.items()})
            yield total, self.optimisers["teacher"]

    def evaluate(self) -> dict[str, SetScores]:
        """Metrics on the validation and test pairs, averaged over users with relevant items.

        Each metric has the single item `all`: the unit of a study's statistics is the seed. `rmse` and `mae` compare
        the expected with the given rating over all pairs; with one class it is the mean rating of training.
        """
        train, validation, test = self.pairs.train, self.pairs.validation, self.pairs.test
        return {
            "validation": self._evaluate(validation, [train]),
            "test": self._evaluate(test, [train, validation]),
        }

    @torch.no_grad()
    def _evaluate(self, pairs: Pairs, seen: list[Pairs]) -> SetScores:
        pairs = pairs[np.lexsort((pairs.items, pairs.users))]
        if self.limit is not None:  # of the users that ranking metrics count
            ranked = np.unique(pairs.users[pairs.values >= self.pairs.threshold])
            pairs = pairs[np.isin(pairs.users, ranked[: self.limit])]
        classes = self.pairs.matrix(pairs, self.pairs.classes(pairs))
        relevant = self.pairs.matrix(pairs, pairs.values >= self.pairs.threshold)
        known = sum(self.pairs.matrix(part, np.ones(len(part), bool)) for part in seen)
        tested = np.unique(pairs.users)
        rows: list[dict[str, Tensor]] = []
        expected: list[Tensor] = []
        levels = torch.from_numpy(self.levels)
        most = max(1, _EVAL_BATCH // (self.rated.shape[1] * (1 + self.number)))
        for start in range(0, len(tested), most):
            users = tested[start : start + most]
            logits = self.network(torch.from_numpy(users).to(self.device)).float().cpu()
            truth = torch.from_numpy(classes[users].toarray())
            # A test pair is never hidden, even if keep_test_pairs kept it among the training pairs.
            hidden = torch.from_numpy(known[users].toarray()) & (truth == 0)
            items, real = scores.ranked(self.network.score(logits), hidden, self.recipe.top)
            rows.append(scores.of_lists(items, real, torch.from_numpy(relevant[users].toarray()), truth))
            expected.append(scores.expected(logits.transpose(1, 2)[truth > 0], levels))
        found = {f"{key}@{self.recipe.top}": torch.cat([row[key] for row in rows]).numpy() for key in rows[0]}
        counted = np.isfinite(found[f"hr@{self.recipe.top}"])
        metrics = {key: values[counted].mean() for key, values in found.items()}
        error = torch.cat(expected).numpy() - pairs.values
        metrics |= {"rmse": np.sqrt(np.square(error).mean()), "mae": np.abs(error).mean()}
        protocol = f"{self.root.name}, all {self.rated.shape[1]} items, {int(counted.sum())} users"
        return {"protocol": protocol, "metrics": {key: {"all": float(value)} for key, value in metrics.items()}}

    def meta(self, name: str) -> dict[str, Any]:
        return {**super().meta(name), "pairs": self.fingerprint()["pairs"]}
