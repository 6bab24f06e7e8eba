"""Every public method of Triton's four clients, unmodified, on both hosts."""

from __future__ import annotations

import base64
import json
import queue
import time
import uuid

import numpy as np
import pytest
from drivers import MODULES, TESTED, Driver, methods, of
from tritonclient.grpc import InferenceServerClientPlugin
from tritonclient.utils import InferenceServerException, shared_memory

import fabric

pytestmark = pytest.mark.timeout(180)
X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture
def triton(kind, hosted):
    with Driver(kind, hosted) as driver:
        yield driver


def test_every_public_method_has_a_test():
    """A client that gets a new one fails here until it has."""
    assert {kind: methods(kind) for kind in MODULES} == TESTED


# ------------------------------------------------------------------ queries
@of("is_server_live", "is_server_ready", "close")
def test_the_server_is_live_and_ready(triton):
    """It says so to everybody."""
    assert triton.is_server_live()
    assert triton.is_server_ready()


@of("is_model_ready")
def test_models_are_ready_or_not(triton):
    """Specialists, versions of them, and routes; one that nobody knows never is."""
    assert triton.is_model_ready("double")
    assert triton.is_model_ready("double", "1")
    assert triton.is_model_ready("scale")
    if triton.is_http:
        assert not triton.is_model_ready("none")
    else:
        with pytest.raises(InferenceServerException, match="unknown model: 'none' is not found"):
            triton.is_model_ready("none")


@of("get_server_metadata")
def test_the_server_says_who_it_is(triton):
    """By name and version."""
    metadata = triton.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("fabric", fabric.__version__)


@of("get_model_metadata")
def test_a_models_signature(triton):
    """With and without a version."""
    for version in ("", "1"):
        metadata = triton.get_model_metadata("double", version)
        (x,) = metadata["inputs"]
        assert (x["name"], x["datatype"], [int(size) for size in x["shape"]]) == (
            ("x", "FP32", [-1, 2])
        )
    with pytest.raises(InferenceServerException, match="unknown model: 'none' is not found"):
        triton.get_model_metadata("none")


@of("get_model_config")
def test_a_models_configuration(triton):
    """In Triton's words."""
    config = triton.get_model_config("double", "1")
    config = config if triton.is_http else config["config"]
    assert config["name"] == "double"
    assert config["input"][0]["data_type"] == "TYPE_FP32"


@of("get_inference_statistics")
def test_what_models_have_done(triton):
    """Counted, of one and of all."""

    def count():
        (stats,) = triton.get_inference_statistics("double", "1")["model_stats"]
        success = stats["inference_stats"]["success"]
        return int(success.get("count", 0))  # gRPC's JSON leaves out what is zero

    before = count()
    triton.infer("double", [triton.tensor("x", X, "FP32")])
    until(lambda: count() > before)
    names = {stats["name"] for stats in triton.get_inference_statistics()["model_stats"]}
    assert {"double", "echo"} <= names


def until(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ------------------------------------------------------------------ repository
@of("get_model_repository_index")
def test_the_repository_lists_models(triton):
    """With their states."""
    index = triton.get_model_repository_index()
    states = {each["name"]: each for each in (index if triton.is_http else index["models"])}
    assert states["double"]["version"] == "1"
    assert states["double"]["state"] == "READY"


@of("load_model", "unload_model")
def test_a_model_is_unloaded_and_loaded(triton):
    """And ready again, by its own configuration and by one of the caller's."""

    def state():
        index = triton.get_model_repository_index()
        (found,) = (
            each
            for each in (index if triton.is_http else index["models"])
            if each["name"] == "spare"
        )
        return found["state"]

    triton.unload_model("spare")
    until(lambda: state() == "UNAVAILABLE")
    with pytest.raises(InferenceServerException):
        triton.infer("spare", [triton.tensor("x", X, "FP32")])
    triton.load_model("spare", config=json.dumps({"max_batch_size": 4}))
    assert state() == "READY"
    np.testing.assert_array_equal(
        triton.infer("spare", [triton.tensor("x", X, "FP32")]).as_numpy("y"), 2 * X
    )
    with pytest.raises(InferenceServerException):
        triton.load_model("none")


# ------------------------------------------------------------------ settings
@of("get_trace_settings", "update_trace_settings")
def test_what_is_traced_is_a_setting(triton):
    """Of all models and of one, until it is cleared."""
    triton.update_trace_settings("double", {"trace_level": ["OFF"], "trace_rate": "7"})
    settings = triton.get_trace_settings("double")
    if triton.is_http:
        assert (settings["trace_level"], settings["trace_rate"]) == (["OFF"], "7")
    else:
        assert settings["settings"]["trace_rate"] == {"value": ["7"]}
    assert triton.get_trace_settings() != settings
    triton.update_trace_settings("double", {"trace_level": None, "trace_rate": None})
    assert triton.get_trace_settings("double") == triton.get_trace_settings()


@of("get_log_settings", "update_log_settings")
def test_what_is_logged_is_a_setting(triton):
    """Of its type."""
    before = triton.get_log_settings()
    after = triton.update_log_settings({"log_verbose_level": 1, "log_info": False})
    if triton.is_http:
        assert (after["log_verbose_level"], after["log_info"]) == (1, False)
    else:
        assert after["settings"]["log_verbose_level"] == {"uint32_param": 1}
    triton.update_log_settings({"log_verbose_level": 0, "log_info": True})
    assert triton.get_log_settings() == before


# ------------------------------------------------------------------ shared memory
@of(
    "register_system_shared_memory",
    "get_system_shared_memory_status",
    "unregister_system_shared_memory",
)
def test_tensors_are_passed_in_shared_memory(triton):
    """Both ways, while the region is registered."""
    key, region = f"/{uuid.uuid4().hex}", uuid.uuid4().hex
    memory = shared_memory.create_shared_memory_region(region, key, 2 * X.nbytes)
    try:
        shared_memory.set_shared_memory_region(memory, [X])
        triton.register_system_shared_memory(region, key, 2 * X.nbytes)
        status = triton.get_system_shared_memory_status(region)
        (said,) = status if triton.is_http else status["regions"].values()
        assert (said["name"], said["key"], int(said["byte_size"])) == (region, key, 2 * X.nbytes)
        x = triton.module.InferInput("x", [2, 2], "FP32")
        x.set_shared_memory(region, X.nbytes)
        y = triton.module.InferRequestedOutput("y")
        y.set_shared_memory(region, X.nbytes, offset=X.nbytes)
        triton.infer("double", [x], outputs=[y])
        found = shared_memory.get_contents_as_numpy(memory, np.float32, [2, 2], offset=X.nbytes)
        np.testing.assert_array_equal(found, 2 * X)
        triton.unregister_system_shared_memory(region)
        with pytest.raises(InferenceServerException, match=region):
            triton.get_system_shared_memory_status(region)
        triton.unregister_system_shared_memory()
    finally:
        shared_memory.destroy_shared_memory_region(memory)


@of(
    "register_cuda_shared_memory",
    "get_cuda_shared_memory_status",
    "unregister_cuda_shared_memory",
)
def test_gpu_memory_is_refused_where_there_is_no_gpu(triton):
    """In words that say so."""
    handle = base64.b64encode(bytes(64))
    handle = handle.decode() if triton.is_http else handle
    with pytest.raises(InferenceServerException, match=r"(?i)gpu|cuda"):
        triton.register_cuda_shared_memory("g", handle, 0, 8)
    assert not triton.get_cuda_shared_memory_status()
    triton.unregister_cuda_shared_memory()


# ------------------------------------------------------------------ inference
@of("infer")
def test_a_model_answers(triton):
    """By name, with the caller's id, and says who did."""
    outputs = [triton.module.InferRequestedOutput("y")]
    result = triton.infer(
        "scale",
        [triton.tensor("x", X, "FP32")],
        outputs=outputs,
        request_id="r-1",
        priority=1,
        timeout=60_000_000,
        parameters={"mine": "yes"},
    )
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)
    assert (triton.said(result, "id"), triton.said(result, "model_name")) == ("r-1", "scale")
    assert "fabric_specialist" in triton.said(result, "parameters")
    with pytest.raises(InferenceServerException, match="unknown model: 'none' is not found"):
        triton.infer("none", [triton.tensor("x", X, "FP32")])


@of("infer")
def test_texts_come_back(triton):
    """Of any length, and with any bytes in them that are text."""
    texts = np.array(["", "ü", "a\0b"], np.object_)
    expected = [text.encode() for text in texts]
    result = triton.infer("echo", [triton.tensor("x", texts, "BYTES")])
    assert result.as_numpy("y").tolist() == expected


@of("infer", kinds=("http", "http.aio"))
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_elements_travel_as_json_and_as_binary_data(triton, binary_in, binary_out):
    """In any mixture."""
    outputs = [triton.module.InferRequestedOutput("y", binary_data=binary_out)]
    tensors = [triton.tensor("x", X, "FP32", binary_data=binary_in)]
    result = triton.infer("double", tensors, outputs=outputs)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)
    assert ("data" in result.get_output("y")) is not binary_out
    texts = np.array([b"a", b""], np.object_)
    tensors = [triton.tensor("x", texts, "BYTES", binary_data=binary_in)]
    answer = triton.infer("echo", tensors, outputs=outputs).as_numpy("y").tolist()
    assert answer == ([b"a", b""] if binary_out else ["a", ""])


@of("infer")
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_answered(triton, algorithm):
    """Compressed, where the client asks for it."""
    ways = ("request_compression_algorithm", "response_compression_algorithm")
    said = dict.fromkeys(ways if triton.is_http else ["compression_algorithm"], algorithm)
    result = triton.infer("double", [triton.tensor("x", X, "FP32")], **said)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)


@of("async_infer")
def test_many_requests_are_in_flight_at_once(kind, hosted):
    """And each gets its own answer."""
    answers: queue.Queue = queue.Queue()
    with Driver(kind, hosted) as triton:
        for number in range(20):
            tensors = [triton.tensor("x", np.full((1, 2), number, np.float32), "FP32")]
            if triton.is_http:
                asked = triton.async_infer("double", tensors, request_id=str(number))
                answers.put((asked.get_result(), None))
            else:
                heard = lambda result, error: answers.put((result, error))  # noqa: E731
                triton.async_infer("double", tensors, heard, request_id=str(number))
        for _ in range(20):
            result, error = answers.get(timeout=20)
            assert error is None
            assert result.as_numpy("y")[0, 0] == 2 * int(triton.said(result, "id"))


@of("start_stream", "async_stream_infer", "stop_stream")
def test_a_stream_answers_each_request(triton):
    """A decoupled model as often as it likes."""
    heard: queue.Queue = queue.Queue()
    triton.start_stream(lambda result, error: heard.put((result, error)))
    triton.async_stream_infer("double", [triton.tensor("x", X, "FP32")], request_id="d")
    result, error = heard.get(timeout=20)
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)
    three = triton.tensor("n", np.array([3], np.int32), "INT32")
    triton.async_stream_infer("counting", [three], request_id="c")
    numbers = [heard.get(timeout=20)[0].as_numpy("i").item() for _ in range(3)]
    assert numbers == [0, 1, 2]
    triton.stop_stream()


@of("stream_infer")
def test_an_asyncio_stream_answers_each_request(triton):
    """In the order in which they were asked."""

    async def asked():
        tensors = [triton.tensor("n", np.array([2], np.int32), "INT32")]
        yield {"model_name": "counting", "inputs": tensors, "request_id": "c"}

    async def stream():
        found = []
        answers = triton.client.stream_infer(asked())
        async for result, error in answers:
            assert error is None
            found.append(result.as_numpy("i").item())
        return found

    assert triton.run(stream()) == [0, 1]


@of("generate_request_body", "parse_response_body")
def test_bodies_that_the_client_makes_and_reads_are_served(kind, hosted):
    """Over anybody's connection."""
    import httpx

    client = MODULES[kind].InferenceServerClient
    x = MODULES["http"].InferInput("x", [2, 2], "FP32").set_data_from_numpy(X)
    body, length = client.generate_request_body([x])
    headers = {"Inference-Header-Content-Length": str(length)}
    url = f"http://{hosted}/v2/models/double/infer"
    response = httpx.post(url, content=body, headers=headers, trust_env=False)
    length = int(response.headers["Inference-Header-Content-Length"])
    result = client.parse_response_body(response.content, header_length=length)
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * X)


# ------------------------------------------------------------------ plugins
class Stamping(InferenceServerClientPlugin):
    """Adds a header to every request."""

    def __call__(self, request):
        request.headers["x-stamp"] = "yes"
        self.stamped = True


@of("register_plugin", "plugin", "unregister_plugin")
def test_what_a_plugin_adds_disturbs_nobody(triton):
    """Headers that nobody here knows are passed by."""
    plugin = Stamping()
    triton.register_plugin(plugin)
    assert triton.plugin() is plugin
    assert triton.infer("double", [triton.tensor("x", X, "FP32")], headers={"a": "b"})
    assert plugin.stamped
    triton.unregister_plugin()
    assert triton.plugin() is None
