"""What a host of processes does next."""

from __future__ import annotations

import random

import pytest

from fabric.control.hosts.steps import PATIENCE, Running, Steps, next_steps, pause


def test_the_number_wanted_is_started():
    """Missing replicas start, all at once where none has to be replaced."""
    running = [Running(1, "a", is_current=True, is_ready=False)]

    assert next_steps({"a": 3, "b": 1}, running) == Steps(("a", "a", "b"), ())


def test_what_is_no_longer_wanted_stops():
    """A specialist that is gone loses all, one that shrinks those that are not ready first."""
    running = [
        Running(1, "a", is_current=True, is_ready=True),
        Running(2, "b", is_current=True, is_ready=False),
        Running(3, "b", is_current=True, is_ready=True),
    ]

    steps = next_steps({"b": 1}, running)
    assert (steps.starts, set(steps.stops)) == ((), {1, 2})


def test_nothing_starts_while_it_is_held():
    """Backing off holds starts, not stops."""
    running = [Running(1, "a", is_current=False, is_ready=True)]

    assert next_steps({"a": 1}, running, {"a"}) == Steps((), ())
    assert next_steps({}, running, {"a"}) == Steps((), (1,))


def test_an_older_one_goes_only_for_a_new_one_that_is_ready():
    """A new one that is not ready, or never gets so, takes nothing away."""
    older = Running(1, "a", is_current=False, is_ready=True)

    assert next_steps({"a": 1}, [older]) == Steps(("a",), ())
    starting = Running(2, "a", is_current=True, is_ready=False)
    assert next_steps({"a": 1}, [older, starting]) == Steps((), ())
    ready = Running(2, "a", is_current=True, is_ready=True)
    assert next_steps({"a": 1}, [older, ready]) == Steps((), (1,))


@pytest.mark.parametrize("seed", range(30))
def test_a_replacement_never_costs_capacity(seed):
    """All become current, with the number wanted ready throughout, and one more at most."""
    random_ = random.Random(seed)
    count = random_.randint(1, 5)
    ready = dict.fromkeys(range(count), False)  # pid -> is_current
    starting: set[int] = set()
    for _ in range(100):
        running = [Running(p, "a", is_current=c, is_ready=True) for p, c in ready.items()]
        running += [Running(p, "a", is_current=True, is_ready=False) for p in starting]
        random_.shuffle(running)
        steps = next_steps({"a": count}, running)
        for pid in steps.stops:
            starting.discard(pid)
            ready.pop(pid, None)
        first = 1 + max([*ready, *starting])
        starting |= {first + n for n in range(len(steps.starts))}
        assert len(ready) >= count
        assert len(ready) + len(starting) <= count + 1
        if starting and random_.random() < 0.5:
            pid = starting.pop()
            if random_.random() < 0.7:
                ready[pid] = True

    assert len(ready) == count
    assert all(ready.values())


def test_pauses_grow_to_their_limit():
    """The first restart is at once; who fails for ever is tried for ever, at a slow pace."""
    pauses = [pause(failures) for failures in (0, 1, 2, 3, 4, 8, 10_000)]

    assert pauses == [0.0, 0.0, 0.5, 1.0, 2.0, PATIENCE, PATIENCE]
