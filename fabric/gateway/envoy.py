"""The Envoy configuration of a gateway: one listener, our application, the control plane behind it.

Inference goes into the application inside Envoy; calls to the control plane's services go to its
own port and never meet Python here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyvoy import HTTPVersion, PyvoyServer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fabric.gateway.settings import GatewaySettings

APPLICATION = "fabric.gateway.application:app"
_CONTROL = "control"
_CONTROL_PREFIX = "/fabric.api.catalog."
_CATALOG = "/fabric.api.catalog.v1.CatalogService/"
_QUIET = "15s"
"""Without a byte either way, after which a call of the control plane is given up."""
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_CALL = r"/[^/]*\.[^/]*/[^/]+"  # of gRPC: the name of a service has a dot in it
_NEXT = "%[89ab][0-9a-f]"
_UTF8 = (  # RFC 3629, section 4, percent-encoded
    r"(?i)(?:[!-$&-~]|%[0-7][0-9a-f]"
    rf"|%(?:c[2-9a-f]|d[0-9a-f]){_NEXT}"
    rf"|%(?:e0%[ab][0-9a-f]|e[1-9a-cef]{_NEXT}|ed%[89][0-9a-f]){_NEXT}"
    rf"|%(?:f0%[9ab][0-9a-f]|f[1-3]{_NEXT}|f4%8[0-9a-f]){_NEXT}{_NEXT})*"
)
_NO_PREFLIGHT = {
    "name": ":method",
    "string_match": {"exact": "OPTIONS"},
    "invert_match": True,
}
_GRPC = {"name": "content-type", "string_match": {"exact": "application/grpc"}}
_NO_GRPC = {
    "name": "content-type",
    "string_match": {"safe_regex": {"regex": r"application/grpc(-web(-text)?)?([+;].*)?"}},
    "invert_match": True,
    "treat_missing_header_as_empty": True,
}
_READABLE = {  # what gRPC's own servers make of other values is an INTERNAL error
    ":method": "POST",
    "grpc-timeout": "[0-9]{1,8}[HMSmun]",
    "grpc-encoding": "identity|gzip|deflate",
}
_CORS = "envoy.filters.http.cors"
_TAKEN = (
    *("content-type", "content-encoding", "inference-header-content-length", "fabric-timeout"),
    *("grpc-timeout", "traceparent", "tracestate", "x-grpc-web", "x-user-agent"),
)
_GIVEN = (
    *("grpc-status", "grpc-message", "grpc-status-details-bin"),
    *("content-encoding", "inference-header-content-length"),
)
_MIB = 1 << 20


def configuration(settings: GatewaySettings) -> dict[str, Any]:
    """The bootstrap configuration, as Envoy's JSON."""
    host, _, port = settings.listen.rpartition(":")
    server = PyvoyServer(
        APPLICATION,
        address=host,
        port=int(port),
        lifespan=True,
        upstreams=[Upstream(_CONTROL, settings.control, http_version=HTTPVersion.HTTP2)],
    )
    made = server.get_envoy_config()
    (listener,) = made["static_resources"]["listeners"]
    listener["enable_reuse_port"] = False  # so that a taken port is an error
    listener["per_connection_buffer_limit_bytes"] = _MIB
    (chain,) = listener["filter_chains"]
    manager = chain["filters"][-1]["typed_config"]
    _share(manager)
    _part_calls(made["static_resources"]["clusters"])
    _open_to_browsers(manager, settings.cors_origins)
    manager["http2_protocol_options"] = {
        "max_concurrent_streams": 1024,
        "initial_stream_window_size": _MIB,
        "initial_connection_window_size": 4 * _MIB,
        "override_stream_error_on_invalid_http_message": True,  # else all calls beside it end too
    }
    manager["stream_idle_timeout"] = "3600s"  # streams may be quiet for long, but not for ever
    manager["drain_timeout"] = f"{settings.drain}s"
    return made


def _share(manager: dict[str, Any]) -> None:
    """Puts the router behind the application, which the control plane's calls pass by.

    The application's filter answers everything that reaches it, so it need not be the last one;
    routes to the control plane switch it off, and so do those for calls that are no gRPC, which
    the protocol answers with 415, and for paths that pyvoy cannot decode, and would not answer.
    The hot call goes first, by what is quickly compared.
    """
    (application,) = manager["http_filters"]
    application["typed_config"]["terminal_filter"] = False
    manager["http_filters"].append(
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
            },
        }
    )
    passed_by = {
        application["name"]: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": True,
        }
    }
    (host,) = manager["route_config"]["virtual_hosts"]
    to_application = {"route": {"cluster": _CONTROL}}  # CORS is only for routes that lead on
    host["routes"] = [
        {"match": {"prefix": _CONTROL_PREFIX, "headers": headers}, **to_application}
        for headers in _unreadable()
    ]
    host["routes"] += [
        {
            "match": match,
            "route": {"cluster": _CONTROL, "timeout": "0s", "idle_timeout": quiet},
            "typed_per_filter_config": passed_by,
        }
        for match, quiet in (
            ({"path": f"{_CATALOG}Watch"}, "0s"),  # it may be quiet for long
            ({"path": f"{_CATALOG}Renew"}, "0s"),
            ({"prefix": _CONTROL_PREFIX}, _QUIET),
        )
    ]
    host["routes"] += [
        {"match": {"path": _INFER, "headers": [_GRPC]}, **to_application},
        {
            "match": {"safe_regex": {"regex": _CALL}, "headers": [_NO_PREFLIGHT, _NO_GRPC]},
            "direct_response": {"status": 415},
            "typed_per_filter_config": passed_by,
        },
        {"match": {"safe_regex": {"regex": _UTF8}}, **to_application},
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 400},
            "typed_per_filter_config": passed_by,
        },
    ]


def _unreadable() -> Iterator[list[dict[str, Any]]]:
    """Matches of gRPC calls whose headers the control plane would not understand."""
    for name, pattern in _READABLE.items():
        value = {"name": name, "string_match": {"safe_regex": {"regex": pattern}}}
        yield [
            {**_NO_GRPC, "invert_match": False},
            {"name": name, "present_match": True},
            {**value, "invert_match": True},
        ]


def _part_calls(clusters: list[dict[str, Any]]) -> None:
    """Keeps apart the calls that share a connection to the control plane.

    A header that gRPC's C core cannot read, sent compressed, spoils what other calls send under
    the same name afterwards: headers go uncompressed.
    """
    (control,) = (cluster for cluster in clusters if cluster["name"] == _CONTROL)
    (options,) = control["typed_extension_protocol_options"].values()
    options["explicit_http_config"]["http2_protocol_options"] = {"hpack_table_size": 0}


def _open_to_browsers(manager: dict[str, Any], origins: Sequence[str]) -> None:
    """Makes gRPC of gRPC-Web, and lets pages of *origins* call, by either and by REST."""
    extension = "type.googleapis.com/envoy.extensions.filters.http"
    filters = [
        {
            "name": "envoy.filters.http.grpc_web",
            "typed_config": {"@type": f"{extension}.grpc_web.v3.GrpcWeb"},
        }
    ]
    if origins:
        filters.insert(0, {"name": _CORS, "typed_config": {"@type": f"{extension}.cors.v3.Cors"}})
        policy = {
            "@type": f"{extension}.cors.v3.CorsPolicy",
            "allow_origin_string_match": [
                {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
                for origin in origins
            ],
            "allow_methods": "GET, HEAD, POST, OPTIONS",
            "allow_headers": ", ".join(_TAKEN),
            "expose_headers": ", ".join(_GIVEN),
            "max_age": "600",
        }
        (host,) = manager["route_config"]["virtual_hosts"]
        host["typed_per_filter_config"] = {_CORS: policy}
    manager["http_filters"][:0] = filters
