import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import srkd
from srkd.compression.request import Budget, Request
from srkd.errors import SrkdError
from srkd.inference import backends

LIMIT = Budget(10, None)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((None, None), "give --max-ms, --max-mb or both"),
        ((-1, None), "--max-ms must be a positive number"),
        ((None, float("nan")), "--max-mb must be a positive number"),
    ],
)
def test_invalid_budgets_raise(limits: tuple[float, float], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        Budget(*limits)


def test_invalid_requests_raise() -> None:
    with pytest.raises(SrkdError, match="x2, x3 and x4, not x5"):
        Request("auto", ["a"], 5, LIMIT)
    with pytest.raises(SrkdError, match="--time must be positive"):
        Request("auto", ["a"], 2, LIMIT, 0.0)
    with pytest.raises(SrkdError, match=r'unknown runtime "openvin" \(did you mean "openvino"'):
        Request("auto", ["a"], 2, LIMIT, runtime="openvin")
    with pytest.raises(SrkdError, match="torch has fp32, bf16, not int8"):
        Request("auto", ["a"], 2, LIMIT, runtime="torch", precision="int8")
    with pytest.raises(SrkdError, match=r"made for torch, openvino, onnxruntime, not ncnn: export the student after"):
        Request("auto", ["a"], 2, LIMIT, runtime="ncnn", precision="fp32")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"teacher": None}, "teacher must be a string or a Path, got None"),
        ({"data": 3}, "data must be a string or a Path, or a list of these, got 3"),
        ({"data": ["a", None]}, "data[1] must be a string or a Path, got None"),
        ({"time": 60}, "time must be a string, got 60"),
        ({"at": 256}, "at must be a string, got 256"),
        ({"max_ms": "30"}, "--max-ms must be a positive number, got '30'"),
        ({"scale": 2.5}, "scale must be an integer, got 2.5"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
        ({"control": "no"}, "control must be True or False, got 'no'"),
        ({"runtime": 3}, "runtime must be a string, got 3"),
        ({"networks": 3}, "networks must be a string, or a list of these, got 3"),
        ({"networks": "ETD"}, '"ETD" is no network with sizes to try'),
    ],
)
def test_arguments_of_another_type_are_named(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError) as caught:
        srkd.compress(**{"teacher": Path("a"), "data": Path("b"), "out": tmp_path / "out", "max_ms": 30, **options})
    assert str(caught.value).startswith(words)
    assert not (tmp_path / "out").exists()


def test_a_runtime_that_is_not_installed_raises_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> None:
        raise SrkdError(f"{package} is not installed: pip install 'srkd[deploy]'")

    monkeypatch.setattr(backends, "require", missing)
    with pytest.raises(SrkdError, match="pip install"):
        Request("auto", ["a"], 2, LIMIT, runtime="openvino")


def test_int8_is_tried_only_on_request_or_if_nothing_else_fits() -> None:
    assert all(precision != "int8" for _, precision in Request("auto", ["a"], 2, LIMIT).available())
    assert Request("auto", ["a"], 2, LIMIT, runtime="torch").available() == [("torch", "fp32"), ("torch", "bf16")]
    assert Request("auto", ["a"], 2, LIMIT, runtime="torch", precision="bf16").available() == [("torch", "bf16")]
    assert Request("auto", ["a"], 2, LIMIT, precision="fp32").int8_backends() == []
    if importlib.util.find_spec("nncf"):
        assert ("openvino", "int8") in Request("auto", ["a"], 2, LIMIT).int8_backends()


def test_identity_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    relative = Request("dat_light_x2", ["photos"], 2, LIMIT).identity()
    assert relative["data"] == [str(tmp_path / "photos")] and relative["teacher"] == "dat_light_x2"
    more_time = Request("dat_light_x2", [str(tmp_path / "photos")], 2, LIMIT, 99.0)
    assert relative == more_time.identity()
    tuple_, list_ = (Request("auto", ["a"], 2, LIMIT, networks=given) for given in (("ETDS",), ["ETDS"]))
    assert tuple_.identity() == list_.identity() == json.loads(json.dumps(tuple_.identity()))
