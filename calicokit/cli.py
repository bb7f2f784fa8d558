"""The command line. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from calicokit import __version__, progress, terminal
from calicokit.acts.cli import app as act
from calicokit.evidence.files import as_utf8
from calicokit.evidence.model import CALICO_NAMESPACE, SourceError
from calicokit.evidence.own_pods import OPTION
from calicokit.faults import RAISES, log, words

app = typer.Typer(
    name="calicokit",
    help="What is this Calico cluster really doing, and why is this traffic failing?",
    epilog="SOURCE is the path of a recording or support bundle, or the name of a bundled incident (calicokit "
    "incidents). For a live cluster use --context NAME or --in-cluster instead. The kit is read-only, except "
    "calicokit act --yes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(act)

Source = Annotated[
    str | None, typer.Argument(metavar="[SOURCE]", help="Path of a recording or bundle, or name of a bundled incident.")
]
Context = Annotated[str | None, typer.Option("--context", help="Live cluster: the kubeconfig context to use.")]
InCluster = Annotated[bool, typer.Option("--in-cluster", help="Live cluster: the one that this pod runs in.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="Kubeconfig file instead of the default one.")]


def _calico_namespace(name: str | None) -> str | None:
    """Say it to every source, and to the kernels of notebooks, as ``--kubeconfig`` is."""
    if name:
        os.environ[CALICO_NAMESPACE] = name
    return name


CalicoNamespace = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="NS",
        callback=_calico_namespace,
        help="Namespace of Calico, where it is neither calico-system nor kube-system and several may be it.",
    ),
]


def _verbose(wanted: bool) -> None:
    if wanted:
        import logging

        logging.basicConfig(format="%(message)s", stream=sys.stderr)


Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_verbose, help="Show the traceback of a fault of calicokit.")
]
NO_ANSWER = 2
PLUGIN = "CALICOKIT_IS_KUBECTL_PLUGIN"


class Shape(StrEnum):
    """Output formats of `check`."""

    table = "table"
    json = "json"


class TableShape(StrEnum):
    """Output formats of `table` and `parse`."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


KeepSecrets = Annotated[
    bool,
    typer.Option(help="Keep passwords, tokens, arguments and environment instead of redacting them."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write to, instead of the terminal.")]


@app.command()
def check(
    source: Source = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
    everything: Annotated[
        bool, typer.Option("--all", help="Fold nothing: every finding, and all that is missing.")
    ] = False,
    by_guide: Annotated[bool, typer.Option("--guide", help="List findings in the guide's order.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=_verbose,
            help="Show the rows that each cause rests on, and the traceback of a fault of calicokit.",
        ),
    ] = False,
) -> None:
    """Run all checks and print the findings, most likely root cause first.

    Exit status: 0 nothing wrong was found; 1 findings of severity warning or above; 3 nothing wrong, but not all was
    seen: evidence for a critical check is missing, for some nodes or all, or a check failed through a fault of
    calicokit; 2 no answer.
    """
    from calicokit.cluster import open as open_source

    source = _source(source, context, in_cluster, kubeconfig)
    cluster = open_source(source)
    with progress.shown(f"checking {source}") as cluster.progress:
        say = cluster.progress
        findings = cluster.check(say)
    order = _guide_order() if by_guide else ()
    if format is Shape.json:
        said = findings.as_dict()
        said["findings"].sort(key=lambda f: order.index(f["guide_step"]) if order else 0)
        terminal.print_json(said)
    else:
        terminal.show_findings(findings, source, everything, rows=verbose, guide=order)
    raise typer.Exit(findings.status)


def _guide_order() -> tuple[str, ...]:
    from calicokit.guide.page import order

    return order()


@app.command()
def guide(
    source: Source = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    every: Annotated[bool, typer.Option("--rows", help="Every command of the guide too.")] = False,
    read: Annotated[
        str, typer.Option("--read", metavar="SECTION", help="Print a section of the guide, as findings name it.")
    ] = "",
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
    verbose: Verbose = False,
) -> None:
    """Follow the troubleshooting guide: its checklist and best practices for a cluster, or a section of its text.

    Each step is wrong (✗), fine (✓), unknown (?) or not needed here (–). Exit status: 0 answered; 1 a step of the
    checklist is wrong; 3 none is, and some are unknown; 2 no answer.
    """
    from calicokit.guide import page

    if read or not (source or _is_live(context, in_cluster, kubeconfig)):
        _read_guide(page, read)
        return
    from calicokit.cluster import open as open_source

    source = _source(source, context, in_cluster, kubeconfig)
    cluster = open_source(source)
    titles = {"checklist": "Troubleshooting Checklist", "practices": "Best Practices", "rows": "Commands of the guide"}
    with progress.shown(f"following the guide on {source}") as cluster.progress:
        frames = {name: cluster.table(f"guide.{name}") for name in titles if every or name != "rows"}
    if format is Shape.json:
        said = {name: terminal.rows(frame) for name, frame in frames.items()}
        terminal.print_json({**said, "coverage": cluster.coverage.as_dict()})
    else:
        for name, frame in frames.items():
            terminal.show_guide(frame, titles[name])
    states = set(frames["checklist"]["state"])
    raise typer.Exit(1 if "wrong" in states else 3 if "unknown" in states else 0)


def _read_guide(page: Any, section: str) -> None:
    """A section of the guide with all below it; without a name, the names."""
    if not section:
        typer.echo("\n".join(page.order()[2:]))
        return
    if not (text := page.text_of(section)):
        _fail(f"No section is named {section}; {terminal.did_you_mean(section, list(page.order()), 'calicokit guide')}")
    terminal.show_page(text)


@app.command()
def table(
    source: Source = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Table, such as ipam.blocks.")] = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    list_: Annotated[bool, typer.Option("--list", help="List tables, those whose name has NAME in it.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Say what a table means, and its columns.")] = False,
    format: Annotated[TableShape, typer.Option("--format", help="Output format.")] = TableShape.table,  # noqa: A002
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Rows for which this holds: = != > >= < <=, ~ for a pattern."),
    ] = None,
    grep: Annotated[str, typer.Option(metavar="PATTERN", help="Rows of which a cell matches.")] = "",
    columns: Annotated[str, typer.Option(help="Columns to print, comma-separated.")] = "",
    sort: Annotated[str, typer.Option(help="Columns to sort by, comma-separated; - before one for descending.")] = "",
    rows: Annotated[int, typer.Option(help="So many rows at most, in every format; 0 for all.", min=0)] = 0,
    start: Annotated[str, typer.Option("--from", help="Source pod, node or IP (routes.path, dataplane.walk).")] = "",
    target: Annotated[str, typer.Option("--to", help="Destination IP, prefix, pod or service (same tables).")] = "",
    port: Annotated[str, typer.Option(help="Destination port (dataplane.walk, connectivity.steps).")] = "",
    proto: Annotated[str, typer.Option(help="Protocol (same tables): tcp, udp, …")] = "",
    limit: Annotated[
        int, typer.Option(help="Maximum rows to print with --format table; 0 for all.", min=0)
    ] = terminal.MOST_ROWS,
    output: Output = None,
    verbose: Verbose = False,
) -> None:
    """Print one table of a cluster: any intermediate result between evidence and findings."""
    from calicokit import registry
    from calicokit.cluster import open as open_source
    from calicokit.select import select

    tables = registry.load()
    if list_ or describe:
        _tell_of_tables({n: t.schema for n, t in tables.items()}, name or source, describe)
        return
    if name is None:
        source, name = None, source
    if name is None or not (source or _is_live(context, in_cluster, kubeconfig)):
        _fail("Give SOURCE and NAME, or --list to see the names.")
    source = _source(source, context, in_cluster, kubeconfig)
    if name not in tables:
        _fail(f"No table is named {name}; {terminal.did_you_mean(name, list(tables), 'calicokit table --list')}")
    cluster = open_source(source)
    with progress.shown(f"building {name}") as cluster.progress:
        try:
            said = {"from": start, "to": target, "port": port, "proto": proto}
            frame = cluster.table(name, **{k: v for k, v in said.items() if v})
            chosen = select(frame, where or (), grep, columns, sort, rows)
        except registry.OptionError as error:
            _fail(f"{error}{'' if str(error).endswith('?') else '.'}")
    if frame.unknown:
        _fail(f"{name} is unknown: {'; '.join(map(str, frame.unknown))}.")
    terminal.write_frame(chosen, name, format, output, cluster.coverage, limit)


def _tell_of_tables(schemas: dict[str, Any], name: str | None, describe: bool) -> None:
    """The names by topic; a line for each whose name has the word in it; or one table with its columns."""
    if not name and not describe:
        terminal.list_names(list(schemas))
        return
    found = [s for n, s in schemas.items() if name and name in n]
    if describe and name in schemas:
        found = [schemas[name]]
    if not found:
        _fail(f"No table is named {name}; {terminal.did_you_mean(name or '', list(schemas), 'calicokit table --list')}")
    terminal.list_schemas(found, describe)


@app.command()
def alerts(
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="As a PrometheusRule object of the Prometheus operator.")
    ] = False,
    output: Output = None,
) -> None:
    """Print alert rules for a Prometheus server that scrapes Felix, Typha and kube-controllers."""
    from calicokit.felix.metrics.alerts import manifest

    text = manifest(kubernetes)
    output.write_text(text, encoding="utf-8") if output else typer.echo(text, nl=False)


@app.command()
def parse(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Command that printed the text; detected if omitted.")
    ] = None,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="File with the text; - for standard input.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List all kinds, whether they are guessed, their tables and columns.")
    ] = False,
    format: Annotated[TableShape, typer.Option("--format", help="Output format.")] = TableShape.table,  # noqa: A002
    strict: Annotated[bool, typer.Option(help="Stop at the first line that cannot be parsed.")] = False,
) -> None:
    """Parse the output of a networking tool, or each output of a saved session, into tables.

    Exit status: 0 all lines parsed; 1 some not (they are shown); 2 no answer.
    """
    from calicokit.parsers.base import ParseError, kinds
    from calicokit.parsers.base import parse as parse_text
    from calicokit.parsers.sessions import Output, read

    if list_:
        terminal.list_kinds()
        return
    if kind is None:
        _fail("Give [KIND] and FILE (- for standard input), or --list to see the kinds.")
    if file is not None and kind not in kinds():
        _fail(f"No kind is named {kind}; {terminal.did_you_mean(kind, list(kinds()), 'calicokit parse --list')}")
    if file is None and kind in kinds():
        _fail(f"{kind} is a kind; give a FILE too (- for standard input).")
    text = _read_text(file or kind)
    try:
        outputs = read(text, strict) if file is None else [Output("", 0, parse_text(kind, text, strict=strict))]
    except ParseError as error:
        _fail(str(error))
    if not any(output.parsed for output in outputs):
        _fail("The text matches no known kind; give the KIND (`calicokit parse --list`).")
    if file is None:
        terminal.say_detected(outputs)
    raise typer.Exit(terminal.write_outputs(outputs, format))


@app.command()
def incidents(
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
) -> None:
    """List the bundled recordings of real clusters."""
    from calicokit.evidence.recordings.incidents import index

    rows = [vars(i) for i in index().values()]
    if format is Shape.json:
        terminal.print_json({"incidents": rows})
        return
    view = terminal.rich_table("incident", "calico", "nodes", "fault injected")
    for row in rows:
        view.add_row(row["name"], row["calico"], str(row["nodes"]), row["description"])
    terminal.console().print(view)


@app.command()
def explain(
    source: Source = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="NS/POD|IP", help="Source pod or IP.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NS/POD|svc/NS/SERVICE|IP", help="Destination pod, service or IP.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Destination port; omit for icmp.")] = None,
    proto: Annotated[str, typer.Option(help="tcp, udp, sctp, icmp, or a number.")] = "tcp",
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help='Many flows at once: a JSON list of {"src", "dst", "proto", "port"}.'),
    ] = None,
    what_if: Annotated[
        Path | None,
        typer.Option("--with", metavar="FILE", help="YAML file of policies to evaluate as if applied (what-if)."),
    ] = None,
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
    verbose: Verbose = False,
) -> None:
    """Say whether policy allows a flow, which rule decides, and every policy evaluated on the way.

    Exit status: 0 answered (allow or deny); 2 no answer.
    """
    from calicokit.cluster import open as open_source

    if (batch is None) == (from_ is None and to is None) or (batch is None and (from_ is None or to is None)):
        _fail("Give --from and --to, or --batch FILE.")
    source = _source(source, context, in_cluster, kubeconfig)
    cluster = open_source(source)
    with progress.shown(f"reading policies of {source}") as cluster.progress:
        explainer = cluster.explainer(what_if)
    if batch is None:
        answer = explainer.explain(from_, to, port, proto)
        terminal.print_json(answer.as_dict()) if format is Shape.json else terminal.show_explanation(answer)
        return
    answers = explainer.explain_batch(_questions(batch))
    if format is Shape.json:
        terminal.print_json([a.as_dict() for a in answers])
    else:
        terminal.show_explanations(answers)


def _questions(file: str) -> list[object]:
    """The items of a batch; ends with one sentence where the file holds no JSON list."""
    from msgspec import DecodeError, json

    text = _read_text(file)
    try:
        found = json.decode(text)
    except DecodeError as error:
        _fail(f"{file} is not JSON ({error}).")
    if not isinstance(found, list):
        _fail(f"{file} does not contain a list.")
    return found


@app.command()
def capture(
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="File to write; a folder if it does not end in .zip.")],
    source: Source = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    topics: Annotated[str, typer.Option(help="Collect only what these topics need, comma-separated.")] = "",
    nodes: Annotated[str, typer.Option(help="Only these nodes, comma-separated.")] = "",
    samples: Annotated[int, typer.Option(help="Number of counter samples to take before the rest.", min=0)] = 0,
    interval: Annotated[float, typer.Option(help="Seconds between samples.", min=0)] = 10,
    keep_secrets: KeepSecrets = False,
    description: Annotated[str, typer.Option(help="Description of the recording, for its manifest.")] = "",
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
) -> None:
    """Record a cluster's state to a file that can be shared: secrets are redacted.

    An interrupted capture resumes when the same command is run again.
    """
    from calicokit import registry
    from calicokit.evidence.recordings import capture as capturing
    from calicokit.evidence.sources import source_of

    chosen = [t.strip() for t in topics.split(",") if t.strip()]
    for topic in chosen:
        if topic not in registry.TOPICS:
            _fail(f"No topic is named {topic}; {terminal.did_you_mean(topic, list(registry.TOPICS), '')}")
    named = _source(source, context, in_cluster, kubeconfig)
    try:
        with progress.shown(f"capturing {named}") as say:
            done = capturing.capture(
                source_of(named),
                out,
                registry.evidence_of_topics(chosen) if chosen else (),
                [n.strip() for n in nodes.split(",") if n.strip()],
                samples,
                interval,
                not keep_secrets,
                description,
                say,
            )
    except KeyboardInterrupt:
        typer.echo("What was collected is kept; run the same calicokit capture command to resume.", err=True)
        raise
    if format is Shape.json:
        terminal.print_json(done.as_dict())
    else:
        terminal.show_captured(done)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="First SOURCE; context:NAME is a live cluster.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Second SOURCE: another cluster, or the same one later.")],
    areas: Annotated[str, typer.Option(help="Only these areas, comma-separated: objects, rules, routes, bgp, …")] = "",
    nodes: Annotated[str, typer.Option(help="Only these nodes, comma-separated.")] = "",
    limit: Annotated[int, typer.Option(help="Maximum lines to print per area; 0 for all.", min=0)] = 20,
    format: Annotated[Shape, typer.Option("--format", help="Output format.")] = Shape.table,  # noqa: A002
    verbose: Verbose = False,
) -> None:
    """Show what changed from A to B: objects, addresses, rules, routes, sessions, sets, settings, interfaces, counters.

    Exit status: 0 no difference (counters may have grown); 1 differences; 2 no answer.
    """
    from calicokit.cluster import open as open_source
    from calicokit.diff.areas import AREAS
    from calicokit.diff.between import diff as compare

    chosen = [a.strip() for a in areas.split(",") if a.strip()]
    for area in chosen:
        if area not in AREAS:
            _fail(f"No area is named {area}; {terminal.did_you_mean(area, list(AREAS), ', '.join(AREAS))}")
    first, second = open_source(before), open_source(after)
    with progress.shown(f"comparing {before} with {after}") as say:
        found = compare(first, second, chosen, [n.strip() for n in nodes.split(",") if n.strip()], say)
    if format is Shape.json:
        terminal.print_json(terminal.difference(found))
    else:
        terminal.show_difference(found, limit)
    raise typer.Exit(found.status)


@app.command()
def report(
    source: Source = None,
    notebook: Annotated[
        str | None, typer.Argument(metavar="NOTEBOOK", help="Path of a notebook, or its name such as 01-ipam.")
    ] = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("report.html"),
    keep_secrets: KeepSecrets = False,
) -> None:
    """Run a notebook on a source and write the result as one self-contained HTML page: secrets are redacted."""
    from calicokit.cluster import open as open_source
    from calicokit.report.html import NotebookFailedError, write_html
    from calicokit.report.notebooks import find

    if notebook is None:
        source, notebook = None, source
    if notebook is None or not (source or _is_live(context, in_cluster, kubeconfig)):
        _fail("Give SOURCE and NOTEBOOK.")
    source = _source(source, context, in_cluster, kubeconfig)
    cluster = open_source(source)
    cluster.nodes()  # a source that cannot be opened is said here, in one sentence
    try:
        path = find(notebook)
        with progress.shown(f"executing {path.name} on {source}"):
            write_html(path, source, output, keep_secrets)
    except (FileNotFoundError, NotebookFailedError, OSError) as error:
        _fail(str(error))
    typer.echo(f"{output.resolve()}")


@app.command()
def lab(
    source: Source = None,
    context: Context = None,
    in_cluster: InCluster = False,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
    directory: Annotated[Path, typer.Option(help="Directory for your copies of the notebooks.")] = Path(
        "calicokit-notebooks"
    ),
    port: Annotated[int, typer.Option(help="Local port of JupyterLab; 0 picks a free one.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on your own copies of the notebooks, with SOURCE as their source."""
    from calicokit.evidence.sources import source_of
    from calicokit.report.notebooks import START, copy_to

    nothing = not (source or _is_live(context, in_cluster, kubeconfig))
    source = "ipam-exhausted" if nothing else _source(source, context, in_cluster, kubeconfig)
    source_of(source).nodes()
    copied = copy_to(directory)
    typer.echo(f"Notebooks: {directory.resolve()} ({len(copied)} new; existing ones are not overwritten)")
    local = Path(source).expanduser()
    shown = str(local.resolve()) if local.exists() else source
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={directory}", f"--port={port}"]
    command += [f"--LabApp.default_url=/lab/tree/{START}", *([] if browser else ["--no-browser"])]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in containers there is nobody else
    sys.stdout.flush()
    os.execve(sys.executable, command, {**os.environ, "CALICOKIT_SOURCE": shown})  # noqa: S606


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"calicokit {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""


def _is_live(context: str | None, in_cluster: bool, kubeconfig: Path | None) -> bool:
    """Whether a live cluster is meant where no SOURCE is named."""
    return context is not None or in_cluster or kubeconfig is not None or PLUGIN in os.environ


def _source(source: str | None, context: str | None, in_cluster: bool, kubeconfig: Path | None) -> str:
    """The one SOURCE that the user named; ``kubectl calicokit`` takes the current context if none is."""
    from calicokit.evidence.sources import CONTEXT, IN_CLUSTER

    if kubeconfig is not None:
        os.environ["KUBECONFIG"] = str(kubeconfig)
    if source is not None:
        if context is not None or in_cluster or kubeconfig is not None:
            _fail("Give SOURCE, or --context, --in-cluster or --kubeconfig, not both.")
        return source
    if not _is_live(context, in_cluster, kubeconfig):
        _fail("Give SOURCE: a path, an incident's name (`calicokit incidents`), or --context NAME for a live cluster.")
    return IN_CLUSTER if in_cluster else f"{CONTEXT}{context or ''}"


def plugin() -> None:
    """Entry point of ``kubectl calicokit …``: the same commands, on the current context unless another is named."""
    os.environ[PLUGIN] = "1"
    main()


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"calicokit: {sentence}", err=True)
    raise typer.Exit(NO_ANSWER)


def _read_text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        _fail(f"{file} cannot be read ({error.strerror}).")
    return as_utf8(data).decode("utf-8", "backslashreplace")


def main() -> None:
    """Entry point: every failure is one sentence and exit status 2; Ctrl-C is 130."""
    try:
        app()
    except SourceError as error:
        typer.echo(f"calicokit: {terminal.plain(error)}", err=True)
        sys.exit(NO_ANSWER)
    except KeyboardInterrupt:
        typer.echo("calicokit: stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:  # whatever it is, it is ours, and whoever asked has no answer
        if os.environ.get(RAISES):
            raise
        log.exception("no answer")
        typer.echo(f"calicokit: {terminal.plain(words(error))}", err=True)
        sys.exit(NO_ANSWER)
