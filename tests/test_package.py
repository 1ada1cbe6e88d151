"""The installed package: import time, public names, contents of the wheel, the example; sizes and names of its code."""

import ast
import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srkd.images.read import ImageData, read_image, write_image
from support import textured

ROOT = Path(__file__).parent.parent


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_importing_srkd_is_fast_and_imports_no_other_package() -> None:
    code = """
import sys, time
found, began = set(sys.modules), time.process_time()
import srkd
print(time.process_time() - began)
print({name.partition(".")[0] for name in set(sys.modules) - found} - set(sys.stdlib_module_names))
"""
    seconds, packages = python(code).splitlines()
    assert float(seconds) < 0.1 and packages == "{'srkd'}"


def test_upscaling_an_image_imports_neither_torchs_compiler_nor_data_sets(tmp_path: Path) -> None:
    """They would take a second or more, and a quarter, of each `srkd upscale`, and do nothing."""
    write_image(tmp_path / "small.png", ImageData(textured(0, 12, 14)))
    code = """
import sys
from srkd.cli.main import main
assert main(["upscale", sys.argv[1], "-m", "edsr_16x8_x2_cc0", "--runtime", "torch", "--precision", "fp32"]) == 0
print({"torch._dynamo", "srkd.data.sets", "pydantic"} & set(sys.modules))
"""
    assert python(code, str(tmp_path / "small.png")).splitlines()[-1] == "set()"


def test_openvino_reports_nothing_to_its_makers() -> None:
    pytest.importorskip("openvino")
    code = """
from srkd.inference.backends.engine import require
require("openvino"), require("nncf")
from openvino.tools.ovc import convert_impl, telemetry_utils
from nncf.telemetry import wrapper
print(convert_impl.tm.__name__, telemetry_utils.tm.__name__, wrapper.telemetry.__class__.__name__)
"""
    conversion, tools, nncf = python(code).split()[-3:]
    assert conversion == tools == "openvino.tools.ovc.telemetry_stub" and nncf != "NNCFTelemetry"


def test_every_public_name_is_found_on_first_use() -> None:
    code = """
import sys, srkd
print([name for name in dir(srkd) if name in srkd.__all__] == sorted(srkd.__all__), "srkd.losses" in sys.modules)
public = {name: getattr(srkd, name) for name in srkd.__all__}
print(all(public.values()), public["losses"] is sys.modules["srkd.losses"], public["Model"].__module__)
"""
    assert python(code).splitlines() == ["True False", "True True srkd.inference.model"]


def test_training_an_edsr_needs_no_basicsr() -> None:
    code = """
import sys
sys.modules["basicsr"] = sys.modules["torchvision"] = None
from srkd.sr.task import Task
from srkd import networks
networks.build({"type": "EDSR", "num_feat": 4, "num_block": 1}, 2)
from srkd.training.run import Run
"""
    python(code)


def test_upscaling_needs_no_extra(tmp_path: Path) -> None:
    """`pip install srkd` upscales with torch alone: no package of an extra is imported."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = "\n".join(parser["options.extras_require"].values())
    extras = {re.split(r"[>=<;\[ ]", line)[0].lower() for line in listed.splitlines() if line}
    modules = {
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if extras & {name.lower() for name in names}
    }
    assert modules >= {"pytest", "mypy"}
    write_image(tmp_path / "a.png", ImageData(np.zeros((9, 8, 3), np.uint8)))
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(modules)!r}))
from srkd.cli.main import main
raise SystemExit(main(["upscale", {str(tmp_path / "a.png")!r}, "-o", {str(tmp_path / "b.png")!r}]))
"""
    python(code, SRKD_CACHE=str(tmp_path / "cache"))
    assert read_image(tmp_path / "b.png").pixels.shape == (18, 16, 3)


def test_the_example_of_losses_in_ones_own_loop_learns() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_training_loop.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    values = [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert len(values) == 20 and values[-1] < values[0]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from the files that git tracks or would track, without build leftovers."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout: cannot tell the project's files from leftovers")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_contains_recipes_manifests_weights_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"srkd/py.typed", "srkd/models/external.yml", "srkd/datasets/Set5.yml", "srkd/datasets/Set5.sha256"}
    for recipe in ROOT.glob("models/*/recipe.yml"):
        folder = recipe.parent
        expected |= {
            f"srkd/models/{folder.name}/{p.name}"
            for p in folder.iterdir()
            if p.suffix in (".yml", ".safetensors", ".json", ".md")
        }
    assert expected <= names
    assert not [n for n in names if n.startswith(("models/", "datasets/", "tests/")) or n.endswith("state.pt")]


def test_the_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import srkd, pathlib
from srkd.networks import zoo
from srkd.data import manifests as datasets
assert "site" in srkd.__file__, srkd.__file__
assert "edsr_baseline_x2" in zoo.names() and "Set5" in datasets.names()
from srkd.cli.main import main
raise SystemExit(main(["zoo", "list"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "edsr_baseline_x2" in done.stdout


MODULE_LINES, FUNCTION_LINES = 400, 60
# Longer modules that are one idea, with their limit.
LONG_MODULES = dict.fromkeys(("srkd/training/run.py", "srkd/training/recipe.py", "srkd/distill/objective.py"), 480)
SHARED_NAMES = {"Task"}  # a recipe's task is the class Task of its module


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Path, text and syntax tree of every module of srkd."""
    for path in sorted((ROOT / "srkd").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield path.relative_to(ROOT).as_posix(), text, ast.parse(text)


def test_modules_and_functions_are_short() -> None:
    long = []
    for name, text, tree in modules():
        lines = len(text.splitlines())
        if lines > LONG_MODULES.get(name, MODULE_LINES):
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{name}, {node.name}: {lines} lines")
    assert not long


def test_no_two_public_classes_share_a_name() -> None:
    found = defaultdict(list)
    for name, _, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert not {name: where for name, where in found.items() if len(where) > 1 and name not in SHARED_NAMES}
