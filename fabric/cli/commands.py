"""The commands: each parses, makes one call, and prints. Heavy imports wait until they run."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabric.cli import evaluating, importing, learning, tuning
from fabric.cli import output as out
from fabric.cli.output import SERVER as _SERVER
from fabric.cli.output import Output, OutputOption, ServerOption, connected, reporting

if TYPE_CHECKING:
    from fabric.client import Client
    from fabric.core.runs import PipelineRun

app = typer.Typer(
    name="fabric",
    help="Serves a portfolio of specialist models and finds the right one for each request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes longer to load than the rest of `fabric --help`
)
app.add_typer(importing.app, name="import")


class Resources(StrEnum):
    SPECIALISTS = "specialists"
    REPLICAS = "replicas"
    ROUTES = "routes"
    PIPELINES = "pipelines"
    PIPELINE = "pipeline"
    POLICIES = "policies"
    POLICY = "policy"
    HEALTH = "health"


class Shown(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    DOT = "dot"
    SVG = "svg"
    PYTHON = "python"


class Declarable(StrEnum):
    SPECIALIST = "specialist"
    ROUTE = "route"
    PIPELINE = "pipeline"


class Host(StrEnum):
    RAY = "ray"
    LOCAL = "local"


class Dialect(StrEnum):
    TRITON = "triton"
    MLSERVER = "mlserver"
    KSERVE = "kserve"
    ANY = "any"


FileOption = Annotated[
    Path, typer.Option("--file", "-f", help="The portfolio file.", show_default=False)
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        envvar="FABRIC_STATE",
        help="State directory, one per fabric. Default: ~/.local/state/fabric/default.",
        show_default=False,
    ),
]
RequireOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What an answer must come from: task, domain, language, modality, owner, region, "
        "data_classes, versions, max_cost, max_latency, min_quality (METRIC>=VALUE), expression, "
        "label.<key>.",
        show_default=False,
    ),
]
_REQUEST = re.compile(r"[0-9a-f]{32}")
"""What ids of requests look like."""


# ------------------------------------------------------------------ a fabric's life
@app.command()
def up(
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="The portfolio file; what is not in it is taken out."),
    ] = None,
    host: Annotated[Host, typer.Option(help="Where replicas run.")] = Host.RAY,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the gateway; 0 takes a free one.")
    ] = 8080,
    gateways: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer at the port, one for a core.")
    ] = 1,
    state: StateOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it is ready; it runs on.")
    ] = False,
) -> None:
    """Start a fabric on this machine. Ctrl-C drains and ends it."""
    from fabric.cli.running import detached, foreground, settings

    with reporting():
        run = detached if detach else foreground
        raise typer.Exit(run(file, settings(file, host.value, port, gateways, state)))


@app.command()
def down(state: StateOption = None) -> None:
    """Drain and end the fabric that runs on a state directory."""
    from fabric.cli.running import end

    with reporting():
        end(state)


# ------------------------------------------------------------------ what is declared
@app.command()
def apply(
    file: FileOption,
    prune: Annotated[bool, typer.Option(help="Take out what is not in the file.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would change, and stop.")] = False,
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a running fabric what a portfolio file says, all of it or nothing.

    What will change is shown first. On a terminal it is asked whether to go on; elsewhere only
    taking something out needs `--yes`.
    """
    from fabric.catalog.declaring import Action
    from fabric.config import load

    with connected(server) as client:
        portfolio = load(file, known=() if prune else _known(client))
        declared = (portfolio.specialists, portfolio.routes, portfolio.pipelines)
        with portfolio.located():
            planned = client.apply(*declared, prune=prune, dry_run=True)
        changing = [change for change in planned.changes if change.action is not Action.NONE]
        if output is Output.TABLE:
            _show_changes(changing)
        if dry_run or not changing:
            if output is not Output.TABLE:
                out.write(planned, output)
            return
        _confirm(yes, any(change.action is Action.DELETE for change in changing))
        applied = client.apply(*declared, prune=prune)
        if output is not Output.TABLE:
            out.write(applied, output)


def _known(client: Client) -> list[str]:
    specialists: Any = client.list("specialist")
    others: Any = (*client.list("route"), *client.list("pipeline"))
    return [*(s.specialist.key for s in specialists), *(each.name for each in others)]


def _confirm(yes: bool, deletes: bool) -> None:
    if yes:
        return
    if sys.stdin.isatty():
        typer.confirm("Apply?", abort=True, err=True)
    elif deletes:
        raise typer.BadParameter("something is taken out: give --yes, or --no-prune to keep it")


def _show_changes(changes: Any) -> None:
    if not changes:
        out.console(sys.stdout).print("nothing changes")
        return
    rows = ((c.action, c.key.kind, c.key.name, ", ".join(c.fields)) for c in changes)
    out.table(("change", "kind", "name", "fields"), rows)


@app.command()
def delete(
    kind: Declarable,
    name: Annotated[str, typer.Argument(help="Of a specialist also `name:version`.")],
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a specialist (all its versions, unless one is named), a route or a pipeline out."""
    with connected(server) as client:
        applied = client.delete(kind.value, name)
    if output is Output.TABLE:
        _show_changes(applied.changes)
    else:
        out.write(applied, output)


@app.command()
def load(
    name: Annotated[
        str, typer.Argument(help="A specialist; or a route or a pipeline with all it leads to.")
    ],
    config: Annotated[
        str, typer.Option(help="What is to be otherwise: a model configuration in Triton's JSON.")
    ] = "",
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Load what is declared and not loaded; return when it answers."""
    with connected(server) as client, out.console(sys.stderr).status(f"loading {name}"):
        client.load(name, config=config)
    _show_loaded(name, "loaded", output)


@app.command()
def unload(
    name: Annotated[
        str, typer.Argument(help="A specialist, all its versions, a route, or a pipeline.")
    ],
    dependents: Annotated[
        bool, typer.Option(help="Of a route or a pipeline: all that it leads to.")
    ] = False,
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Drain and stop the replicas of a specialist, a route, or a pipeline; it stays declared."""
    with connected(server) as client:
        client.unload(name, dependents=dependents)
    _show_loaded(name, "unloaded", output)


def _show_loaded(name: str, state: str, output: Output) -> None:
    if output is Output.TABLE:
        out.table(("model", "state"), [(name, state)])
    else:
        out.write({"model": name, "state": state}, output)


@app.command()
def get(
    kind: Resources,
    name: Annotated[
        str, typer.Argument(help="Of one: the id of a replica, a policy as `route` or `route:N`.")
    ] = "",
    onnx: Annotated[
        Path | None, typer.Option(help="Write the policy `route:N` here, as an ONNX model.")
    ] = None,
    server: ServerOption = _SERVER,
    output: Annotated[
        Shown,
        typer.Option(
            "--output",
            "-o",
            help="How results are printed; dot, svg and python are for a pipeline.",
        ),
    ] = Shown.TABLE,
) -> None:
    """Show specialists, replicas, routes, pipelines or policies, or one of them; or the health of
    all specialists or of one, as a gateway sees it."""
    from fabric.cli import views

    singular = kind.value.removesuffix("s")
    if output in (Shown.DOT, Shown.SVG, Shown.PYTHON) and not (singular == "pipeline" and name):
        raise typer.BadParameter(f"-o {output} is for one pipeline: `fabric get pipeline NAME`")
    if singular == "pipeline" and output not in (Shown.TABLE, Shown.JSON):
        from fabric.cli import pipelines

        with connected(server) as client:
            pipelines.show((client.get(singular, name),) if name else client.list(singular), output)
        return
    plain = Output(output.value)
    if kind is Resources.HEALTH:
        with connected(server) as client:
            health = client.health(name)
        if plain is Output.TABLE:
            out.table(*views.health(health))
        else:
            out.write(health, plain)
        return
    if kind in (Resources.POLICIES, Resources.POLICY):
        with connected(server) as client:
            learning.show(client, name, plain, onnx)
        return
    if onnx is not None:
        raise typer.BadParameter("--onnx is for policies")
    with connected(server) as client:
        found = (client.get(singular, name),) if name else client.list(singular)
    if plain is Output.TABLE:
        out.table(*getattr(views, f"{singular}s")(found))
    else:
        out.write(found[0] if name else found, plain)


# ------------------------------------------------------------------ asking
@app.command()
def infer(
    name: Annotated[str, typer.Argument(help="A specialist, a route or a pipeline.")],
    input: Annotated[
        list[str],
        typer.Option("--input", "-i", metavar="NAME=FILE.npy|JSON", help="One tensor; repeat."),
    ],
    version: Annotated[str, typer.Option(help="Of the specialist.")] = "",
    require: RequireOption = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds.", min=0.001)] = None,
    substitute: Annotated[bool, typer.Option(help="Let other candidates answer.")] = True,
    save: Annotated[Path | None, typer.Option(help="Folder for the outputs, as .npy.")] = None,
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send one request, and show the answer and who gave it."""
    from fabric.cli import tensors, views

    pairs = _pairs(input, "--input")
    required = _pairs(require, "--require")
    with connected(server) as client:
        if save is not None:
            tensors.make_folder(save)
        answer = client.infer(
            name,
            tensors.read(pairs, lambda: client.metadata(name, version=version).inputs),
            version=version,
            requirements=required,
            timeout=timeout,
            substitute=substitute,
        )
        if save is not None:
            tensors.save(answer.outputs, save)
    if output is Output.TABLE:
        out.table(*views.answer(answer))
        out.console(sys.stdout).print(views.provenance(answer))
    else:
        out.write(answer, output)


@app.command()
def top(
    name: Annotated[str, typer.Argument(help="A specialist; all without it.")] = "",
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    looks: Annotated[int, typer.Option(help="End after so many; 0 for Ctrl-C.", min=0)] = 0,
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch specialists and replicas: what is in flight, rates, latencies, errors, breakers."""
    from fabric.cli import watching

    with connected(server) as client:
        watching.top(client, name, every, looks, output)


@app.command()
def explain(
    name: Annotated[
        str, typer.Argument(help="A specialist, a route, or the id of a request: `fabric_request`.")
    ],
    svg: Annotated[
        Path | None, typer.Option(help="Of a pipeline's run: draw its timeline into this file.")
    ] = None,
    version: Annotated[str, typer.Option(help="Of the specialist.")] = "",
    require: RequireOption = None,
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who would answer such a request, in which order, and who would not, and why; or who
    did, where a request is named."""
    from fabric.cli import views

    with connected(server) as client:
        if _REQUEST.fullmatch(name):
            if (run := _run_of(client, name)) is not None:
                _show_run(run, svg, output)
                return
            plan = client.explain(request=name)
        else:
            plan = client.explain(name, version=version, requirements=_pairs(require, "--require"))
    if output is Output.TABLE:
        out.table(*views.plan(plan))
        if plan.decision is not None:
            out.console(sys.stdout).print(views.decided(plan.decision))
            out.table(*views.outcomes(plan.outcomes))
            for said in plan.feedback:
                out.console(sys.stdout).print(views.feedback(said), markup=False)
    else:
        out.write(plan, output)


def _run_of(client: Client, request: str) -> PipelineRun | None:
    from fabric.core.errors import NotFound, Unimplemented

    with suppress(NotFound, Unimplemented):  # it is not a pipeline's, or the server knows none
        return client.run_of(request)
    return None


def _show_run(run: PipelineRun, svg: Path | None, output: Output) -> None:
    from fabric.cli import timelines

    if svg is not None:
        svg.write_text(timelines.svg(run))
    if output is Output.TABLE:
        failed = f", failed: {run.error}" if run.error else ""
        out.console(sys.stdout).print(f"{run.pipeline}: {run.seconds * 1e3:.2f} ms{failed}")
        out.table(*timelines.timeline(run))
    else:
        out.write(run, output)


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A pipeline.")],
    server: ServerOption = _SERVER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show where the time of a pipeline goes, its critical path, and what to scale."""
    from fabric.cli import timelines

    with connected(server) as client:
        found = client.profile(name)
    if output is Output.TABLE:
        out.table(*timelines.profile(found))
        out.console(sys.stdout).print(timelines.summary(found), markup=False)
    else:
        out.write(found, output)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{option} {text!r} must read KEY=VALUE")
        pairs[key] = value
    return pairs


# ------------------------------------------------------------------ checking
@app.command()
def conformance(
    address: Annotated[str, typer.Argument(help="`host:port` of any server.")] = "",
    http: Annotated[str, typer.Option(help="`host:port` of its REST door, if another.")] = "",
    dialect: Annotated[
        Dialect | None,
        typer.Option(help="Whose rules count beside the protocol's. Default: what is found."),
    ] = None,
    only: Annotated[str, typer.Option(help="Part of the names of checks, or with `*`.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds for one call.", min=0.01)] = 10.0,
    models: Annotated[
        Path | None, typer.Option(help="Write the models that a server needs here, and stop.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit's XML here.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check how a server of the Open Inference Protocol keeps the protocol's rules.

    It may be any server. Those rules are counted for which it has the models: `--models` writes
    them for fabric, Triton, MLServer and KServe.
    """
    from fabric.cli import checking

    with reporting():
        if models is not None:
            checking.write_models(models)
            return
        if not address:
            raise typer.BadParameter("name the server to check, as host:port, or give --models")
        speaks = dialect.value if dialect else ""
        how = {"http": http, "dialect": speaks, "only": only, "patience": timeout}
        if not checking.check(address, output, junit, **how):
            raise typer.Exit(1)


app.command()(tuning.tune)
app.command()(evaluating.evaluate)


# ------------------------------------------------------------------ learning
app.command()(learning.learn)
app.command()(learning.feedback)


# ------------------------------------------------------------------ about
@app.command()
def schema(output: OutputOption = Output.JSON) -> None:
    """Print the JSON Schema of portfolio files.

    With `# yaml-language-server: $schema=FILE` as its first line, editors complete a portfolio.
    """
    from fabric.config import schema as made

    out.write(made(), Output.JSON if output is Output.TABLE else output)


@app.command()
def version(output: OutputOption = Output.TABLE) -> None:
    """Print the version."""
    from fabric import __version__

    if output is Output.TABLE:
        out.console(sys.stdout).print(__version__)
    else:
        out.write({"version": __version__}, output)
