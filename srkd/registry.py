"""Classes by name, found by listing a folder: a new file there is all that a new one takes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from srkd.errors import SrkdError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes that the files of a package registered.

    Args:
        kind: what they are, for messages: "loss", "network".
        package: dotted name of the package whose files register them; imported when first asked.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._classes: dict[str, type[T]] = {}
        self._found = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """A decorator that makes a class available under `name`.

        Raises:
            SrkdError: another class has that name.
        """

        def add(cls: type[T]) -> type[T]:
            if self._classes.get(name, cls).__qualname__ != cls.__qualname__:
                other = self._classes[name].__module__
                raise SrkdError(f'two {self.kind} classes are registered as "{name}": {other} and {cls.__module__}')
            self._classes[name] = cls
            return cls

        return add

    def _discover(self) -> None:
        if not self._found:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._found = True

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._classes))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._classes

    def __getitem__(self, name: str) -> type[T]:
        """The class of that name.

        Raises:
            SrkdError: none has it; the nearest is named.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self._classes[name]
