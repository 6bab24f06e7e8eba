"""Changes of a catalog, there and back."""

from __future__ import annotations

import pytest

from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.core.changes import Changes, Hosted, Key, Kind
from fabric.core.policies import Policy
from fabric.core.replicas import Status
from fabric.testing import pipeline, replica, route, specialist
from fabric.wire.changes import from_key, from_resource, from_watch, to_key, to_watch


def test_changes_of_every_kind_survive_the_wire():
    """What happened to one catalog arrives at its mirror as it was."""
    changes = Changes(
        revision=7,
        snapshot=True,
        specialists=(Hosted(specialist("a"), Status(ready=1)),),
        routes=(route("r", "a"),),
        replicas=(replica("x", "a:1"),),
        policies=(
            Policy(route="r", version=2, data=b"\0\xff", labels=60, trained="now", report="{}"),
            Policy(route="r", version=1, data=b"", lost="worse"),
        ),
        pipelines=(pipeline("p", "a", "r"),),
        removed=tuple(Key(kind, f"gone-{kind}") for kind in Kind),
    )

    message = pb.WatchResponse.FromString(to_watch(changes).SerializeToString())
    assert from_watch(message) == changes


def test_every_kind_has_a_number():
    """A kind is never sent as "not said"."""
    assert {to_key(Key(kind, "x")).kind for kind in Kind} == set(pb.Kind.values()) - {0}


def test_what_says_nothing_is_refused():
    """The message names what could have been said."""
    with pytest.raises(ValueError, match=r"use one of KIND_SPECIALIST, .*, KIND_PIPELINE"):
        from_key(pb.Key(name="x"))
    with pytest.raises(ValueError, match="the resource is empty"):
        from_resource(pb.Resource())
