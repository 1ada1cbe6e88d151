"""Build the wheels of srkd and of srkd-upscale: python tools/build_wheels.py -o dist.

The second contains the modules that tools/upscale_wheel/modules.txt lists, unchanged, and the zoo's models, exported
and compared with torch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tools" / "upscale_wheel"
KEPT = ("metrics.json", "recipe.yml", "README.md")  # of a model's folder
DATA = "scikit_image"  # free photographs of an installed package


def modules() -> list[str]:
    """The modules of srkd in the wheel srkd-upscale, as paths relative to the package, sorted."""
    lines = (TEMPLATE / "modules.txt").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    found = {pattern: sorted((ROOT / "srkd").glob(pattern)) for pattern in patterns}
    missing = [pattern for pattern, files in found.items() if not files]
    if missing:
        raise SystemExit(f"tools/upscale_wheel/modules.txt: no such module of srkd: {', '.join(missing)}")
    return sorted({path.relative_to(ROOT / "srkd").as_posix() for files in found.values() for path in files})


def stage(folder: Path) -> Path:
    """Copy the sources of srkd-upscale to a folder, without models; returns the bundled package srkd."""
    shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("modules.txt", "__pycache__"))
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copyfile(ROOT / "srkd" / "version.py", folder / "srkd_upscale" / "version.py")
    package = folder / "srkd_upscale" / "bundle" / "srkd"
    for module in modules():
        (package / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "srkd" / module, package / module)
    return package


def add_models(package: Path, names: Sequence[str]) -> None:
    """Export models of the zoo into the bundled package, with the index of their digests.

    Raises:
        SystemExit: a file differs from torch.
    """
    from srkd.edition import INDEX
    from srkd.files.digest import file_sha256
    from srkd.inference.export import ExportOptions, export
    from srkd.inference.model import Model
    from srkd.networks import zoo

    index = {}
    for name in names:
        folder = package / "models" / name
        folder.mkdir(parents=True)
        for kept in KEPT:
            shutil.copyfile(zoo.folder(name) / kept, folder / kept)
        with tempfile.TemporaryDirectory() as scratch:
            options = ExportOptions(targets=("onnx",), data=DATA, seconds=0)
            result = export(Model.load(name), Path(scratch), options, print)
            if result.rejected:
                raise SystemExit(f"{name} was not exported:\n{result.text()}")
            shutil.copyfile(Path(scratch) / f"{name}.onnx", folder / f"{name}.onnx")
        index[name] = {"file": f"{name}.onnx", "sha256": file_sha256(folder / f"{name}.onnx")}
    (package / "models" / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def build(source: Path, out: Path) -> None:
    """Build the wheel of a source folder, with the installed setuptools."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise SystemExit(f"{source}: {done.stdout[-1000:]}{done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="folder (default: dist)")
    parser.add_argument("--only", choices=["srkd", "srkd-upscale"], help="build one of the two")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="models of srkd-upscale (default: all)")
    args = parser.parse_args()
    if args.only != "srkd-upscale":
        build(ROOT, args.output)
    if args.only != "srkd":
        from srkd.networks import zoo

        with tempfile.TemporaryDirectory() as folder:
            add_models(stage(Path(folder)), args.models or zoo.trained())
            build(Path(folder), args.output)


if __name__ == "__main__":
    main()
