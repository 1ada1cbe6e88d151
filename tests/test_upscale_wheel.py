"""The sources of the wheel srkd-upscale: their imports, and the same pixels as those of the full package.

`make check-wheels` builds the wheels and installs them.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from srkd.images.read import ImageData, read_image, write_image
from srkd.inference import backends
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.networks import zoo
from support import textured

ROOT = Path(__file__).parent.parent
MODEL = "edsr_16x8_x2_cc0"
REQUIRED = {"numpy", "PIL", "onnxruntime", "tifffile", "filelock", "platformdirs"}

# Modules behind torch, checkpoints, other runtimes and data sets, which srkd-upscale never comes to.
FULL_ONLY = {
    "srkd.cluster.connection",
    "srkd.cluster.executor",
    "srkd.cluster.upscale",
    "srkd.compression.flow",
    "srkd.compression.request",
    "srkd.data.manifests",
    "srkd.inference.autotune",
    "srkd.inference.backends.litert_conversion",
    "srkd.inference.backends.ncnn_conversion",
    "srkd.inference.checkpoints",
    "srkd.inference.forward",
    "srkd.inference.graph",
    "srkd.inference.quick_start",
    "srkd.inference.receptive_field",
    "srkd.inference.speed",
    "srkd.integrations.basicsr",
    "srkd.integrations.external",
    "srkd.integrations.torchvision_compat",
    "srkd.networks.device",
    "srkd.networks.luma",
}

# Runs a list of commands of srkd-upscale, given as JSON, where only its requirements can be imported.
COMMANDS = """
import importlib.abc, json, sys
ALLOWED = REQUIRED | set(sys.stdlib_module_names)

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import srkd_upscale.__main__ as program
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["srkd-upscale", *arguments]
    try:
        code = program.main()
    except SystemExit as stopped:
        code = stopped.code
    print(code, flush=True)
    print("--", file=sys.stderr, flush=True)
"""
EVERYTHING = """
import srkd_upscale, pkgutil, importlib
srkd_upscale.activate(first=True)
import srkd
assert "bundle" in srkd.__file__
for module in pkgutil.walk_packages(srkd.__path__, "srkd."):
    importlib.import_module(module.name)
print("imported")
"""


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_wheels", ROOT / "tools" / "build_wheels.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    allowed = REQUIRED | {"srkd", "srkd_upscale", "google", "flatbuffers", "packaging"}
    return subprocess.run(
        [sys.executable, "-c", code.replace("REQUIRED", repr(allowed)), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that srkd-upscale is built from, with one model, which is converted but not compared."""
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        pytest.skip("needs the extra deploy, which exports the models")
    folder = tmp_path_factory.mktemp("sources")
    package = tool().stage(folder)
    model, models = Model.load(MODEL), package / "models"
    path = models / MODEL / f"{MODEL}.onnx"
    path.parent.mkdir(parents=True)
    graph = graph_of(model.network, uint8=False)
    backends.save(backends.converted(graph, "onnxruntime", "fp32", model.facts(tiling=True)), "onnxruntime", path)
    for name in tool().KEPT:
        (path.parent / name).write_bytes((zoo.folder(MODEL) / name).read_bytes())
    index = {MODEL: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    (models / "exported.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def run(sources: Path, *commands: Sequence[object]) -> tuple[list[str], list[str]]:
    """(Standard output before and with the exit code, standard error) of each command."""
    done = python(COMMANDS, sources, json.dumps([[str(part) for part in command] for command in commands]))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines(), done.stderr.split("--\n")[:-1]


def imported(module: Path) -> set[str]:
    """The modules of srkd that a module imports anywhere, except for types."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "srkd":
            package = ROOT / str(node.module).replace(".", "/")
            for alias in node.names:
                is_module = (package / alias.name).is_dir() or (package / f"{alias.name}.py").is_file()
                found.add(f"{node.module}.{alias.name}" if is_module else str(node.module))
    return found


def test_its_modules_import_each_other_or_what_only_the_full_package_reaches() -> None:
    """A module that one of them starts to import belongs into modules.txt, or into FULL_ONLY."""
    listed = tool().modules()
    names = {f"srkd.{name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__") for name in listed}
    needed = set().union(*(imported(ROOT / "srkd" / name) for name in listed if name.endswith(".py")))
    assert needed - names == FULL_ONLY


def test_every_module_imports_with_the_requirements_alone(sources: Path) -> None:
    done = python(COMMANDS.partition("import srkd_upscale")[0] + EVERYTHING, sources)
    assert done.stdout == "imported\n", done.stderr[-2000:]


def test_its_requirements_are_those_of_srkd_or_run_onnx() -> None:
    """Versions too: the same code must run."""

    def listed(path: Path) -> set[str]:
        import configparser

        parser = configparser.ConfigParser()
        parser.read(path, encoding="utf-8")
        extras = [value for key, value in parser["options.extras_require"].items() if key != "deep"]
        return set("\n".join([parser["options"]["install_requires"], *extras]).split("\n")) - {""}

    full = {line.strip() for line in listed(ROOT / "setup.cfg")}
    assert {line.strip() for line in listed(ROOT / "tools" / "upscale_wheel" / "setup.cfg")} <= full


def images() -> dict[str, Any]:
    """8 and 16 bits, grey, with alpha and hidden colours."""
    colour = textured(0, 70, 61)
    alpha = np.zeros((70, 61, 1), np.uint8)
    alpha[20:50, 10:40] = 255
    deep = colour.astype(np.uint16) * 257
    return {
        "colour.png": colour,
        "grey.png": colour[..., :1],
        "alpha.png": np.dstack([colour, alpha]),
        "deep.png": deep,
        "deep.tif": deep,
        "clear.png": np.dstack([deep, alpha.astype(np.uint16) * 257]),
    }


def test_its_pixels_are_those_of_the_full_package(sources: Path, tmp_path: Path) -> None:
    for name, pixels in images().items():
        write_image(tmp_path / "in" / name, ImageData(pixels))
    options: dict[str, list[object]] = {
        "plain": [],
        "tiles": ["--tile", 24],
        "best": ["--self-ensemble", "--outscale", 1.5],
    }
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "tiles": {"tile": 24},
        "best": {"self_ensemble": True, "outscale": 1.5},
    }
    commands = [[tmp_path / "in", "-o", tmp_path / name, *extra] for name, extra in options.items()]
    commands.append(["upscale", tmp_path / "in" / "colour.png", "-o", tmp_path / "seamless", "--wrap"])
    codes, errors = run(sources, *commands)
    assert codes == ["0"] * 4, errors
    model = Model.load(MODEL)
    for name, way in ways.items():
        for file in images():
            found, expected = read_image(tmp_path / name / file).pixels, model.upscale(tmp_path / "in" / file, **way)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            difference = np.abs(found.astype(int) - expected)
            if (
                expected.shape[2] == 4
            ):  # nearly transparent pixels take their hidden colour or not, by one level of alpha
                difference[..., :3][expected[..., 3] < np.iinfo(expected.dtype).max // 25] = 0
            assert difference.max() <= 1, (name, file)
    assert all("onnxruntime fp32" in error for error in errors)


def test_what_needs_the_full_package_is_named(sources: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(textured(0, 9, 9)))
    (tmp_path / "net.pth").write_bytes(b"no weights")
    given = [tmp_path / "a.png", "-o", tmp_path / "out"]
    wanted = {
        ("--device", "cuda"): 'device "cuda"',
        ("--on", "ray"): "--on",
        ("--runtime", "openvino"): '"openvino" instead of onnxruntime fp32',
        ("--precision", "int8"): '"int8" instead of onnxruntime fp32',
        ("-m", str(tmp_path / "net.pth")): "net.pth: a checkpoint",
        ("-m", "dat_light_x2"): 'unknown zoo model "dat_light_x2"',
    }
    codes, errors = run(sources, *([*given, *options] for options in wanted))
    assert codes == ["1"] * len(wanted) and not (tmp_path / "out").exists()
    for text, error in zip(wanted.values(), errors, strict=True):
        assert text in error and error.endswith("this is srkd-upscale: pip install srkd\n") and error.count("\n") == 1
    codes, _ = run(sources, [*given, "--runtime", "auto", "--precision", "fp32", "--device", "cpu"], ["--version"])
    assert codes[0] == "0" and codes[1].startswith("srkd-upscale ")


def test_a_changed_model_is_rejected(sources: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(textured(0, 9, 9)))
    path = sources / "srkd_upscale" / "bundle" / "srkd" / "models" / MODEL / f"{MODEL}.onnx"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        codes, errors = run(sources, [tmp_path / "a.png", "-o", tmp_path / "out"])
    finally:
        path.write_bytes(whole)
    assert codes == ["1"] and "changed or incomplete (SHA-256); install srkd-upscale again" in errors[0]


def test_the_doctor_names_the_package(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from srkd.cli.main import main
    from srkd.commands import doctor

    codes, _ = run(sources, ["doctor", "--json"])
    rows = json.loads("\n".join(codes[:-1]))["rows"]
    checks = {row["check"]: row["found"] for row in rows}
    assert "upscaling without torch" in checks["srkd-upscale"] and "training steps a second" not in checks
    assert MODEL in checks["256x256 to 512x512"] and checks["model for x2"] == MODEL
    assert "the full package" in next(doctor._edition()).found
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("srkd 0")
