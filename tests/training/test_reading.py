"""How many files a reader opens from the command to the value of a loss."""

import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd.losses.output import Output

ROOT = Path(__file__).parents[2]


def test_few_modules_are_between_the_command_and_the_loss(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of a training step, from `tools/train.py` to `forward` of the L1 loss."""
    stacks: list[list[str]] = []
    forward = Output.forward

    def recorded(self: Output, *args: Any, **context: Any) -> Any:
        stacks.append([frame.filename for frame in traceback.extract_stack()[:-1]])
        return forward(self, *args, **context)

    monkeypatch.setattr(Output, "forward", recorded)
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe))
    arguments = ["train.py", "-opt", str(tmp_path / "recipe.yml"), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
    assert ended.value.code == 0
    own = [Path(name).relative_to(ROOT).as_posix() for name in stacks[-1] if Path(name).is_relative_to(ROOT)]
    modules = list(dict.fromkeys(name for name in own if name.startswith(("srkd/", "tools/"))))
    assert modules[0] == "tools/train.py" and modules[-1] == "srkd/losses/base.py", modules
    assert len(modules) + 1 <= 9, modules  # and the loss itself
