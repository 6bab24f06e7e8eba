"""The room that kept answers have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.requests import InferResponse
from fabric.gateway.kept import BESIDE, SHARE, Kept, Key

KEYS = st.integers(0, 15).map(lambda n: Key(f"s:{n % 2}", "m", "", bytes([n])))
MOST_KEPT = 8 * (BESIDE + 100)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 2 * MOST_KEPT // SHARE)),
        st.tuples(st.just("get"), KEYS, st.just(0)),
        st.tuples(st.just("retain"), st.sampled_from([("s:0",), ("s:1",), ()]), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_was_used_last_is_kept_and_never_more_than_there_is_room(steps):
    """As a list of answers, by their last use, from which the oldest fall out."""
    kept = Kept(MOST_KEPT)
    model = []  # (key, size), the longest unused first
    for step, key, size in steps:
        if step == "put":
            kept.put(key, InferResponse(bytes(size), "r"), 0.0)
            model = [each for each in model if each[0] != key]
            if size + BESIDE <= MOST_KEPT // SHARE:
                model.append((key, size))
            while sum(s + BESIDE for _, s in model) > MOST_KEPT:
                del model[0]
        elif step == "get":
            found = kept.get(key)
            known = dict(model).get(key)
            assert (None if found is None else len(found.payload)) == known
            if known is not None:
                model = [each for each in model if each[0] != key] + [(key, known)]
        else:
            kept.retain(key)
            model = [each for each in model if each[0].specialist in key]
        assert kept.bytes == sum(s + BESIDE for _, s in model) <= MOST_KEPT
        assert len(kept) == len(model)


def test_their_number_is_bounded_too():
    """An empty answer takes something as well."""
    kept = Kept(MOST_KEPT)
    for n in range(100):
        kept.put(Key("s:1", "m", "", bytes([n])), InferResponse(b"", "r"), 0.0)
    assert len(kept) == MOST_KEPT // BESIDE
