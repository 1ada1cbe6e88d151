"""Install the wheel srkd-upscale into a new environment and compare it with the full package.

Checks the installed size, the pixels of an upscaled photograph and that nothing but its requirements was installed;
prints the time of a cold process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage import data

from srkd.files.atomic import write_json
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference.model import Model
from srkd.inference.speed import machine

MODEL = "edsr_16x8_x2_cc0"
MOST_MB = 250
ROUNDS = 3
BUILDER = Path(__file__).with_name("build_wheels.py")


def environment(folder: Path, wheel: Path) -> Path:
    """A new virtual environment with the wheel and its requirements; returns its folder of commands."""
    venv.create(folder, with_pip=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([commands / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    return commands


def installed_mb(commands: Path) -> float:
    """The megabytes of an environment's packages, without pip."""
    code = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
    packages = Path(json.loads(subprocess.check_output([commands / "python", "-c", code])))
    files = (path for path in packages.rglob("*") if path.is_file() and path.relative_to(packages).parts[0] != "pip")
    return sum(path.stat().st_size for path in files) / 1e6


def cold(program: Sequence[str | Path], folder: Path, name: str) -> tuple[float, float]:
    """(Seconds, processor seconds) of upscaling the photograph in a new process, the medians."""
    seconds, processor = [], []
    for _ in range(ROUNDS):
        (folder / f"{name}.png").unlink(missing_ok=True)
        started, used = time.perf_counter(), processor_seconds()
        command = [*program, folder / "photo.png", "-m", MODEL, "-o", folder / f"{name}.png"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
        processor.append(processor_seconds() - used)
    return statistics.median(seconds), statistics.median(processor)


def processor_seconds() -> float:
    """The processor's time that finished child processes took; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="a wheel that was built before (default: build one)")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for the measurements")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = args.wheel
        if wheel is None:
            command = [sys.executable, BUILDER, "-o", folder, "--only", "srkd-upscale", "--models", MODEL]
            subprocess.run(command, check=True)
            (wheel,) = folder.glob("*.whl")
        commands = environment(folder / "venv", wheel)
        size = installed_mb(commands)
        write_image(folder / "photo.png", ImageData(data.astronaut()[:256, :256]))
        light = cold([commands / "srkd-upscale"], folder, "light")
        full = cold([sys.executable, "-m", "srkd", "upscale"], folder, "full")
        expected = Model.load(MODEL).upscale(folder / "photo.png").astype(int)
        difference = int(np.abs(read_image(folder / "light.png").pixels - expected).max())
        subprocess.run([commands / "srkd-upscale", "doctor"], check=True)
    print(f"{size:.0f} MB installed")
    for name, (seconds, processor) in (("srkd-upscale", light), ("srkd", full)):
        print(f"{name}, 256x256 in a cold process: {seconds:.2f} s, {processor:.2f} s of the processor; medians")
    print(f"largest difference from torch: {difference} levels of 255")
    if size > MOST_MB or difference > 1:
        raise SystemExit(f"limits: {MOST_MB} MB, 1 level")
    if args.output:
        times = {"processor seconds": round(light[1], 2), "times faster": round(full[1] / light[1], 2)}
        measured = {"machine": machine(), "MB": round(size, 2), **times, "largest difference": difference}
        write_json(args.output, measured)


if __name__ == "__main__":
    main()
