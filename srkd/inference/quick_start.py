"""Start without torch: a checkpoint whose fastest engine is stored in the cache is opened as that engine alone.

Importing torch and rebuilding the network take most of the time of a small image. `remember` notes which stored engine
a checkpoint file runs on and how to tile it; `recall` opens that engine in a later process on the same machine, with
the same packages and threads. The network is loaded when something needs it: 16-bit and float images,
self-ensembles, or an invalid output. Not where there is a GPU, which only torch can look into.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.files.cache import cache_place
from srkd.files.digest import file_sha256
from srkd.files.remote import is_url
from srkd.inference import backends
from srkd.inference.backends.engine import Engine, Fp32FallbackEngine
from srkd.inference.fingerprint import processor, versions
from srkd.inference.loading import is_path
from srkd.inference.model import Model, Pixels
from srkd.inference.stored import intact, read_cached
from srkd.inference.tiling import Floats
from srkd.machine import cores, threads
from srkd.networks import zoo

_CACHE = "runtimes"  # where engines are stored


class RememberedModel(Model):
    """A model that runs 8-bit images on a stored engine, and loads its network when it needs it."""

    load_network: Callable[[], Model]

    @cached_property
    def whole(self) -> Model:
        """The model with its network."""
        return self.load_network()

    def backend_of(self, pixels: Pixels, self_ensemble: bool = False) -> tuple[str, str]:
        return self.backend if self._uses_engine(pixels, self_ensemble) else ("torch", "fp32")

    def _through_network(self, pixels: Pixels, self_ensemble: bool) -> Floats:
        return self.whole._through_network(pixels, self_ensemble)


def remember(name: str, model: Model, stored: Path, engine: Engine) -> None:
    """Note that the checkpoint `name` runs on this engine, which was stored at `stored`, on the CPU. Does nothing for a
    model by URL or of another kind of file, or if the cache cannot be written."""
    path = _file(name)
    if path is None or model.device.type != "cpu" or not stored.is_file():
        return
    with suppress(SrkdError, OSError):  # an unwritable cache is no reason to fail
        note = _note(name, path)
        where = {"folder": stored.parent.name, "file": stored.name}
        used = {**where, "precision": engine.precision, "threads": threads()}
        if read_cached(note).get("engine") != used:
            write_json(note, {"engine": used, "facts": model.facts(tiling=True)})


def recall(name: str, scale: int | None, say: Callable[[str], None]) -> Model | None:
    """The model of the checkpoint `name` as `remember` noted it; None if it is not known here, or is of another scale.

    Args:
        scale: the required scale; None accepts any.
    """
    path = _file(name)
    note = read_cached(_note(name, path)) if path is not None else {}
    with suppress(SrkdError, KeyError):  # whatever is wrong with it, the checkpoint has the answer
        engine, facts = note["engine"], note["facts"]
        stored = cache_place(_CACHE, engine["folder"]) / engine["file"]
        if scale in (None, facts["scale"]) and intact(stored):
            os.environ.setdefault("OMP_NUM_THREADS", str(engine["threads"]))  # as many as torch would take
            return _opened(stored, name, engine["precision"], facts, say)
    return None


def _opened(stored: Path, name: str, precision: str, facts: dict[str, Any], say: Callable[[str], None]) -> Model:
    fast = backends.open_file(stored, precision).engine
    assert fast is not None

    def exact() -> Engine:
        return backends.torch_engine(model.whole, "fp32")

    model = RememberedModel.of_engine(Fp32FallbackEngine(fast, exact, say), facts)
    model.load_network = partial(Model.load, name, device="cpu")
    return model


def _file(name: str) -> Path | None:
    """The file of a checkpoint that is one file on this machine; None for others, such as exported files, and where
    there may be a GPU."""
    if _may_have_gpu():
        return None
    if not is_path(name):
        return zoo.weights(name)[0] if name in zoo.trained() else None
    path = Path(name)
    return path if not is_url(name) and path.suffix in (".safetensors", ".pth", ".pt") and path.is_file() else None


def _may_have_gpu() -> bool:
    if sys.platform == "win32":
        return any("+cu" in line for line in versions())
    return any(Path("/dev").glob("nvidia*"))


def _note(name: str, path: Path) -> Path:
    """Where the note about a checkpoint is: it depends on all that decides which engine it runs on."""
    machine = [processor(), str(cores()), os.environ.get("OMP_NUM_THREADS", ""), *versions()]
    key = hashlib.sha256("\n".join([name, file_sha256(path), *machine]).encode()).hexdigest()[:32]
    return cache_place(_CACHE, "quick_start") / f"{key}.json"
