"""Names that are registered once, here or by another installed package (entry points).

A package adds a router, for example, by an entry point of the group ``phoneme_moe.routers`` in its
``pyproject.toml``, which names an object such as those of the registry itself::

    [project.entry-points."phoneme_moe.routers"]
    cosine = "my_package.routers:COSINE"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from phoneme_moe.errors import InputError

Item = TypeVar("Item")


class Registry(Mapping[str, Item], Generic[Item]):
    """Objects by name: those of the package, then those of installed packages.

    Packages are looked through only for a name that this package does not have, or for all names.
    """

    def __init__(self, group: str, kind: type[Item], items: Mapping[str, Item]) -> None:
        """Creates the registry.

        Args:
            group: Group of entry points, such as ``phoneme_moe.routers``.
            kind: Class of the objects.
            items: Objects of this package by name.
        """
        self.group = group
        self.kind = kind
        self.items_here = dict(items)

    def __getitem__(self, name: str) -> Item:
        """The object of a name.

        Raises:
            KeyError: There is none.
            InputError: An installed package registers it, but it cannot be used.
        """
        if name in self.items_here:
            return self.items_here[name]
        return self._load(self._of_packages[name])

    def __iter__(self) -> Iterator[str]:
        yield from self.items_here
        yield from (name for name in self._of_packages if name not in self.items_here)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self.items_here or name in self._of_packages

    @cached_property
    def _of_packages(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}

    def _load(self, entry: EntryPoint) -> Item:
        package = entry.dist.name if entry.dist else "unknown package"
        place = f"{self.group} {entry.name!r} of the package {package}"
        try:
            item = entry.load()
        except Exception as error:  # whatever another package's code raises
            raise InputError(
                f"{place} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(item, self.kind):
            raise InputError(
                f"{place}: found {type(item).__name__}, expected {self.kind.__qualname__} "
                f"({self.kind.__module__})"
            )
        return item
