"""Unmodified clients of Triton on streams, with models of one answer and decoupled ones."""

from __future__ import annotations

import asyncio
import contextlib
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from running import OnnxHost
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import fabric
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import Signature, TensorSpec
from fabric.testing import specialist


class Repeat:
    """Gives each element of IN as an answer of its own, as Triton's `repeat_int32` does."""

    signature = Signature(
        inputs=(
            TensorSpec(name="IN", datatype="INT32", shape=(-1,)),
            TensorSpec(name="DELAY", datatype="UINT32", shape=(-1,)),
        ),
        outputs=(
            TensorSpec(name="OUT", datatype="INT32", shape=(1,)),
            TensorSpec(name="IDX", datatype="UINT32", shape=(1,)),
        ),
    )

    async def infer(self, inputs):
        pairs = zip(inputs["IN"], inputs["DELAY"], strict=True)
        for index, (element, delay) in enumerate(pairs):
            await asyncio.sleep(delay / 1000)
            if element < 0:
                raise InvalidRequest("an element is negative")
            yield {"OUT": element[None], "IDX": np.array([index], np.uint32)}


@pytest.fixture(scope="session")
def repeating(models):
    """The gateway, with the decoupled model `repeat` beside the others."""
    repeat = specialist("repeat", python=f"{__name__}:Repeat")
    with fabric.Client(models.address) as client:
        client.apply([repeat])
    with OnnxHost(models.control_address) as host:
        host.serve([repeat], models.address)
        yield models


class Results:
    """What a stream's callback hears."""

    def __init__(self):
        self.heard = queue.Queue()

    def __call__(self, result, error):
        self.heard.put((result, error))

    def next(self):
        """The next result; raises its error."""
        result, error = self.heard.get(timeout=20)
        if error is not None:
            raise error
        return result


@pytest.fixture
def results():
    return Results()


@pytest.fixture
def client(repeating, results):
    """A client of its own with a stream that is stopped at the end."""
    with triton.InferenceServerClient(repeating.address) as made:
        made.start_stream(results)
        yield made
        made.stop_stream()


def repeat_inputs(values, delay=0):
    values = np.array(values, np.int32)
    delays = np.full(values.shape, delay, np.uint32)
    made = []
    for name, array, datatype in (("IN", values, "INT32"), ("DELAY", delays, "UINT32")):
        tensor = triton.InferInput(name, list(array.shape), datatype)
        made.append(tensor.set_data_from_numpy(array))
    return made


def double_inputs(value):
    tensor = triton.InferInput("x", [1, 2], "FP32")
    return [tensor.set_data_from_numpy(np.full((1, 2), value, np.float32))]


def final(result):
    return result.get_response().parameters["triton_final_response"].bool_param


def test_single_answers_come_in_order(client, results):
    """Each is final, as the client asks it."""
    for number in range(50):
        client.async_stream_infer("double", double_inputs(number), request_id=str(number))
    for number in range(50):
        result = results.next()
        assert result.get_response().id == str(number)
        assert result.as_numpy("y").tolist() == [[2 * number] * 2]
        assert final(result)


def test_a_decoupled_model_answers_any_number_of_times(client, results):
    """As Triton's example counts them, several requests on one stream, told apart by id."""
    counts = {"a": 4, "b": 0, "c": 1, "d": 40}
    for request_id, count in counts.items():
        inputs = repeat_inputs(range(count))
        client.async_stream_infer("repeat", inputs, request_id=request_id)
    heard = {request_id: [] for request_id in counts}
    for _ in range(sum(counts.values())):
        result = results.next()
        assert not final(result)
        heard[result.get_response().id].append(
            (result.as_numpy("OUT").item(), result.as_numpy("IDX").item())
        )
    assert heard == {key: [(n, n) for n in range(count)] for key, count in counts.items()}
    client.stop_stream()
    assert results.heard.empty()
    client.start_stream(results)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_empty_final_response_tells_the_end(client, results, count):
    """To who asks for it."""
    client.async_stream_infer(
        "repeat", repeat_inputs(range(count)), request_id="a", enable_empty_final_response=True
    )
    for _ in range(count):
        assert not final(results.next())
    last = results.next()
    assert final(last)
    response = last.get_response()
    assert (response.id, response.model_name, list(response.outputs)) == ("a", "repeat", [])


def test_a_single_answer_is_its_own_end(client, results):
    """An empty one does not follow it."""
    client.async_stream_infer("double", double_inputs(1), enable_empty_final_response=True)
    assert final(results.next())
    client.stop_stream()
    assert results.heard.empty()
    client.start_stream(results)


def test_answers_of_two_models_are_interleaved(client, results):
    """A decoupled one that is slow keeps nobody waiting."""
    client.async_stream_infer("repeat", repeat_inputs([1], delay=60_000), request_id="slow")
    client.async_stream_infer("double", double_inputs(1), request_id="single")
    assert results.next().get_response().id == "single"
    client.stop_stream(cancel_requests=True)
    error = results.heard.get(timeout=20)[1]
    assert error.status() == "StatusCode.CANCELLED"
    client.start_stream(results)


def test_an_error_leaves_the_stream_open(client, results):
    """It comes as the client's exception, behind what was given."""
    client.async_stream_infer("repeat", repeat_inputs([7, -1]), request_id="a")
    assert results.next().as_numpy("OUT").item() == 7
    with pytest.raises(InferenceServerException, match="an element is negative"):
        results.next()
    client.async_stream_infer("none", double_inputs(1))
    with pytest.raises(InferenceServerException, match="unknown model: 'none' is not found"):
        results.next()
    client.async_stream_infer("double", double_inputs(1))
    assert results.next().as_numpy("y").tolist() == [[2, 2]]


def test_an_error_is_the_streams_status_for_who_asks(repeating, results):
    """With the metadata `triton_grpc_error`."""
    with triton.InferenceServerClient(repeating.address) as client:
        client.start_stream(results, headers={"triton_grpc_error": "true"})
        client.async_stream_infer("none", double_inputs(1))
        with pytest.raises(InferenceServerException, match="'none' is not found") as caught:
            results.next()
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        client.stop_stream()


def test_a_unary_call_of_a_decoupled_model_is_unimplemented(repeating):
    """In Triton's words."""
    with triton.InferenceServerClient(repeating.address) as client:
        text = "ModelInfer RPC doesn't support models with decoupled transaction policy"
        with pytest.raises(InferenceServerException, match=text) as caught:
            client.infer("repeat", repeat_inputs([1]))
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_streams_timeout_ends_it(repeating, results):
    """As the client's exception."""
    with triton.InferenceServerClient(repeating.address) as client:
        client.start_stream(results, stream_timeout=0.3)
        client.async_stream_infer("repeat", repeat_inputs([1], delay=60_000))
        with pytest.raises(InferenceServerException) as caught:
            results.next()
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        client.stop_stream()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_streams_are_compressed_for_who_asks(repeating, results, algorithm):
    """Both ways."""
    x = np.ones((1000, 2), np.float32)
    tensor = triton.InferInput("x", list(x.shape), "FP32").set_data_from_numpy(x)
    with triton.InferenceServerClient(repeating.address) as client:
        client.start_stream(results, compression_algorithm=algorithm)
        client.async_stream_infer("double", [tensor])
        assert (results.next().as_numpy("y") == 2).all()
        client.stop_stream()
        answer = client.infer("double", [tensor], compression_algorithm=algorithm)
        assert (answer.as_numpy("y") == 2).all()


# ------------------------------------------------------------------ asyncio
async def requests_of(counts):
    for request_id, count in counts.items():
        inputs = repeat_inputs(range(count))
        yield {"model_name": "repeat", "inputs": inputs, "request_id": request_id}


async def test_streams_of_the_asyncio_client(repeating):
    """As the other's."""
    counts = {"a": 3, "b": 2}
    async with triton_aio.InferenceServerClient(repeating.address) as client:
        answers = client.stream_infer(requests_of(counts))
        heard = {request_id: [] for request_id in counts}
        async for result, error in answers:
            assert error is None
            assert not final(result)
            heard[result.get_response().id].append(result.as_numpy("OUT").item())
    assert heard == {"a": [0, 1, 2], "b": [0, 1]}


async def test_a_stream_of_the_asyncio_client_is_cancelled(repeating):
    """It ends at once."""
    async with triton_aio.InferenceServerClient(repeating.address) as client:

        async def slow():
            inputs = repeat_inputs([1], delay=60_000)
            yield {"model_name": "repeat", "inputs": inputs}

        answers = client.stream_infer(slow())
        first = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0.1)
        answers.cancel()
        with pytest.raises((asyncio.CancelledError, StopAsyncIteration)):
            await first


# ------------------------------------------------------------------ generated stubs
def test_the_generated_stub_streams(repeating):
    """Requests are taken as they come, answers while requests are still to come."""
    asked = queue.Queue()
    request = service_pb2.ModelInferRequest(model_name="double", id="a")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1, 2])
    with grpc.insecure_channel(repeating.address) as channel:
        call = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelStreamInferResponse.FromString,
        )
        answers = call(iter(asked.get, None), timeout=20)
        for _ in range(3):
            asked.put(request)
            assert next(answers).infer_response.id == "a"
        asked.put(None)
        with contextlib.suppress(StopIteration):
            pytest.fail(f"one more answer: {next(answers)}")
        assert answers.code() == grpc.StatusCode.OK
