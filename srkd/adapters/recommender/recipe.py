"""A recipe for recommenders."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from srkd.training.distilled import DistilledRecipe, DistilledTrain
from srkd.training.recipe import Optimiser, Section


class Data(Section):
    """`data:` which pairs of user and item, what class each has, and how they are split.

    Of several lines for one pair the latest counts, by time or else by place in the file; of several behaviours the
    strongest.
    """

    free = frozenset({"root"})  # the fingerprint says what was read from there
    root: str = pydantic.Field(description="a table of ratings (a file), or a folder of pair lists")
    behaviours: list[str] = pydantic.Field(
        [], description="of a folder: files to train on, weakest behaviour first; it also has validation.txt, test.txt"
    )
    keep_test_pairs: bool = pydantic.Field(
        False, description="of a folder: leave pairs of validation and test among the training pairs too"
    )
    setting: Literal["multi", "one"] = pydantic.Field(
        "multi", description="multi: a pair's class is its rating or behaviour; one: every pair has class 1"
    )
    bins: int = pydantic.Field(
        0, ge=0, description="classes by quantiles of the training ratings; 0: a class a distinct rating"
    )
    relevant: float | Literal["top"] = pydantic.Field(
        "top", description="least rating of what should be recommended; top: the highest class"
    )
    split: Literal["random", "leave_one_out", "time"] = pydantic.Field(
        "random", description="random: a share of all pairs; leave_one_out: each user's last; time: the latest share"
    )
    test: float = pydantic.Field(0.2, gt=0, lt=1, description="share of the test pairs (not of leave_one_out)")
    validation: float = pydantic.Field(0.1, gt=0, lt=1, description="share of the validation pairs, of the rest")
    seed: int = pydantic.Field(0, ge=0, description="of the split, which is one for all runs of a study")
    core: int = pydantic.Field(
        0, ge=0, description="users and items with fewer training pairs are left out, repeatedly"
    )
    negatives: float = pydantic.Field(4.0, ge=0, description="unobserved items drawn in a step for each rated one")


class RecommenderTrain(DistilledTrain):
    """`train:`, where the teacher may learn too."""

    teacher_losses: list[dict[str, Any]] = pydantic.Field(
        [],
        description="bidirectional distillation: what the teacher goes on to learn by, the student as its teacher "
        "(`bd` with `direction: to_teacher`)",
    )
    optim_teacher: Optimiser | None = pydantic.Field(
        None, description="the teacher's optimiser then; by default `optim`"
    )


class RecommenderRecipe(DistilledRecipe):
    """The top of the recipe."""

    data: Data
    train: RecommenderTrain
    top: int = pydantic.Field(10, gt=0, description="length of the recommended list that is scored, the k of NDCG@k")
