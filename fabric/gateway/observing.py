"""The protocol's settings of what this gateway traces and logs; each gateway has its own."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.core.errors import InvalidRequest
from fabric.gateway.grpc import SERVICE, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.view import View

Settings = dict[str, tuple[str, ...]]

_DEFAULTS: Settings = {
    "trace_level": ("TIMESTAMPS",),
    "trace_rate": ("100",),
    "trace_count": ("-1",),
    "trace_mode": ("opentelemetry",),
    "trace_file": ("",),
    "log_frequency": ("0",),
}
_FORMS = {
    "trace_level": re.compile("TIMESTAMPS|TENSORS|OFF"),
    "trace_rate": re.compile("[1-9][0-9]{0,8}"),
    "trace_count": re.compile("-1|[0-9]{1,18}"),
}
"""Of what may be changed; spans leave as the process was told to at its start."""
_OFF: Settings = {"trace_level": ("OFF",)}


@dataclass(slots=True)
class _Sampler:
    """Takes one request in so many, and only so many."""

    one_in: int
    left: int
    """Requests that may still be taken; below zero for any number."""
    seen: int = 0

    def takes(self, context: bytes) -> bool:
        """Whether the next request is taken; one with a trace context if its caller takes it."""
        if context:
            is_due = bool(context[-1] & 1)
        else:
            is_due = not self.seen % self.one_in
            self.seen += 1
        if not is_due or not self.left:
            return False
        self.left -= 1
        return True


class Tracing:
    """Which requests leave spans: of all models, or otherwise for one of them.

    `trace_level` OFF records none. Else a caller with a trace context has decided for itself, and
    of the other requests it is one in `trace_rate`, at first one in *one_in*; after `trace_count`
    of both it is none, -1 for no such end.
    """

    def __init__(self, view: View, one_in: int) -> None:
        self._view = view
        self._defaults = _DEFAULTS | ({"trace_rate": (str(one_in),)} if one_in else _OFF)
        self._settings: dict[str, Settings] = {"": dict(self._defaults)}
        """What differs, by model; of the server under the empty name."""
        self._samplers = {"": _sampler(self._defaults)}
        """By model, as the settings have it."""

    def handlers(self) -> dict[str, Handler]:
        return {f"{SERVICE}TraceSetting": self.trace_setting}

    def takes(self, model: str, context: bytes) -> bool:
        """Whether this request leaves spans, whose caller's trace context is *context*."""
        samplers = self._samplers
        return (samplers.get(model) or samplers[""]).takes(context)

    async def trace_setting(self, payload: bytes, scope: Scope) -> Parts:
        """The settings as they are after those of the request were made; none clears one."""
        request = decoded(pb.TraceSettingRequest, payload)
        model = request.model_name
        if model:
            self._view.can_serve(model, "")
        given = {name: tuple(value.value) for name, value in request.settings.items()}
        for name, values in given.items():
            _check(name, values)
        if given:
            self._change(model, given)
        response = pb.TraceSettingResponse()
        for name, values in self._of(model).items():
            response.settings[name].value.extend(values)
        return (response.SerializeToString(),)

    def _of(self, model: str) -> Settings:
        return self._settings[""] | self._settings.get(model, {})

    def _change(self, model: str, given: Mapping[str, tuple[str, ...]]) -> None:
        known = self._view.catalog
        names = {s.card.name for s in known.specialists.values()} | known.routes.keys()
        names |= known.pipelines.keys() | {""}
        for gone in self._settings.keys() - names:
            del self._settings[gone], self._samplers[gone]
        settings = self._settings.setdefault(model, {})
        for name, values in given.items():
            if values:
                settings[name] = values
            elif model:
                settings.pop(name, None)
            else:
                settings[name] = self._defaults[name]
        if not settings:
            del self._settings[model]
            self._samplers.pop(model, None)
        changed = [model] if model else list(self._settings)  # all begin as the server's
        self._samplers |= {
            each: _sampler(self._of(each)) for each in changed if each in self._settings
        }


def _sampler(settings: Settings) -> _Sampler:
    (one_in,), (count,) = settings["trace_rate"], settings["trace_count"]
    return _Sampler(int(one_in), 0 if "OFF" in settings["trace_level"] else int(count))


def _check(name: str, values: Sequence[str]) -> None:
    if name not in _DEFAULTS:
        raise InvalidRequest(
            f"unknown trace setting '{name}'; there are {', '.join(sorted(_DEFAULTS))}"
        )
    form = _FORMS.get(name)
    if form is None:
        if tuple(values) not in ((), _DEFAULTS[name]):
            raise InvalidRequest(
                f"trace setting '{name}' can not be updated through network protocol: spans leave "
                "by OpenTelemetry, as the OTEL_* variables say"
            )
        return
    is_list = name == "trace_level"
    if (len(values) > 1 and not is_list) or not all(map(form.fullmatch, values)):
        raise InvalidRequest(
            f"trace setting '{name}' is {', '.join(values)}; it must match {form.pattern}"
        )


class Logs:
    """Which levels of fabric's own log lines this gateway writes."""

    def __init__(self) -> None:
        self._settings: dict[str, bool | int | str] = {
            "log_file": "",
            "log_info": True,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "json",
        }
        self._level = logging.getLogger("fabric").level

    def handlers(self) -> dict[str, Handler]:
        return {f"{SERVICE}LogSettings": self.log_settings}

    async def log_settings(self, payload: bytes, scope: Scope) -> Parts:
        """The settings as they are after those of the request were made."""
        request = decoded(pb.LogSettingsRequest, payload)
        given = {name: _value(name, value) for name, value in request.settings.items()}
        for name, value in given.items():
            self._check(name, value)
        if given:
            self._settings |= given
            self._apply()
        response = pb.LogSettingsResponse()
        for name, value in self._settings.items():
            setting = response.settings[name]
            if isinstance(value, bool):
                setting.bool_param = value
            elif isinstance(value, int):
                setting.uint32_param = value
            else:
                setting.string_param = value
        return (response.SerializeToString(),)

    def _check(self, name: str, value: bool | int | str) -> None:
        known = self._settings.get(name)
        if known is None:
            raise InvalidRequest(
                f"unknown log setting '{name}'; there are {', '.join(sorted(self._settings))}"
            )
        if type(value) is not type(known):
            wanted = {bool: "a bool", int: "a number", str: "a text"}[type(known)]
            raise InvalidRequest(f"log setting '{name}' is {value!r}, it must be {wanted}")
        if isinstance(known, str) and value != known:
            raise InvalidRequest(
                f"log setting '{name}' can not be updated through network protocol: "
                "lines leave as JSON on the standard error stream"
            )

    def _apply(self) -> None:
        """Lines of a level are written while its setting is on; verbose ones are debug lines."""
        wanted = {
            logging.DEBUG: bool(self._settings["log_verbose_level"]),
            logging.INFO: bool(self._settings["log_info"]),
            logging.WARNING: bool(self._settings["log_warning"]),
            logging.ERROR: bool(self._settings["log_error"]),
        }
        logging.getLogger("fabric").setLevel(
            logging.DEBUG if wanted[logging.DEBUG] else self._level
        )
        for handler in logging.getLogger().handlers:
            for old in [each for each in handler.filters if isinstance(each, _Levels)]:
                handler.removeFilter(old)
            handler.addFilter(_Levels(wanted))


class _Levels(logging.Filter):
    """Lets through the lines of fabric whose level is wanted, and everybody else's."""

    def __init__(self, wanted: Mapping[int, bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = record.name.partition(".")[0] == "fabric"
        return not is_ours or self._wanted.get(min(record.levelno, logging.ERROR), True)


def _value(name: str, value: pb.LogSettingsRequest.SettingValue) -> bool | int | str:
    choice = value.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"log setting '{name}' has no value")
    said: bool | int | str = getattr(value, choice)
    return said
