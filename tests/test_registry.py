"""Classes named by import path, in modules of the user's own."""

from pathlib import Path

import pytest

from srkd import networks
from srkd.errors import SrkdError
from srkd.training import task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import random\n\nrandom.choice([])", "IndexError: "),
        ("Net = Task = 3", ""),
    ],
)
def test_modules_that_fail_are_one_line_with_the_place(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{abs(hash(text))}"  # a module is imported once
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for find in (lambda: networks.build({"type": f"{name}:Net"}), lambda: task.find(f"{name}:Task")):
        with pytest.raises(SrkdError) as error:
            find()
        assert name in str(error.value) and message in str(error.value) and "\n" not in str(error.value)
        line = 1 + text.count("\n")
        assert not message or f"({name}.py, line {line})" in str(error.value)
