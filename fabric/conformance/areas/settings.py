"""Settings of tracing and of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.conformance.checks import NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.samples import FP32
from fabric.conformance.server import LOG, TRACE, Refused

if TYPE_CHECKING:
    from fabric.conformance.server import Server

trace = Rules("settings.trace", "Triton: trace extension", extension="trace")
log = Rules("settings.log", "Triton: logging extension", extension="logging")


def _trace(model: str = "", **settings: list[str]) -> ext.TraceSettingRequest:
    asked = ext.TraceSettingRequest(model_name=model)
    for name, values in settings.items():
        asked.settings[name].value.extend(values)
        asked.settings[name].SetInParent()
    return asked


async def _traced(server: Server, model: str = "", **settings: list[str]) -> dict[str, list[str]]:
    answer = await server.call(TRACE, _trace(model, **settings))
    return {name: list(each.value) for name, each in answer.settings.items()}


@trace()
async def can_be_read(server: Server) -> None:
    """TraceSetting without settings gives those that hold, the level among them."""
    settings = await _traced(server)
    expect("trace_level" in settings, "trace_level", sorted(settings))
    expect("trace_rate" in settings, "trace_rate", sorted(settings))


@trace()
async def can_be_changed(server: Server) -> None:
    """A setting that is given holds, and is in the answer."""
    before = (await _traced(server))["trace_rate"]
    try:
        changed = await _traced(server, trace_rate=["777"])
        expect_equal(changed["trace_rate"], ["777"], "trace_rate")
        expect_equal((await _traced(server))["trace_rate"], ["777"], "trace_rate")
    finally:
        await _traced(server, trace_rate=before)


@trace(FP32)
async def of_a_model(server: Server) -> None:
    """Settings of a model hold for it alone, until they are cleared."""
    before = (await _traced(server))["trace_rate"]
    try:
        changed = await _traced(server, FP32, trace_rate=["555"])
        expect_equal(changed["trace_rate"], ["555"], "trace_rate of the model")
        expect_equal((await _traced(server))["trace_rate"], before, "trace_rate of the server")
    finally:
        await _traced(server, FP32, trace_rate=[])
    expect_equal((await _traced(server, FP32))["trace_rate"], before, "trace_rate once cleared")


@trace()
async def unknown_ones_do_not_come_to_be(server: Server) -> None:
    """A setting that does not exist is refused, or passed by."""
    try:
        settings = await _traced(server, no_such_setting=["1"])
    except Refused as refused:
        if refused.code == "UNIMPLEMENTED":
            raise
        return
    expect("no_such_setting" not in settings, "no such setting", sorted(settings))


@trace()
async def wrong_values_are_refused(server: Server) -> None:
    """A value that is none of a setting's is refused."""
    refused = await server.refused(TRACE, _trace(trace_rate=["often"]))
    if refused.code == "UNIMPLEMENTED":
        raise refused


@trace()
async def of_an_unknown_model(server: Server) -> None:
    """Settings of a model that does not exist are refused."""
    refused = await server.refused(TRACE, _trace(UNKNOWN))
    if refused.code == "UNIMPLEMENTED":
        raise refused


# ------------------------------------------------------------------ logs
async def _logged(server: Server, asked: ext.LogSettingsRequest | None = None) -> dict[str, object]:
    answer = await server.call(LOG, asked or ext.LogSettingsRequest())
    return {
        name: getattr(each, each.WhichOneof("parameter_choice") or "string_param")
        for name, each in answer.settings.items()
    }


@log()
async def logs_can_be_read(server: Server) -> None:
    """LogSettings without settings gives those that hold."""
    settings = await _logged(server)
    expect("log_verbose_level" in settings, "log_verbose_level", sorted(settings))
    expect("log_info" in settings, "log_info", sorted(settings))


@log()
async def logs_can_be_changed(server: Server) -> None:
    """A setting that is given holds, and is in the answer."""
    before = await _logged(server)
    if not isinstance(level := before.get("log_verbose_level"), int):
        raise NotOffered("log_verbose_level is no number here")
    asked = ext.LogSettingsRequest()
    asked.settings["log_verbose_level"].uint32_param = level + 1
    try:
        expect_equal((await _logged(server, asked))["log_verbose_level"], level + 1, "level")
        expect_equal((await _logged(server))["log_verbose_level"], level + 1, "level")
    finally:
        asked.settings["log_verbose_level"].uint32_param = level
        await _logged(server, asked)


@log()
async def unknown_log_settings_do_not_come_to_be(server: Server) -> None:
    """A setting that does not exist is refused, or passed by."""
    asked = ext.LogSettingsRequest()
    asked.settings["no_such_setting"].bool_param = True
    try:
        settings = await _logged(server, asked)
    except Refused as refused:
        if refused.code == "UNIMPLEMENTED":
            raise
        return
    expect("no_such_setting" not in settings, "no such setting", sorted(settings))


@log()
async def log_settings_of_another_kind_are_refused(server: Server) -> None:
    """A value of another kind than the setting's is refused."""
    asked = ext.LogSettingsRequest()
    asked.settings["log_info"].string_param = "yes"
    await _refused(server, asked)


async def _refused(server: Server, asked: ext.LogSettingsRequest) -> None:
    refused: Refused = await server.refused(LOG, asked)
    if refused.code == "UNIMPLEMENTED":
        raise refused


PARTS = (trace, log)
