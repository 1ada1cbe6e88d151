"""Entity-level micro and macro F1 as in seqeval, over any set of types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from srkd.errors import SrkdError


@dataclass
class Counts:
    """Numbers of correct, predicted and true entities of each type."""

    right: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    true: Counter[str] = field(default_factory=Counter)

    def f1(self, types: Iterable[str]) -> float:
        """F1 (%) over all entities of these types: micro F1 of several types, plain F1 of a single one."""
        names = list(types)
        right, predicted, true = (sum(c[name] for name in names) for c in (self.right, self.predicted, self.true))
        return 200 * right / (predicted + true) if predicted + true else 0.0

    def by_type(self, types: Iterable[str]) -> dict[str, float]:
        """F1 (%) of each type; their mean is the macro F1."""
        return {name: self.f1([name]) for name in types}


def count(true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Counts:
    """Compare the BIO tags of sentences; an entity is correct if its type and both boundaries are.

    Raises:
        SrkdError: seqeval is not installed.
    """
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ImportError as error:
        raise SrkdError("scoring named entities needs seqeval: pip install 'srkd[adapters]'") from error
    found = Counts()
    for true_tags, predicted_tags in zip(true, predicted, strict=True):
        truth, guess = set(get_entities(list(true_tags))), set(get_entities(list(predicted_tags)))
        for counter, entities in ((found.true, truth), (found.predicted, guess), (found.right, truth & guess)):
            counter.update(kind for kind, _, _ in entities)
    return found


def forgetting(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """For each type, its best F1 after an earlier step minus its F1 after the last (Chaudhry et al., ECCV 2018).

    Args:
        history: F1 by type after each step; types that only the last one has are omitted.
    """
    *earlier, last = history
    return {
        name: max(scores[name] for scores in earlier if name in scores) - value
        for name, value in last.items()
        if any(name in scores for scores in earlier)
    }
