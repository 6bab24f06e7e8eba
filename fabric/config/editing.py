"""Changes of a portfolio file that leave every other character of it as it was.

The file is not written anew from its values: people's comments, order and spacing stay, and a
difference in version control is what was changed.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from fabric.config.document import PortfolioError
from fabric.config.portfolio import load
from fabric.core.cards import Card, Specialist
from fabric.core.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fabric.config.portfolio import Portfolio
    from fabric.core.routes import Route

    Declared = TypeVar("Declared", Specialist, Route)


def edit(file: Path, key: str, changes: Mapping[str, Any]) -> None:
    """Makes *file* say *changes*, such as `batching.max_size`, of *key*: the specialist
    `name:version`, or the route `name`.

    Items of a list are named by their number, the number behind the last is that of a new one. The
    file is replaced as a whole, or not at all.

    Raises:
        PortfolioError: the file is wrong already.
        Conflict: it cannot be changed so that nothing else in it changes.
        InvalidRequest: it cannot be written.
    """
    file = file.resolve()  # what a link leads to, not the link
    before = load(file)
    wanted = replace(
        before,
        specialists=tuple(_with(s, changes) if s.key == key else s for s in before.specialists),
        routes=tuple(_with(r, changes) if r.name == key else r for r in before.routes),
    )
    text = edited(file.read_bytes().decode(), key, changes)
    try:
        with _draft_of(file, text) as draft:
            if _loaded(draft) != wanted:
                said = ", ".join(f"{name}: {_flow(value)}" for name, value in changes.items())
                raise Conflict(
                    f"{file} stays as it is: what it says of {key} is shared with something else "
                    f"there, or written in an unusual way. Change it by hand: {said}"
                )
            draft.replace(file)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from error


@contextmanager
def _draft_of(file: Path, text: str) -> Iterator[Path]:
    """A file beside *file*, with its rights, that holds *text*; gone afterwards if still there."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(descriptor)
        shutil.copymode(file, draft)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _loaded(file: Path) -> Portfolio | None:
    try:
        return load(file)
    except PortfolioError:
        return None


def _with(declared: Declared, changes: Mapping[str, Any]) -> Declared:
    for place, value in changes.items():
        path = place.split(".")
        if isinstance(declared, Specialist):
            path.insert(0, "card" if hasattr(declared.card, path[0]) else "hosting")
        declared = _changed(declared, path, value)
    return declared


def _changed(thing: Any, place: Sequence[str], value: Any) -> Any:
    """*thing*, a dataclass or a tuple, with *value* at *place*."""
    if not place:
        return value
    name, *rest = place
    if isinstance(thing, tuple):
        at = int(name)
        return (*thing[:at], _changed(thing[at] if rest else None, rest, value), *thing[at + 1 :])
    return replace(thing, **{name: _changed(getattr(thing, name), rest, value)})


# ------------------------------------------------------------------ the text
def edited(text: str, key: str, changes: Mapping[str, Any]) -> str:
    """*text* with *changes* of *key*, which it declares; see `edit`."""
    for place, value in changes.items():
        text = _put(text, _entry(text, key), place.split("."), value)
    return text


def _entry(text: str, key: str) -> yaml.MappingNode:
    name, is_specialist, version = key.partition(":")
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    entries: list[yaml.MappingNode] = _child(
        root, "specialists" if is_specialist else "routes"
    ).value
    named = (entry for entry in entries if _child(entry, "name").value == name)
    return next(entry for entry in named if not is_specialist or _version_of(entry) == version)


def _version_of(entry: yaml.MappingNode) -> str:
    version = _child(entry, "version")
    return str(version.value) if version else Card.version


def _child(mapping: yaml.CollectionNode, name: str) -> Any:
    return next((value for key, value in mapping.value if key.value == name), None)


def _put(text: str, holder: yaml.CollectionNode, place: Sequence[str], value: Any) -> str:
    name, *rest = place
    if isinstance(holder, yaml.SequenceNode):
        return _put_in_list(text, holder, int(name), rest, value)
    found = _child(holder, name)
    if rest and isinstance(found, yaml.CollectionNode):
        return _put(text, found, rest, value)
    for part in reversed(rest):
        value = {part: value}
    if found is not None:
        return _replaced(text, found, value)
    if _is_records(value) and not holder.flow_style:
        indent = " " * holder.value[0][0].start_mark.column
        items = "".join(f"\n{indent}  - {_flow(item)}" for item in value)
        return _inserted(text, holder, f"{name}:{items}")
    return _inserted(text, holder, f"{name}: {_flow(value, _inside(text, holder))}")


def _put_in_list(
    text: str, items: yaml.SequenceNode, at: int, rest: Sequence[str], value: Any
) -> str:
    if at == len(items.value):
        said = _flow(value, _inside(text, items))
        return _inserted(text, items, said if items.flow_style else f"- {said}")
    found = items.value[at]
    return _put(text, found, rest, value) if rest else _replaced(text, found, value)


def _is_records(value: Any) -> bool:
    return isinstance(value, tuple) and any(map(is_dataclass, value))


def _replaced(text: str, node: yaml.Node, value: Any) -> str:
    said = _flow(value, _inside(text, node))
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        said = f"\n{' ' * node.start_mark.column}".join(f"- {_flow(item)}" for item in value)
    start, end = node.start_mark.index, _end(node)
    space = " " if start == end else ""  # behind a key with nothing
    return text[:start] + space + said + text[end:]


def _inserted(text: str, holder: yaml.CollectionNode, said: str) -> str:
    """*text* with *said* as the last entry of *holder*."""
    if not holder.value:
        at = holder.end_mark.index - 1
        return text[:at] + said + text[at:]
    is_list = isinstance(holder, yaml.SequenceNode)
    end = _end(holder.value[-1] if is_list else holder.value[-1][1])
    if holder.flow_style:
        return f"{text[:end]}, {said}{text[end:]}"
    end = len(text[:end].rstrip())  # a block of text ends behind its last line
    line_end = text.find("\n", end) if "\n" in text[end:] else len(text)
    column = holder.start_mark.column if is_list else holder.value[0][0].start_mark.column
    indent = " " * column
    return f"{text[:line_end]}\n{indent}{said}{text[line_end:]}"


def _end(node: yaml.Node) -> int:
    """Where *node* ends; blocks end, for the parser, only where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _inside(text: str, node: yaml.Node) -> str:
    """A new line, indented as what belongs to the one that *node* starts in."""
    line = text[text.rfind("\n", 0, node.start_mark.index) + 1 :]
    return "\n" + " " * (len(line) - len(line.lstrip(" -")) + 2)


def _flow(value: Any, line: str = "") -> str:
    """*value* as YAML in flow style, within a line; each of several records starts with *line*."""
    plain = list(value) if isinstance(value, tuple) else value
    if is_dataclass(plain):
        stated = (
            (field.name, getattr(plain, field.name), field.default) for field in fields(plain)
        )
        plain = {name: item for name, item, default in stated if item != default}
    if isinstance(plain, list) and any(map(is_dataclass, plain)):
        records = (line + _flow(item) for item in plain)
        return f"[{(',' if line else ', ').join(records)}]"
    if isinstance(plain, dict):
        said = (f"{name}: {_flow(item, line)}" for name, item in plain.items())
        return "{" + ", ".join(said) + "}"
    text = yaml.safe_dump([plain], default_flow_style=True, width=math.inf)
    return text.strip()[1:-1]
