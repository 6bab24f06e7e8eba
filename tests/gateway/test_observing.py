"""The settings of what a gateway traces and logs."""

from __future__ import annotations

import logging

import pytest

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.core.changes import Changes, Hosted
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.replicas import Status
from fabric.gateway.observing import Logs, Tracing
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.view import View
from fabric.testing import specialist


@pytest.fixture
def tracing():
    view = View(ReplicaPool())
    hosted = tuple(Hosted(specialist(name), Status()) for name in ("a", "b"))
    view.catalog.update(Changes(revision=1, specialists=hosted))
    return Tracing(view, 3)


async def settings(tracing, model="", **given):
    request = pb.TraceSettingRequest(model_name=model)
    for name, values in given.items():
        request.settings[name].value.extend(values)
    (payload,) = await tracing.trace_setting(request.SerializeToString(), {})
    response = pb.TraceSettingResponse.FromString(payload)
    return {name: list(value.value) for name, value in response.settings.items()}


def sampled(tracing, model="a"):
    return tracing.takes(model, b"")


async def test_one_request_in_so_many_leaves_spans_unless_told_otherwise(tracing):
    """The settings say so in the words of the protocol."""
    assert await settings(tracing) == {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": ["3"],
        "trace_count": ["-1"],
        "trace_mode": ["opentelemetry"],
        "trace_file": [""],
        "log_frequency": ["0"],
    }
    assert [sampled(tracing) for _ in range(7)] == 2 * [True, False, False] + [True]


async def test_a_caller_decides_for_itself(tracing):
    """By the flag of its trace context, as long as anything is recorded."""
    await settings(tracing, trace_rate=["7"])

    assert all(tracing.takes("a", b"\1" * 25) for _ in range(3))
    assert not any(tracing.takes("a", b"\1" * 24 + b"\0") for _ in range(3))
    assert [sampled(tracing) for _ in range(3)] == [True, False, False]
    await settings(tracing, trace_level=["OFF"])
    assert not tracing.takes("a", b"\1" * 25)


async def test_a_gateway_that_samples_nothing_says_off(tracing):
    """It can be told otherwise."""
    off = Tracing(tracing._view, 0)
    assert (await settings(off))["trace_level"] == ["OFF"]
    assert not sampled(off)
    await settings(off, trace_level=["TIMESTAMPS"], trace_rate=["1"])
    assert sampled(off)


async def test_one_request_in_so_many_leaves_spans_and_no_more_than_counted(tracing):
    """Of all models together while none has settings of its own."""
    await settings(tracing, trace_rate=["2"], trace_count=["2"])

    assert [sampled(tracing) for _ in range(8)] == [True, False, True, False] + 4 * [False]
    await settings(tracing, trace_count=["1"])
    assert [sampled(tracing) for _ in range(3)] == [True, False, False]


async def test_a_model_has_settings_of_its_own_until_they_are_cleared(tracing):
    """They begin as the server's; other models keep those."""
    await settings(tracing, trace_rate=["7"])
    changed = await settings(tracing, "a", trace_level=["OFF"])

    assert (changed["trace_level"], changed["trace_rate"]) == (["OFF"], ["7"])
    assert not sampled(tracing)
    assert sampled(tracing, "b")
    assert (await settings(tracing, "a", trace_level=[]))["trace_level"] == ["TIMESTAMPS"]
    assert (await settings(tracing, trace_rate=[]))["trace_rate"] == ["3"]
    assert sampled(tracing)


async def test_settings_that_cannot_be_are_refused_and_change_nothing(tracing):
    """Unknown names, values and models; what the process was told at its start."""
    for given, text in (
        ({"trace_speed": ["1"]}, "unknown trace setting 'trace_speed'"),
        ({"trace_rate": ["0"]}, "'trace_rate' is 0"),
        ({"trace_rate": ["1", "2"]}, "'trace_rate' is 1, 2"),
        ({"trace_level": ["ALL"]}, "'trace_level' is ALL"),
        ({"trace_rate": ["5"], "trace_file": ["lines.log"]}, "'trace_file' can not be updated"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            await settings(tracing, **given)
    with pytest.raises(NotFound, match="'x' is not found"):
        await settings(tracing, "x")
    assert (await settings(tracing))["trace_rate"] == ["3"]


@pytest.fixture
def logs():
    root, ours = logging.getLogger(), logging.getLogger("fabric")
    level, filters = ours.level, [list(handler.filters) for handler in root.handlers]
    yield Logs()
    ours.setLevel(level)
    for handler, kept in zip(root.handlers, filters, strict=True):
        handler.filters = kept


async def log_settings(logs, **given):
    request = pb.LogSettingsRequest()
    for name, value in given.items():
        field = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
        setattr(request.settings[name], field, value)
    (payload,) = await logs.log_settings(request.SerializeToString(), {})
    found = pb.LogSettingsResponse.FromString(payload).settings
    return {name: getattr(v, v.WhichOneof("parameter_choice")) for name, v in found.items()}


async def test_levels_of_log_lines_are_switched_on_and_off(logs, caplog):
    """Of fabric's own loggers, and each by itself."""
    logging.getLogger().addHandler(caplog.handler)
    log, other = logging.getLogger("fabric.test"), logging.getLogger("other")

    await log_settings(logs, log_info=False, log_warning=False, log_verbose_level=1)
    log.info("an info")
    log.warning("a warning")
    log.error("an error")
    log.debug("a detail")
    other.warning("another's warning")

    assert {"an error", "a detail", "another's warning"} == set(caplog.messages)
    said = await log_settings(logs, log_info=True, log_warning=True, log_verbose_level=0)
    assert said == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "json",
    }


async def test_log_settings_that_cannot_be_are_refused(logs):
    """Unknown names, values of another type, and where lines go."""
    for given, text in (
        ({"log_colour": True}, "unknown log setting 'log_colour'"),
        ({"log_info": 1}, "'log_info' is 1, it must be a bool"),
        ({"log_file": "lines.log"}, "'log_file' can not be updated"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            await log_settings(logs, **given)
