"""`fabric evaluate --data`: a labelled data set, given to every specialist of a route."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabric.catalog.catalog import suggestion
from fabric.client import AsyncClient
from fabric.core.cards import Card
from fabric.core.changes import Hosted
from fabric.core.decisions import Query
from fabric.core.errors import FabricError, InvalidRequest, NotFound, Unavailable
from fabric.core.tensors import DTYPES
from fabric.learning.outcomes import Table
from fabric.routing.confidence import confidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fabric.core.routes import Cascade
    from fabric.core.tensors import Tensors, TensorSpec

_MOST_TEXT = 4096
"""Characters of a text that the routers see."""
_MOST_SAID = 200
"""Characters of an error that is noted."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Requests and their right answers."""

    inputs: Mapping[str, NDArray[Any]]
    """By name: [n, ...], of which each request has one row."""
    labels: NDArray[Any]
    """[n]"""
    queries: tuple[Query, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """What came out."""

    table: Table
    cards: Mapping[str, Card]
    """By `name:version`."""
    notes: tuple[str, ...]


# ------------------------------------------------------------------ the data set
def labelled(
    file: str, inputs: Mapping[str, str], label: str, words: Mapping[str, str]
) -> Labelled:
    """The data set in *file*, .npz or a table.

    Args:
        inputs: Of each input of the model: the column that it is in, or a pattern of several.
        words: The columns of task, domain and language; one of that very name may be missing.

    Raises:
        NotFound: there is no such file, or no such column.
        InvalidRequest: it cannot be read, or its columns differ in length.
    """
    columns = _columns(file)
    made = {name: _column(columns, "--input", column) for name, column in inputs.items()}
    labels = _column(columns, "--label", label)
    said = {
        word: _column(columns, f"--{word}", column)
        for word, column in words.items()
        if column != word or column in columns
    }
    for name, array in {**made, **said}.items():
        if len(array) != len(labels):
            raise InvalidRequest(f"'{name}' has {len(array)} rows, the label {len(labels)}")
    seen = next(iter(made.values()))
    return Labelled(made, labels.reshape(-1), tuple(_queries(seen, said, len(labels))))


def _columns(file: str) -> dict[str, NDArray[Any]]:
    if not file.endswith(".npz"):
        from fabric.learning.files import frame

        return {series.name: np.array(series.to_list()) for series in frame(file)}
    try:
        with np.load(file, allow_pickle=False) as found:
            return dict(found)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error


def _column(columns: Mapping[str, NDArray[Any]], option: str, name: str) -> NDArray[Any]:
    if name in columns:
        return columns[name]
    matched = [array for column, array in columns.items() if fnmatchcase(column, name)]
    if not matched:
        way_out = suggestion(name, columns) or f"; use one of {', '.join(columns)}"
        raise NotFound(f"{option}: no column '{name}'{way_out}")
    return np.column_stack(matched)


def _queries(seen: NDArray[Any], said: Mapping[str, NDArray[Any]], rows: int) -> Iterator[Query]:
    """What a router sees of each row: the first input, and what was declared."""
    for row in range(rows):
        words: dict[str, Any] = {word: str(values[row]) for word, values in said.items()}
        if seen.dtype.kind in "OSU":
            text = " ".join(map(_text, np.ravel(seen[row])))
            yield Query(text=text[:_MOST_TEXT], **words)
        else:
            yield Query(numbers=tuple(np.ravel(seen[row]).astype(float).tolist()), **words)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# ------------------------------------------------------------------ the fabric
async def ask(
    server: str,
    name: str,
    data: Labelled,
    *,
    answer: str,
    in_flight: int,
    progress: Callable[[float, str], None],
    cascade: Cascade | None = None,
) -> Asked:
    """The outcome of every row at every specialist that *name* leads to.

    A request that nobody could answer just then has no outcome; one that is wrong ends it all.

    Args:
        answer: The output with the answer; empty for the first.
        in_flight: Requests that are under way at a time.
        cascade: By which it is judged how sure the answers to a row are, the cheapest first.

    Raises:
        FabricError: there is no such route, or an answer is no answer to the question.
    """
    async with AsyncClient(server) as client:
        cards = await _cards(client, name)
        if cascade is not None:
            cards = dict(sorted(cards.items(), key=lambda item: item[1].cost))
        given = [await _inputs(client, card, data.inputs) for card in cards.values()]
        sheet = _Sheet(tuple(cards), len(data.labels), progress, cascade)
        rows = iter(range(len(data.labels)))
        known = list(cards.values())

        async def worker() -> None:
            for row in rows:
                before: Tensors | None = None
                for k, card in enumerate(known):
                    inputs = {name: array[row] for name, array in given[k].items()}
                    label = data.labels[row]
                    outputs = await sheet.fill(client, card, row, k, inputs, answer, label, before)
                    before = before if outputs is None else outputs

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(in_flight, len(data.labels))):
                    group.create_task(worker())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
    notes = tuple(f"{n} requests without an answer: {why}" for why, n in sheet.failed.items())
    notes += tuple(f"{n} answers are never sure: {why}" for why, n in sheet.doubts.items())
    if np.isnan(sheet.quality).all():
        raise Unavailable(f"nobody answered: {notes[0]}")
    cost = np.tile([card.cost for card in known], (len(data.labels), 1))
    table = Table(tuple(cards), data.queries, sheet.quality, cost, sheet.seconds, sheet.confidence)
    return Asked(table, cards, notes)


class _Sheet:
    """Outcomes as they come in."""

    def __init__(
        self,
        specialists: Sequence[str],
        rows: int,
        progress: Callable[[float, str], None],
        cascade: Cascade | None = None,
    ) -> None:
        shape = (rows, len(specialists))
        self.quality = np.full(shape, np.nan)
        self.seconds = np.zeros(shape)
        self.confidence = None if cascade is None else np.full(shape, np.nan)
        self.failed: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self._cascade = cascade and replace(cascade, calibrations=())
        self._progress = progress
        self._done = 0

    async def fill(
        self,
        client: AsyncClient,
        card: Card,
        row: int,
        k: int,
        inputs: Mapping[str, NDArray[Any]],
        answer: str,
        label: Any,
        before: Tensors | None = None,
    ) -> Tensors | None:
        """What one specialist answers to one row; no answer is no outcome, unless nobody could
        give it. *before* is what the one before it answered."""
        outputs = None
        start = time.perf_counter()
        try:
            given = await client.infer(card.name, inputs, version=card.version, substitute=False)
        except FabricError as error:
            if not error.substitutable:
                raise
            self.failed[f"{card.key}: {error.message}"[:_MOST_SAID]] += 1
        else:
            outputs = given.outputs
            self.seconds[row, k] = time.perf_counter() - start
            self.quality[row, k] = is_right(outputs, answer, label)
            self._judge(card, row, k, outputs, before)
        self._done += 1
        self._progress(self._done / self.quality.size, f"asking {card.key}")
        return outputs

    def _judge(
        self, card: Card, row: int, k: int, outputs: Tensors, before: Tensors | None
    ) -> None:
        """Notes how sure *outputs* are, as the gateway reads it before it is calibrated."""
        if self._cascade is None or self.confidence is None:
            return
        sure = confidence(self._cascade, card, outputs, before)
        if sure.doubt:
            self.doubts[f"{card.key}: {sure.doubt}"[:_MOST_SAID]] += 1
        else:
            self.confidence[row, k] = sure.value


async def _cards(client: AsyncClient, name: str) -> dict[str, Card]:
    """The card of every specialist that may answer *name*, by `name:version`."""
    plan = await client.explain(name)
    cards = {}
    for candidate in plan.candidates:
        key = f"{candidate.specialist}:{candidate.version}"
        found = await client.get("specialist", key)
        assert isinstance(found, Hosted)  # noqa: S101 - what is asked for
        cards[key] = found.specialist.card
    if not cards:
        raise NotFound(f"'{name}' leads to nobody: `fabric explain {name}` says why")
    return cards


async def _inputs(
    client: AsyncClient, card: Card, given: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """*given* as the specialist takes it: [n, ...] with its datatypes, one request a row."""
    metadata = await client.metadata(card.name, version=card.version)
    specs = {spec.name: spec for spec in metadata.inputs}
    for name in given:
        if name not in specs:
            raise NotFound(f"{card.key} has no input '{name}'{suggestion(name, specs)}")
    return {name: _rows(array, specs[name]) for name, array in given.items()}


def _rows(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """*array* [n, ...] such that each row is of the rank that *spec* has, as a batch of one."""
    rows = array if spec.datatype == "BYTES" else array.astype(DTYPES[spec.datatype])
    if rows.ndim <= len(spec.shape):
        rows = rows[:, None]
    return rows.reshape(*rows.shape, *[1] * (len(spec.shape) + 1 - rows.ndim))


def is_right(outputs: Mapping[str, NDArray[Any]], answer: str, label: Any) -> bool:
    """Whether the largest of several scores is that of the class *label*, or else the value is it.

    Raises:
        NotFound: there is no output *answer*.
        InvalidRequest: the output has scores, and the label is no class number.
    """
    if answer and answer not in outputs:
        raise NotFound(f"--answer: no output '{answer}'{suggestion(answer, outputs)}")
    given = np.ravel(outputs[answer] if answer else next(iter(outputs.values())))
    if given.dtype.kind == "f" and given.size > 1:
        try:
            return int(given.argmax()) == int(label)
        except ValueError as error:
            raise InvalidRequest(
                f"label '{label}' is no number of a class, and the answer has {given.size} scores"
            ) from error
    if given.size == 0:
        return False
    if given.dtype.kind in "fiub" and np.asarray(label).dtype.kind in "fiub":
        return bool(given[0] == label)
    return _text(given[0]).strip() == _text(label).strip()
