import pytest

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.values import size_named


def test_sizes() -> None:
    assert size_named("1280x720") == (1280, 720)
    for text in ("1280", "0x5", "axb", "-3x4"):
        with pytest.raises(SrkdError, match="WIDTHxHEIGHT"):
            size_named(text)


@pytest.mark.parametrize("option", ["--rounds", "--side"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5"])
def test_counts_that_measure_nothing(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "photograph", "-m", "edsr_16x8_x2_cc0", f"{option}={text}"])
    assert f'{option}: "{text}" is not an integer of at least 1' in capsys.readouterr().err
