"""Packages whose modules are wanted without all that their own `__init__` imports."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def package(name: str) -> None:
    """From now on importing from *name* finds its modules, and runs nothing of its own."""
    found = importlib.util.find_spec(name)
    assert found is not None, f"{name} is not installed"
    module = ModuleType(name)
    module.__path__ = list(found.submodule_search_locations or ())
    sys.modules[name] = module
