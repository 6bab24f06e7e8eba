"""Loading and unloading, of what is declared."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from fabric.catalog.declared import Declared
from fabric.catalog.loading import loaded, unloaded
from fabric.core.cards import Batching, Model
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.routes import Content, Route
from fabric.testing import pipeline, route, specialist


def declared(*specialists, routes=(), pipelines=()):
    return Declared(
        {s.key: s for s in specialists},
        {r.name: r for r in routes},
        {p.name: p for p in pipelines},
    )


def states(selection):
    return {s.key: s.hosting.loaded for s in selection.specialists} | {
        r.name: r.loaded for r in (*selection.routes, *selection.pipelines)
    }


def test_a_specialist_is_unloaded_and_loaded_with_all_its_versions():
    """Other specialists stay as they are."""
    known = declared(specialist("a"), specialist("a", "2"), specialist("b"))

    assert states(unloaded(known, "a", False)) == {"a:1": False, "a:2": False}
    assert states(loaded(known, "a")) == {"a:1": True, "a:2": True}


def test_loading_a_route_loads_all_that_it_leads_to():
    """Through routes within it, and of a chain's entry with a version only that one."""
    known = declared(
        specialist("a"),
        specialist("a", "2"),
        specialist("b"),
        specialist("c"),
        routes=[route("outer", "inner", "a:1"), route("inner", "b")],
    )

    assert states(loaded(known, "outer")) == {
        "a:1": True,
        "b:1": True,
        "inner": True,
        "outer": True,
    }


def test_loading_a_route_loads_who_reads_for_it():
    """It could not be answered without."""
    ranked = Route(name="r", order="scored", content=Content(input="x", encoder="e"))
    known = declared(specialist("a"), specialist("e"), routes=[ranked])
    assert states(loaded(known, "r")) == {"e:1": True, "r": True}


def test_unloading_a_route_leaves_its_chain_unless_dependents_go_too():
    """A specialist may serve other routes."""
    known = declared(specialist("a"), routes=[route("r", "a")])

    assert states(unloaded(known, "r", False)) == {"r": False}
    assert states(unloaded(known, "r", True)) == {"r": False, "a:1": False}


def test_loading_a_pipeline_loads_all_that_it_leads_to():
    """Through routes and pipelines, and of a version that is named only that one."""
    inner = pipeline("inner", "r", "r", loaded=False)
    known = declared(
        specialist("a"),
        specialist("a", "2"),
        specialist("b"),
        specialist("c"),
        routes=[route("r", "b")],
        pipelines=[inner, pipeline("outer", "inner", "a:1", "inner")],
    )

    everything = {"a:1", "b:1", "inner", "outer", "r"}
    assert states(loaded(known, "outer")) == dict.fromkeys(everything, True)
    assert states(unloaded(known, "outer", True)) == dict.fromkeys(everything, False)
    assert states(unloaded(known, "outer", False)) == {"outer": False}


def test_an_override_makes_the_specialist_that_is_declared():
    """Every version is given to it; which of them is loaded it says, and at least one is."""
    known = declared(specialist("a"), specialist("a", "2"))

    def override(known, model, chosen=("2",)):
        assert model is None
        is_loaded = known.card.version in chosen
        hosting = replace(known.hosting, batching=Batching(max_size=8), loaded=is_loaded)
        return replace(known, hosting=hosting)

    selection = loaded(known, "a", override)

    assert states(selection) == {"a:1": False, "a:2": True}
    assert {each.hosting.batching.max_size for each in selection.specialists} == {8}
    with pytest.raises(InvalidRequest, match="none of its versions is served: 2, 1"):
        loaded(known, "a", partial(override, chosen=()))


def test_models_brought_along_are_the_versions_that_are_loaded():
    """Versions without one are unloaded; a new one is made after the latest that there is."""
    known = declared(specialist("a", task="t"), specialist("a", "2"))
    model = Model(uri="/m.onnx", sha256="0" * 64)

    selection = loaded(known, "a", None, {"2": model, "3": model})

    assert states(selection) == {"a:1": False, "a:2": True, "a:3": True}
    assert all(s.hosting.model == model for s in selection.specialists if s.hosting.loaded)


def test_what_cannot_be_loaded_is_named():
    """Unknown names, routes with a configuration, new models without one."""
    known = declared(specialist("a"), routes=[route("r", "a")])

    with pytest.raises(NotFound, match="failed to load 'x', failed to poll"):
        loaded(known, "x")
    with pytest.raises(NotFound, match="failed to unload 'x'"):
        unloaded(known, "x", False)
    with pytest.raises(InvalidRequest, match="'r': it is a route"):
        loaded(known, "r", None, {"1": Model(uri="/m")})
    with pytest.raises(InvalidRequest, match="need a 'config'"):
        loaded(known, "x", None, {"1": Model(uri="/m")})
