import json
from pathlib import Path
from typing import Any

import pytest

import srkd
from srkd.cli.main import main
from srkd.compression import flow, page
from srkd.compression.finish import Compressed
from srkd.compression.request import Request

ROWS = [
    {"model": name, "PSNR (dB)": psnr, **dict.fromkeys(page.COLUMNS[3:]), "runs on": "torch fp32"}
    for name, psnr in (("bicubic", 30.0), ("teacher (t)", 34.0), ("student (s)", 33.5))
]
RESULTS = {
    "rows": ROWS,
    "missed": "",
    "budget": "15 ms at 64x48",
    "student": "s",
    "runtime": "torch fp32",
    "faster": 120.0,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that the command line makes; none is run."""
    found: list[Request] = []

    def compress(request: Request, out: Path, executor: None = None) -> Compressed:
        found.append(request)
        return Compressed(out, RESULTS)

    monkeypatch.setattr(flow, "compress", compress)
    monkeypatch.setattr(flow, "dry_run", lambda request: [dict.fromkeys(flow.PLAN_COLUMNS, "x")])
    return found


def arguments(*more: str) -> list[str]:
    return [
        "compress",
        "t.pth",
        "--data",
        "a",
        "b",
        "--max-ms",
        "15",
        "--at",
        "64x48",
        "--time",
        "10m",
        "-o",
        "out",
        *more,
    ]


def test_the_command_and_the_function_make_the_same_request(
    asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--no-control", "--seed", "3", "--target-runtime", "torch", "--precision", "fp32", "--like", "mine"]
    assert main(arguments(*more)) == 0
    assert "within its budget of 15 ms" in capsys.readouterr().out
    result = srkd.compress(
        "t.pth",
        ["a", "b"],
        "out",
        max_ms=15,
        at="64x48",
        time="10m",
        control=False,
        seed=3,
        runtime="torch",
        precision="fp32",
        like="mine",
    )
    assert asked[0] == asked[1] and asked[0].seconds == 600 and asked[0].budget.at == (64, 48)
    assert asked[0].imitate and asked[0].like == "mine"
    assert result.rows == ROWS and result.folder == Path("out")


def test_json_and_dry_run(asked: list[Request], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments("--json")) == 0
    assert json.loads(capsys.readouterr().out)["rows"][2]["PSNR (dB)"] == 33.5
    assert main(arguments("--dry-run")) == 0
    assert "part" in capsys.readouterr().out and len(asked) == 1


def test_a_student_over_its_budget_gives_exit_code_2(
    asked: list[Request], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beyond: dict[str, Any] = {**RESULTS, "missed": "17 ms of 15"}
    monkeypatch.setattr(flow, "compress", lambda request, out, executor=None: Compressed(out, beyond))
    assert main(arguments()) == 2
    shown = capsys.readouterr()
    assert "OVER its budget: 17 ms of 15" in shown.out and "17 ms of 15" in shown.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--at", "big"], "a size is WIDTHxHEIGHT"),
        (["--time", "soon"], "is not a time"),
        (["--precision", "int4"], "no installed runtime supports int4"),
        (["--target-runtime", "tensorrt"], "unknown runtime"),
    ],
)
def test_wrong_arguments_are_one_line(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(*more)) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
