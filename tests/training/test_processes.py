"""Processes of one training leave their group."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEAVE_OFTEN = """
import sys
import torch
from torch import distributed
from srkd.training.processes import process_group
torch.set_num_threads(1)
for number in range(40):
    address = f"file://{sys.argv[1]}/{number}"
    distributed.init_process_group("gloo", init_method=address, rank=int(sys.argv[2]), world_size=2)
    with process_group():
        network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
        network(torch.zeros(2, 4)).sum().backward()
        distributed.barrier()
    del network  # the last reference to the group in torch's Reducer, but for the one that is kept
"""


def test_a_process_that_leaves_its_group_ends(tmp_path: Path) -> None:
    """Without the reference that `process_group` keeps, gloo's threads and this one wait for each other, sometimes."""
    started = [subprocess.Popen([sys.executable, "-c", LEAVE_OFTEN, str(tmp_path), rank]) for rank in "01"]
    try:
        assert [process.wait(timeout=300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
