"""The container file, read as text: no daemon builds it here."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "tools" / "upscale_wheel"
PINNED = re.compile(r"[a-z]+:\d+\.\d+\.\d+-slim-[a-z]+")  # no registry's host, and a version of Python and of Debian


def instructions() -> list[tuple[str, str]]:
    """(Instruction, arguments) of each line, continued lines joined."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def last_stage() -> dict[str, str]:
    found = instructions()
    start = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[start:])


def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(TEMPLATE / "setup.cfg", encoding="utf-8")
    return parser


def test_bases_are_pinned() -> None:
    bases = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    assert bases and all(PINNED.fullmatch(base) for base in bases)


def test_every_source_of_a_copy_exists() -> None:
    wheel = f"dist/{metadata()['metadata']['name'].replace('-', '_')}-*.whl"  # where tools/build_wheels.py writes it
    stages, copied = set(), []
    for name, arguments in instructions():
        if name == "FROM":
            stages.add(arguments.split(" AS ")[-1])
        if name == "COPY" and arguments.startswith("--from="):
            assert arguments.split()[0].removeprefix("--from=") in stages
        elif name in ("COPY", "ADD"):
            copied += arguments.split()[:-1]
    assert copied == [wheel]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1:] == ["*", f"!{wheel}"]


def test_it_runs_the_command_without_rights() -> None:
    stage = last_stage()
    assert stage["USER"] not in ("", "root", "0") and f" {stage['USER']}" in stage["RUN"]
    scripts = metadata()["options.entry_points"]["console_scripts"].split("=")
    assert json.loads(stage["ENTRYPOINT"]) == [scripts[0].strip()]
    module, _, function = scripts[1].strip().partition(":")
    source = (TEMPLATE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"def {function}(" in source
