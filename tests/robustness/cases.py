"""Small commands that write files, and the results in their folder that must not depend on interruptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from robustness.victims import Ended, command, run
from srkd import resources
from srkd.cli.main import main
from srkd.data.store import ImageStore
from srkd.images.read import ImageData, write_image
from srkd.inference.speed import Speed, SpeedMeter
from srkd.training.checkpoint import load_weights
from srkd.training.log import read_metrics
from support import textured

TINY = {"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2, "img_range": 1.0}
LOSSES = [{"type": "L1Loss"}, {"type": "output", "weight": 0.5}, {"type": "vid", "at": "body.1", "weight": 0.1}]


@dataclass(frozen=True)
class Case:
    """A command, the contents of its folder before, and the results that must be reproduced."""

    call: Callable[[], int | None]
    lay_out: Callable[[Path], None]
    results: Callable[[Path], Any]

    def folder(self, place: Path) -> Path:
        """A new folder with the command's inputs."""
        place.mkdir(parents=True, exist_ok=True)
        self.lay_out(place)
        return place


def _images(folder: Path) -> None:
    for number in range(3):
        write_image(folder / "photos" / f"p{number}.png", ImageData(textured(number, 24 + 2 * number, 28)))


def _recipe(teacher: Path) -> dict[str, Any]:
    """Distillation with a cached teacher, a loss that learns, an averaged student, validation, a state every step."""
    return {
        "name": "tiny",
        "scale": 2,
        "network_g": {key: value for key, value in TINY.items() if key != "upscale"},
        "network_g_teacher": {"file": str(teacher)},
        "cache": {"kind": "bank", "patches": 8},
        "datasets": {
            "train": {"dataroot_gt": "photos", "gt_size": 16, "batch_size_per_gpu": 4},
            "val": {"name": "photos", "dataroot_gt": "photos"},
        },
        "val": {"val_freq": 3},
        "train": {"total_iter": 5, "losses": LOSSES, "ema_decay": 0.9, "precision": "fp32"},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2, "save_state_seconds": 0, "use_tb_logger": False},
    }


def _lay_out(folder: Path, files: dict[str, Any]) -> None:
    _images(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))


def _tensors(path: Path) -> dict[str, list[float]]:
    return {key: tensor.flatten().tolist() for key, tensor in load_weights(path)[0].items()}


def _steps(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "steps_per_second"} for record in read_metrics(path)]


def _trained(run_folder: Path) -> Any:
    models = sorted((run_folder / "models").glob("*.safetensors"))
    assert models
    return {p.name: _tensors(p) for p in models}, _steps(run_folder / "metrics.jsonl")


def _train(teacher: Path) -> Case:
    lay_out = partial(_lay_out, files={"r.yml": _recipe(teacher)})
    return Case(
        command("train", "-opt", "r.yml", "--auto_resume"),
        lay_out,
        lambda folder: _trained(folder / "experiments" / "tiny"),
    )


def _compare(teacher: Path) -> Case:
    base = _recipe(teacher)
    base["train"]["total_iter"] = 3
    variants = [{"name": "kd", "losses": base["train"].pop("losses")}]
    study = {"name": "study", "base": base, "seeds": [0], "sets": ["photos"], "variants": variants}

    def results(folder: Path) -> Any:
        found = json.loads((folder / "experiments" / "study" / "results.json").read_text())
        runs = [{k: v for k, v in item.items() if k != "seconds"} for item in found["runs"]]
        weights = sorted((folder / "experiments").rglob("net_g_latest.safetensors"))
        assert len(runs) == len(weights) == 2 and not found["missing"]
        return found["scores"], runs, [_tensors(path) for path in weights]

    return Case(command("compare", "study.yml"), partial(_lay_out, files={"study.yml": study}), results)


def _train_own_zoo() -> int | None:
    """Uses the command's own folder as the zoo."""
    models = Path("models").absolute()
    resources.folder = lambda name: models
    return command("zoo", "train", "tiny")()


def _zoo(teacher: Path) -> Case:
    def results(folder: Path) -> Any:
        model = folder / "models" / "tiny"
        assert not (model / "state.pt").exists()
        return _tensors(model / "weights.safetensors"), json.loads((model / "curve.json").read_text())

    files = {"models/tiny/recipe.yml": _recipe(teacher), "models/tiny/about.yml": {"licence": "CC0"}}
    return Case(_train_own_zoo, partial(_lay_out, files=files), results)


def _prepare_data(teacher: Path) -> Case:
    def results(folder: Path) -> Any:
        (place,) = (folder / "cache" / "stores").iterdir()
        store = ImageStore.open(place)
        return store.fingerprint, [store.hr(i).tolist() + store.lr(i).tolist() for i in range(len(store))]

    return Case(command("prepare_data", "photos", "--scale", "2"), _images, results)


def _upscale(teacher: Path) -> Case:
    return Case(
        command("upscale", "photos", "-o", "large", "-m", str(teacher), "--skip-existing"),
        _images,
        lambda folder: {p.name: p.read_bytes() for p in (folder / "large").iterdir()},
    )


def _export(teacher: Path) -> Case:
    def results(folder: Path) -> Any:
        (weights,) = (folder / "out").glob("*.bin")
        rows = json.loads((folder / "out" / "export.json").read_text())["rows"]
        kept = [{key: value for key, value in row.items() if key != "ms"} for row in rows]
        return sorted(p.name for p in (folder / "out").iterdir()), weights.read_bytes(), kept

    arguments = ("export", str(teacher), "-o", "out", "--to", "openvino", "--data", "photos")
    return Case(partial(_without_timing, arguments), _images, results)


def _without_timing(arguments: tuple[str, ...]) -> int | None:
    """The command without measuring the latency of each file, which takes seconds and is not among the results."""
    with mock.patch.object(SpeedMeter, "model", lambda meter, model: Speed((1.0,))):
        return main(arguments)


CASES = {
    "train": _train,
    "compare": _compare,
    "zoo": _zoo,
    "prepare_data": _prepare_data,
    "upscale": _upscale,
    "export": _export,
}


@dataclass(frozen=True)
class Uninterrupted:
    """A case that ran uninterrupted: exit, results and folder."""

    case: Case
    ended: Ended
    results: Any
    folder: Path

    @classmethod
    def of(cls, name: str, teacher: Path, place: Path) -> Uninterrupted:
        case = CASES[name](teacher)
        ended = run(case.call, case.folder(place))
        assert ended.code == 0, ended.output
        return cls(case, ended, case.results(place), place)
