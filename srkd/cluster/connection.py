"""The connection to a Ray cluster, and the check that its nodes have what srkd needs."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from srkd.errors import SrkdError
from srkd.machine import cores
from srkd.terminal import tell
from srkd.version import __version__

_CLIENT_PORT = 10001
_CONNECT_SECONDS, _SYNC_SECONDS, _NODE_SECONDS = 5.0, 60.0, 120.0
_OBJECT_STORE = 512 << 20  # bytes, of a cluster that is started on this machine: what travels is small
# Of such a cluster: on a busy machine its only node may take longer to respond than Ray's 10 s, and would be given up.
HEALTH = {"health_check_timeout_ms": 120_000}
_STARTS = 3
_EXTRA = ("ray", "pandas", "pyarrow", "s3fs")


def parse_on(text: str) -> str:
    """The address of `--on`; "" for `ray` without $RAY_ADDRESS, which starts a cluster on this machine.

    Raises:
        SrkdError: anything but ray or ray://host[:port] (`local` is no cluster).
    """
    if text == "ray":
        return os.environ.get("RAY_ADDRESS", "")
    match = re.fullmatch(r"ray://([\w.-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?", text)
    if match is None:
        raise SrkdError(f"--on {text}: expected local, ray or ray://host[:port]")
    return f"ray://{match[1]}:{match[2] or _CLIENT_PORT}"


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to: CPUs and GPUs of each node."""

    cpus: tuple[int, ...]
    gpus: tuple[int, ...]

    def request(self, cpus: int, gpus: float | None) -> dict[str, Any]:
        """The resources of a task: by default a GPU where a node has one.

        Raises:
            SrkdError: no node has so many, and the task would wait forever.
        """
        wanted = float(max(self.gpus) > 0) if gpus is None else gpus
        if not any(c >= cpus and g >= wanted for c, g in zip(self.cpus, self.gpus, strict=True)):
            nodes = ", ".join(f"{c} CPUs and {g} GPUs" for c, g in zip(self.cpus, self.gpus, strict=True))
            raise SrkdError(f"no node of the cluster has {cpus} CPUs and {wanted:g} GPUs for a task; they have {nodes}")
        return {"num_cpus": float(cpus), "num_gpus": wanted}

    def slots(self, request: dict[str, Any]) -> int:
        """The number of tasks of these resources that run at a time."""
        cpus, gpus = request["num_cpus"], request["num_gpus"]
        pairs = zip(self.cpus, self.gpus, strict=True)
        return sum(int(min(c // cpus, g / gpus if gpus else c)) for c, g in pairs)


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to a cluster, or with "" start one on this machine, and check its nodes; disconnect at the end.

    Raises:
        SrkdError: Ray is not installed; no cluster at this address; another version of Ray or Python there; or as
            `check_nodes`.
    """
    ray = _import_ray()
    _check_listening(address)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        options["address"] = address
    else:
        options |= {"address": "local", "num_cpus": cores(), "object_store_memory": _OBJECT_STORE}
        options["_system_config"] = HEALTH
        options["include_dashboard"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _start(ray, options, 1 if address else _STARTS)
        try:
            yield check_nodes()
        finally:
            ray.shutdown()


def _start(ray: Any, options: dict[str, Any], tries: int) -> None:
    """Start or connect Ray; on a busy machine its processes may miss their own deadlines of seconds."""
    for left in reversed(range(tries)):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises plain ones
            ray.shutdown()
            if not left:
                address = options["address"]
                place = "Ray cannot be started here" if address == "local" else f"cannot connect to Ray at {address}"
                raise SrkdError(f"{place}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """In one line; of versions that differ, the whole message, since its further lines state them."""
    text = " ".join(str(error).split())
    return text[:400] if re.search(r"versions? (mismatch|differ)", text, re.IGNORECASE) else _first_line(error)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # as a local command; Ray's own is 15
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a behaviour to come, of which it warns
    try:
        import ray
    except ImportError as error:
        raise SrkdError(f"--on ray needs Ray ({error}): pip install 'srkd[cluster]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _check_listening(address: str) -> None:
    """Raise SrkdError if nothing listens at `[ray://]host:port`; Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\]/]+)\]?:(\d+)", address)
    if match is None:  # "", auto
        return
    try:
        with socket.create_connection((match[1], int(match[2])), _CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise SrkdError(f"no Ray cluster at {address}: {reason}; is it running, and this its address?") from error


def versions(modules: tuple[str, ...] = _EXTRA) -> dict[str, str]:
    """What must agree on all nodes: versions of srkd and torch; and which modules of the extra are missing."""
    found = {"srkd": __version__, "torch": metadata.version("torch").split("+")[0]}
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return found | ({"missing": ", ".join(missing)} if missing else {})


def alive_nodes() -> list[dict[str, Any]]:
    """Ray's description of each node that is alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def on_node(node: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Start a function on a node; returns Ray's reference to its result."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=pinned).remote(*arguments)


def name_of(node: dict[str, Any]) -> str:
    """The host of a node and the start of its identifier."""
    return f"{node.get('NodeManagerHostname') or node.get('NodeManagerAddress')} ({node['NodeID'][:8]})"


def check_nodes() -> Cluster:
    """Ask every living node for its versions, by a task pinned to it.

    Raises:
        SrkdError: one line that lists every node that has another version of srkd or torch, or not the extra `cluster`,
            or on which no task can be started; or no node is alive.
    """
    own, nodes, faults = versions(), [], []
    for node, reference in [(node, on_node(node, versions)) for node in alive_nodes()]:
        try:
            found = _versions_of(node, reference)
        except SrkdError as error:
            faults.append(f"node {name_of(node)}: {error}")
            continue
        if found is None:
            tell(f"node {name_of(node)} died while its versions were checked, and is left out")
        elif found != own:
            there, here = (_difference(*pair) for pair in ((found, own), (own, found)))
            faults.append(f"node {name_of(node)} has {there}, this machine {here}")
        else:
            nodes.append(node)
    if faults:
        raise SrkdError(f"{'; '.join(faults)}; all nodes need the same srkd[cluster]")
    if not nodes:
        raise SrkdError("the Ray cluster has no node that is alive")
    resources = [node.get("Resources", {}) for node in nodes]
    return Cluster(tuple(int(r.get("CPU", 0)) for r in resources), tuple(int(r.get("GPU", 0)) for r in resources))


def _versions_of(node: dict[str, Any], reference: Any) -> dict[str, str] | None:
    """The versions of a node; None if it has died.

    Raises:
        SrkdError: it is alive, but the task failed or cannot be started. Ray notices only after seconds that a node is
            new or dead: until then the task is tried again.
    """
    import ray

    deadline = time.monotonic() + _SYNC_SECONDS
    while True:
        try:
            found: dict[str, str] = ray.get(reference, timeout=_NODE_SECONDS)
            return found
        except Exception as error:  # also errors of importing srkd there, which Ray raises as RuntimeError
            if node["NodeID"] not in {each["NodeID"] for each in alive_nodes()}:
                return None
            lost = isinstance(error, (ray.exceptions.TaskUnschedulableError, ray.exceptions.WorkerCrashedError))
            if not lost or time.monotonic() > deadline:
                raise SrkdError(_missing(error)) from error
        time.sleep(1)
        reference = on_node(node, versions)


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    keys = [key for key in ("srkd", "torch", "missing") if one.get(key) != other.get(key)]
    return ", ".join(f"{key} {one.get(key, 'nothing')}" for key in keys)


def _missing(error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := re.search(r"No module named '([\w.]+)'", text):
        return f"{found[1]} is not installed there"
    return f"no task can be started there to check its versions ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    with suppress(IndexError):
        return lines[-1][:200] if "Traceback" in lines[0] else lines[0][:200]
    return type(error).__name__
