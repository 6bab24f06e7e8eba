"""A YAML file as a value and the line of every key in it.

Scalars stay texts: they are read later as the type of their field asks, not as YAML guesses, so
that `version: 1.10` and `owner: no` are what they look like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from fabric.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

Location = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True)
class Mistake:
    line: int
    key: str
    """Path to what is wrong, such as `specialists[0].batching.max_size`."""
    text: str


class PortfolioError(InvalidRequest):
    """All that is wrong with one portfolio file, one mistake a line."""

    def __init__(self, file: Path, mistakes: Collection[Mistake]) -> None:
        ordered = sorted(dict.fromkeys(mistakes), key=lambda mistake: (mistake.line, mistake.key))
        places = ((f"{file}:{m.line}: {m.key and m.key + ': '}", m.text) for m in ordered)
        super().__init__("\n".join(place + text for place, text in places))
        self.mistakes = tuple(ordered)


class Document:
    """The file's value, the line of every key in it, and the mistakes found so far."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self._lines: dict[Location, int] = {(): 1}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise PortfolioError(file, [Mistake(line, "", f"not YAML: {error.problem}")]) from error
        except yaml.YAMLError as error:
            raise PortfolioError(file, [Mistake(1, "", f"not YAML: {error}")]) from error
        if node is None:
            raise PortfolioError(file, [Mistake(1, "", "declares no specialists and no routes")])
        self._root = node
        self.value = self._read(node, (), ())

    def _read(self, node: yaml.Node, at: Location, above: tuple[yaml.Node, ...]) -> Any:
        self._lines.setdefault(at, node.start_mark.line + 1)
        if node in above:
            line = node.start_mark.line + 1
            raise PortfolioError(self.file, [Mistake(line, "", "contains itself")])
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, at, (*above, node)))
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return [self._read(item, (*at, index), (*above, node)) for index, item in items]
        return None if node.tag == "tag:yaml.org,2002:null" else node.value

    def _pairs(
        self, node: yaml.MappingNode, at: Location, above: tuple[yaml.Node, ...]
    ) -> Iterator[tuple[str, Any]]:
        for key, item in node.value:
            place = (*at, str(key.value))
            if place in self._lines:
                self.refuse(place, "is given twice", key.start_mark.line + 1)
                continue
            self._lines[place] = key.start_mark.line + 1
            value = self._read(item, place, above)
            if value is not None:  # `key:` with nothing behind it says nothing
                yield str(key.value), value

    def entries(self, kind: str) -> Iterator[tuple[Location, dict[str, Any]]]:
        """The entries of a list that are mappings, whatever else is wrong with them."""
        found = self.value.get(kind) if isinstance(self.value, dict) else None
        for index, entry in enumerate(found if isinstance(found, list) else ()):
            if isinstance(entry, dict):
                yield (kind, index), entry

    def line(self, at: Location) -> int:
        """Where the value at *at* begins, or what it is in, if it is not said itself."""
        known = next(at[:end] for end in range(len(at), -1, -1) if at[:end] in self._lines)
        return self._lines[known]

    def native(self, at: Location) -> Any:
        """The value at *at*, with the numbers and truths that YAML takes its scalars for."""
        node = self._root
        for part in at:
            if isinstance(node, yaml.MappingNode):
                node = next(item for key, item in node.value if str(key.value) == part)
            else:
                node = node.value[part]
        return _native(node)

    def refuse(self, at: Location, text: str, line: int = 0) -> None:
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
        self.mistakes.append(Mistake(line or self.line(at), key.removeprefix("."), text))


def _native(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_native(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _native(item) for key, item in node.value}
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind == "int" and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "float" and _NUMBER.fullmatch(text):
        return float(text)
    return text == "true" if kind == "bool" and text in ("true", "false") else text


_WHOLE = re.compile(r"[-+]?(0|[1-9]\d*)")
"""Without what YAML has beside it: octal 017, and 1:30, which is ninety."""
_NUMBER = re.compile(r"[-+]?\d*\.\d*([eE][-+]\d+)?")
