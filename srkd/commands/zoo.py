"""Train zoo models in slices, and measure the trained models.

When training is finished, `models/<name>/` gets weights.safetensors, metrics.json and a model card (README.md). Until
then, `state.pt` there is the training state between two slices, small enough to commit. The run is in
`experiments/zoo/<name>`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srkd.commands import imitation_cards
from srkd.commands.cards import card, image
from srkd.errors import SrkdError
from srkd.executor import Executor, FolderTask, LocalExecutor
from srkd.files.atomic import atomic_path, write_bytes, write_json, write_text
from srkd.files.digest import file_sha256
from srkd.inference import cost
from srkd.inference.model import Model
from srkd.inference.speed import SpeedMeter, machine
from srkd.integrations import external
from srkd.metrics.evaluation import evaluate
from srkd.metrics.psnr import PSNR
from srkd.metrics.registry import DEFAULT, of_scores
from srkd.networks import zoo
from srkd.training import checkpoint
from srkd.training.log import read_metrics
from srkd.training.processes import say
from srkd.training.recipe import override, read
from srkd.training.run import Run

RUNS = Path("experiments") / "zoo"


def listing() -> list[dict[str, Any]]:
    """A row for each model: name, scale, status, parameters, PSNR (dB) on Set5 and B100 if it was trained for that."""
    rows = []
    for name in zoo.names():
        metrics = zoo.metrics(name)
        sets = {} if "imitates" in metrics else metrics.get("sets", {})
        state = zoo.folder(name) / "state.pt"
        status = "trained" if name in zoo.trained() else "in training" if state.is_file() else "not trained"
        row: dict[str, Any] = {"model": name, "scale": read(zoo.folder(name) / "recipe.yml").get("scale", "-")}
        row |= {"status": status, "parameters": metrics.get("parameters", "-")}
        row |= {set_: PSNR().text(sets[set_]["psnr"], brief=True) if set_ in sets else "-" for set_ in ("Set5", "B100")}
        rows.append(row)
    for name in zoo.external():
        entry = external.entries()[name]
        rows.append({"model": name, "scale": entry.scale, "status": "fetched on use", "parameters": entry.parameters})
        rows[-1] |= {"Set5": "-", "B100": "-"}
    return rows


def train(name: str, settings: Sequence[str] = (), budget: float | None = None) -> dict[str, Any]:
    """`train_all` for one model, here."""
    (result,) = train_all([name], settings, budget)
    return result


def train_all(
    names: Sequence[str],
    settings: Sequence[str] = (),
    budget: float | None = None,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Train the next slice of zoo models, continuing the last one, possibly from another machine (except for recipes
    with stages).

    Args:
        names: the models; one that is given twice is trained once.
        settings: `key=value` overrides of the recipes, e.g. the image folders.
        budget: seconds for each; None trains to the end.
        executor: where they are trained at the same time; None: here, one after another.

    Returns:
        As `Run.train`, for each model; those after one that a signal stopped are missing.

    Raises:
        SrkdError: unknown model; recipe or data differ from those of the previous slice.
    """
    names = list(dict.fromkeys(names))
    recipes = [override(read(zoo.folder(name) / "recipe.yml"), [f"name={name}", *settings]) for name in names]
    for name in names:
        _restore_state(zoo.folder(name) / "state.pt", RUNS / name)
    tasks = [FolderTask(data, RUNS / name) for data, name in zip(recipes, names, strict=True)]
    results, errors = [], []
    for number, result in (executor or LocalExecutor()).map(train_run, tasks, budget):
        if isinstance(result, SrkdError):
            errors.append(f"{names[number]}: {result}" if len(names) > 1 else str(result))
            continue
        _keep(names[number], recipes[number], result)
        results.append(result)
        if result["signal"]:
            break
    if errors:
        raise SrkdError("; ".join(errors))
    return results


def train_run(data: dict[str, Any], folder: Path, budget: float | None) -> dict[str, Any]:
    """Train a recipe in its run's folder (`srkd.executor.Work`); the models' paths are relative to it."""
    result = Run(data, folder.parent, resume=True, budget=budget).train()
    models = {key: Path(path).relative_to(folder).as_posix() for key, path in result["models"].items()}
    return {**result, "models": models}


def _keep(name: str, data: dict[str, Any], result: dict[str, Any]) -> None:
    """Copy a run's weights or its state to the model's folder."""
    folder, run = zoo.folder(name), Run(data, RUNS, resume=True)
    if result["finished"]:
        _finish(name, RUNS / name / result["models"]["net_g"], [folder for _, folder in run.stages])
    elif not result["models"]:
        say("training has not started; the next slice continues to prepare it")
    elif len(run.stages) > 1:
        # The state of a later stage is not enough to resume: it needs the results of the stages before.
        say(f"{RUNS / name}: the states of its stages; the next slice resumes from there")
    else:
        _copy(_newest_state(RUNS / name), folder / "state.pt")
        say(f"{folder / 'state.pt'}: the state at step {result['step']} of {result['total']}")


def _newest_state(run: Path) -> Path:
    return max((run / "training_states").glob("[0-9]*.pt"))


def _restore_state(state: Path, run: Path) -> None:
    """Copy the committed state to the run unless the run has a later one."""
    if not state.is_file():
        return
    step = checkpoint.load_state(state)["step"]
    target = run / "training_states" / f"{step:09d}.pt"
    steps = [int(path.stem) for path in target.parent.glob("[0-9]*.pt")]
    if step > max(steps, default=-1):
        _copy(state, target)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _finish(name: str, weights: Path, stages: Sequence[Path]) -> None:
    folder = zoo.folder(name)
    (folder / "metrics.json").unlink(missing_ok=True)  # it describes the previous weights
    _copy(weights, folder / "weights.safetensors")
    records = [{"stage": i, **r} for i, stage in enumerate(stages, 1) for r in read_metrics(stage / "metrics.jsonl")]
    curve = [record for record in records if any(key.startswith("val/") for key in record)]
    write_json(folder / "curve.json", curve)
    (folder / "state.pt").unlink(missing_ok=True)
    say(f"{folder}: trained; srkd zoo verify {name} --data ... measures it and writes its card")


def verify(name: str, folders: Sequence[str]) -> dict[str, Any]:
    """Measure a trained model's scores and latency; update metrics.json, the card and its image.

    What cannot be measured (`licence`, `notes`, whether it is the `default` for its scale) comes from about.yml next to
    the recipe, which may also list `metrics` other than PSNR and SSIM.

    Args:
        folders: HR folders or names of the evaluation sets; for an imitation, folders of photographs, which are inputs
            as they are, besides its own held-out set.

    Raises:
        SrkdError: the model is not trained, or its weights differ from those in metrics.json; no evaluation set.
    """
    path, _ = zoo.weights(name)
    about, recipe = (read(zoo.folder(name) / file) for file in ("about.yml", "recipe.yml"))
    imitation = imitation_cards.is_imitation(recipe)
    if not folders and not imitation:
        raise SrkdError(f"{name}: --data must list HR folders or evaluation sets")
    model = Model.load(name)
    scores = imitation_cards.scores(model, recipe, about, folders) if imitation else _scores(name, about, folders)
    lineage = checkpoint.load_weights(path)[1].get("lineage", {})
    metrics: dict[str, Any] = {
        **about,
        "scale": model.scale,
        "sha256": file_sha256(path),
        "parameters": cost.parameters(model.network),
        "multiply_adds_1280x720": cost.multiply_adds(model.network, model.scale),
        "latency_ms_256x256": round(SpeedMeter().network(model.network).ms, 1),
        "machine": machine(),
        "seed": recipe.get("manual_seed", 0),
        "steps": _steps(recipe, lineage),
        "teacher": lineage.get("teacher"),
        "command": f"srkd zoo train {name}",
        **scores,
    }
    write_json(zoo.folder(name) / "metrics.json", metrics)
    drawn = imitation_cards.image(model, recipe) if imitation else image(name, model.scale)
    write_bytes(zoo.folder(name) / "image.png", drawn)
    write_text(zoo.folder(name) / "README.md", card(name, recipe, metrics))
    return metrics


def _scores(name: str, about: dict[str, Any], folders: Sequence[str]) -> dict[str, Any]:
    """Scores of a model and of bicubic by the standard protocol."""
    bicubic, ours = evaluate(["bicubic", name], folders, metrics=about.get("metrics", DEFAULT))["models"]
    rows = {"sets": ours, "bicubic": bicubic}
    return {key: {set_: _without_images(value) for set_, value in row["sets"].items()} for key, row in rows.items()}


def _steps(recipe: dict[str, Any], lineage: dict[str, Any]) -> Any:
    """Steps of all stages; a checkpoint records only those of the last."""
    stages, steps = recipe.get("stages"), recipe["train"]["total_iter"]
    return sum(stage.get("train", {}).get("total_iter", steps) for stage in stages) if stages else lineage.get("steps")


def _without_images(scores: dict[str, Any]) -> dict[str, Any]:
    measured = {metric.name: scores[metric.name] for metric in of_scores(scores)}
    return {**measured, "protocol": scores["protocol"]["stamp"]}
