"""Loss schedules and balancing: resuming after every step is bit-exact."""

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd.training.checkpoint import load_weights
from srkd.training.log import read_metrics
from srkd.training.run import Run


def test_resuming_with_scheduled_and_balanced_losses_is_bit_exact(recipe: dict[str, Any], tmp_path: Path) -> None:
    teacher = Run(recipe | {"name": "teacher"}, tmp_path, quiet=True).train()["models"]["net_g"]
    recipe["network_g_teacher"] = {"file": teacher}
    recipe["train"] |= {
        "monitor_freq": 1,
        "losses": [
            {"type": "L1Loss"},
            {"type": "vid", "at": "body.1", "balance": {"share": 0.3, "every": 4}},
            {"type": "output", "weight": {"from": 1, "to": 0, "start": 1, "end": 5}},
        ],
    }
    whole = Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    while not (cut := Run(recipe | {"name": "cut"}, tmp_path, resume=True, budget=0, quiet=True).train())["finished"]:
        pass
    ours, theirs = (load_weights(Path(result["models"]["net_g"]))[0] for result in (whole, cut))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    first, *_, last = [r for r in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "grad/L1Loss" in r]
    assert first["grad/vid"] == pytest.approx(0.3 * first["grad/L1Loss"], rel=1e-3)
    assert "l_output" in first and "l_output" not in last
