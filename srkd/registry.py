"""Classes by name: discovered by importing every module of a package, or given as `package.module:Class`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from srkd.errors import SrkdError, one_line_errors, unknown

T = TypeVar("T")


def imported(path: str, kind: str) -> Any:
    """What a recipe names as `package.module:Class`; the module is imported, which runs its code.

    Raises:
        SrkdError: no such module or name, or the module fails, with the line in it; `kind` is used in the message.
    """
    module, _, name = path.partition(":")
    with one_line_errors(f'{kind} "{path}"'):
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if not error.name or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module exists, and imports another one that does not
            text = f"no module {module}; install it, or start with PYTHONPATH=. to import from this folder"
            raise SrkdError(f'{kind} "{path}": {text}') from error


class Registry(Generic[T]):
    """The classes registered by the modules of a package.

    Args:
        kind: used in messages, such as "loss" or "network".
        package: dotted name of the package whose modules register them; imported on first access.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._classes: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """A decorator that makes a class available under `name`.

        Raises:
            SrkdError: another class is registered under that name.
        """

        def add(cls: type[T]) -> type[T]:
            if self._classes.get(name, cls).__qualname__ != cls.__qualname__:
                other = self._classes[name].__module__
                raise SrkdError(f'two {self.kind} classes are registered as "{name}": {other} and {cls.__module__}')
            self._classes[name] = cls
            return cls

        return add

    def _discover(self) -> None:
        if not self._discovered:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._discovered = True

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._classes))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._classes

    def __getitem__(self, name: str) -> type[T]:
        """The class registered under `name`.

        Raises:
            SrkdError: unknown name; the nearest is suggested.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self._classes[name]
