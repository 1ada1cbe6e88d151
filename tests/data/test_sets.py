from __future__ import annotations

import pytest

from srkd.data.sets import _folders


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("hr", ("hr", "")),
        ("hr:lr", ("hr", "lr")),
        ("s3://bucket/hr", ("s3://bucket/hr", "")),
        ("s3://bucket/hr:s3://bucket/lr", ("s3://bucket/hr", "s3://bucket/lr")),
        ("https://host:8080/hr", ("https://host:8080/hr", "")),
        ("http://127.0.0.1:80", ("http://127.0.0.1:80", "")),
        ("https://host:8080/hr:https://host:8080/lr", ("https://host:8080/hr", "https://host:8080/lr")),
        ("https://[::1]:80/hr:lr", ("https://[::1]:80/hr", "lr")),
    ],
)
def test_only_the_colon_between_folders_separates_them(text: str, folders: tuple[str, str]) -> None:
    assert _folders(text) == folders
