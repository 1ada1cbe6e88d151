"""Search order of the data of an adapter, and wrong arguments of the command lines that plot."""

from __future__ import annotations

from pathlib import Path

import pytest

from srkd.adapters.classification import reliability
from srkd.adapters.data import find, plot_runs
from srkd.adapters.ner import history
from srkd.adapters.weather import learning
from srkd.errors import SrkdError


def test_path_as_given_precedes_srkd_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SRKD_DATA", str(tmp_path / "mirror"))
    assert find("set", "a set", "X") == tmp_path / "mirror" / "set"
    (tmp_path / "here" / "set").mkdir()
    assert find("set", "a set", "X") == Path("set")
    assert find(str(tmp_path / "here"), "a set", "X") == tmp_path / "here"


def test_missing_data_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=r"no/set: no such file or folder \(a set\). Source: The Lab. .*set SRKD_DATA"):
        find("no/set", "a set", "The Lab")
    monkeypatch.setenv("SRKD_DATA", str(tmp_path))
    with pytest.raises(SrkdError, match=r"Give its path$"):
        find("no/set", "a set", "The Lab")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "required: image, name=folder"), (["out.png", "run"], "must be given as name=folder")],
)
def test_plots_of_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        plot_runs(reliability.read, reliability.plot, arguments)
    assert message in capsys.readouterr().err


def test_plots_of_what_is_no_run_or_study_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"runs": [{"variant": "kd", "scores": {"test": {}}}]}')
    given = [str(tmp_path / "results.json"), "out.png"]
    for run, message in (
        (lambda: plot_runs(reliability.read, reliability.plot, ["out.png", f"a={tmp_path}"]), "not from a finished"),
        (lambda: learning.main(given), "results.json: not the results of a weather study"),
        (lambda: history.main(given[:1]), "results.json: not the results of a study by steps"),
    ):
        with pytest.raises(SystemExit, match=message) as error:
            run()
        assert "\n" not in str(error.value)
