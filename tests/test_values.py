import pytest

from srkd.errors import SrkdError
from srkd.values import size_named


def test_sizes() -> None:
    assert size_named("1280x720") == (1280, 720)
    for text in ("1280", "0x5", "axb", "-3x4"):
        with pytest.raises(SrkdError, match="WIDTHxHEIGHT"):
            size_named(text)
