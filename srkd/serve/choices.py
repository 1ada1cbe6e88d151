"""The models that a server offers, with their measured times."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from srkd.errors import unknown
from srkd.inference.autotune import cached_engine, measured_before
from srkd.inference.model import Model
from srkd.networks import zoo

_FOR_COMPARISON = "_control"  # ends the names of models that show what distillation gains
_LOADED = 2  # models kept in memory
_TIMES_KEPT = 20
_FEWEST_PIXELS = 100_000  # of an image whose time says something about larger ones
Say = Callable[[str], None]


@dataclass
class Choice:
    """A model that can be chosen.

    `earlier` is the time in ms for a megapixel of input that was measured on this machine before, of the network alone,
    and its backend. `times` are (pixels, seconds) of images that this server upscaled, reading and writing included.
    """

    name: str
    scale: int
    parameters: int
    licence: str = ""
    notes: str = ""
    default: bool = False
    earlier: tuple[float, str] | None = None
    times: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_TIMES_KEPT))

    def as_json(self) -> dict[str, Any]:
        ms, source = self._time()
        about = {"name": self.name, "scale": self.scale, "parameters": self.parameters, "licence": self.licence}
        more = {"notes": self.notes, "default": self.default}
        return {**about, **more, "ms_per_megapixel": None if ms is None else round(ms, 1), "measured": source}

    def _time(self) -> tuple[float | None, str]:
        if self.times:
            pixels, seconds = (sum(column) for column in zip(*self.times, strict=True))
            count = len(self.times)
            return 1e9 * seconds / pixels, f"file to file, last {count} {'image' if count == 1 else 'images'}"
        if self.earlier is not None:
            return self.earlier[0], f"network alone, {self.earlier[1]}"
        return None, "not measured"


class ModelChoices:
    """The zoo's trained models, and those named by the user; loaded when they are first used.

    Args:
        named: models to offer first: zoo names, checkpoints or exported files. They are loaded now, so that mistakes
            surface.
        say: receives notes on engines.

    Raises:
        SrkdError: a named model cannot be loaded.
    """

    def __init__(self, named: Sequence[str], say: Say) -> None:
        self._say = say
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._lock = threading.Lock()
        self._choices = {name: _of_zoo(name) for name in zoo.trained() if not name.endswith(_FOR_COMPARISON)}
        for name in named:
            model = self.opened(name)
            about = Choice(name, model.scale, model.parameters, " ".join(str(model.meta.get("licence") or "").split()))
            self._choices.setdefault(name, about)
        self._named = list(named)
        self._looked_up: set[str] = set()

    def __getitem__(self, name: str) -> Choice:
        """The choice of that name; "auto" is the first: a named model, or the zoo's default for x2.

        Raises:
            SrkdError: no such model.
        """
        if name == "auto":
            return self.listed[0]
        if name not in self._choices:
            raise unknown("model", name, self._choices)
        return self._choices[name]

    @property
    def listed(self) -> list[Choice]:
        """Named models first, then the defaults by scale, then the others."""
        named = [self._choices[name] for name in dict.fromkeys(self._named)]
        others = [choice for choice in self._choices.values() if choice not in named]
        return named + sorted(others, key=lambda choice: (not choice.default, choice.scale, choice.parameters))

    def opened(self, name: str) -> Model:
        """A loaded model with the backend of an earlier measurement; the last two used stay loaded."""
        if name not in self._loaded:
            model = Model.load(name)
            if model.engine is None:
                model.engine = cached_engine(model, self._say)
            self._loaded[name] = model
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def look_up_time(self) -> bool:
        """Read the time of one more model that was measured on this machine before; False if there is none left."""
        name = next((choice.name for choice in self.listed if choice.name not in self._looked_up), None)
        if name is None:
            return False
        self._looked_up.add(name)
        with suppress(Exception):  # reported when it is used; the thread of the queue must go on
            model = self._loaded.get(name) or Model.load(name)
            row = measured_before(model) if model.has_network else None
            if row is not None:
                ms = 1e6 * row["ms"] / row["side"] ** 2
                self._choices[name].earlier = ms, f"{row['runtime']} {row['precision']}"
        return True

    def observe(self, name: str, pixels: int, seconds: float) -> None:
        """Note how long an image took, from file to file."""
        if pixels >= _FEWEST_PIXELS:
            with self._lock:
                self._choices[name].times.append((pixels, seconds))

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [choice.as_json() for choice in self.listed]


def _of_zoo(name: str) -> Choice:
    known = zoo.metrics(name)
    licence, notes = (" ".join(str(known.get(key) or "").split()) for key in ("licence", "notes"))
    return Choice(name, known["scale"], known["parameters"], licence, notes, bool(known.get("default")))
