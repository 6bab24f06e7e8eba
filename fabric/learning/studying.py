"""What the records of a route teach: a new policy, and which of the old ones have lost."""

from __future__ import annotations

import json
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fabric.core.policies import Policy, in_use
from fabric.core.routes import Learning
from fabric.learning.losing import why_lost
from fabric.learning.records import table_of
from fabric.routing.exploration import Explorer
from fabric.routing.learned import Learned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.core.cards import Card, Evidence
    from fabric.core.decisions import Record
    from fabric.core.routes import Exploration, Route
    from fabric.learning.outcomes import Table


TIME = "%Y-%m-%dT%H:%M:%SZ"
"""How the time of a training is written."""


_LEAST_WEIGHT = 1e-3
"""Of an outcome; what is older than that costs time and says nothing."""


class Learnt(Protocol):
    """What a training gives."""

    @property
    def report(self) -> Mapping[str, Any]:
        """In what JSON can say."""

    def write(self) -> bytes: ...


class Trainer(Protocol):
    """Learns from outcomes of *weights*, [n, k], and what cards claim, by candidate; see
    `fabric.learning.training.fit`."""

    def __call__(
        self,
        table: Table,
        *,
        weights: NDArray[np.float64],
        evidence: Mapping[str, Sequence[Evidence]],
    ) -> Learnt: ...


@dataclass(frozen=True, kw_only=True)
class Studied:
    """What came out of the records of a route."""

    policy: Policy | None = None
    """Under no version of its own yet."""
    why: str = ""
    """There is none."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Versions of policies that must not be used any more, and why."""

    def write(self) -> bytes:
        """As `read` takes it: a line of JSON, then what the policy has in bytes."""
        policy = self.policy
        head = {
            "labels": policy and policy.labels,
            "trained": policy and policy.trained,
            "report": policy and policy.report,
            "explored": policy and len(policy.explored),
            "why": self.why,
            "lost": dict(self.lost),
        }
        rest = policy.explored + policy.data if policy else b""
        return json.dumps(head).encode() + b"\n" + rest

    @classmethod
    def read(cls, route: str, written: bytes) -> Studied:
        """Raises ValueError when it was not written by `write`."""
        head, newline, rest = written.partition(b"\n")
        if not newline:
            raise ValueError("it says nothing")
        said = json.loads(head)
        if said["why"]:
            return cls(why=said["why"], lost=said["lost"])
        fields = {name: said[name] for name in ("labels", "trained", "report")}
        explored, data = rest[: said["explored"]], rest[said["explored"] :]
        policy = Policy(route=route, version=1, data=data, explored=explored, **fields)
        return cls(policy=policy, lost=said["lost"])


def study(
    route: Route,
    policies: Sequence[Policy],
    records: Sequence[Record],
    cards: Mapping[str, Card],
    train: Trainer,
    now: str,
) -> Studied:
    """What *records*, by time, teach of candidates whose *cards* are known by `name:version`.

    The policy that the route uses, of *policies*, the latest first, is judged by what came after
    its training; a new one is trained on all. What candidates did that are no longer declared is
    not learned from: nobody can choose them.
    """
    learning = route.learning or Learning()
    lost = _lost(in_use(policies, route), learning, records)
    table = declared_of(table_of(records), cards)
    labels = len(table.queries)
    if labels < learning.min_labels:
        why = (
            f"{labels} of the {len(records)} requests of which something was said tell how well a "
            f"declared specialist did; it takes {learning.min_labels}"
        )
        return Studied(why=why, lost=lost)
    weights = weights_of(table.quality, learning.discount)
    kept = np.flatnonzero(weights.max(axis=1) >= _LEAST_WEIGHT)
    table, weights = table.rows(kept), weights[kept]
    learnt = train(table, weights=weights, evidence={k: c.evidence for k, c in cards.items()})
    data = learnt.write()
    learned = Learned.read(data)  # what cannot be read is never handed out
    policy = Policy(
        route=route.name,
        version=1,
        data=data,
        explored=_explored(route.exploration, records, learned),
        labels=len(kept),
        trained=now,
        report=json.dumps(learnt.report),
    )
    return Studied(policy=policy, lost=lost)


def seconds_of(trained: str) -> float:
    """The time *trained* of a policy, in seconds since 1970; 0 where it is none."""
    try:
        return float(timegm(time.strptime(trained, TIME)))
    except ValueError:
        return 0.0


def _explored(exploration: Exploration, records: Sequence[Record], learned: Learned) -> bytes:
    """How much *records*, by time, say of each candidate, which *learned* was trained on."""
    if not exploration.is_on:
        return b""
    explorer = Explorer(exploration)
    places = {name: place for place, name in enumerate(learned.candidates)}
    for record in records:
        query = record.decision.query
        expected = learned.prior.predict(query)
        for name, reward in record.rewards.items():
            score = float(expected[places[name]]) if name in places else float("nan")
            explorer.learn(query, name, reward, score)
    explorer.rebase()
    return explorer.write()


def _lost(
    policy: Policy | None, learning: Learning, records: Sequence[Record]
) -> Mapping[str, str]:
    if policy is None or policy.lost:
        return {}
    trained = seconds_of(policy.trained)
    since = (record for record in records if record.decision.time > trained)
    try:
        reason = why_lost(Learned.read(policy.data), learning.guard, since)
    except ValueError as error:
        reason = f"it cannot be read: {error}"
    return {str(policy.version): reason} if reason else {}


def declared_of(table: Table, cards: Mapping[str, Card]) -> Table:
    """*table* without candidates that have no card, and without the rows that are only of them."""
    columns = [place for place, name in enumerate(table.candidates) if name in cards]
    rows = ~np.isnan(table.quality[:, columns]).all(axis=1) if columns else np.zeros(0, np.intp)
    kept = table.rows(np.flatnonzero(rows))
    return type(table)(
        tuple(table.candidates[place] for place in columns),
        kept.queries,
        kept.quality[:, columns],
        kept.cost[:, columns],
        kept.seconds[:, columns],
    )


def weights_of(quality: NDArray[np.float64], discount: float) -> NDArray[np.float64]:
    """Of every outcome, [n, k], the earliest first: *discount* to the power of how many came after
    it for the same candidate."""
    known = ~np.isnan(quality)
    later = known[::-1].cumsum(axis=0)[::-1] - known
    return np.where(known, discount**later, 0.0)
