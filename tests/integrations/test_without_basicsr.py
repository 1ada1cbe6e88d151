"""The commands where basicsr and torchvision, which comes with it, are not installed, as from Python 3.13 on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

# Runs command lines, a JSON list, and prints for each its exit code, standard output and standard error.
CODE = """
import contextlib, importlib.machinery, io, json, sys

finder = importlib.machinery.PathFinder
found = finder.find_spec

def find_spec(name, *arguments):
    return None if name.partition(".")[0] in ("basicsr", "torchvision") else found(name, *arguments)

finder.find_spec = find_spec
from srkd.cli.main import main

results = []
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(command)
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


def results(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [tuple(result) for result in json.loads(done.stdout.splitlines()[-1])]


def test_what_works_and_what_is_missing(photos: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    def written(name: str, **changes: Any) -> str:
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({**recipe, "name": name, **changes}), encoding="utf-8")
        return str(tmp_path / f"{name}.yml")

    runs, data, niqe = ["--output", str(tmp_path)], str(photos), {"metrics": {"niqe": {"type": "calculate_niqe"}}}
    model = str(tmp_path / "tiny" / "models" / "net_g_latest.safetensors")
    work = [
        ["train", "-opt", written("tiny"), *runs],
        ["upscale", data, "-o", str(tmp_path / "out"), "-m", model, "--runtime", "torch"],
        ["evaluate", "--model", "bicubic", model, "--data", data, "--scale", "2"],
        ["export", model, "-o", str(tmp_path / "files"), "--to", "onnx", "--data", data],
        ["prune", model, "--keep", "0.5", "-o", str(tmp_path / "half.safetensors")],
        ["train", "--list-networks"],
    ]
    vgg = [{"type": "PerceptualLoss", "target": "gt", "layer_weights": {"conv1_1": 1.0}, "weight": 1.0}]
    missing = [
        ["train", "-opt", written("rcan", network_g={"type": "RCAN", "num_feat": 4}), *runs],
        ["train", "-opt", written("niqe", val=niqe), *runs],
        ["evaluate", "--model", "bicubic", "--data", data, "--scale", "2", "--metrics", "niqe"],
        ["benchmark", "training", "--data", data],
        ["benchmark", "upscale", "--data", data, "-m", model],
    ]
    other = ["train", "-opt", written("vgg", train={**recipe["train"], "losses": vgg}), *runs]
    *found, (code, _, error) = results([*work, *missing, other])
    assert code == 1 and "Traceback" not in error and "VGG-19" in error.splitlines()[-1]
    for command, (code, _, error) in zip(work, found, strict=False):
        assert code == 0, (command, error)
    assert "BasicSR: not installed" in found[len(work) - 1][1]
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    for command, (code, _, error) in zip(missing, found[len(work) :], strict=True):
        line = error.splitlines()[-1]
        assert code == 1 and line.startswith("srkd: ") and "pip install" in line and "basicsr" in line, (command, error)
        assert "Traceback" not in error
