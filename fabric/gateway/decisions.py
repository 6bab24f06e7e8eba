"""Requests that are ranked one by one: what they hold is read, who answers is decided, and both
are remembered."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.core.decisions import Feedback, Query
from fabric.core.errors import FabricError
from fabric.gateway.encoders import Encoders
from fabric.gateway.policies import Policies
from fabric.routing.deciding import Frame, Seen, decided, likely
from fabric.routing.exploration import Explorer
from fabric.routing.learned import Learned
from fabric.routing.similarity import Words
from fabric.wire.cards import from_message
from fabric.wire.content import Input

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from fabric.core.cards import Card
    from fabric.core.deadlines import Deadline
    from fabric.core.plans import Plan
    from fabric.core.requests import Answer, InferRequest
    from fabric.core.routes import Content, Route
    from fabric.gateway.encoders import Embedding
    from fabric.gateway.policies import Chooses
    from fabric.gateway.view import View

log = logging.getLogger(__name__)

_MOST_FRAMES = 256
_AT_ONCE = 16
"""Things said that are learned from in one turn of the event loop."""
_MOST_HEARD = 64
"""Times that something is said of one request."""


class Decisions:
    """Dispatches as *view* does, the requests of `view.deciding`.

    Requests of sequences are none of its: they go where their sequence is.
    """

    def __init__(self, view: View, read: Callable[[bytes], Chooses] = Learned.read) -> None:
        self._view = view
        self._policies = Policies(view, read)
        self._encoders = Encoders(view)
        self._frames: dict[int, Frame] = {}
        """By the plan's id; each holds its plan, so that no other has it."""
        self._words: dict[tuple[str, ...], tuple[tuple[Card, ...], Words]] = {}
        """By the keys of the cards that they are of."""
        self._explorers: dict[str, tuple[Route, Explorer, int]] = {}
        """By route, with the version of the policy whose scores it last started from."""

    async def keep(self) -> None:
        """Keeps policies, and embeddings of cards, as the catalog has them, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._policies.keep())
            tasks.create_task(self._encoders.keep())

    async def infer(self, request: InferRequest, deadline: Deadline) -> Answer:
        """The answer to *request*, which has been admitted, and has an id then.

        Raises what `Dispatcher.infer` raises, and
            InvalidRequest: it lacks the input that its route decides by.
        """
        deadline = await self._decide(request, deadline)
        self._view.dispatcher.admit(request, deadline)
        return await self._view.dispatcher.infer(request, deadline)

    async def stream(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[Answer, None]:
        """The answers to *request* as they come, see `Dispatcher.stream`; raises as `infer`."""
        deadline = await self._decide(request, deadline)
        async with aclosing(self._view.dispatcher.stream(request, deadline)) as answers:
            async for answer in answers:
                yield answer

    async def _decide(self, request: InferRequest, deadline: Deadline) -> Deadline:
        """Gives *request* its plan; by when it has to be answered, deciding included."""
        plan = request.plan
        if plan is None:
            plan = self._view.planner.plan(request.model, request.version, request.requirements)
        route = self._view.catalog.routes.get(plan.route)
        deadline = deadline.within(plan.timeout, time.monotonic())
        if route is None or not plan.candidates:
            return deadline  # it was deleted just now, or there is nothing to decide
        frame = self._frame(plan, route)
        request.request = uuid.uuid4().hex
        seen = await self._seen(frame, request, deadline)
        learning = route.learning
        judged, explorer = None, None
        if learning is not None and route.learns:
            judged, doubt = self._policies.judged(plan.route, learning, seen.query, frame.keys)
            explorer = self._explorer(route, judged.version if judged is not None else 0)
            if doubt:
                seen = replace(seen, doubts=(*seen.doubts, doubt))
        expected: Mapping[str, float] = {}
        try:
            # Who wants the first candidate or nobody is not used to try another one.
            trying = explorer if request.substitute else None
            expected = {} if explorer is None else likely(frame, judged)
            made, decision = decided(frame, seen, judged, trying, expected)
        except Exception as error:
            log.exception("evidence decides for route %s", route.name)
            doubt = f"deciding failed: {type(error).__name__}"
            seen = replace(seen, similarities=None, doubts=(*seen.doubts, doubt))
            made, decision = decided(frame, seen, None, None)
        request.plan, request.place, request.shadow = made, 0, decision.shadow
        self._view.records.decided(decision, made, is_reported=route.learns, expected=expected)
        return deadline

    async def hear(self, payload: bytes) -> None:
        """Takes what a `SubmitFeedbackRequest` says of decisions that are kept here: who is tried
        to learn of it follows that at once, before any policy does.

        What was said before, under the same id of the same request, is not taken again.
        """
        for place, said in enumerate(pb.SubmitFeedbackRequest.FromString(payload).feedback, 1):
            if place % _AT_ONCE == 0:
                await asyncio.sleep(0)  # requests are to be answered meanwhile
            kept = self._view.records.find(said.request)
            about = (said.id, "" if said.id else said.specialist)
            if kept is None or not kept.expected or about in kept.heard:
                continue
            _, explorer, _ = self._explorers.get(kept.decision.route, (None, None, 0))
            if explorer is None or len(kept.heard) >= _MOST_HEARD:
                continue
            self._view.records.hear(kept, about)
            query = kept.decision.query
            for key, success in from_message(said, Feedback).rewards(kept.outcomes):
                if key not in kept.expected:
                    continue
                if explorer.learn(query, key, success, kept.expected[key]) < 1.0:
                    log.warning("%s does otherwise than before for %s", key, kept.decision.route)

    # ------------------------------------------------------------------ what is seen of a request
    async def _seen(self, frame: Frame, request: InferRequest, deadline: Deadline) -> Seen:
        own, asked = frame.route.requirements, request.requirements or frame.route.requirements
        text, numbers = "", tuple[float, ...]()
        doubts: tuple[str, ...] = ()
        similarities: Mapping[str, float] | None = None
        content = frame.route.content
        if content is not None:
            found = Input.of(request.payload, content.input)
            text = found.text() if found.is_text else ""
            numbers = () if found.is_text else found.numbers()
            embedding: Embedding | None = None
            if content.encoder:
                embedding, doubts = await self._embedded(content, found, request, deadline)
                numbers = embedding.numbers if embedding is not None else ()
            if frame.similarity_weight:
                similarities = self._similarities(frame.plan, embedding, text)
        query = Query(
            task=asked.task or own.task,
            domain=asked.domain or own.domain,
            language=asked.language or own.language,
            text=text,
            numbers=numbers,
        )
        return Seen(
            request=request.request,
            time=time.time(),
            query=query,
            similarities=similarities,
            doubts=doubts,
        )

    async def _embedded(
        self, content: Content, found: Input, request: InferRequest, deadline: Deadline
    ) -> tuple[Embedding | None, tuple[str, ...]]:
        """The embedding, or what is to be said where there is none."""
        try:
            return await self._encoders.embed(content, found, request, deadline), ()
        except FabricError as error:
            why = error.message
        except Exception as error:
            log.exception("encoder %s", content.encoder)
            why = type(error).__name__
        return None, (f"encoder {content.encoder} gave no embedding: {why}",)

    def _similarities(
        self, plan: Plan, embedding: Embedding | None, text: str
    ) -> Mapping[str, float] | None:
        """By embeddings where there are any, else by words; None where there is neither."""
        cards = tuple([candidate.card for candidate in plan.candidates])
        if embedding is not None:
            found = self._encoders.similarities(cards, embedding)
            if found is not None:
                return found
        return self._words_of(cards).similarities(text) if text else None

    # ------------------------------------------------------------------ what is made once
    def _frame(self, plan: Plan, route: Route) -> Frame:
        frame = self._frames.get(id(plan))
        if frame is None or frame.route is not route:
            if len(self._frames) >= _MOST_FRAMES:
                self._frames.clear()
            pool = self._view.pool
            frame = Frame(plan, route, lambda key: pool.count(key) > 0)
            self._frames[id(plan)] = frame
        return frame

    def _words_of(self, cards: Sequence[Card]) -> Words:
        key = tuple([card.key for card in cards])
        of, words = self._words.get(key, ((), None))
        if words is None or any(a is not b for a, b in zip(of, cards, strict=True)):
            if len(self._words) >= _MOST_FRAMES:
                self._words.clear()
            words = Words(cards)
            self._words[key] = (tuple(cards), words)
        return words

    def _explorer(self, route: Route, policy: int) -> Explorer | None:
        """Who is tried along *route*, if anybody is. A new *policy* says all that was known when it
        was trained, whoever heard it; that none was asked, 0, changes nothing."""
        exploration, learning = route.exploration, route.learning
        if learning is None or not exploration.is_on:
            return None
        known, explorer, base = self._explorers.get(route.name, (None, None, 0))
        if explorer is not None and known is route and policy in (0, base):
            return explorer
        if len(self._explorers) >= _MOST_FRAMES:
            self._explorers.clear()
        try:
            explorer = Explorer(exploration, self._policies.explored(route.name))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known
            log.warning("what is known along %s cannot be read: %s", route.name, error)
            explorer = Explorer(exploration)
        self._explorers[route.name] = (route, explorer, policy or base)
        return explorer
