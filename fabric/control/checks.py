"""What is refused of what routes learn from, before anything of it is stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fabric.core.decisions import Feedback
from fabric.core.errors import InvalidRequest
from fabric.wire.cards import from_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabric.api.routing.v1 import learning_service_pb2 as pb

MOST = 1_000
"""Decisions, outcomes or feedback of one call."""
_LARGEST = 64 * 1024
_LONGEST_NAME = 256
_LISTED = 1_000
_MOST_LISTED = 10_000


def check_recorded(request: pb.RecordRequest) -> None:
    """Raises InvalidRequest, with the place of what is wrong in *request*."""
    _check_number("decisions", request.decisions)
    for place, decision in enumerate(request.decisions):
        what = f"decision {place}"
        _check_size(what, decision)
        _check_name(f"{what}: request", decision.request)
        _check_name(f"{what}: route", decision.route)
        if not math.isfinite(decision.time):
            raise InvalidRequest(f"{what}: time is {decision.time}")
        for name in ("scores", "propensities", "shadow_propensities"):
            if len(values := getattr(decision, name)) not in (0, len(decision.candidates)):
                count = len(decision.candidates)
                raise InvalidRequest(f"{what}: {count} candidates have {len(values)} {name}")
    _check_number("outcomes", request.outcomes)
    for place, outcome in enumerate(request.outcomes):
        what = f"outcome {place}"
        _check_size(what, outcome)
        _check_name(f"{what}: request", outcome.request)
        _check_name(f"{what}: specialist", outcome.specialist)


def check_feedback(request: pb.SubmitFeedbackRequest) -> None:
    """Raises InvalidRequest, with the place of what is wrong in *request*."""
    _check_number("feedback", request.feedback)
    for place, each in enumerate(request.feedback):
        try:
            from_message(each, Feedback)
        except (InvalidRequest, ValueError) as error:
            raise InvalidRequest(f"feedback {place}: {error}") from error
        _check_size(f"feedback {place}", each)
        _check_name(f"feedback {place}: request", each.request)
        for name in ("specialist", "preferred", "id"):
            _check_name(f"feedback {place}: {name}", getattr(each, name) or "-")
        for name in ("specialist", "preferred"):
            if (said := getattr(each, name)) and not all(said.partition(":")):
                raise InvalidRequest(
                    f"feedback {place}: {name} is '{said}', it must read name:version"
                )


def limit_of(request: pb.ListDecisionsRequest) -> int:
    """How many records are asked for. Raises InvalidRequest where they are too many."""
    if not 0 <= request.limit <= _MOST_LISTED:
        raise InvalidRequest(f"limit is {request.limit}, it must be from 1 to {_MOST_LISTED}")
    return request.limit or _LISTED


def _check_number(name: str, messages: Sequence[Any]) -> None:
    if len(messages) > MOST:
        raise InvalidRequest(f"there are {len(messages)} {name}; send {MOST} at a time at most")


def _check_size(what: str, message: Any) -> None:
    if (size := message.ByteSize()) > _LARGEST:
        raise InvalidRequest(f"{what} has {size} bytes, more than {_LARGEST}")


def _check_name(what: str, name: str) -> None:
    if not name:
        raise InvalidRequest(f"{what} is empty")
    if len(name) > _LONGEST_NAME or "\0" in name:
        raise InvalidRequest(f"{what} has {len(name)} characters; {_LONGEST_NAME} may be, no NUL")
