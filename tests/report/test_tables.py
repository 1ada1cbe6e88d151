from __future__ import annotations

import json

import pytest

from srkd.errors import SrkdError
from srkd.report import tables

Y = "x2, Y, border 2 px"
ROWS = [
    {"model": "bicubic", "parameters": None, "PSNR (dB)": "33.660", "protocol": Y},
    {"model": "student", "parameters": 49603, "PSNR (dB)": "37.265", "protocol": {"stamp": Y, "scale": 2}},
]
COLUMNS = ["model", "parameters", "PSNR (dB)"]


def test_markdown() -> None:
    assert tables.markdown(ROWS, COLUMNS).splitlines() == [
        "| model   | parameters | PSNR (dB) |",
        "| ------- | ---------: | --------: |",
        "| bicubic |          - |    33.660 |",
        "| student |     49,603 |    37.265 |",
        "",
        f"*{Y}*",
    ]


def test_text() -> None:
    assert tables.text(ROWS, COLUMNS).splitlines() == [
        "model    parameters  PSNR (dB)",
        "-------  ----------  ---------",
        "bicubic           -     33.660",
        "student      49,603     37.265",
        "",
        Y,
    ]


def test_json_holds_the_values_and_is_json() -> None:
    rows = [*ROWS, {"model": "HR", "parameters": 0, "PSNR (dB)": float("inf"), "protocol": Y}]
    read = json.loads(tables.as_json(rows, COLUMNS), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["protocol"] == Y and read["columns"] == COLUMNS
    assert read["rows"][1] == {"model": "student", "parameters": 49603, "PSNR (dB)": "37.265"}
    assert read["rows"][2]["PSNR (dB)"] == "inf"


@pytest.mark.parametrize("other", [{"protocol": "x2, RGB"}, {"protocol": {"scale": 2, "channel": "RGB"}}, {}])
@pytest.mark.parametrize("write", [tables.markdown, tables.text, tables.as_json])
def test_protocols_are_never_mixed(write: object, other: dict[str, object]) -> None:
    rows = [ROWS[0], {"model": "rgb student", "PSNR (dB)": 35.1, **other}]
    with pytest.raises(SrkdError) as caught:
        write(rows, ["model", "PSNR (dB)"])  # type: ignore[operator]
    assert f"bicubic: {Y}" in str(caught.value) and "rgb student: " in str(caught.value)


def test_a_dictionary_without_a_stamp_is_compared_whole() -> None:
    stamps = {tables.protocol([{"protocol": {"scale": 2, "channel": c}}]) for c in ("Y", "RGB")}
    assert stamps == {"channel Y, scale 2", "channel RGB, scale 2"}
    assert tables.protocol([{"model": "a"}, {"model": "b"}]) is None


def test_names_of_any_kind_do_not_break_the_table() -> None:
    rows = [{"model": "a|b\nc <i>*d*\\", "x": 1}, {"model": "日本語", "x": 22}]
    lines = tables.markdown(rows, ["model", "x"]).splitlines()
    assert lines[2].startswith(r"| a\|b c &lt;i>\*d\*\\ |")
    text = tables.text(rows, ["model", "x"]).splitlines()
    assert text[2].endswith("   1") and text[3].endswith("  22")
    assert len(text[2]) == len(text[3]) + 3, "each of the three characters is two cells wide"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1369859, None, True], ["1,369,859", "-", "yes"]),
        ([33.951, 34.0, 3120.25], ["33.951", "34.000", "3,120.250"]),  # rounded to three by whoever made them
        ([0.93, "as is", 0.9318], ["0.9300", "as is", "0.9318"]),
        ([33.661234567, 0.929912345, 1234567.8], ["33.661", "0.92991", "1,234,568"]),
        ([0.000123456, 1e-05, -2.5, 0.0], ["0.00012346", "0.000010000", "-2.5000", "0.0"]),
        ([float("nan"), float("inf"), 2.5], ["nan", "inf", "2.5"]),
        (["caf\udce9\x00"], ["caf\\xe9\ufffd"]),
    ],
)
def test_cells(values: list[object], texts: list[str]) -> None:
    assert tables.cells([{"x": value} for value in values], "x") == texts


def test_numbers_in_text_sort_as_numbers() -> None:
    assert [tables.sort_value(v) for v in ("1,369,859", "98.6 %", 3, "edsr", None, True)] == [
        1369859.0,
        98.6,
        3.0,
        None,
        None,
        None,
    ]
    assert tables.numeric(ROWS, "parameters") and not tables.numeric(ROWS, "model")
    assert not tables.numeric([{"a": None}], "a")


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(SrkdError, match='unknown column "modle" \\(did you mean "model"\\?\\)'):
        tables.text(ROWS, ["modle"])
    assert tables.text([], ["model", "PSNR (dB)"]).splitlines() == ["model  PSNR (dB)", "-----  ---------"]
