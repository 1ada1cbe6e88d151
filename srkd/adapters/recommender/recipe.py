"""A recipe for recommenders."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from srkd.adapters.base import AdapterRecipe, AdapterTrain
from srkd.training.recipe import Optimiser, Section, Seed


class RecommenderData(Section):
    """`data:` pairs of user and item, their classes, and their split.

    If a pair occurs several times, the latest line counts (by time, or else by position in the file); of several
    behaviours the strongest.
    """

    free = frozenset({"root"})  # the fingerprint identifies the content
    root: str = pydantic.Field(description="a table of ratings (a file), or a folder of pair lists")
    behaviours: list[str] = pydantic.Field(
        [], description="for a folder: training files, weakest behaviour first; validation.txt and test.txt are added"
    )
    keep_test_pairs: bool = pydantic.Field(
        False, description="for a folder: keep training pairs that are also validation or test pairs"
    )
    setting: Literal["multi", "one"] = pydantic.Field(
        "multi", description="multi: a pair's class is its rating or behaviour; one: every pair has class 1"
    )
    bins: int = pydantic.Field(
        0, ge=0, description="number of classes, by quantiles of the training ratings; 0: one class per distinct rating"
    )
    relevant: pydantic.FiniteFloat | Literal["top"] = pydantic.Field(
        "top", description="minimum rating of a relevant item; top: that of the highest class"
    )
    split: Literal["random", "leave_one_out", "time"] = pydantic.Field(
        "random",
        description="random: a share of all pairs; leave_one_out: each user's last; time: the latest share",
    )
    test: float = pydantic.Field(0.2, gt=0, lt=1, description="share of test pairs (unused by leave_one_out)")
    validation: float = pydantic.Field(0.1, gt=0, lt=1, description="share of validation pairs among the others")
    seed: Seed = pydantic.Field(0, description="seed of the split, the same for all runs of a study")
    train_share: float = pydantic.Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training pairs, drawn by `seed`, that the network is trained on; a teacher knows all "
        "of them, and all are left out of the rankings",
    )
    core: int = pydantic.Field(
        0, ge=0, description="k-core: users and items with fewer training pairs are removed, repeatedly"
    )
    negatives: pydantic.FiniteFloat = pydantic.Field(
        4.0, ge=0, description="unobserved items sampled per rated item in each step"
    )


class RecommenderTrain(AdapterTrain):
    """`train:`, with options to train the teacher too."""

    teacher_losses: list[dict[str, Any]] = pydantic.Field(
        [],
        description="bidirectional distillation: losses of the teacher, with the student as its teacher "
        "(`bd` with `direction: to_teacher`)",
    )
    optim_teacher: Optimiser | None = pydantic.Field(
        None, description="optimiser of the teacher if it is trained; by default `optim`"
    )


class RecommenderRecipe(AdapterRecipe):
    """Top level of the recipe."""

    data: RecommenderData
    train: RecommenderTrain
    top: int = pydantic.Field(10, gt=0, description="length k of the scored recommendation list, as in NDCG@k")
