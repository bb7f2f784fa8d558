"""The command line. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from calicokit import __version__
from calicokit.evidence.model import SourceError

if TYPE_CHECKING:
    import pandas as pd

    from calicokit.diagnosis.findings import Findings
    from calicokit.evidence.model import Coverage

app = typer.Typer(
    name="calicokit",
    help="What is this Calico cluster really doing, and why is this traffic failing?",
    epilog="SOURCE is a recording's directory, .zip or .tar.xz, or a bundled incident's name (calicokit incidents). "
    "The kit only reads.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Recording's path, or a bundled incident's name.")]
NO_ANSWER = 2
MOST_ROWS = 200


class Shape(StrEnum):
    """Formats of `check`."""

    table = "table"
    json = "json"


class TableShape(StrEnum):
    """Formats of `table` and `parse`."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the terminal.")]


@app.command()
def check(
    source: Source,
    format: Annotated[Shape, typer.Option("--format", help="How to print.")] = Shape.table,  # noqa: A002
) -> None:
    """Find what is wrong, most likely root cause first.

    Exit status: 0 nothing wrong; 1 findings of warning or above; 3 nothing found, but a critical check lacked its
    evidence; 2 no answer possible.
    """
    from calicokit.cluster import open as open_source

    cluster = open_source(source)
    with _progress(f"checking {source}") as say:
        findings = cluster.check(say)
    if format is Shape.json:
        _print_json(findings.as_dict())
    else:
        _show_findings(findings, source)
    raise typer.Exit(findings.status)


@app.command()
def table(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="Recording or incident.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Table, such as ipam.blocks.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name all tables with their columns.")] = False,
    format: Annotated[TableShape, typer.Option("--format", help="How to print.")] = TableShape.table,  # noqa: A002
    columns: Annotated[str, typer.Option(help="Only these columns, separated by commas.")] = "",
    limit: Annotated[int, typer.Option(help="Rows to print as a table; 0 for all.", min=0)] = MOST_ROWS,
    output: Output = None,
) -> None:
    """Print one table of a cluster: any step between evidence and findings."""
    from calicokit import registry
    from calicokit.cluster import open as open_source

    tables = registry.load()
    if list_:
        _list_schemas([t.schema for t in tables.values()])
        return
    if source is None or name is None:
        _fail("Give SOURCE and NAME, or --list to see the names.")
    if name not in tables:
        _fail(f"No table is named {name}; {_did_you_mean(name, list(tables), 'calicokit table --list')}")
    cluster = open_source(source)
    with _progress(f"building {name}"):
        frame = cluster.table(name)
    if frame.unknown:
        _fail(f"{name} is unknown: {'; '.join(map(str, frame.unknown))}.")
    wanted = [c.strip() for c in columns.split(",") if c.strip()]
    for column in wanted:
        if column not in frame.columns:
            _fail(f"{name} has no column {column}; {_did_you_mean(column, list(frame.columns), '--list')}")
    _write_frame(frame[wanted] if wanted else frame, name, format, output, cluster.coverage, limit)


@app.command()
def parse(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="What printed the text.")] = None,
    file: Annotated[str | None, typer.Argument(metavar="FILE|-", help="The text, - for standard input.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name all kinds, their tables and columns.")] = False,
    format: Annotated[TableShape, typer.Option("--format", help="How to print.")] = TableShape.table,  # noqa: A002
    strict: Annotated[bool, typer.Option(help="Stop at the first line that cannot be read.")] = False,
) -> None:
    """Turn text that a tool printed into the tables that the kit builds from it.

    Exit status: 0 all lines were read; 1 some were not (they are shown); 2 no answer.
    """
    from calicokit.parsers.base import ParseError, kinds
    from calicokit.parsers.base import parse as parse_text

    if list_:
        _list_kinds()
        return
    if kind is None or file is None:
        _fail("Give KIND and FILE (- for standard input), or --list to see the kinds.")
    if kind not in kinds():
        _fail(f"No kind is named {kind}; {_did_you_mean(kind, list(kinds()), 'calicokit parse --list')}")
    try:
        parsed = parse_text(kind, _read_text(file), strict=strict)
    except ParseError as error:
        _fail(str(error))
    if format is TableShape.json:
        tables = {n: _rows(f) for n, f in parsed.tables.items()}
        lines = [{"line": u.number, "text": u.text} for u in parsed.unparsed]
        _print_json({"kind": kind, "tables": tables, "unparsed": lines})
    else:
        for name, frame in parsed.tables.items():
            if len(frame) or frame is parsed.frame:
                _write_frame(frame, name, format, None, None, 0)
        for line in parsed.unparsed:
            typer.echo(f"not read, line {line.number}: {_plain(line.text)}", err=True)
    raise typer.Exit(1 if parsed.unparsed else 0)


@app.command()
def incidents(
    format: Annotated[Shape, typer.Option("--format", help="How to print.")] = Shape.table,  # noqa: A002
) -> None:
    """List the recordings of real clusters that come with the kit."""
    from calicokit.incidents.bundle import index

    rows = [vars(i) for i in index().values()]
    if format is Shape.json:
        _print_json({"incidents": rows})
        return
    view = _rich_table("incident", "calico", "nodes", "what was done to the cluster")
    for row in rows:
        view.add_row(row["name"], row["calico"], str(row["nodes"]), row["description"])
    _console().print(view)


@app.command()
def report(
    source: Source,
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="Notebook's path, or its name such as 01-ipam.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("report.html"),
) -> None:
    """Execute a notebook on a source and write it as one self-contained HTML page."""
    from calicokit.cluster import open as open_source
    from calicokit.report.html import NotebookFailedError, write_html
    from calicokit.report.notebooks import find

    cluster = open_source(source)
    cluster.nodes()  # a source that cannot be opened is said here, in one sentence
    try:
        path = find(notebook)
        with _progress(f"executing {path.name} on {source}"):
            write_html(path, source, output)
    except (FileNotFoundError, NotebookFailedError, OSError) as error:
        _fail(str(error))
    typer.echo(f"{output.resolve()}")


@app.command()
def lab(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Recording or incident.")] = "ipam-exhausted",
    directory: Annotated[Path, typer.Option(help="Where your copies of the notebooks are kept.")] = Path(
        "calicokit-notebooks"
    ),
    port: Annotated[int, typer.Option(help="Port of JupyterLab on this machine; 0 chooses one.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on your own copies of the notebooks, with SOURCE as their source."""
    import subprocess

    from calicokit.evidence.sources import source_of
    from calicokit.report.notebooks import START, copy_to

    source_of(source).nodes()
    copied = copy_to(directory)
    typer.echo(f"Notebooks: {directory.resolve()} ({len(copied)} new; yours are kept as they are)")
    local = Path(source).expanduser()
    shown = str(local.resolve()) if local.exists() else source
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={directory}", f"--port={port}"]
    command += [f"--LabApp.default_url=/lab/tree/{START}", *([] if browser else ["--no-browser"])]
    raise typer.Exit(subprocess.call(command, env={**os.environ, "CALICOKIT_SOURCE": shown}))  # noqa: S603


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"calicokit {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of all commands."""


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"calicokit: {sentence}", err=True)
    raise typer.Exit(NO_ANSWER)


def _did_you_mean(word: str, known: list[str], where: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"`{where}` names them." if " " in where else f"{where} names them."


def _read_text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        _fail(f"{file} cannot be read ({error.strerror}).")
    return data.decode("utf-8", "backslashreplace")


def _plain(text: object) -> str:
    """Text of a cluster for a terminal: control characters, which could steer it, are shown as spaces."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=False)


def _progress(what: str) -> Any:
    """A context that shows what is being done while it is done, on a terminal only; yields ``say(step)``."""
    from contextlib import contextmanager

    @contextmanager
    def show() -> Any:
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        from rich.console import Console

        with Console(stderr=True, markup=False).status(what) as status:
            yield lambda step: status.update(f"{what}: {step}")

    return show()


def _rich_table(*headers: str) -> Any:
    from rich import box
    from rich.table import Table

    view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        view.add_column(header, overflow="fold")
    return view


COLOURS = {"critical": "bold red", "warning": "bold yellow", "info": "cyan"}


def _show_findings(findings: Findings, source: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = _console()
    console.print(Text(f"{_plain(source)}: {findings.verdict()}", style="bold"))
    for found in findings:
        because = f"  (explained by {found.explained_by})" if found.explained_by else ""
        console.print()
        console.print(
            Text.assemble((found.severity, COLOURS[found.severity]), f"  {found.id}  ", (found.title, "bold"), because)
        )
        console.print(Padding(Text(_plain(found.cause)), (0, 0, 0, 2)))
        console.print(Padding(Text.assemble(("Do: ", "bold"), _plain(found.remedy)), (0, 0, 0, 2)))
        seen = "; ".join(f"{r.count} row(s) of {r.table} ({r.id})" for r in found.evidence)
        console.print(Padding(Text(f"Seen in: {_plain(seen)}. Guide: {found.guide_step}", style="dim"), (0, 0, 0, 2)))
    console.print()
    console.print(Text(_coverage_text(findings.coverage), style="dim"))


def _coverage_text(coverage: Coverage) -> str:
    from calicokit.diagnosis.scope import not_looked_at

    lines = [f"Looked at {len(coverage.seen)} pieces of evidence for {len(coverage.checked)} kinds of findings."]
    lines += [f"Missing: {_plain(m)}" for m in coverage.missing]
    lines.append(f"This version does not look at: {', '.join(not_looked_at())}.")
    return "\n".join(lines)


def _list_schemas(schemas: list[Any]) -> None:
    for schema in schemas:
        mark = "" if schema.verified else "  [not verified]"
        typer.echo(f"{schema.name}{mark}  {schema.meaning}")
        for column in schema.columns:
            unit = f" [{column.unit}]" if column.unit else ""
            typer.echo(f"    {column.name:22} {column.kind:6} {column.meaning}{unit}")


def _list_kinds() -> None:
    from calicokit.parsers.base import kinds

    for kind in kinds().values():
        typer.echo(f"{kind.name}{'' if kind.verified else '  [not verified]'}  {kind.title}")
        for schema in kind.schemas:
            typer.echo(f"    {schema.name}: {', '.join(schema.names)}")


def _rows(frame: pd.DataFrame) -> Any:
    import orjson

    return orjson.loads(frame.to_json(orient="records", date_format="iso", date_unit="ns"))


def _print_json(value: object) -> None:
    import orjson

    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=_as_json)
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()


def _as_json(value: object) -> object:
    """Values of a table's cell that JSON does not know: nulls, numbers of numpy, times."""
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        return None
    return value.item() if hasattr(value, "item") else str(value)


def _write_frame(
    frame: pd.DataFrame, name: str, shape: TableShape, output: Path | None, coverage: Coverage | None, limit: int
) -> None:
    if shape is TableShape.parquet:
        if output is None:
            _fail("Parquet is not for a terminal; name a file with -o FILE.parquet.")
        frame.astype({c: "str" for c in frame.columns if frame[c].map(type).eq(dict).any()}).to_parquet(output)
    elif shape is TableShape.csv:
        text = frame.to_csv(index=False)
        output.write_text(text, encoding="utf-8") if output else sys.stdout.write(text)
    elif shape is TableShape.json:
        value = {"table": name, "rows": _rows(frame), "coverage": coverage.as_dict() if coverage else {}}
        if output is None:
            _print_json(value)
        else:
            import orjson

            output.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    else:
        _show_frame(frame, name, limit, coverage)


def _show_frame(frame: pd.DataFrame, name: str, limit: int, coverage: Coverage | None) -> None:
    console = _console()
    shown = frame.head(limit) if limit else frame
    view = _rich_table(*frame.columns)
    for row in shown.itertuples(index=False):
        view.add_row(*(_cell(v) for v in row))
    console.print(view)
    left = f", {len(frame) - len(shown)} more with --limit 0 or --format csv" if len(shown) < len(frame) else ""
    console.print(f"{name}: {len(frame)} rows{left}", style="dim")
    for missing in coverage.missing if coverage else ():
        console.print(f"Missing: {_plain(missing)}", style="dim")


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _plain(", ".join(map(str, value)))
    if isinstance(value, dict):
        return _plain(", ".join(f"{k}={v}" for k, v in value.items()))
    if value is None or value != value:  # noqa: PLR0124 (NaN and NaT differ from themselves)
        return ""
    if str(value) == "<NA>":
        return ""
    return _plain(f"{value:g}" if isinstance(value, float) else value)


def main() -> None:
    """Entry point: every foreseen failure is one sentence and exit status 2; Ctrl-C is 130."""
    try:
        app()
    except SourceError as error:
        typer.echo(f"calicokit: {_plain(error)}", err=True)
        sys.exit(NO_ANSWER)
    except KeyboardInterrupt:
        typer.echo("calicokit: stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
