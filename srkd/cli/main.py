"""`srkd <command>`: runs the command and turns user errors into one line and an exit code.

All commands share the exit codes in `EXIT_CODES`. A traceback is printed with `--debug`, and for bugs.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from srkd import edition
from srkd.errors import SrkdError, unknown
from srkd.interruption import handling
from srkd.machine import adopt_slurm_step, threads
from srkd.terminal import escaping, tell
from srkd.trust import trusting
from srkd.values import count

if TYPE_CHECKING:
    from srkd.executor import Executor

EXIT_CODES = {
    0: "done, or stopped by its --budget with the state saved",
    1: "invalid input, or output that cannot be written: one line states what, where and what to do",
    2: "wrong arguments; or some of several inputs failed: these are named, and the others were processed",
    130: "interrupted (SIGINT); the state of a training is saved, and no file is half-written",
    143: "terminated (SIGTERM); as for 130",
}
_MAY_BE_EMPTY = ("--suffix", "--author")  # options whose values are text, not paths


def commands() -> list[str]:
    """All commands: the modules of this package."""
    import srkd.cli as package

    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "main")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    _open_closed_streams()
    try:
        with escaping():
            return _main(argv)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # else Python would try again at exit, and end with another code
                _discard(stream)


def _open_closed_streams() -> None:
    """Redirect standard streams that were closed before Python started (`>&-`) to the null device.

    Otherwise the next opened files would get their descriptors, and libraries would write messages into these files.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(number)
                continue  # the descriptor already belongs to another file
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    adopt_slurm_step()
    debug = "--debug" in arguments
    signals: list[int] = []
    try:
        with _recording(signals):
            code = _dispatch(arguments)
            sys.stdout.flush()
        return code
    except SystemExit:  # argparse's, which has printed its help
        try:
            sys.stdout.flush()
        except OSError as error:
            if not _is_broken_pipe(error):
                raise
            _discard(sys.stdout)
        raise
    except SrkdError as error:
        if debug:
            raise
        tell(f"srkd: {error}")
        return _ended(error.exit_code)
    except KeyboardInterrupt:
        if debug:
            raise
        return _ended(_interrupted(signals))
    except OSError as error:
        if debug or error.strerror is None:
            raise
        if error.filename is None:
            _discard(sys.stdout)
            if _is_broken_pipe(error):  # the reader closed the pipe (`| head`), which is no error
                return 0
        tell(f"srkd: {error.filename or 'output'}: {error.strerror}")
        return _ended(1)
    except Exception as error:
        if signals and not debug:  # an interruption inside a lock of Python surfaces as another error
            return _ended(_interrupted(signals))
        if _is_out_of_memory(error) and not debug:
            reason = f" ({str(error).splitlines()[0]})" if str(error) else ""  # Python's own error says nothing
            tell(f"srkd: not enough memory{reason}: use a smaller batch, patch, image or tile")
            return _ended(1)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        traceback.print_exc()
        return _ended(1)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's and NumPy's error, or torch's, which is a RuntimeError on the CPU."""
    text = str(error)
    torch_error = isinstance(error, RuntimeError) and ("allocate memory" in text or "out of memory" in text)
    return torch_error or isinstance(error, MemoryError)


def _is_broken_pipe(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def _discard(stream: TextIO) -> None:
    """Discard buffered output that could not be written, so that Python does not try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import srkd

        print(f"{edition.name()} {srkd.__version__}")
        return 0
    name = arguments[0].replace("-", "_")
    if name not in commands():
        if edition.is_light():
            raise edition.needs_full(f'the command "{arguments[0]}"')
        tell(f"{edition.name()}: {unknown('command', arguments[0], commands())}")
        return 2
    return _run(name, arguments[1:])


def _run(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(f"srkd.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"{edition.name()} {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    _reject_empty(parser, arguments)
    parsed = parser.parse_args(arguments)
    _reject_workers(parser, parsed)
    if name != "upscale" and "://" in str(getattr(parsed, "output", "")):
        from srkd.files.remote import local_folder

        local_folder(str(parsed.output))
    with trusting(getattr(parsed, "trust_code", False)):
        return module.run(parsed) or 0


def _reject_empty(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """End with an error for an empty argument, such as an unset variable in quotes: as a path it would mean the working
    folder, all of whose images would be upscaled."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, equals, value = argument.partition("=")  # a value may end with "=", as base64 does
        option = before if argument == "" else name
        empty = argument == "" or (name.startswith("--") and equals and not value)
        if empty and option not in _MAY_BE_EMPTY:
            parser.error(f"{option or parser.prog}: an empty argument follows; is a variable unset?")


def _reject_workers(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """End with an error for resources of a cluster's tasks without a cluster."""
    for name in ("worker_cpus", "worker_gpus"):
        if getattr(parsed, name, None) is not None and parsed.on == "local":
            parser.error(f"--{name.replace('_', '-')} is for the tasks of a cluster: name it by --on, or leave it out")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust-code, for commands that load checkpoints which may name classes outside srkd."""
    parser.add_argument(
        "--trust-code",
        action="store_true",
        help="let the checkpoint name a network class outside srkd (package.module:Class), whose code then runs",
    )


def add_on(parser: argparse.ArgumentParser, threads: str) -> None:
    """Add --on and what a task requests, for commands that run on a cluster; `threads` describes the default."""
    parser.add_argument(
        "--on",
        default="local",
        metavar="WHERE",
        help="local, ray (the cluster in $RAY_ADDRESS, else one on this machine) or ray://host[:port] (default: local)",
    )
    add = parser.add_argument
    add("--worker-cpus", type=count, metavar="N", help=f"with --on: CPUs and threads of a task (default: {threads})")
    add("--worker-gpus", type=float, metavar="N", help="with --on: GPUs of a task (default: 1 if there are any)")


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add --jobs, for commands that train several networks."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="trainings at a time on this machine, each with its share of the cores; small networks train faster "
        "so (default: %(default)s)",
    )


@contextmanager
def executor_for(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Yield the executor that --on names; None for this process.

    Raises:
        SrkdError: --jobs below 1 or with a cluster; as `srkd.cluster.connection.connected` and `Cluster.request`.
    """
    jobs = getattr(args, "jobs", 1)
    if jobs < 1:
        raise SrkdError(f"--jobs must be at least 1, got {jobs}")
    if args.on == "local":
        from srkd.executor import ProcessExecutor

        yield None if jobs == 1 else ProcessExecutor(jobs, max(1, threads() // jobs))
        return
    if jobs > 1:
        raise SrkdError("--jobs is for this machine; on a cluster, --worker-cpus sets how many tasks run at a time")
    import torch

    from srkd.cluster.connection import connected, parse_on
    from srkd.cluster.executor import RayExecutor

    with connected(parse_on(args.on)) as cluster:
        yield RayExecutor(cluster.request(args.worker_cpus or torch.get_num_threads(), args.worker_gpus))


@contextmanager
def _recording(signals: list[int]) -> Iterator[None]:
    """Within the block, SIGTERM raises KeyboardInterrupt as SIGINT does, so that unfinished files are removed; received
    signals are appended to `signals`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    with handling(interrupt):
        yield


def _interrupted(signals: list[int]) -> int:
    """Report that a signal ended the command; returns the exit code."""
    number = signals[0] if signals else signal.SIGINT
    tell(f"srkd: {'terminated' if number == signal.SIGTERM else 'interrupted'}")
    return 128 + number


def _ended(code: int) -> int:
    """Return the exit code; under torchrun, exit the process at once, while the exception is still referenced.

    If the exception's objects were freed during a gradient exchange, torch could deadlock: it joins a thread that waits
    for the interpreter lock, which torch holds. The other processes would then wait for this one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def stopped(number: int) -> int:
    """The exit code of a command that saved its state and stopped: 128 + signal number, or 0 for a budget."""
    return 128 + number if number else 0


def _overview() -> str:
    program = edition.name()
    lines = [f"usage: {program} <command> [arguments]", ""]
    for name in commands():
        first = (importlib.import_module(f"srkd.cli.{name}").__doc__ or "").strip().splitlines()
        lines.append(f"  {name:<14} {first[0] if first else ''}")
    codes = [f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(
        [*lines, "", f"{program} <command> --help for details; {program} --version", "", "exit codes:", *codes]
    )
