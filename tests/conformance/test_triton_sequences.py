"""Unmodified clients of Triton talk to stateful models."""

from __future__ import annotations

import asyncio
import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from running import unique
from tritonclient.utils import InferenceServerException

MODELS = ["accumulate", "accumulate-direct", "accumulate-python", "accumulating"]


def x(value):
    made = triton.InferInput("x", [1, 1], "FP32")
    return [made.set_data_from_numpy(np.full((1, 1), value, np.float32))]


def total(result):
    return result.as_numpy("y").item()


def said(sequence, place, last):
    return {
        "sequence_id": sequence,
        "sequence_start": place == 0,
        "sequence_end": place == last,
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sequence", [7, 2**63 - 1, "a text"])
def test_a_sequence_is_remembered(server, model, sequence):
    """From its start to its end, whatever its id is."""
    values = [1, 10, 100]
    totals = [
        total(server.infer(model, x(value), **said(sequence, place, 2)))
        for place, value in enumerate(values)
    ]
    assert totals == [1, 11, 111]
    with pytest.raises(InferenceServerException, match="START flag on the first request"):
        server.infer(model, x(1), sequence_id=sequence)


@pytest.mark.parametrize("model", MODELS)
def test_sequences_that_interleave_are_apart(server, model):
    """Each has a sum of its own."""
    names = list(range(1, 21)) + [f"s{number}" for number in range(20)]
    for place in range(5):
        for number, name in enumerate(names):
            result = server.infer(model, x(number), **said(name, place, 4))
            assert total(result) == number * (place + 1)


@pytest.mark.parametrize("model", MODELS)
def test_requests_may_be_sent_without_waiting(server, model):
    """They are answered in order, for every sequence."""
    answers = queue.SimpleQueue()
    for place in range(20):
        for sequence in range(1, 11):

            def answered(result, error, sequence=sequence, place=place):
                answers.put((sequence, place, error or total(result)))

            server.async_infer(model, x(place + 1), answered, **said(sequence, place, 19))
    found = sorted(answers.get(timeout=20) for _ in range(200))
    sums = np.cumsum(np.arange(1, 21)).tolist()
    assert found == [(s, place, sums[place]) for s in range(1, 11) for place in range(20)]


async def test_requests_of_an_asyncio_client_may_be_too(models):
    """Many sequences at a time, with a text for an id, once the client is connected."""
    async with triton_aio.InferenceServerClient(models.address) as client:
        await client.is_server_live()  # gRPC keeps no order among calls that wait for that

        async def one(name):
            calls = [
                client.infer("accumulate", x(1), **said(name, place, 9)) for place in range(10)
            ]
            return [total(result) for result in await asyncio.gather(*calls)]

        names = [unique("sequence") for _ in range(50)]
        assert await asyncio.gather(*map(one, names)) == [list(range(1, 11))] * 50


@pytest.mark.parametrize("sequence", [7, "a text"])
def test_sequences_are_the_same_over_rest(models, server, sequence):
    """One may even go on over the other protocol."""
    with triton_http.InferenceServerClient(models.address) as client:
        made = triton_http.InferInput("x", [1, 1], "FP32")
        made.set_data_from_numpy(np.ones((1, 1), np.float32))
        for place in (0, 1):
            result = client.infer("accumulate", [made], **said(sequence, place, 3))
            assert total(result) == place + 1
    assert total(server.infer("accumulate", x(10), sequence_id=sequence, sequence_end=True)) == 12


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_carries_many_sequences(models, model):
    """Its answers come in the order of its requests, as without sequences."""
    answers = queue.SimpleQueue()
    names = [unique("streamed") for _ in range(10)]
    with triton.InferenceServerClient(models.address) as client:
        client.start_stream(lambda result, error: answers.put(error or total(result)))
        for place in range(10):
            for name in names:
                client.async_stream_infer(model, x(place + 1), **said(name, place, 9))
        heard = [answers.get(timeout=20) for _ in range(100)]
        client.stop_stream()
    assert heard == [value for value in np.cumsum(np.arange(1, 11)).tolist() for _ in names]


@pytest.mark.parametrize("model", ["accumulate", "accumulate-python"])
def test_a_stateful_model_needs_a_sequence(server, model):
    """In words that clients of Triton know; neither 0 nor nothing is one."""
    with pytest.raises(InferenceServerException) as refused:
        server.infer(model, x(1))
    assert refused.value.message() == (
        f"inference request to model '{model}' must specify a non-zero or non-empty correlation ID"
    )


def test_a_stateless_model_takes_no_notice(server):
    """A sequence is nothing to it."""
    made = triton.InferInput("x", [1, 2], "FP32")
    made.set_data_from_numpy(np.ones((1, 2), np.float32))
    result = server.infer("double", [made], sequence_id=7)
    assert result.as_numpy("y").tolist() == [[2, 2]]


def test_the_state_is_nobodys_business(server):
    """Metadata shows what callers send and get."""
    metadata = server.get_model_metadata("accumulate")
    assert [tensor.name for tensor in metadata.inputs] == ["x"]
    assert [tensor.name for tensor in metadata.outputs] == ["y", "told"]
    output = triton.InferRequestedOutput("new_sum")
    with pytest.raises(InferenceServerException, match="unexpected inference output 'new_sum'"):
        server.infer("accumulate", x(1), outputs=[output], sequence_id=7, sequence_start=True)
