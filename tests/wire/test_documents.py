"""Documents of the calls other than inference."""

from __future__ import annotations

import base64
import json

import pytest

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import model_config_pb2 as config_pb2
from fabric.core.errors import InvalidRequest
from fabric.wire import documents


def test_messages_are_written_whole():
    """Fields that are not set, too, as clients index them; of what is either this or that, one."""
    config = config_pb2.ModelConfig(name="m", max_batch_size=8)
    config.input.add(name="x", data_type=config_pb2.TYPE_FP32, dims=[-1, 2**40])
    config.dynamic_batching.priority_queue_policy[2].max_queue_size = 7
    config.parameters["a"].string_value = "b"
    document = documents.configuration(ext.ModelConfigResponse(config=config))
    assert document["max_batch_size"] == 8
    assert document["input"][0]["data_type"] == "TYPE_FP32"
    assert document["input"][0]["dims"] == [-1, 2**40]
    assert document["parameters"] == {"a": {"string_value": "b"}}
    assert document["dynamic_batching"]["priority_queue_policy"]["2"]["max_queue_size"] == 7
    assert (document["output"], document["backend"], document["metric_tags"]) == ([], "", {})
    assert "sequence_batching" not in document
    assert "version_policy" not in document
    json.dumps(document)


def test_statistics_are_numbers():
    """Counters of 64 bits, too."""
    response = ext.ModelStatisticsResponse()
    each = response.model_stats.add(name="m", inference_count=2**63)
    each.inference_stats.success.ns = 5
    (document,) = documents.plain(response)["model_stats"]
    assert document["inference_count"] == 2**63
    assert document["inference_stats"]["success"] == {"count": 0, "ns": 5}


def test_an_index_names_what_there_is():
    """Versions and reasons where there are some."""
    response = ext.RepositoryIndexResponse()
    response.models.add(name="a", version="1", state="READY")
    response.models.add(name="b")
    assert documents.index(response) == [
        {"name": "a", "version": "1", "state": "READY"},
        {"name": "b"},
    ]


def test_regions_are_a_list():
    """As Triton's front door has it."""
    response = ext.SystemSharedMemoryStatusResponse()
    response.regions["r"].CopyFrom(
        ext.SystemSharedMemoryStatusResponse.RegionStatus(name="r", key="/k", byte_size=2**40)
    )
    assert documents.regions(response) == [
        {"name": "r", "key": "/k", "offset": 0, "byte_size": 2**40}
    ]


def test_settings_come_back_as_they_were_set():
    """Levels as a list, other settings of tracing as texts, those of logging by their type."""
    trace = ext.TraceSettingRequest()
    said = {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": 7,
        "trace_count": "-1",
        "log_frequency": None,
    }
    documents.read_trace_settings(trace, said)
    answer = ext.TraceSettingResponse.FromString(trace.SerializeToString())
    assert documents.trace_settings(answer) == {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": "7",
        "trace_count": "-1",
        "log_frequency": [],
    }
    log = ext.LogSettingsRequest()
    said = {"log_file": "f", "log_info": True, "log_verbose_level": 2}
    documents.read_log_settings(log, said)
    answer = ext.LogSettingsResponse.FromString(log.SerializeToString())
    assert documents.log_settings(answer) == said


def test_a_model_is_loaded_with_files():
    """In base64, beside its configuration."""
    request = ext.RepositoryModelLoadRequest()
    files = {"config": "{}", "file:1/model.onnx": base64.b64encode(b"\0onnx").decode()}
    documents.read_parameters(request, {"parameters": {**files, "unload_dependents": True}})
    said = request.parameters
    assert said["config"].string_param == "{}"
    assert said["file:1/model.onnx"].bytes_param == b"\0onnx"
    assert said["unload_dependents"].bool_param


def test_a_region_of_a_gpu_is_registered_by_its_handle():
    """In base64, one deeper."""
    request = ext.CudaSharedMemoryRegisterRequest()
    said = {"raw_handle": {"b64": base64.b64encode(b"handle").decode()}, "device_id": 1}
    documents.read_fields(request, {**said, "byte_size": 8})
    assert (request.raw_handle, request.device_id, request.byte_size) == (b"handle", 1, 8)


@pytest.mark.parametrize(
    ("read", "request_", "document"),
    [
        (documents.read_fields, ext.SystemSharedMemoryRegisterRequest, {"byte_size": -1}),
        (documents.read_fields, ext.RepositoryIndexRequest, {"ready": 2**64}),
        (documents.read_fields, ext.SystemSharedMemoryRegisterRequest, {"offset": True}),
        (documents.read_fields, ext.SystemSharedMemoryRegisterRequest, {"key": 1}),
        (documents.read_fields, ext.CudaSharedMemoryRegisterRequest, {"raw_handle": {}}),
        (documents.read_fields, ext.CudaSharedMemoryRegisterRequest, {"raw_handle": "%"}),
        (documents.read_fields, ext.RepositoryIndexRequest, {"ready": "yes"}),
        (documents.read_parameters, ext.RepositoryModelLoadRequest, {"parameters": []}),
        (documents.read_parameters, ext.RepositoryModelLoadRequest, {"parameters": {"a": None}}),
        (documents.read_parameters, ext.RepositoryModelLoadRequest, {"parameters": {"file:a": 1}}),
        (documents.read_parameters, ext.RepositoryModelLoadRequest, {"parameters": {"a": 2**64}}),
        (documents.read_trace_settings, ext.TraceSettingRequest, {"trace_level": {}}),
        (documents.read_trace_settings, ext.TraceSettingRequest, {"trace_level": [[]]}),
        (documents.read_log_settings, ext.LogSettingsRequest, {"log_verbose_level": -1}),
        (documents.read_log_settings, ext.LogSettingsRequest, {"log_info": [True]}),
    ],
)
def test_what_a_field_cannot_hold_is_refused(read, request_, document):
    """By its name."""
    with pytest.raises(InvalidRequest, match="'"):
        read(request_(), document)


def test_halves_of_characters_are_refused():
    """Wherever they are; whole ones are read, however they were written."""
    assert documents.loads(rb'{"\ud83d\ude00": "\\ud800"}') == {"😀": "\\ud800"}
    for text in (rb'{"\ud83d": 1}', rb'["\ude00"]'):
        with pytest.raises(InvalidRequest, match="surrogates not allowed"):
            documents.loads(text)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 10_000, b"9" * 10_000])
def test_what_is_no_document_is_refused(text):
    """In the words that clients know."""
    with pytest.raises(InvalidRequest, match="failed to parse the request JSON buffer"):
        documents.loads(text)
