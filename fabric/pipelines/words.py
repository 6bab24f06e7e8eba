"""The words of a module that is written: what it imports, and what it calls things."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

import fabric
from fabric.pipelines.code import Group, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_RESERVED = {*fabric.__all__, *keyword.kwlist, *dir(builtins), "Annotated"}


class Words:
    """*imports* are names by their modules."""

    def __init__(self, imports: dict[str, set[str]]) -> None:
        self._imports = imports
        self._identifiers: dict[str, str] = {}
        """By what they stand for."""

    def use(self, name: str, module: str = "fabric") -> str:
        """*name*, which is imported."""
        self._imports.setdefault(module, set()).add(name)
        return name

    def identifier(self, name: str, of: str = "") -> str:
        """What the giver *name*, or that function *of* it, is called; always the same, as equal
        names hide each other in a graph and in Python alike."""
        key = f"{name} {of}" if of else name
        if key not in self._identifiers:
            base = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
            base = f"_{base}" if base[0].isdigit() else base
            taken = _RESERVED.union(self._identifiers.values())
            while base in taken:
                base += "_"
            self._identifiers[key] = base
        return self._identifiers[key]

    def imported(self, width: int) -> Iterator[str]:
        """The lines of the imports, as ruff sorts them."""
        yield from ("from __future__ import annotations", "")
        modules = sorted(self._imports, key=lambda module: (module != "typing", module))
        for at, module in enumerate(modules):
            if at and modules[at - 1] == "typing":
                yield ""
            found = self._imports[module]
            names = tuple(sorted(found, key=lambda name: (not name[0].isupper(), name)))
            line = f"from {module} import {', '.join(names)}"
            if len(line) <= width:
                yield line
            else:
                yield from lines_of(Group(f"from {module} import (", names, ")"), 0)
