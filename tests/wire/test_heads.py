"""Heads of large requests."""

from __future__ import annotations

import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.errors import InvalidRequest
from fabric.wire.heads import SMALL, Heads, head_of


def request(size):
    made = ModelInferRequest(model_name="m", id="7", model_version="2")
    made.parameters["fabric_task"].string_param = "t"
    made.inputs.add(name="x", datatype="UINT8", shape=[size])
    made.raw_input_contents.extend([b"a" * size, b"", b"b"])
    return made


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_head_of_a_large_request_is_the_request_without_its_elements(kind):
    """Whatever its bytes are held in."""
    made = request(2 * SMALL)

    head = head_of(kind(made.SerializeToString()))

    del made.raw_input_contents[:]
    assert head == made


def test_a_small_request_is_its_own_head():
    """It is parsed as it is."""
    made = request(10)

    assert head_of(made.SerializeToString()) == made


def test_fields_behind_the_elements_are_of_the_head_too():
    """The fields of a message come in any order, and the last of a field counts."""
    payload = request(2 * SMALL).SerializeToString()

    head = head_of(payload + ModelInferRequest(model_name="other").SerializeToString())

    assert (head.model_name, head.id) == ("other", "7")


@pytest.mark.parametrize("size", [1, 2 * SMALL])
@pytest.mark.parametrize("tail", [b"\x3a\xff\xff\x03a", b"\x3a", b"\x0b", b"\xff" * 12, b"\x09a"])
def test_what_is_no_request_is_refused(size, tail):
    """Fields that are cut off, groups, and numbers that never end."""
    with pytest.raises(InvalidRequest, match="ModelInferRequest"):
        head_of(request(size).SerializeToString() + tail)


def simple(fill=b"a", size=4, **fields):
    """A request that ends with the raw elements of its one tensor."""
    made = ModelInferRequest(model_name="m", **fields)
    made.inputs.add(name="x", datatype="UINT8", shape=[size])
    made.raw_input_contents.append(fill * size)
    return made


def test_requests_that_differ_in_their_elements_alone_have_one_head():
    """It is parsed once."""
    heads = Heads()
    first = heads.of(simple().SerializeToString())
    assert heads.of(simple(b"b").SerializeToString()) is first
    assert first == simple()
    assert heads.of(simple(model_version="2").SerializeToString()).model_version == "2"
    assert heads.of(simple(b"b").SerializeToString()) is first


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_requests_have_one_head_too(kind):
    """Which does not hold their elements."""
    heads = Heads()
    first = heads.of(kind(simple(size=2 * SMALL).SerializeToString()))
    assert not first.raw_input_contents
    assert heads.of(kind(simple(b"b", size=2 * SMALL).SerializeToString())) is first
    assert heads.of(kind(simple(size=2 * SMALL, model_version="2").SerializeToString())) != first


def test_what_only_ends_like_the_elements_is_no_head_to_remember():
    """Here the end of a parameter's text: the next request differs in that text."""
    made = simple()
    tail = b"\x3a\x04aaaa"
    hidden = ModelInferRequest()
    hidden.parameters["fabric_task"].string_param = tail.decode()
    payload = made.SerializeToString() + hidden.SerializeToString()
    assert payload.endswith(tail)
    heads = Heads()
    for text in ("aaaa", "bbbb"):
        head = heads.of(payload[:-4] + text.encode())
        assert head.parameters["fabric_task"].string_param == f":\x04{text}"


def test_few_heads_of_one_length_are_remembered():
    """Callers may be many."""
    heads = Heads()
    for number in range(10):
        heads.of(simple(model_version=str(number)).SerializeToString())
    assert [len(known) for known in heads._known.values()] == [4]
    for size in range(1, 200):
        heads.of(simple(model_version="1" * size).SerializeToString())
    assert len(heads._known) <= 64
