"""`fabric learn`, `fabric feedback`, and what `fabric get` shows of policies."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path  # noqa: TC003 - typer reads the types
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabric.cli import output as out
from fabric.cli.output import SERVER, Output, OutputOption, ServerOption, connected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fabric.client import Client
    from fabric.core.decisions import Feedback
    from fabric.core.policies import Policy


def learn(
    route: Annotated[str, typer.Argument(help="A route that learns.")],
    server: ServerOption = SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Train a policy for a route now, from all that is known."""
    with connected(server) as client, out.console(sys.stderr).status(f"learning for {route}"):
        trained = client.train(route)
    if output is not Output.TABLE:
        out.write(_trained(trained.version, trained.report), output)
    elif trained.version:
        with connected(server) as client:
            show(client, f"{route}:{trained.version}", output)
    else:
        out.fail(f"nothing was learned: {trained.report}")
    if not trained.version:
        raise typer.Exit(1)


def _trained(version: int, report: str) -> dict[str, Any]:
    return {"version": version, "report": json.loads(report) if version else report}


def feedback(
    request: Annotated[str, typer.Argument(help="The request's id, as its answer gave it.")] = "",
    label: Annotated[str, typer.Option(help="The right class.")] = "",
    score: Annotated[
        float | None, typer.Option(help="From 0 (wrong) to 1 (right).", min=0, max=1)
    ] = None,
    preferred: Annotated[str, typer.Option(help="`name:version` of who did better.")] = "",
    specialist: Annotated[
        str, typer.Option(help="`name:version` of whose answer it is about; else who answered.")
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="Of many: JSON lines with these names, and `request`; - is stdin."
        ),
    ] = None,
    server: ServerOption = SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how right an answer was; routes learn from it. It may be said late, and again."""
    from fabric.core.decisions import Feedback

    if bool(request) is (file is not None):
        raise typer.BadParameter("name a request, or give --file")
    with connected(server) as client:
        if file is not None:
            said = list(_lines(file))
        else:
            fields = {"label": label, "preferred": preferred, "specialist": specialist}
            said = [Feedback(request=request, score=score, **fields)]
        unmatched = client.feedback_many(said)
    if output is Output.TABLE:
        later = f", {unmatched} of them of requests that are not known yet" if unmatched else ""
        out.console(sys.stdout).print(f"{len(said)} kept{later}")
    else:
        out.write({"kept": len(said), "unmatched": unmatched}, output)


def _lines(file: Path) -> Iterator[Feedback]:
    """Raises InvalidRequest, with the line that is wrong."""
    from fabric.core.errors import InvalidRequest

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"{file} cannot be read: {what}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _read(json.loads(line))
        except InvalidRequest as error:
            raise InvalidRequest(f"{file}:{number}: {error.message}") from error
        except ValueError as error:
            raise InvalidRequest(f"{file}:{number}: is no JSON: {error}") from error


def _read(said: Any) -> Feedback:
    """Raises InvalidRequest where it is no feedback."""
    from fabric.catalog.catalog import suggestion
    from fabric.core.decisions import Feedback
    from fabric.core.errors import InvalidRequest

    if not isinstance(said, dict):
        raise InvalidRequest(f"must be a mapping, not {json.dumps(said)}")
    names = [field.name for field in fields(Feedback)]
    given = {key: value for key, value in said.items() if value is not None}
    for key, value in given.items():
        if key not in names:
            way_out = suggestion(key, names) or f"; use {', '.join(names)}"
            raise InvalidRequest(f"unknown key '{key}'{way_out}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number if key == "score" else isinstance(value, str)):
            wanted = "a number" if key == "score" else "a text"
            raise InvalidRequest(f"{key} must be {wanted}, not {json.dumps(value)}")
    return Feedback(**{"request": "", **given})


# ------------------------------------------------------------------ policies
def show(client: Client, name: str, output: Output, onnx: Path | None = None) -> None:
    """Prints the policies of all routes, of the route *name*, or the one `route:version`."""
    if ":" in name:
        policy: Any = client.get("policy", name)
        if onnx is not None:
            _export(policy, onnx)
        _print(client, [policy], output, lambda rows: rows[0])
        return
    if onnx is not None:
        raise typer.BadParameter("--onnx needs one policy: ROUTE:N")
    listed: Any = client.list("policy")
    found = [policy for policy in listed if name in ("", policy.route)]
    if name and not found:
        client.get("policy", name)  # which says why there is none
    _print(client, found, output, lambda rows: rows)


def _print(client: Client, found: Sequence[Policy], output: Output, of: Any) -> None:
    from fabric.cli import views
    from fabric.core.policies import in_use

    if output is not Output.TABLE:
        out.write(of([_plain(policy) for policy in found]), output)
        return
    routes: Any = client.list("route")
    listed: Any = client.list("policy")
    used = (in_use([p for p in listed if p.route == r.name], r) for r in routes)
    out.table(*views.policies(found, {policy.key for policy in used if policy}))


def _plain(policy: Policy) -> dict[str, Any]:
    """Without the bytes, and with the report as data."""
    fields = {
        name: value for name, value in vars(policy).items() if name not in ("data", "explored")
    }
    return {**fields, "report": json.loads(policy.report or "{}")}


def _export(policy: Policy, file: Path) -> None:
    from fabric.core.errors import InvalidRequest, Unimplemented
    from fabric.learning.export import to_onnx
    from fabric.routing.learned import Learned

    try:
        file.write_bytes(to_onnx(Learned.read(policy.data)))
    except ImportError as error:
        raise Unimplemented("ONNX needs the extra: fabric-specialists[learn]") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{policy.key} cannot be written to {file}: {error}") from error
