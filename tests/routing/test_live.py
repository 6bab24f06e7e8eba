"""How candidates fare."""

from __future__ import annotations

from fabric.routing.live import Live, settled


def test_what_moves_a_little_does_not_count():
    """So plans are not made anew for it."""
    old = Live({"a:1": 0.1}, {"a:1": 0.5})
    assert settled(old, Live({"a:1": 0.11}, {"a:1": 0.45})) is old


def test_what_moves_much_counts_alone():
    """Others keep the number they had."""
    old = Live({"a:1": 0.1, "b:1": 0.1}, {})
    found = settled(old, Live({"a:1": 0.11, "b:1": 0.2}, {}))
    assert found == Live({"a:1": 0.1, "b:1": 0.2}, {})


def test_who_comes_and_goes_counts():
    """What has not answered of late is known no more."""
    old = Live({"a:1": 0.1}, {})
    assert settled(old, Live({"b:1": 0.1}, {})) == Live({"b:1": 0.1}, {})


def test_loads_go_half_the_way():
    """They swing with every request."""
    old = Live({}, {"a:1": 0.0})
    assert settled(old, Live({}, {"a:1": 1.0})).loads == {"a:1": 0.5}
    assert settled(old, Live({}, {"a:1": 0.1})) is old
