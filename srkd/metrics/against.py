"""A model's scores beside those of published networks of similar size: `models/published.yml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srkd.errors import SrkdError
from srkd.metrics import published
from srkd.metrics.registry import DEFAULT, Metric, get
from srkd.metrics.scores import Protocol

COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds"}
Scores = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Neighbour:
    """A published network near another in size; `size` says in what, such as "fewer parameters"."""

    name: str
    size: tuple[str, ...]


def check(scale: int, protocols: Mapping[str, Protocol], metrics: Sequence[str]) -> None:
    """Check, before anything is scored, that published networks can be compared with.

    Args:
        protocols: how each set is to be scored.
        metrics: which scores are computed.

    Raises:
        SrkdError: no published network of this scale, a set of which none has scores, another protocol, or no metric
            that they have.
    """
    known = {name for found in published.entries().values() for name in found.scores(scale)}
    if not known:
        scales = ", ".join(f"x{each}" for each in published.SCALES)
        raise SrkdError(f"no published results for x{scale} to compare with; there are some for {scales}")
    for name, protocol in protocols.items():
        if name not in known:
            listed = ", ".join(sorted(known))
            raise SrkdError(f"{name}: no published results at x{scale} to compare with; there are some on {listed}")
        if protocol != Protocol.default(scale, verified=protocol.verified):
            raise SrkdError(
                f"{name}: published results are of another protocol ({Protocol.default(scale).stamp()}), this is "
                f"{protocol.stamp()}"
            )
    if not set(metrics) & set(DEFAULT):
        raise SrkdError(
            f"published results are {' and '.join(DEFAULT)}, not {', '.join(metrics)}: add one to --metrics"
        )


def neighbours(scale: int, costs: Mapping[str, float | None], sets: Iterable[str]) -> list[Neighbour]:
    """The published networks nearest to one in size, with scores on one of the sets: by each cost the next smaller or
    equal and the next larger, in ascending order of parameters.

    Args:
        costs: its "parameters" and "multiply_adds" for an output of 1280x720; None if unknown.
    """
    wanted, sizes = set(sets), dict[str, list[str]]()
    for cost, title in COSTS.items():
        own = costs[cost]
        known = {
            name: value
            for name, found in published.entries().items()
            if (value := getattr(found.at(scale), cost)) is not None and wanted & set(found.scores(scale))
        }
        if own is None:
            continue
        smaller = [name for name, value in known.items() if value <= own]
        larger = [name for name, value in known.items() if value > own]
        if smaller:
            sizes.setdefault(max(smaller, key=known.__getitem__), []).append(f"fewer {title}")
        if larger:
            sizes.setdefault(min(larger, key=known.__getitem__), []).append(f"more {title}")
    order = sorted(sizes, key=lambda name: published.entry(name).at(scale).parameters or 0)
    return [Neighbour(name, tuple(sizes[name])) for name in order]


def beside(scale: int, costs: Mapping[str, float | None], scores: Scores) -> list[dict[str, Any]]:
    """A model beside its `neighbours`: a dictionary for each.

    Args:
        scores: {set: {metric: mean, "protocol": {"verified": ...}}} of the model.

    Returns:
        {"network", "size" (as `Neighbour.size`), "year", "reference", "source", "training", "parameters",
        "multiply_adds", "same_protocol", "protocol" (what differs), "sets": {set: {metric: theirs, "differences":
        {metric: the model's minus theirs}}}}.
    """
    return [_beside(neighbour, scale, scores) for neighbour in neighbours(scale, costs, scores)]


def _beside(neighbour: Neighbour, scale: int, scores: Scores) -> dict[str, Any]:
    known = published.entry(neighbour.name)
    theirs = known.scores(scale)
    shared = [name for name in scores if name in theirs]
    unverified = [f"images of {name} not verified" for name in shared if not scores[name]["protocol"]["verified"]]
    differs = "; ".join([*([known.protocol] if known.protocol else []), *unverified])
    return {
        "network": known.model,
        "size": list(neighbour.size),
        **{key: getattr(known, key) for key in ("year", "reference", "source", "training")},
        **{cost: getattr(known.at(scale), cost) for cost in COSTS},
        "same_protocol": not differs,
        "protocol": differs,
        "sets": {name: _with_differences(theirs[name], scores[name]) for name in shared},
    }


def _with_differences(theirs: Mapping[str, float], own: Mapping[str, Any]) -> dict[str, Any]:
    return {**theirs, "differences": {metric: own[metric] - value for metric, value in theirs.items() if metric in own}}


def title(results: Mapping[str, Any]) -> str:
    """What the cells of `table` are."""
    return (
        f"Beside published networks: {get(_metric(results)).title}, and in brackets by how much the model's is higher"
    )


def table(results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and columns of the comparison in results of `srkd.metrics.evaluation.evaluate`: each model, and below it the
    published networks near to it in size."""
    metric = get(_metric(results))
    compared = [row for row in results["models"] if row.get("published")]
    sets = list(compared[0]["sets"])
    rows = []
    for row in compared:
        own = {name: metric.text(found[metric.name], brief=True) for name, found in row["sets"].items()}
        rows.append(_row(row["model"], "", row, own, ""))
        for known in row["published"]:
            cells = {name: _cell(metric, found) for name, found in known["sets"].items() if metric.name in found}
            same = "yes" if known["same_protocol"] else f"no: {known['protocol']}"
            rows.append(_row(known["network"], ", ".join(known["size"]), known, cells, same))
    return rows, ["network", "size", "parameters", "G multiply-adds", *sets, "same protocol"]


def _metric(results: Mapping[str, Any]) -> str:
    scores = next(iter(results["models"][0]["sets"].values()))
    return next(metric for metric in DEFAULT if metric in scores)


def _row(
    network: str, size: str, costs: Mapping[str, Any], scores: Mapping[str, str], same_protocol: str
) -> dict[str, Any]:
    macs = costs["multiply_adds"]
    return {
        "network": network,
        "size": size,
        "parameters": costs["parameters"],
        "G multiply-adds": None if macs is None else f"{macs / 1e9:.2f}",
        **scores,
        "same protocol": same_protocol,
    }


def _cell(metric: Metric, found: Mapping[str, Any]) -> str:
    """Their score and the difference: `37.39 (+0.07)`."""
    digits = metric.digits if metric.brief_digits is None else metric.brief_digits
    return f"{metric.text(found[metric.name], brief=True)} ({found['differences'][metric.name]:+.{digits}f})"
