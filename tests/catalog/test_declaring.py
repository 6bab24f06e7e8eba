"""What changes when specialists and routes are declared."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fabric.catalog.declared import Declared, reaching
from fabric.catalog.declaring import Action, Change, decide, differences, without
from fabric.core.cards import (
    Batching,
    Model,
    OnnxRuntime,
    Replicas,
    Resources,
    Specialist,
    Timeouts,
)
from fabric.core.changes import Key, Kind
from fabric.core.errors import Conflict, FabricError, InvalidRequest, NotFound
from fabric.core.pipelines import DEEPEST, Body, Branch, Pipeline, Step
from fabric.core.routes import Content, Retry, Route
from fabric.core.tensors import Signature
from fabric.testing import pipeline, route, specialist


def declared(*resources: Specialist | Route | Pipeline) -> Declared:
    return Declared(
        {r.key: r for r in resources if isinstance(r, Specialist)},
        {r.name: r for r in resources if isinstance(r, Route)},
        {r.name: r for r in resources if isinstance(r, Pipeline)},
    )


def actions(changes: tuple[Change, ...]) -> dict[str, str]:
    return {change.key.name: change.action for change in changes}


@pytest.mark.parametrize(
    ("fields", "action", "paths"),
    [
        ({"replicas": Replicas(min=2, max=4)}, "update", ("hosting.replicas.min",)),
        ({"batching": Batching(max_size=8)}, "update", ("hosting.batching.max_size",)),
        ({"timeouts": Timeouts(drain=1.0)}, "update", ("hosting.timeouts.drain",)),
        ({"timeouts": Timeouts(startup=1.0)}, "replace", ("hosting.timeouts.startup",)),
        ({"model": Model(uri="m.onnx")}, "replace", ("hosting.model.uri",)),
        ({"python": "m:C"}, "replace", ("hosting.model", "hosting.python")),
        ({"arguments": {"a": "b"}}, "replace", ("hosting.arguments",)),
        ({"resources": Resources(gpus=1.0)}, "replace", ("hosting.resources.gpus",)),
        (
            {"onnxruntime": OnnxRuntime(intra_op_threads=4)},
            "replace",
            ("hosting.onnxruntime.intra_op_threads",),
        ),
    ],
)
def test_only_what_a_replica_reads_when_it_starts_replaces_it(fields, action, paths):
    """Everything else changes in place, and the fields that change are named."""
    decision = decide(declared(specialist("a")), [specialist("a", **fields)], [], prune=False)

    assert decision.changes[0].action == action
    assert set(paths) <= set(decision.changes[0].fields)


def test_a_card_changes_in_place_but_for_its_signature():
    """What routing alone knows restarts nothing."""
    before = declared(specialist("a"))
    card = before.specialists["a:1"].card
    cheaper = replace(before.specialists["a:1"], card=replace(card, cost=2.0, domains=("x",)))
    narrower = replace(before.specialists["a:1"], card=replace(card, signature=Signature()))

    assert decide(before, [cheaper], [], prune=False).changes == (
        Change(Key(Kind.SPECIALIST, "a:1"), Action.UPDATE, ("card.domains", "card.cost")),
    )
    assert decide(before, [narrower], [], prune=False).changes[0].action is Action.REPLACE


def test_what_is_said_again_changes_nothing():
    """Declaring the same twice is no change."""
    resources = (specialist("a"), route("r", "a"), pipeline("p", "r"))
    before = declared(*resources)
    decision = decide(before, *([each] for each in resources), prune=True)

    assert actions(decision.changes) == {"a:1": "none", "r": "none", "p": "none"}
    assert decision.declared == before


def test_a_route_names_the_fields_that_change():
    """Routes have no replicas, so they change in place."""
    before = declared(specialist("a"), route("r", "a"))
    after = replace(before.routes["r"], timeout=1.0, retry=Retry(attempts=9))

    assert decide(before, [], [after], prune=False).changes == (
        Change(Key(Kind.ROUTE, "r"), Action.UPDATE, ("retry.attempts", "timeout")),
    )


def test_pruning_takes_out_what_is_not_said():
    """Without pruning, what is not said stays."""
    before = declared(specialist("a"), specialist("b"), route("r", "a"), pipeline("p", "r"))

    kept = decide(before, [specialist("c")], [], prune=False)
    pruned = decide(before, [specialist("c")], [], prune=True)

    assert actions(kept.changes) == {"c:1": "create"}
    assert set(kept.declared.specialists) == {"a:1", "b:1", "c:1"}
    assert actions(pruned.changes) == {
        "c:1": "create",
        "a:1": "delete",
        "b:1": "delete",
        "r": "delete",
        "p": "delete",
    }
    assert pruned.declared == declared(specialist("c"))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ((specialist("a"), specialist("a")), "specialist a:1 is declared more than once"),
        (
            (specialist("a"), route("r", "a"), route("r", "a")),
            "route r is declared more than once",
        ),
        (
            (specialist("a"), route("a", "a")),
            "'a' is the name of a specialist and of a route: rename one of them",
        ),
        (
            (specialist("a"), pipeline("a", "a")),
            "'a' is the name of a specialist and of a pipeline: rename one of them",
        ),
        (
            (specialist("a"), route("r", "a"), pipeline("r", "a")),
            "'r' is the name of a route and of a pipeline: rename one of them",
        ),
        (
            (specialist("a"), pipeline("p", "a"), pipeline("p", "a")),
            "pipeline p is declared more than once",
        ),
        (
            (specialist("a"), pipeline("p", "a"), route("r", "p")),
            (
                "route 'r' names 'p', which is a pipeline: routes lead to specialists and to other "
                "routes"
            ),
        ),
        (
            (
                specialist("digits"),
                route("r", "digits"),
                pipeline("p", "digts", "r:2", "digits:1", "r"),
                pipeline("q", "digits:2", "p:1"),
            ),
            (
                "pipeline 'p': step 's0' calls 'digts', which is no specialist, route or pipeline; "
                "did you mean 'digits'?\n"
                "pipeline 'p': step 's1' calls version '2' of 'r', which is a route and has no "
                "versions\n"
                "pipeline 'q': step 's0' calls 'digits:2', which is no specialist; did you mean "
                "'digits:1'?\n"
                "pipeline 'q': step 's1' calls version '1' of 'p', which is a pipeline and has no "
                "versions"
            ),
        ),
        (
            (pipeline("a", "b"), pipeline("b", "a")),
            "pipelines call each other in a cycle: a -> b -> a",
        ),
        ((pipeline("a", "a"),), "pipelines call each other in a cycle: a -> a"),
        (
            (specialist("digits"), route("r", "digts")),
            (
                "route 'r' names 'digts', which is neither a specialist nor a route; "
                "did you mean 'digits'?"
            ),
        ),
        (
            (specialist("a", "12"), route("r", "a:1")),
            "route 'r' names 'a:1', which is no specialist; did you mean 'a:12'?",
        ),
        (
            (specialist("a"), route("r", "a"), route("s", "r:1")),
            "route 's' names version '1' of 'r', which is a route and has no versions",
        ),
        (
            (specialist("x"), route("a", "b", "x"), route("b", "c"), route("c", "a")),
            "routes name each other in a cycle: c -> a -> b -> c",
        ),
        ((route("a", "a"),), "routes name each other in a cycle: a -> a"),
    ],
)
def test_what_does_not_hold_together_is_refused(resources, message):
    """The message names what is wrong, and the nearest name that would be right."""
    specialists = [r for r in resources if isinstance(r, Specialist)]
    routes = [r for r in resources if isinstance(r, Route)]
    pipelines = [r for r in resources if isinstance(r, Pipeline)]

    with pytest.raises(InvalidRequest) as raised:
        decide(Declared(), specialists, routes, pipelines)

    if "cycle" in message:
        assert same_cycle(raised.value.message, message)
    else:
        assert raised.value.message == message


def same_cycle(said: str, expected: str) -> bool:
    """A cycle may be told from any of its routes."""
    turns = [text.split(": ")[1].split(" -> ")[:-1] for text in (said, expected)]
    return any(turns[0][i:] + turns[0][:i] == turns[1] for i in range(len(turns[0])))


def test_a_long_chain_of_routes_is_no_cycle():
    """The depth of routes is not limited by the interpreter's stack."""
    routes = [route(f"r{i}", f"r{i + 1}") for i in range(3000)]
    decision = decide(Declared(), [specialist("a")], [*routes, route("r3000", "a")], prune=False)

    assert len(decision.changes) == 3002


def test_what_a_route_names_cannot_go():
    """The message names the route that has to change first."""
    before = declared(
        specialist("a"), specialist("a", "2"), specialist("b"), route("r", "a:1"), route("s", "r")
    )

    for key in (Key(Kind.SPECIALIST, "a"), Key(Kind.SPECIALIST, "a:1")):
        with pytest.raises(Conflict, match="route 'r' names 'a:1': change the route first"):
            without(before, key)
    with pytest.raises(Conflict, match="route 's' names 'r': change the route first"):
        without(before, Key(Kind.ROUTE, "r"))
    with pytest.raises(Conflict, match="route 'r' names 'a:1'"):
        decide(before, [specialist("b")], [route("r", "a:1")], prune=True)
    assert actions(without(before, Key(Kind.SPECIALIST, "b")).changes) == {"b:1": "delete"}


def test_what_a_pipeline_calls_cannot_go():
    """The message names the pipeline that has to change first."""
    before = declared(
        specialist("a"),
        specialist("b"),
        route("r", "b"),
        pipeline("p", "a:1", "r"),
        pipeline("q", "p"),
    )

    for kind, name, named in (
        (Kind.SPECIALIST, "a", "'p' calls 'a:1'"),
        (Kind.ROUTE, "r", "'p' calls 'r'"),
        (Kind.PIPELINE, "p", "'q' calls 'p'"),
    ):
        with pytest.raises(Conflict, match=f"pipeline {named}: change the pipeline first"):
            without(before, Key(kind, name))
    with pytest.raises(Conflict, match="pipeline 'p' calls 'a:1'"):
        decide(before, [specialist("b")], [route("r", "b")], [pipeline("p", "a:1")], prune=True)
    assert actions(without(before, Key(Kind.PIPELINE, "q")).changes) == {"q": "delete"}


def test_who_is_called_instead_is_there_too():
    """A fallback is named as who is called first is."""
    step = replace(pipeline("p", "a").steps[0], fallback=("b",))
    falling = replace(pipeline("p", "a"), steps=(step,))

    with pytest.raises(InvalidRequest, match="pipeline 'p': step 's0' calls 'b', which is no spec"):
        decide(Declared(), [specialist("a")], [], [falling])
    assert decide(Declared(), [specialist("a"), specialist("b")], [], [falling])


def test_whom_a_pipeline_can_do_without_may_come_and_go():
    """Only a version of what has none is wrong in any case."""
    called = pipeline("p", "a").steps[0]
    optional = replace(pipeline("p", "a"), steps=(replace(called, optional=True),))
    versioned = replace(optional, steps=(replace(called, call="r:1", optional=True),))

    decided = decide(Declared(), [], [], [optional]).declared
    with_it = decide(decided, [specialist("a")], []).declared
    assert without(with_it, Key(Kind.SPECIALIST, "a")).declared == decided
    with pytest.raises(InvalidRequest, match="version '1' of 'r', which is a route and has no"):
        decide(with_it, [], [route("r", "a")], [versioned])


def test_a_call_within_bodies_counts_as_any():
    """Whoever a body calls must be there, and stay."""
    inner = Body(steps=pipeline("x", "a").steps, outputs={"y": "s0.y"})
    branch = Step(name="branch", branch=Branch(on="x", cases={"true": inner}))
    outer = replace(pipeline("p", "a"), steps=(branch,))

    with pytest.raises(InvalidRequest, match="pipeline 'p': step 's0' calls 'a', which is no"):
        decide(Declared(), [], [], [outer])
    with pytest.raises(Conflict, match="pipeline 'p' calls 'a': change the pipeline first"):
        without(declared(specialist("a"), outer), Key(Kind.SPECIALIST, "a"))


def test_one_version_or_all_of_them_are_deleted():
    """A name without a version means every version."""
    before = declared(specialist("a"), specialist("a", "2"), specialist("b"))

    assert set(without(before, Key(Kind.SPECIALIST, "a")).declared.specialists) == {"b:1"}
    assert set(without(before, Key(Kind.SPECIALIST, "a:2")).declared.specialists) == {"a:1", "b:1"}


def test_deleting_what_is_not_there_says_what_is():
    """The nearest name is in the message; replicas are not deleted at all."""
    before = declared(specialist("rotated"), route("digits", "rotated"))

    with pytest.raises(NotFound, match="no route digit; did you mean 'digits'"):
        without(before, Key(Kind.ROUTE, "digit"))
    with pytest.raises(NotFound, match="no specialist rotated:2; did you mean 'rotated:1'"):
        without(before, Key(Kind.SPECIALIST, "rotated:2"))
    with pytest.raises(NotFound, match="no pipeline pag; did you mean 'page'"):
        without(declared(pipeline("page", "page")), Key(Kind.PIPELINE, "pag"))
    with pytest.raises(InvalidRequest, match="replicas are not declared"):
        without(before, Key(Kind.REPLICA, "x"))


@pytest.mark.parametrize("seed", range(40))
def test_decisions_hold_together_whatever_is_declared(seed):
    """What is accepted is what was said; it is idempotent, and every name in it means something."""
    random_ = random.Random(seed)
    before = Declared()
    for _ in range(30):
        specialists, routes, pipelines = random_resources(random_)
        prune = random_.random() < 0.3
        try:
            decision = decide(before, specialists, routes, pipelines, prune=prune)
        except FabricError:
            continue
        after = decision.declared
        for each in specialists:
            assert after.specialists[each.key] == each
        for route_ in after.routes.values():
            assert all(after.has(str(entry)) for entry in route_.chain)
        for each in after.pipelines.values():
            assert all(map(after.has, each.calls))
        gone = before.specialists.keys() - after.specialists.keys()
        gone |= before.routes.keys() - after.routes.keys()
        gone |= before.pipelines.keys() - after.pipelines.keys()
        assert gone == {c.key.name for c in decision.changes if c.action is Action.DELETE}
        again = decide(after, specialists, routes, pipelines, prune=prune)
        assert again.declared == after
        assert {c.action for c in again.changes} <= {Action.NONE}
        before = after


def random_resources(
    random_: random.Random,
) -> tuple[list[Specialist], list[Route], list[Pipeline]]:
    names, routes, pipelines = ["a", "b", "c"], ["r", "s", "t"], ["p", "q"]
    return (
        [
            specialist(
                name, random_.choice("12"), batching=Batching(max_size=random_.randint(1, 3))
            )
            for name in random_.sample(names, random_.randint(0, 3))
        ],
        [
            route(name, *random_.sample(names + routes, random_.randint(1, 3)))
            for name in random_.sample(routes, random_.randint(0, 2))
        ],
        [
            pipeline(name, *random_.sample([*names, *routes, *pipelines, "a:2"], 2))
            for name in random_.sample(pipelines, random_.randint(0, 2))
        ],
    )


def test_differences_are_paths_of_fields():
    """Equal values differ in nothing; a part that is missing on one side is one path."""
    a = specialist("a")

    assert differences(a, specialist("a")) == ()
    assert differences(a, replace(a, card=replace(a.card, signature=Signature()))) == (
        "card.signature",
    )


def test_who_reads_for_a_route_is_there_and_stays():
    """It is named as the chain's entries are."""
    ranked = Route(name="r", order="scored", content=Content(input="x", encoder="e"))
    with pytest.raises(InvalidRequest, match="route 'r' names 'e', which is neither"):
        decide(Declared(), [], [ranked], prune=False)
    known = declared(specialist("e"), ranked)
    with pytest.raises(Conflict, match="route 'r' names 'e': change the route first"):
        without(known, Key(Kind.SPECIALIST, "e"))
    circle = Route(name="r", order="scored", content=Content(input="x", encoder="r"))
    with pytest.raises(InvalidRequest, match="cycle: r -> r"):
        decide(Declared(), [], [circle], prune=False)


def test_pipelines_call_each_other_to_a_depth():
    """A request makes no more calls within calls than that."""
    deep = [pipeline(f"p{at}", f"p{at + 1}") for at in range(DEEPEST - 1)]
    last = pipeline(f"p{DEEPEST - 1}", "a")

    assert decide(Declared(), [specialist("a")], [], [*deep, last])
    with pytest.raises(InvalidRequest, match="'deeper' leads through 17 pipelines, more than the"):
        decide(Declared(), [specialist("a")], [], [*deep, last, pipeline("deeper", "p0")])


def test_what_leads_to_what_has_changed_is_found():
    """Through routes and pipelines, whatever version they name."""
    known = declared(
        specialist("a"),
        specialist("b"),
        route("r", "a:1"),
        pipeline("p", "r"),
        pipeline("q", "p", "b"),
        pipeline("other", "b"),
    )

    assert reaching(known, {"a"}) == {"p", "q"}
    assert reaching(known, {"b"}) == {"q", "other"}
    assert reaching(known, {"p"}) == {"p", "q"}
    assert reaching(known, ()) == set()
