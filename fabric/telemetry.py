"""Every span, attribute and logger name, and how they leave the process.

Code uses OpenTelemetry's API through this module; the SDK is touched only inside `configure`.
Without an exporter named in the standard `OTEL_*` variables nothing is recorded. With one, the
gateway decides by `sampled_one_in` which requests leave spans, unless their callers have decided;
all behind it go by the flag of the trace context, and where there is none they record nothing. So
a request that is not sampled costs no more than passing its caller's context on.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

# Spans
GATEWAY_SPAN = "fabric.gateway"
ATTEMPT_SPAN = "fabric.attempt"
STEP_SPAN = "fabric.step"
REPLICA_SPAN = "fabric.replica"

# Attributes
MODEL = "fabric.model"
ROUTE = "fabric.route"
STEP = "fabric.step"
ITEM = "fabric.item"  # of a map or a loop, as `3` or `3/0`; empty outside of them
SPECIALIST = "fabric.specialist"
VERSION = "fabric.version"
REPLICA = "fabric.replica"
FALLBACK = "fabric.fallback"
ATTEMPTS = "fabric.attempts"
REQUEST = "fabric.request"
CONFIDENCE = "fabric.confidence"
MIXTURE = "fabric.mixture"
CACHE = "fabric.cache"  # hit or miss; neither where the card lets no answer be kept
REASON = "fabric.reason"
BATCH_ROWS = "fabric.batch.rows"
ERROR_TYPE = "error.type"  # OpenTelemetry semantic conventions, "error" registry

CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER

_DEFAULT_RATIO = 0.01
_RATIOS = {"": _DEFAULT_RATIO, "always_on": 1.0, "always_off": 0.0}

_tracer = trace.get_tracer("fabric")
_enabled = False
_one_in = round(1 / _DEFAULT_RATIO)


def configure(service: str, environ: Mapping[str, str] = os.environ) -> None:
    """Sends this process's logs to stderr as JSON lines, and its spans where `OTEL_*` says.

    Spans are recorded when `OTEL_TRACES_EXPORTER` is `otlp` or `console`, or an OTLP endpoint is
    set (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), and of
    one request in a hundred, unless `OTEL_TRACES_SAMPLER` says otherwise.

    Raises:
        RuntimeError: an exporter or a sampler is asked for that is not installed or not known.
    """
    global _enabled, _one_in, _tracer
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(
        level=environ.get("FABRIC_LOG_LEVEL", "INFO"), handlers=[handler], force=True
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request as info
    exporter = _exporter(environ)
    if exporter is None:
        return
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    ratio = _ratio(environ)
    _one_in = round(1 / ratio) if ratio else 0
    attributes = {} if "OTEL_SERVICE_NAME" in environ else {SERVICE_NAME: service}
    resource = Resource.create(attributes)
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON)  # what is not to be is no span
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("fabric")
    _enabled = True


def shutdown() -> None:
    """Flushes what is recorded; blocks for some seconds at most."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "shutdown"):
        provider.shutdown()


def _exporter(environ: Mapping[str, str]) -> Any:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    default = "otlp" if any(environ.get(name) for name in endpoints) else "none"
    name = environ.get("OTEL_TRACES_EXPORTER") or default
    if name == "none":
        return None
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    if name != "otlp":
        raise RuntimeError(f"OTEL_TRACES_EXPORTER={name} is not known; use otlp, console or none")
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    transport = "grpc" if protocol == "grpc" else "http"
    try:
        module = import_module(f"opentelemetry.exporter.otlp.proto.{transport}.trace_exporter")
    except ImportError as error:
        raise RuntimeError("OTLP export needs the extra: fabric-specialists[otlp]") from error
    return module.OTLPSpanExporter()


def _ratio(environ: Mapping[str, str]) -> float:
    """The share of requests that leave spans, of those whose callers have not decided."""
    name = environ.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_")
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        ratio = float(text) if name == "traceidratio" else _RATIOS[name]
    except (KeyError, ValueError):
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise RuntimeError(
            f"OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={text} is not known; "
            "use always_on, always_off, or traceidratio with a number from 0 to 1"
        )
    return ratio


def is_enabled() -> bool:
    """Whether spans are recorded at all; ask before doing work for one."""
    return _enabled


def is_recorded(context: bytes) -> bool:
    """Whether work below *context* leaves spans."""
    return _enabled and bool(context) and bool(context[-1] & TraceFlags.SAMPLED)


def sampled_one_in() -> int:
    """Of so many requests one is to leave spans; 0 if none is."""
    return _one_in


@contextmanager
def span(
    name: str,
    context: bytes,
    attributes: Mapping[str, AttributeValue],
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A recorded span below *context*; an exception that leaves it marks it failed."""
    with _tracer.start_as_current_span(
        *(name, _parent(context), kind),
        attributes=attributes,
        record_exception=False,  # formatting a traceback takes ten times what the request does
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            _fail(made, error)
            raise


def note(name: str, value: AttributeValue) -> None:
    """Says it of the span that is around; nobody hears it where none is recorded."""
    trace.get_current_span().set_attribute(name, value)


def start(
    name: str,
    context: bytes,
    attributes: Mapping[str, AttributeValue],
    kind: SpanKind = SpanKind.INTERNAL,
) -> Span:
    """A recorded span below *context* that `end` ends, for work that no `with` can hold."""
    return _tracer.start_span(name, _parent(context), kind, attributes=attributes)


def end(span: Span, error: BaseException | None = None) -> None:
    """Ends *span*, failed if there was an *error*."""
    if error is not None:
        _fail(span, error)
    span.end()


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute(ERROR_TYPE, getattr(error, "reason", type(error).__name__))
    span.set_status(Status(StatusCode.ERROR, str(error)))


def _parent(context: bytes) -> Context | None:
    return trace.set_span_in_context(NonRecordingSpan(unpack(context))) if context else None


# ------------------------------------------------------------------ trace context across processes
# W3C trace context, binary: 16 bytes of trace id, 8 of span id, 1 of flags.
CONTEXT_SIZE = 25


def pack(span: Span) -> bytes:
    """The context of *span*, for a frame."""
    context = span.get_span_context()
    if not context.is_valid:
        return b""
    return (
        context.trace_id.to_bytes(16, "big")
        + context.span_id.to_bytes(8, "big")
        + bytes((int(context.trace_flags),))
    )


def unpack(context: bytes) -> SpanContext:
    """The remote context that `pack` or `parse` made."""
    return SpanContext(
        trace_id=int.from_bytes(context[:16], "big"),
        span_id=int.from_bytes(context[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(context[24]),
    )


def unsampled(context: bytes) -> bytes:
    """*context* with the decision that nobody below records anything."""
    return context[:-1] + b"\0" if context else b""


def parse(traceparent: str) -> bytes:
    """The context in a `traceparent` header (https://www.w3.org/TR/trace-context); empty if bad."""
    parts = traceparent.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff":
        return b""
    try:
        context = bytes.fromhex(parts[1] + parts[2] + parts[3])
    except ValueError:
        return b""
    is_valid = len(context) == CONTEXT_SIZE and any(context[:16]) and any(context[16:24])
    return context if is_valid else b""


# ------------------------------------------------------------------ logs
class JsonFormatter(logging.Formatter):
    """One JSON object per line, with the ids of the current span."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
