"""Embeddings of requests and of what cards say, by the encoders that routes name.

An encoder is a specialist or a route like any other, and asked as any is. It costs no answer: it
has a share of the time that a request has, and who decides goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fabric.core.deadlines import Deadline
from fabric.core.errors import FabricError, Overloaded, SpecialistFailed, Unavailable
from fabric.core.requests import InferRequest
from fabric.routing.similarity import Embedded, said
from fabric.wire.content import embedding, text_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fabric.core.cards import Card
    from fabric.core.deadlines import Clock
    from fabric.core.routes import Content
    from fabric.core.tensors import TensorSpec
    from fabric.gateway.view import View
    from fabric.wire.content import Input

log = logging.getLogger(__name__)

_SHARE = 0.25
"""Of the time that a request has left,"""
_LONGEST = 1.0
"""and seconds that it waits for an encoder at most."""
_AT_ONCE = 256
"""Requests that wait for encoders; others are decided without."""
_TOO_LONG = 0.25
"""Seconds that a request waited for nothing, for which the encoder is left alone"""
_REST = 1.0
"""seconds."""
_PATIENCE = 5.0
_RETRY = 2.0
_MOST_TEXTS = 4096
"""Of cards, for each encoder."""
_MOST_PLANS = 256

_Space = tuple[str, str]
"""`name:version` of who made an embedding, and of which output it is; others mean other things."""


@dataclass(frozen=True, slots=True)
class Embedding:
    numbers: tuple[float, ...]
    space: _Space


class Encoders:
    """Asks encoders; `keep` keeps embeddings of what cards say at hand."""

    def __init__(self, view: View, clock: Clock = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._running = 0
        self._resting: dict[str, float] = {}
        """Encoders that are left alone, until when."""
        self._vectors: dict[_Space, dict[str, NDArray[np.float32]]] = {}
        """Of texts."""
        self._embedded: dict[tuple[_Space, tuple[str, ...]], Embedded | None] = {}
        """Of the cards with these keys; None where some are missing."""

    async def embed(
        self, content: Content, found: Input, asking: InferRequest, deadline: Deadline
    ) -> Embedding:
        """The embedding of the input *found* of *asking* by the encoder of *content*.

        Raises:
            FabricError: there is none in time.
        """
        started, encoder = self._clock(), content.encoder
        if started < self._resting.get(encoder, 0.0):
            raise Unavailable("it kept others waiting just now")
        if self._running >= _AT_ONCE:
            raise Overloaded(f"{self._running} requests wait for encoders already")
        names = content.encoder, content.encoder_input, content.encoder_output
        payload, trace, tenant = found.request(*names), asking.trace, asking.tenant
        request = InferRequest(encoder, "", payload, trace=trace, tenant=tenant)
        wait = min(_LONGEST, _SHARE * deadline.remaining(started))
        self._running += 1
        try:
            return await self._ask(request, content.encoder_output, Deadline(started + wait))
        except FabricError:
            now = self._clock()
            if now - started >= _TOO_LONG:
                self._resting[encoder] = now + _REST
            raise
        finally:
            self._running -= 1

    def similarities(self, cards: Sequence[Card], of: Embedding) -> dict[str, float] | None:
        """Of a request to what each of *cards* says, by its key; None before all of that has been
        embedded, since who has not would seem to be like nothing."""
        key = of.space, tuple([card.key for card in cards])
        if key not in self._embedded:
            if len(self._embedded) >= _MOST_PLANS:
                self._embedded.clear()
            self._embedded[key] = self._of(cards, self._vectors.get(of.space, {}))
        embedded = self._embedded[key]
        return None if embedded is None else embedded.similarities(of.numbers) or None

    def _of(
        self, cards: Sequence[Card], vectors: Mapping[str, NDArray[np.float32]]
    ) -> Embedded | None:
        try:
            return Embedded({card.key: [vectors[text] for text in said(card)] for card in cards})
        except KeyError:
            return None

    async def keep(self) -> None:
        """Embeds what cards say whenever that or the encoders change, for ever; text by text."""
        while True:
            news = self._view.news
            is_done = await self._embed_cards()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if is_done else _RETRY):
                    await news.wait()

    async def _embed_cards(self) -> bool:
        """Whether all is embedded that can be."""
        is_done = True
        kept: dict[_Space, dict[str, NDArray[np.float32]]] = {}
        for content, texts in self._wanted():
            try:
                by, spec = self._encoder(content)
                if spec is None:  # it reads no texts, and cards say nothing else
                    continue
                space = by, content.encoder_output
                known = self._vectors.setdefault(space, {})
                for text in [text for text in texts if text not in known][:_MOST_TEXTS]:
                    await self._embed_text(content, spec, text)
                found = {text: known[text] for text in texts if text in known}
                kept.setdefault(space, {}).update(found)
                is_done = is_done and len(found) == len(texts)
            except FabricError as error:
                log.debug("cards are not compared by encoder %s: %s", content.encoder, error)
                is_done = False
            except Exception:  # which must not end the gateway
                log.exception("cards are not compared by encoder %s", content.encoder)
                is_done = False
        if is_done:
            self._vectors = kept
        self._embedded.clear()
        return is_done

    def _wanted(self) -> list[tuple[Content, list[str]]]:
        """The texts to embed by each encoder."""
        wanted: dict[Content, dict[str, None]] = {}
        for route in self._view.deciding.values():
            content = route.content
            weights = route.preferences.weighted
            if content is None or not content.encoder or "similarity" not in weights:
                continue
            with suppress(FabricError):  # nobody may answer at the moment
                plan = self._view.planner.plan(route.name, "", None)
                cards = (candidate.card for candidate in plan.candidates)
                texts = wanted.setdefault(content, {})
                texts.update(dict.fromkeys(text for card in cards for text in said(card)))
        return [(content, list(texts)[:_MOST_TEXTS]) for content, texts in wanted.items()]

    def _encoder(self, content: Content) -> tuple[str, TensorSpec | None]:
        """`name:version` of who is asked first, and its input if that is of texts.

        Raises:
            FabricError: there is none, or its signature is not known yet.
        """
        card = self._view.planner.plan(content.encoder, "", None).candidates[0].card
        if card.signature is None:
            raise Unavailable(f"the signature of {card.key} is not known")
        name = content.encoder_input or content.input
        spec = next((each for each in card.signature.inputs if each.name == name), None)
        return card.key, spec if spec is not None and spec.datatype == "BYTES" else None

    async def _embed_text(self, content: Content, spec: TensorSpec, text: str) -> None:
        shape = [max(size, 1) for size in spec.shape]
        output = content.encoder_output
        payload = text_request(content.encoder, spec.name, shape, text, output)
        request = InferRequest(content.encoder, "", payload)
        made = await self._ask(request, output, Deadline(self._clock() + _PATIENCE))
        vectors = self._vectors.setdefault(made.space, {})
        if any(len(each) != len(made.numbers) for each in vectors.values()):
            raise SpecialistFailed("its embeddings are not all of one length")
        if len(vectors) < 2 * _MOST_TEXTS:
            vectors[text] = np.array(made.numbers, np.float32)

    async def _ask(self, request: InferRequest, output: str, deadline: Deadline) -> Embedding:
        answer = await self._view.dispatcher.infer(request, deadline)
        numbers = embedding(answer.response.payload, output)
        return Embedding(numbers, (f"{answer.specialist}:{answer.version}", output))
