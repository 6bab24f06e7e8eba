"""What explaining may cost."""

from __future__ import annotations

import pytest
from deciding import CONTENT, ask, route, view_of

from fabric.api.routing.v1 import routing_service_pb2 as pb
from fabric.core.errors import Overloaded
from fabric.gateway.routing import Routing
from fabric.routing.allowance import Allowance
from fabric.testing import ManualClock, specialist


async def explained(routing, **said):
    (payload,) = await routing.explain(pb.ExplainRequest(**said).SerializeToString(), {})
    return pb.ExplainResponse.FromString(payload)


async def test_explaining_has_a_share_of_the_time():
    """What is asked for beyond it is refused, but for what was decided, which is known."""
    clock, cpu = ManualClock(), ManualClock()
    view = view_of(specialist("a"), specialist("b"), route(content=CONTENT))
    routing = Routing(view, None, Allowance(0.1, 0.5, "ask again later", clock, cpu))
    _, record = await ask(view)
    with routing._allowance.taken():
        cpu.advance(1.0)

    with pytest.raises(Overloaded, match="ask again later"):
        await explained(routing, model="r")
    known = await explained(routing, request_id=record.decision.request)
    assert known.decision.candidates
    clock.advance(6.0)
    assert len((await explained(routing, model="r")).candidates) == 2
