"""Requests are taken and refused as Triton takes and refuses them."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.core.tensors import DTYPES, Signature, TensorSpec
from fabric.wire.codec import Codec
from fabric.wire.kinds import Step
from fabric.wire.tensors import decode_outputs


def spec(name="x", datatype="FP32", shape=(-1, 2)):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def codec_of(*inputs, outputs=(), max_rows=1):
    outputs = outputs or (spec("y"),)
    return Codec(Signature(inputs=inputs, outputs=outputs), "m", "7", max_rows)


def request_of(*tensors, raw=(), **fields):
    request = ModelInferRequest(model_name="asked", raw_input_contents=raw, **fields)
    for name, datatype, shape, *contents in tensors:
        request.inputs.add(
            name=name, datatype=datatype, shape=shape, contents=contents[0] if contents else None
        )
    return request.SerializeToString()


X = ("x", "FP32", [1, 2])
EIGHT = bytes(8)


def test_who_does_not_say_how_long_to_wait_waits_as_long_as_the_specialist_says():
    """Its own `timeout` counts first."""
    codec = Codec(Signature(inputs=(spec(),), outputs=(spec("y"),)), "m", "7", queue_timeout=0.5)
    assert codec.decode(request_of(X, raw=[EIGHT])).patience == 0.5
    message = ModelInferRequest.FromString(request_of(X, raw=[EIGHT]))
    message.parameters["timeout"].int64_param = 2_000_000
    assert codec.decode(message.SerializeToString()).patience == 2.0
    assert codec_of(spec()).decode(request_of(X, raw=[EIGHT])).patience == math.inf


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BF16"}))
def test_tritonclients_requests_are_decoded(datatype):
    """Every datatype that tritonclient encodes arrives as the array that it was."""
    if datatype == "BYTES":
        array = np.array([[b"a\0b", b""]], np.object_)
    else:
        array = np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])
    tensor = triton.InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.append(tensor._get_tensor())
    request.raw_input_contents.append(tensor._get_content())
    codec = codec_of(spec(datatype=datatype))

    payload = request.SerializeToString()
    for view in (payload, payload, memoryview(payload)):  # with care, then from memory
        decoded = codec.decode(view).tensors["x"]
        np.testing.assert_array_equal(decoded, array)
        assert decoded.dtype == array.dtype


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BF16"}))
def test_tritonclient_reads_the_responses(datatype):
    """Every datatype leaves so that tritonclient reads the array that it was."""
    if datatype == "BYTES":
        array = np.array([b"a\0b", b""], np.object_)
    else:
        array = np.array([0, 1]).astype(DTYPES[datatype])
    codec = codec_of(spec(), outputs=(spec("y", datatype, (2,)),))
    inputs = codec.decode(request_of(X, raw=[EIGHT], id="one"))

    payload = codec.encode(inputs, {"y": array})

    response = service_pb2.ModelInferResponse.FromString(payload)
    np.testing.assert_array_equal(triton.InferResult(response).as_numpy("y"), array)
    assert (response.model_name, response.model_version, response.id) == ("asked", "7", "one")


def test_bf16_travels_as_its_bits():
    """tritonclient's BF16 arrives as uint16 and returns unchanged."""
    tensor = triton.InferInput("x", [2], "BF16")
    tensor.set_data_from_numpy(np.array([1.0, -2.0], ml_dtypes.bfloat16))
    request = service_pb2.ModelInferRequest()
    request.inputs.append(tensor._get_tensor())
    request.raw_input_contents.append(tensor._get_content())
    codec = codec_of(spec("x", "BF16", (2,)), outputs=(spec("y", "BF16", (2,)),))

    inputs = codec.decode(request.SerializeToString())
    response = service_pb2.ModelInferResponse.FromString(
        codec.encode(inputs, {"y": inputs.tensors["x"]})
    )

    assert inputs.tensors["x"].tolist() == [0x3F80, 0xC000]
    assert triton.InferResult(response).as_numpy("y").tolist() == [1.0, -2.0]


def test_requests_of_one_kind_differ_in_their_elements_only():
    """What is decoded from memory is what is decoded with care."""
    codec = codec_of(spec("a", shape=(-1,)), spec("b", "INT64", (-1,)))
    for number in range(5):
        a, b = np.array([number, 1], np.float32), np.array([-number], np.int64)
        payload = request_of(
            ("a", "FP32", [2]), ("b", "INT64", [1]), raw=[a.tobytes(), b.tobytes()]
        )
        inputs = codec.decode(payload)
        np.testing.assert_array_equal(inputs.tensors["a"], a)
        np.testing.assert_array_equal(inputs.tensors["b"], b)
        assert inputs.model == "asked"


def test_parameters_that_change_from_request_to_request_displace_no_kind(monkeypatch):
    """Only what comes a second time is remembered, and with its parameters."""
    codec = codec_of(spec())
    plain = request_of(X, raw=[EIGHT], model_version="123456789012345678901")
    codec.decode(plain)
    for number in range(100, 400):
        payload = request_of(X, raw=[EIGHT], parameters={"trace": {"int64_param": number}})
        assert len(payload) < 128
        codec.decode(payload)
    said = {"priority": {"uint64_param": 2}, "timeout": {"int64_param": 5_000_000}}
    asked = [{"name": "y", "parameters": {"classification": {"int64_param": 1}}}]
    again = request_of(X, raw=[EIGHT], parameters=said, outputs=asked)
    for _ in range(2):
        codec.decode(again)
    assert sum(map(len, codec._kinds.values())) == 2
    assert len(codec._met) <= 256

    monkeypatch.delattr(codec, "_decoder")
    assert codec.decode(plain).priority == 0
    inputs = codec.decode(again)
    assert (inputs.priority, inputs.patience, inputs.classes) == (2, 5.0, {"y": 1})


def test_requests_of_sequences_are_never_taken_from_memory():
    """Each is decoded with care, as often as it comes."""
    codec = codec_of(spec())
    payload = request_of(X, raw=[EIGHT], parameters={"sequence_id": {"int64_param": 7}})
    for _ in range(3):
        assert codec.decode(payload).sequence == Step(7, starts=False, ends=False)
    assert not codec._kinds


def test_requests_of_one_length_and_another_head_are_not_confused():
    """Memory is believed only when all of the head is the same."""
    codec = codec_of(spec("a", shape=(-1,)), spec("b", shape=(-1,)))
    two = [("a", "FP32", [1]), ("b", "FP32", [2])]
    assert codec.decode(request_of(*two, raw=[bytes(4), EIGHT])).tensors["b"].shape == (2,)
    assert codec.decode(request_of(*reversed(two), raw=[EIGHT, bytes(4)])).tensors["b"].shape == (
        2,
    )
    with pytest.raises(InvalidRequest, match="byte size mismatch"):
        codec.decode(request_of(*two, raw=[EIGHT, bytes(4)]))


def test_requests_of_one_length_and_several_heads_are_all_remembered(monkeypatch):
    """Callers whose heads are as long as one another's do not displace each other."""
    codec = codec_of(spec())
    payloads = [
        request_of(X, raw=[EIGHT], parameters={}, model_version=version) for version in "1234"
    ]
    for payload in payloads:
        codec.decode(payload)
    monkeypatch.delattr(codec, "_decoder")  # without which nothing is decoded with care
    for payload in payloads:
        assert codec.decode(payload).tensors["x"].shape == (1, 2)


def test_a_head_that_is_no_message_is_not_remembered():
    """Elements that only look like the end of a request, inside another field, are left alone."""
    codec = codec_of(spec())
    raw = ModelInferRequest(raw_input_contents=[EIGHT]).SerializeToString()
    rest = request_of(X)
    name = bytes([0x0A, len(raw)]) + raw  # a model name that ends like raw elements
    for number in (0, 1):
        payload = raw[:2] + bytes([number]) * 8 + rest + name
        assert codec.decode(payload).tensors["x"].view(np.uint8).tolist() == [[number] * 8]


def test_a_payload_that_is_no_message_is_refused():
    """Garbage is the caller's error."""
    with pytest.raises(InvalidRequest, match="ModelInferRequest"):
        codec_of(spec()).decode(b"\xff\xff")


REFUSED = [
    (request_of(X), "unable to find data for input tensor 'x' for model 'm' in request."),
    (request_of(X, raw=[EIGHT, EIGHT]), "expected 1 raw_input_contents but got 2 for model 'm'"),
    (request_of((*X, {"fp32_contents": [1, 2]}), raw=[EIGHT]), "contents field must not be specified when using raw_input_contents for 'x' for model 'm'"),
    (request_of((*X, {}), raw=[EIGHT]), "contents field must not be specified when using raw_input_contents for 'x' for model 'm'"),
    (request_of((*X, {"int_contents": [1, 2]})), "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'INT32', expected datatype 'FP32'"),
    (request_of((*X, {"fp32_contents": [1, 2], "fp64_contents": [1]})), "unexpected explicit tensor data for input tensor 'x' for model 'm', binary data was already supplied."),
    (request_of((*X, {"fp32_contents": [1]})), "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4"),
    (request_of(X, raw=[bytes(10)]), "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 10"),
    (request_of(("x", "FP32", [2**62, 2]), raw=[EIGHT]), "input byte size mismatch for input 'x' for model 'm'. Expected 36893488147419103232, got 8"),
    (request_of(("x", "FP32", [2**62, 2], {"fp32_contents": [1, 2]})), "input byte size mismatch for input 'x' for model 'm'. Expected 36893488147419103232, got 8"),
    (request_of(("x", "FP32", [1] * 40), raw=[EIGHT]), f"unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [{'1,' * 32}...]. "),
    (request_of(("x", "FP32", [-1, 2]), raw=[EIGHT]), "All input dimensions should be specified for input 'x' for model 'm', got [-1,2]"),
    (request_of(X, X, raw=[EIGHT, EIGHT]), "input 'x' already exists in request"),
    (request_of(X, ("z", "FP32", [1]), raw=[EIGHT, EIGHT]), "unexpected inference input 'z' for model 'm'"),
    (request_of(), "expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) ['x']. Please provide all required input(s)."),
    (request_of(("x", "INT32", [1, 2]), raw=[EIGHT]), "inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'"),
    (request_of(("x", "FP32", [1, 3]), raw=[EIGHT]), "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3]. "),
    (request_of(("x", "FP32", [2]), raw=[EIGHT]), "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [2]. "),
    (request_of(X, raw=[EIGHT], outputs=[{"name": "q"}]), "unexpected inference output 'q' for model 'm'"),
    (request_of(X, raw=[EIGHT], outputs=[{"name": "y"}, {"name": "y"}]), "output 'y' already exists in request"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "text"), REFUSED)
def test_what_the_signature_does_not_take_is_refused(payload, text):
    """The text is the one that clients know."""
    with pytest.raises(InvalidRequest) as caught:
        codec_of(spec()).decode(payload)
    assert caught.value.message == text


def optional(name, **said):
    return TensorSpec(name=name, datatype="FP32", shape=(-1, 2), optional=True, **said)


def test_optional_inputs_may_be_left_out():
    """What is not given is not there, also when the request comes again."""
    codec = codec_of(spec("A"), optional("B"), max_rows=8)
    both = [("A", "FP32", [1, 2]), ("B", "FP32", [1, 2])]
    for _ in range(2):
        alone = codec.decode(request_of(both[0], raw=[EIGHT]))
        together = codec.decode(request_of(*both, raw=[EIGHT, EIGHT]))
        assert (alone.tensors.keys(), together.tensors.keys()) == ({"A"}, {"A", "B"})
        assert (alone.shapes, together.shapes) == (((2,), None), ((2,), (2,)))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "expected number of inputs between 3 and 4 but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) ['A','B','C']. Please provide all required input(s)."),
        ("AD", "expected number of inputs between 3 and 4 but got 2 inputs for model 'm'. Got input(s) ['A','D'], but missing required input(s) ['B','C']. Please provide all required input(s)."),
    ],
)  # fmt: skip
def test_missing_inputs_are_named_where_some_are_optional(given, text):
    """How many there may be is said."""
    codec = codec_of(spec("A"), spec("B"), spec("C"), optional("D"))
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(
            request_of(*[(name, "FP32", [1, 2]) for name in given], raw=[EIGHT] * len(given))
        )
    assert caught.value.message == text


def test_all_inputs_may_be_optional():
    """A request without any tensor is one row."""
    codec = codec_of(optional("A"), max_rows=8)
    inputs = codec.decode(request_of())
    assert (inputs.tensors, inputs.rows, inputs.shapes) == ({}, 1, (None,))


def test_missing_inputs_are_named():
    """All that was given and all that is missing is said."""
    codec = codec_of(spec("A"), spec("B"), spec("C"))
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(request_of(("A", "FP32", [1, 2]), raw=[EIGHT]))
    assert caught.value.message == (
        "expected 3 inputs but got 1 inputs for model 'm'. Got input(s) ['A'], but missing "
        "required input(s) ['B','C']. Please provide all required input(s)."
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\1\0\0", "incomplete string length indicator for inference input 'x' for model 'm', expecting 4 bytes but only 3 bytes available."),
        (b"\5\0\0\0ab", "incomplete string data for inference input 'x' for model 'm', expecting string of length 5 but only 2 bytes available."),
        (b"\0\0\0\0" * 3, "unexpected number of string elements 3 for inference input 'x' for model 'm', expecting 2"),
        (b"\0\0\0\0", "expected 2 string elements for inference input 'x' for model 'm', got 1"),
    ],
)  # fmt: skip
def test_strings_that_are_not_framed_right_are_refused(raw, text):
    """The text says what was expected and what was there."""
    with pytest.raises(InvalidRequest) as caught:
        codec_of(spec(datatype="BYTES")).decode(request_of(("x", "BYTES", [1, 2]), raw=[raw]))
    assert caught.value.message == text


def test_small_integers_keep_their_low_bytes():
    """Typed elements come in wider fields than their datatype."""
    codec = codec_of(spec(datatype="INT8"))
    inputs = codec.decode(request_of(("x", "INT8", [1, 2], {"int_contents": [257, -1]})))
    assert inputs.tensors["x"].tolist() == [[1, -1]]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_come_raw_only(datatype):
    """There is no typed field for them."""
    with pytest.raises(InvalidRequest, match=f"of type 'FP32', expected datatype '{datatype}'"):
        codec_of(spec(datatype=datatype)).decode(
            request_of(("x", datatype, [1, 2], {"fp32_contents": [1, 2]}))
        )


def test_scalars_and_empty_tensors_are_tensors():
    """A scalar has one element; an empty tensor takes its slot among the raw elements."""
    codec = codec_of(spec("s", shape=()), spec("e"), spec("t", shape=(1,)))
    inputs = codec.decode(
        request_of(
            ("s", "FP32", []),
            ("e", "FP32", [0, 2]),
            ("t", "FP32", [1]),
            raw=[bytes(4), b"", np.float32(5).tobytes()],
        )
    )
    assert inputs.tensors["s"].shape == ()
    assert inputs.tensors["e"].shape == (0, 2)
    assert inputs.tensors["t"].tolist() == [5]


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_empty_tensors_of_impossible_sizes_are_refused(datatype):
    """Nothing is in them, but no array has such a shape."""
    codec = codec_of(spec(datatype=datatype, shape=(-1, -1)))
    for contents in ({"raw": [b""]}, {}):
        tensor = ("x", datatype, [0, 2**62], *([] if contents else [{}]))
        with pytest.raises(InvalidRequest, match="unexpected shape for input 'x'"):
            codec.decode(request_of(tensor, **contents))


TYPED = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-1, 2]),
    "INT16": ("int_contents", [-1, 2]),
    "INT32": ("int_contents", [-1, 2]),
    "INT64": ("int64_contents", [-1, 2**40]),
    "UINT8": ("uint_contents", [1, 255]),
    "UINT16": ("uint_contents", [1, 65535]),
    "UINT32": ("uint_contents", [1, 2**32 - 1]),
    "UINT64": ("uint64_contents", [1, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, -2]),
    "FP64": ("fp64_contents", [0.1, -2]),
    "BYTES": ("bytes_contents", [b"a\0b", b""]),
}


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_elements_come_and_go(datatype):
    """Each datatype in its field, when the caller wants no binary data."""
    field, values = TYPED[datatype]
    codec = codec_of(spec(datatype=datatype, shape=(-1,)), outputs=(spec("y", datatype, (-1,)),))
    no = {"binary_data_output": {"bool_param": False}}
    for shape, elements in ([2], values), ([0], []):
        tensor = ("x", datatype, shape, {field: elements})
        inputs = codec.decode(request_of(tensor, parameters=no))
        payload = codec.encode(inputs, {"y": inputs.tensors["x"]})
        response = ModelInferResponse.FromString(payload)
        assert not response.raw_output_contents
        assert list(getattr(response.outputs[0].contents, field)) == elements
        assert decode_outputs(response)["y"].tolist() == elements


def test_elements_are_typed_only_where_all_of_a_response_can_be():
    """Every output decides for itself before the request does, and one that is raw makes all raw."""
    outputs = (spec("a"), spec("b"), spec("h", "FP16"))
    codec = codec_of(spec(), outputs=outputs)
    arrays = {each.name: np.zeros((1, 2), DTYPES[each.datatype]) for each in outputs}

    def is_typed(binary=None, **asked):
        said = {} if binary is None else {"binary_data_output": {"bool_param": binary}}
        wanted = [
            {
                "name": name,
                "parameters": {} if own is None else {"binary_data": {"bool_param": own}},
            }
            for name, own in asked.items()
        ]
        payload = request_of(X, raw=[EIGHT], parameters=said, outputs=wanted)
        response = ModelInferResponse.FromString(codec.encode(codec.decode(payload), arrays))
        assert len(response.raw_output_contents) in (0, len(response.outputs))
        return not response.raw_output_contents

    assert not is_typed(False)  # one of all is FP16
    assert is_typed(False, a=None, b=None)
    assert is_typed(a=False, b=False)
    assert is_typed(True, a=False)
    assert not is_typed(False, a=True)
    assert not is_typed(a=False, b=None)
    assert not is_typed(a=None)
    assert not is_typed(False, a=None, h=None)


def asking(name="y", **parameters):
    return [{"name": name, "parameters": parameters}]


@pytest.mark.parametrize(
    ("max_rows", "shape", "elements"),
    [
        (8, [1, 2], [[b"3.000000:1", b"0.500000:0"]]),
        (1, [2], [b"3.000000:1", b"0.500000:0"]),
    ],
)
def test_classes_are_the_largest_elements_first(max_rows, shape, elements):
    """Of each row where requests are batched, and never more than there are."""
    codec = codec_of(spec(), max_rows=max_rows)
    inputs = codec.decode(
        request_of(X, raw=[EIGHT], id="i", outputs=asking(classification={"int64_param": 9}))
    )
    payload = codec.encode(inputs, {"y": np.array([[0.5, 3]], np.float32)})
    response = service_pb2.ModelInferResponse.FromString(payload)
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", shape)
    assert triton.InferResult(response).as_numpy("y").tolist() == elements
    assert (response.model_name, response.model_version, response.id) == ("asked", "7", "i")


def test_classes_travel_typed_too():
    """Texts have a field, whatever the elements were."""
    codec = codec_of(spec(), outputs=(spec("y", "FP16"),))
    asked = asking(classification={"int64_param": 1}, binary_data={"bool_param": False})
    inputs = codec.decode(request_of(X, raw=[EIGHT], outputs=asked))
    payload = codec.encode(inputs, {"y": np.array([[0.5, 3]], np.float16)})
    (output,) = ModelInferResponse.FromString(payload).outputs
    assert list(output.contents.bytes_contents) == [b"3.000000:1"]


@pytest.mark.parametrize(
    ("datatype", "parameter", "text"),
    [
        ("FP32", {"int64_param": 0}, "invalid value for 'classification' parameter, expected > 0"),
        ("FP32", {"string_param": "1"}, "invalid value type for 'classification' parameter, expected int64_param"),
        ("BYTES", {"int64_param": 1}, "class result not available for output due to unsupported type 'BYTES' of output 'y' for model 'm'"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_given_are_refused(datatype, parameter, text):
    """Before anything is run."""
    codec = codec_of(spec(), outputs=(spec("y", datatype),))
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(request_of(X, raw=[EIGHT], outputs=asking(classification=parameter)))
    assert caught.value.message == text


def test_outputs_of_another_datatype_are_not_classified():
    """What breaks the signature fails the specialist, whatever was asked for."""
    codec = codec_of(spec())
    asked = asking(classification={"int64_param": 1})
    inputs = codec.decode(request_of(X, raw=[EIGHT], outputs=asked))
    with pytest.raises(SpecialistFailed, match="its signature says FP32"):
        codec.encode(inputs, {"y": np.zeros((1, 2), np.float64)})


@pytest.mark.parametrize(
    ("tensors", "raw", "text"),
    [
        ([("x", "FP32", [9, 2])], [bytes(72)], "inference request batch-size must be <= 8 for 'm'"),
        ([("x", "FP32", [0, 2])], [b""], "inference request batch-size must be >= 1 for 'm'"),
        ([("x", "FP32", [])], [bytes(4)], "input 'x' has no shape but model requires batch dimension for 'm'"),
        ([("x", "FP32", [1, 3])], [bytes(12)], "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3]. The first dimension is the batch."),
    ],
)  # fmt: skip
def test_the_batch_size_is_checked(tensors, raw, text):
    """With batching, the first dimension is the batch."""
    with pytest.raises(InvalidRequest) as caught:
        codec_of(spec(), max_rows=8).decode(request_of(*tensors, raw=raw))
    assert caught.value.message == text


def test_all_inputs_have_one_batch_size():
    """The inputs of one request belong together."""
    codec = codec_of(spec("a"), spec("b"), max_rows=8)
    with pytest.raises(InvalidRequest, match="input 'b' batch size does not match other inputs"):
        codec.decode(
            request_of(("a", "FP32", [2, 2]), ("b", "FP32", [1, 2]), raw=[bytes(16), EIGHT])
        )
    one = request_of(("a", "FP32", [2, 2]), ("b", "FP32", [2, 2]), raw=[bytes(16), bytes(16)])
    assert [codec.decode(one).rows for _ in range(2)] == [2, 2]


def test_regions_are_resolved_before_requests_come_here():
    """A region that is still named is one that the gateway does not know."""
    region = {"shared_memory_region": {"string_param": "r"}}
    request = ModelInferRequest()
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2], parameters=region)
    asked = [{"name": "y", "parameters": region}]
    for payload in (request.SerializeToString(), request_of(X, raw=[EIGHT], outputs=asked)):
        with pytest.raises(InvalidRequest, match="Unable to find shared memory region: 'r'"):
            codec_of(spec()).decode(payload)


def test_only_the_outputs_asked_for_are_sent():
    """They come in the order asked for, in parallel with their elements."""
    outputs = tuple(spec(name, shape=(1,)) for name in "abc")
    codec = codec_of(spec(), outputs=outputs)
    arrays = {name: np.array([number], np.float32) for number, name in enumerate("abc")}
    asked = [{"name": "c"}, {"name": "a"}]
    for fields, names in [({"outputs": asked}, "ca"), ({}, "abc"), ({"outputs": asked}, "ca")]:
        payload = codec.encode(codec.decode(request_of(X, raw=[EIGHT], **fields)), arrays)
        response = ModelInferResponse.FromString(payload)
        assert [output.name for output in response.outputs] == list(names)
        assert list(response.raw_output_contents) == [arrays[name].tobytes() for name in names]


def test_every_length_of_elements_is_framed_right():
    """The length before the elements is right for one byte of it and for more."""
    codec = codec_of(spec(), outputs=(spec("y", "UINT8", (-1,)),))
    inputs = codec.decode(request_of(X, raw=[EIGHT]))
    for size in (0, 1, 50, 127, 128, 300, 70_000):
        array = np.full(size, 7, np.uint8)
        response = ModelInferResponse.FromString(codec.encode(inputs, {"y": array}))
        assert list(response.raw_output_contents) == [array.tobytes()]


def test_outputs_that_break_the_signature_fail_the_specialist():
    """A specialist that gives something else than it says is at fault, not its caller."""
    codec = codec_of(spec())
    inputs = codec.decode(request_of(X, raw=[EIGHT]))
    with pytest.raises(SpecialistFailed, match="gave no output 'y'"):
        codec.encode(inputs, {})
    codec.encode(inputs, {"y": np.zeros((1, 2), np.float32)})
    for dtype in (np.float64, ">f4"):
        with pytest.raises(SpecialistFailed, match="its signature says FP32"):
            codec.encode(inputs, {"y": np.zeros((1, 2), dtype)})


def test_memory_is_bounded():
    """Callers who never send the same kind twice do not fill it."""
    codec = codec_of(spec(shape=(-1,)), outputs=(spec("y", shape=(-1,)),))
    for size in range(600):
        array = np.zeros(size, np.float32)
        inputs = codec.decode(request_of(("x", "FP32", [size]), raw=[array.tobytes()]))
        codec.encode(inputs, {"y": array})
    assert sum(map(len, codec._kinds.values())) <= 256
    assert len(codec.encode.__self__._prefixes) <= 256
