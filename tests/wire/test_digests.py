"""Digests of what requests ask for."""

from __future__ import annotations

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.wire.digests import content_of
from fabric.wire.heads import SMALL

NAMES = st.sampled_from(["a", "b", "ab", ""])
DATATYPES = st.sampled_from(["FP32", "INT64", "BYTES"])
RAW = st.binary(max_size=6)
OWN = st.dictionaries(
    st.sampled_from(["p", "q", "binary_data_output"]),
    st.booleans().map(lambda value: {"bool_param": value}),
    max_size=2,
)
TENSORS = st.lists(
    st.tuples(NAMES, DATATYPES, st.lists(st.integers(0, 3), max_size=2), RAW),
    max_size=3,
    unique_by=lambda tensor: tensor[0],
)
OUTPUTS = st.lists(
    st.tuples(NAMES, st.sampled_from([{}, {"classification": {"int64_param": 2}}])), max_size=2
)
ASKED = st.tuples(TENSORS, OUTPUTS, OWN)


def message(tensors, outputs=(), own=None, **said):
    return ModelInferRequest(
        inputs=[{"name": n, "datatype": d, "shape": shape} for n, d, shape, _ in tensors],
        outputs=[{"name": name, "parameters": parameters} for name, parameters in outputs],
        raw_input_contents=[raw for _, _, _, raw in tensors],
        parameters=own or {},
        **said,
    )


def digest(request):
    return content_of(request.SerializeToString()).digest


ONE = [("x", "FP32", [1], bytes(4))]


@given(ASKED, ASKED)
def test_digests_are_equal_where_requests_ask_for_the_same(one, other):
    """And nowhere else, whatever the parts of requests look like side by side."""
    same = (sorted(one[0]), *one[1:]) == (sorted(other[0]), *other[1:])
    assert (digest(message(*one)) == digest(message(*other))) is same


@given(ASKED, st.randoms())
def test_the_order_of_inputs_does_not_matter(asked, random):
    """Each with its own elements."""
    tensors, *others = asked
    permuted = list(tensors)
    random.shuffle(permuted)
    assert digest(message(permuted, *others)) == digest(message(tensors, *others))


@given(st.lists(RAW, min_size=2, max_size=3), st.data())
def test_where_one_input_ends_is_part_of_what_is_asked(parts, data):
    """The same bytes in a row are other elements if they are cut elsewhere."""
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.integers(0, len(whole))) for _ in parts[1:])
    others = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assume(others != parts)

    def with_elements(elements):
        names = "abc"[: len(elements)]
        return message([(n, "BYTES", [1], e) for n, e in zip(names, elements, strict=True)])

    assert digest(with_elements(parts)) != digest(with_elements(others))


def test_it_is_a_whole_sha_256():
    """Two requests that differ do not share one by chance."""
    assert len(digest(message(ONE))) == 32


@pytest.mark.parametrize(
    "said",
    [
        {"id": "7"},
        {"model_name": "route"},
        {"model_version": "3"},
        {"parameters": {"fabric_language": {"string_param": "en"}}},
        {"parameters": {"timeout": {"int64_param": 5}, "priority": {"uint64_param": 1}}},
        {"parameters": {"triton_enable_empty_final_response": {"bool_param": True}}},
        {"parameters": {"sequence_id": {"int64_param": 0}, "sequence_end": {"bool_param": True}}},
    ],
    ids=lambda said: "-".join((*said, *said.get("parameters", ""))),
)
def test_what_changes_no_answer_is_no_part_of_it(said):
    """Who is asked, how long that may take, and what the caller calls it."""
    request = message(ONE)
    request.MergeFrom(ModelInferRequest(**said))
    assert digest(request) == digest(message(ONE))


@pytest.mark.parametrize("sign", ["<f", ">f"])
def test_elements_count_bit_by_bit(sign):
    """Zero is not minus zero: a model may tell them apart."""
    zeros = [[("x", "FP32", [1], struct.pack(sign, value))] for value in (0.0, -0.0)]
    assert digest(message(zeros[0])) != digest(message(zeros[1]))


def test_typed_elements_are_others_than_raw_ones():
    """They are compared as they came, and nobody converts them for it."""
    typed = ModelInferRequest(
        inputs=[
            {"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [0.0]}}
        ]
    )
    assert digest(typed)
    assert digest(typed) != digest(message(ONE))
    other = ModelInferRequest.FromString(typed.SerializeToString())
    other.inputs[0].contents.fp32_contents[0] = 1.0
    assert digest(typed) != digest(other)


@pytest.mark.parametrize("size", [4, SMALL + 4])
def test_large_requests_have_digests_as_small_ones(size):
    """Though they are read in parts; also from the memory that they came in."""
    tensors = [
        ("x", "UINT8", [size], bytes(size - 1) + b"\1"),
        ("y", "UINT8", [size], bytes(size)),
    ]
    payload = message(tensors).SerializeToString()
    expected = digest(message(list(reversed(tensors))))
    assert content_of(payload).digest == expected
    assert content_of(bytearray(payload)).digest == expected
    swapped = [("x", *tensors[1][1:]), ("y", *tensors[0][1:])]
    assert digest(message(swapped)) != expected


def test_it_says_how_the_request_wants_to_be_served():
    """Beside what it asks for."""
    parameters = {"timeout": {"int64_param": 5}, "priority": {"uint64_param": 2}}
    content = content_of(message(ONE, own=parameters, id="seven").SerializeToString())
    assert (content.id, content.priority, content.patience) == ("seven", 2, 5e-6)


@pytest.mark.parametrize(
    "request_",
    [
        message(ONE, own={"sequence_id": {"int64_param": 7}}),
        message(ONE, own={"sequence_id": {"string_param": "seven"}}),
        message(ONE, own={"priority": {"string_param": "high"}}),
        message([], [("y", {"shared_memory_region": {"string_param": "r"}})]),
        ModelInferRequest(inputs=[{"name": "x", "datatype": "FP32"}]),
        ModelInferRequest(raw_input_contents=[b""]),
        ModelInferRequest(
            inputs=[{"name": "x", "parameters": {"shared_memory_region": {"string_param": "r"}}}],
            raw_input_contents=[b""],
        ),
    ],
)
def test_what_has_no_equal_has_no_digest(request_):
    """Requests of sequences, those that are not right, and tensors that are somewhere else."""
    assert digest(request_) == b""


def test_what_is_no_request_has_no_digest():
    """Whoever answers it says so."""
    assert content_of(b"\xff").digest == b""
