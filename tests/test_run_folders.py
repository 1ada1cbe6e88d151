"""`make test` runs every folder and lists the failed ones at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

import run_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a folder that fails first, one that passes, one without tests and a file beside them."""
    files = {
        "a/test_it.py": "def test_broken():\n    assert 'this' == 'shown'\n",
        "b/deep/test_it.py": "import pytest\n\ndef test_it():\n    pass\n\n@pytest.mark.skip\ndef test_other(): ...\n",
        "data/helper.py": "",
        "test_beside.py": "def test_it():\n    pass\n",
    }
    for name, text in files.items():
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).write_text(text)
    return tmp_path


def test_all_folders_run_and_the_failed_ones_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_folders.main(["-q"], root) == 1
    printed = capsys.readouterr().out
    assert "tests/b, " in printed and "1 passed, 1 skipped" in printed and "tests/test_*.py, " in printed
    assert "'this' == 'shown'" in printed and printed.splitlines()[-1] == "failed: tests/a"


def test_options_select_and_what_selects_nothing_in_a_folder_is_no_failure(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_folders.main(["-q", "-k", "test_other"], root) == 0
    printed = capsys.readouterr().out
    assert "1 skipped" in printed and printed.splitlines()[-1] == "all passed"


def test_every_test_of_this_project_is_in_one_part() -> None:
    found = [path for part in run_folders.parts() for path in part.paths]
    files = {str(path.relative_to(run_folders.ROOT)) for path in (run_folders.ROOT / "tests").rglob("test_*.py")}
    assert len(found) == len(set(found))
    assert files == {file for file in files for path in found if file == path or file.startswith(f"{path}/")}
