import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from srkd.cli.main import main
from srkd.commands import doctor
from srkd.commands.doctor import Finding, _package


def found(check: str) -> list[Finding]:
    return list(getattr(doctor, f"_{check}")())


def test_the_command_finds_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["doctor", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert code == any(row["state"] == "problem" for row in rows)
    checks = {row["check"]: row for row in rows}
    assert {
        "Python",
        "torch",
        "extra deploy",
        "processor",
        "GPU",
        "SRKD_DATA",
        "cache folder",
        "256x256 to 512x512",
        "training steps a second",
    } <= checks.keys()
    assert checks["torch"]["found"] == importlib.metadata.version("torch")
    assert all(row["state"] == "ok" or row["what to do"] for row in rows)
    assert not list(tmp_path.iterdir())


def test_problems_set_the_exit_code_and_a_failing_check_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("of two\nlines")

    monkeypatch.setattr(doctor, "_speed", broken)
    monkeypatch.setenv("SRKD_DATA", str(tmp_path / "nowhere"))
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "RuntimeError: of two lines" in output and "nowhere is not a folder" in output and "processor" in output


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"torch": "2.3.9", "rich": "13", "mkdocs": "1.6.1"}.get(name, "9999")

    monkeypatch.setattr(importlib.metadata, "version", version)
    rows = {finding.check: finding for finding in found("packages")}
    assert rows["torch"].state == "problem" and rows["torch"].advice == "pip install 'torch>=2.6'"
    assert rows["rich"].state == "ok" and rows["extra report"].state == "ok"
    assert (rows["extra deploy"].state, rows["extra deploy"].advice) == ("note", "pip install 'srkd[deploy]'")
    assert "onnx" in rows["extra deploy"].found


def test_a_package_for_another_python_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As basicsr from Python 3.13 on."""
    lines = ['nothing>=1; python_version < "3.0"', 'more>=1; python_version < "3.0" and extra == "video"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["pytest", *lines, 'pytest; extra == "dev"'])
    assert [(finding.check, finding.state) for finding in found("packages")] == [("pytest", "ok"), ("extra dev", "ok")]


@pytest.mark.parametrize(
    ("requirement", "state"),
    [
        ("mkdocs<2,>=1.6", "ok"),
        ("mkdocs[i18n]>=1.6", "ok"),
        ("mkdocs>=1.7", "problem"),
        ("mkdocs<1.6", "problem"),
        ("mkdocs", "ok"),
    ],
)
def test_requirements_with_extras_and_bounds(monkeypatch: pytest.MonkeyPatch, requirement: str, state: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"mkdocs": "1.6.1+local"}[name])
    assert _package(requirement).state == state


def test_folders_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", "/proc/cache")
    (cache, here) = found("folders")
    assert cache.state == "problem" and "SRKD_CACHE" in cache.advice and here.state == "ok"


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ("fpu avx2 avx512f avx512_vnni avx512_bf16 amx_tile", "AVX2, AVX-512, VNNI, BF16, AMX"),
        ("fpu avx2 avx_vnni", "AVX2, VNNI"),
        ("fpu", "none known"),
    ],
)
def test_vector_units(monkeypatch: pytest.MonkeyPatch, flags: str, units: str) -> None:
    read = Path.read_text

    def fake(path: Path, *args: Any, **options: Any) -> str:
        return f"flags\t: {flags}\n" if str(path) == "/proc/cpuinfo" else read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", fake)
    assert {f.check: f.found for f in found("processor")}["vector units"] == units
