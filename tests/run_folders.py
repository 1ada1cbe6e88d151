"""Run every folder of tests, each by a pytest process of its own: `python tests/run_folders.py [pytest's options]`.

A process for each folder, because the int8 kernels that tests/inference runs leave a process on a machine with AMX to
which the kernel could not deliver a signal any more (a worker that ends, Ctrl-C), and which it ended. Tests compute in
one thread, so as many folders run at a time as there are cores. All of them run, whichever fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_AT_A_TIME = 4  # each may take 2 GB of memory
# First, so that none of them is left to run alone at the end.
LONGEST = ("inference", "robustness", "compression", "studies", "sr")
NO_TESTS = 5  # pytest's exit code where the options select nothing


@dataclass(frozen=True)
class Part:
    """A folder of tests, or the files beside the folders, with the paths that pytest is given for it."""

    name: str
    paths: list[str]


@dataclass(frozen=True)
class Outcome:
    part: Part
    code: int
    seconds: float
    output: str

    @property
    def failed(self) -> bool:
        return self.code not in (0, NO_TESTS)

    @property
    def summary(self) -> str:
        """pytest's last line: how many passed, failed and were skipped."""
        return (self.output.strip().splitlines() or [f"exit code {self.code}"])[-1]


def parts(root: Path = ROOT) -> list[Part]:
    """The folders below tests/ that have tests, the longest first, and the files beside them."""
    folders = sorted(path for path in (root / "tests").iterdir() if any(path.rglob("test_*.py")))
    folders.sort(key=lambda path: LONGEST.index(path.name) if path.name in LONGEST else len(LONGEST))
    files = sorted((root / "tests").glob("test_*.py"))
    found = [Part(f"tests/{path.name}", [f"tests/{path.name}"]) for path in folders]
    return [*found, Part("tests/test_*.py", [f"tests/{path.name}" for path in files])] if files else found


def run(part: Part, options: Sequence[str], root: Path = ROOT) -> Outcome:
    """One pytest process, its output kept."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", *part.paths, *options]
    done = subprocess.run(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return Outcome(part, done.returncode, time.monotonic() - began, done.stdout)


def main(options: Sequence[str], root: Path = ROOT) -> int:
    """Print a line for each part, the whole output of failed ones and, last, their names. Returns the exit code."""
    at_a_time = min(len(os.sched_getaffinity(0)), MOST_AT_A_TIME)
    failed = []
    pool = ThreadPoolExecutor(at_a_time)
    try:
        for future in as_completed([pool.submit(run, part, options, root) for part in parts(root)]):
            outcome = future.result()
            if outcome.failed:
                failed.append(outcome.part.name)
                print(outcome.output, end="")
            print(f"{outcome.part.name}, {outcome.seconds:.0f} s: {outcome.summary}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C no further folder is begun
    print(f"failed: {', '.join(sorted(failed))}" if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
