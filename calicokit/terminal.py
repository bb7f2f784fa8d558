"""What the commands print: findings, tables, JSON, progress. Text of a cluster cannot steer the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from calicokit.evidence.model import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from calicokit.diagnosis.findings import Findings
    from calicokit.diff.between import Difference
    from calicokit.evidence.model import Coverage
    from calicokit.evidence.recordings.capture import Captured
    from calicokit.parsers.sessions import Output
    from calicokit.policy.explanation import Explanation


def did_you_mean(word: str, known: list[str], where: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"`{where}` lists them." if " " in where else f"{where} lists them."


def plain(text: object) -> str:
    """Text of a cluster for a terminal: control characters, which could steer it, are shown as spaces."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))


def console(width: int = 120) -> Any:
    """The terminal, through rich."""
    from rich.console import Console

    # Not on a terminal, nothing is cut or folded to a width that nobody has.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else width)


def rich_table(*headers: str) -> Any:
    from rich import box
    from rich.table import Table

    view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        view.add_column(header, overflow="fold")
    return view


MOST_ROWS = 200
WIDEST, GAP = 48, 3
COLOURS = {"critical": "bold red", "warning": "bold yellow", "info": "cyan"}


def show_findings(
    findings: Findings, source: str, everything: bool = False, rows: bool = False, guide: Sequence[str] = ()
) -> None:
    """The answer on one screen: causes over their effects, infos in a line a kind, then what was and was not seen.

    With ``guide``, the paths of its headings, in the order of the guide.
    """
    from rich.text import Text

    from calicokit.diagnosis.answer import answer

    out = console()
    for line in answer(findings, source, out.width, everything, rows, guide):
        head = [(line.severity, COLOURS[line.severity])] if line.severity else []
        out.print(Text.assemble(*head, (plain(line.text), LOOKS[line.look])))


LOOKS = {"head": "bold", "text": "", "dim": "dim"}
STATES = {
    "wrong": ("✗", "bold red"),
    "fine": ("✓", "green"),
    "unknown": ("?", "bold yellow"),
    "not needed": ("–", "dim"),
}


def show_guide(frame: pd.DataFrame, title: str) -> None:
    """A table of the guide: a line for each step, with its state, what tells so and where it is shown."""
    from rich.text import Text

    from calicokit.schema import cells

    view = rich_table("", title, "what tells so", "shown in")
    for state, step, told, notebook in cells(frame, "state", "guide", "told", "notebook"):
        mark, colour = STATES[state]
        view.add_row(Text(mark, colour), plain(step), plain(told), plain(notebook or ""))
    console().print(view)


def show_page(text: str) -> None:
    """A page of Markdown."""
    from rich.markdown import Markdown

    console().print(Markdown(text))


VERDICT_COLOURS = {"allow": "bold green", "deny": "bold red"}


def show_explanation(answer: Explanation) -> None:
    """The verdict as a sentence, then every policy evaluated, in order."""
    from rich.text import Text

    out = console()
    out.print(Text.assemble((answer.verdict, VERDICT_COLOURS.get(answer.verdict, "bold yellow")), f"  {plain(answer)}"))
    several = len(answer.flows) > 1
    view = rich_table(*(["to"] if several else []), "endpoint", "direction", "tier", "policy", "rule", "then")
    for number, step in answer.steps:
        name = f"{step.namespace}/{step.name}" if step.namespace else step.name
        rule = "" if step.matched is None else str(step.matched)
        then = step.action + (f" ({plain(step.note)})" if step.note else "") + (" +log" if step.logged else "")
        to = [answer.flows[number].dst] if several else []
        view.add_row(
            *map(plain, (*to, step.endpoint, step.direction, step.tier or "", f"{step.kind} {name}", rule, then))
        )
    if answer.steps:
        out.print(view)


def show_explanations(answers: list[Explanation]) -> None:
    """A line for each question."""
    view = rich_table("from", "to", "port", "verdict", "why")
    for answer in answers:
        port = f"{answer.port or ''}/{answer.protocol}"
        view.add_row(*map(plain, (answer.src, answer.dst, port, answer.verdict, answer)))
    console().print(view)


MOST_HOLES = 20


def show_captured(done: Captured) -> None:
    """What a capture wrote, took out, and could not get."""
    typer.echo(f"{done.path}: {done.files} files, {done.size / 1e6:.1f} MB")
    totals: dict[str, int] = {}
    for counts in done.redacted.values():
        for what, count in counts.items():
            totals[what] = totals.get(what, 0) + count
    said = ", ".join(f"{what}: {count}" for what, count in sorted(totals.items())) or "nothing"
    typer.echo(f"Redacted: {said} (the manifest lists the files).")
    for missing in done.missing[:MOST_HOLES]:
        typer.echo(f"Missing: {plain(missing)}")
    if len(done.missing) > MOST_HOLES:
        typer.echo(f"Missing: {len(done.missing) - MOST_HOLES} more, listed in the manifest.")


FORMULAS = ("=", "+", "-", "@")
SIGNS = {"added": "+", "removed": "-", "changed": "~", "reordered": "%"}
MOST_COUNTERS = 10


def show_difference(found: Difference, limit: int) -> None:
    """A line for each area, then what changed in each, counters apart, and what could not be compared."""
    from rich.text import Text

    out = console()
    apart = (
        "" if found.seconds is None else f", {abs(found.seconds):,.0f} s {'later' if found.seconds >= 0 else 'earlier'}"
    )
    out.print(Text(plain(f"A {found.before} → B {found.after}{apart}"), style="bold"))
    columns = ("area", "before", "after", "added", "removed", "changed", "reordered", "counters", "unknown")
    view = rich_table("area", "in A", "in B", *columns[3:])
    for row in found.summary():
        view.add_row(*(str(row[c]) if row[c] or (row[c] == 0 and c in columns[:3]) else "" for c in columns))
    out.print(view)
    for area, rows in found.differences.groupby("area", sort=False):
        out.print(Text(f"\n{area}", style="bold"))
        for change in rows.head(limit or len(rows)).to_dict("records"):
            out.print(Text(_difference(change)))
        if limit and len(rows) > limit:
            out.print(Text(f"  {len(rows) - limit} more (--limit 0 or --format json has all)", style="dim"))
    _show_counters(found.counters)
    for hole in found.holes:
        out.print(Text(f"Unknown, not or only partly compared ({hole.side}): {plain(hole.missing)}", style="dim"))


def difference(found: Difference) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "before": found.before,
        "after": found.after,
        "seconds": found.seconds,
        "summary": found.summary(),
        "differences": rows(found.differences),
        "counters": rows(found.counters),
        "unknown": [h.as_dict() for h in found.holes],
    }


def _difference(row: dict[Any, Any]) -> str:
    parts = [SIGNS[row["change"]], *(_cell(row[c]) for c in ("node", "kind", "subject") if _cell(row[c]))]
    if _cell(row["field"]):
        parts.append(f"{_cell(row['field'])}: {_cell(row['before']) or '(none)'} → {_cell(row['after']) or '(none)'}")
    return "  " + " ".join(parts)


def _show_counters(counters: pd.DataFrame) -> None:
    """The counters that went up most, those of the processes' own upkeep last; they are no difference on their own."""
    if not len(counters):
        return
    from rich.text import Text

    out = console()
    out.print(Text(f"\n{len(counters)} counters and gauges changed; the fastest:", style="bold"))
    counters = counters.assign(own=counters["subject"].str.startswith(("go_", "process_"), na=False))
    order = counters.sort_values(["own", "rate", "delta"], ascending=[True, False, False], na_position="last")
    first = order.head(MOST_COUNTERS)
    for row in first.to_dict("records"):
        rate = f" ({row['rate']:,.2f}/s)" if _cell(row["rate"]) else ""
        about = " ".join(_cell(row[c]) for c in ("node", "kind", "subject", "field") if _cell(row[c]))
        out.print(Text(f"  {about}: {row['before']:g} → {row['after']:g}{rate}"))


def list_names(names: list[str]) -> None:
    """All tables by topic, on one screen."""
    from textwrap import wrap

    topics: dict[str, list[str]] = {}
    for name in names:
        topics.setdefault(name.partition(".")[0], []).append(name.partition(".")[2])
    for topic, own in topics.items():
        typer.echo("\n".join(wrap(f"{topic}: {', '.join(own)}", console(width=120).width, subsequent_indent="  ")))
    typer.echo("A table is TOPIC.NAME; --list TOPIC says what each is, --describe TOPIC.NAME what its columns are.")


def list_schemas(schemas: list[Any], columns: bool) -> None:
    """A line for each table; with ``columns``, a line for each of them too."""
    width = console(width=10_000).width
    for schema in schemas:
        line = f"{schema.name:30} {schema.meaning}{'' if schema.verified else '  [not verified]'}"
        typer.echo(line if columns or len(line) <= width else f"{line[: width - 1]}…")
        for column in schema.columns if columns else ():
            unit = f" [{column.unit}]" if column.unit else ""
            typer.echo(f"    {column.name:22} {column.kind:6} {column.meaning}{unit}")


def list_kinds() -> None:
    from calicokit.parsers.base import kinds

    for kind in kinds().values():
        guessable = "" if kind.marks else "  [not guessable: it has no form of its own]"
        typer.echo(f"{kind.name}{'' if kind.verified else '  [not verified]'}{guessable}  {kind.title}")
        for schema in kind.schemas:
            typer.echo(f"    {schema.name}: {', '.join(schema.names)}")


def say_detected(outputs: list[Output]) -> None:
    """Say which kind each output was taken for, and which others fit."""
    for output in outputs:
        others = f"; it may also be {', '.join(output.others[:2])}" if output.others else ""
        found = f"detected {output.parsed.kind}{others}" if output.parsed else "no known kind"
        where = f"line {output.line + 1}, `{plain(output.command) or 'no command'}`: " if len(outputs) > 1 else ""
        typer.echo(f"calicokit: {where}{found}", err=True)


def write_outputs(outputs: list[Output], shape: str) -> int:
    """Print the tables of each output, and what was not read; returns the exit status: 1 if anything was not."""
    from calicokit.parsers.sessions import unread

    lost = [line for output in outputs for line in unread(output)]
    if shape == "json":
        print_json(_outputs(outputs))
        return bool(lost)
    for parsed in (output.parsed for output in outputs if output.parsed):
        for name, frame in parsed.tables.items():
            if len(frame) or frame is parsed.frame:
                write_frame(frame, name, shape, None, None, 0)
    for line in lost:
        typer.echo(f"not parsed, line {line.number}: {plain(line.text)}", err=True)
    return bool(lost)


def _outputs(outputs: list[Output]) -> dict[str, Any]:
    """What was read as JSON: of a session all tables together, and each output by itself besides."""
    from calicokit.parsers.sessions import unread

    made: list[dict[str, Any]] = [
        {
            "kind": output.parsed.kind if output.parsed else None,
            "tables": {n: rows(f) for n, f in output.parsed.tables.items()} if output.parsed else {},
            "unparsed": [{"line": line.number, "text": line.text} for line in unread(output)],
        }
        for output in outputs
    ]
    if len(made) == 1:
        return made[0]
    tables: dict[str, list[Any]] = {}
    for each in made:
        for name, found in each["tables"].items():
            tables.setdefault(name, []).extend(found)
    places = [{"command": output.command or None, "line": output.line + 1} for output in outputs]
    lost = [line for each in made for line in each["unparsed"]]
    parts = [{**place, **each} for place, each in zip(places, made, strict=True)]
    return {"kind": "session", "tables": tables, "unparsed": lost, "outputs": parts}


def rows(frame: pd.DataFrame) -> Any:
    from msgspec import json

    return json.decode(frame.to_json(orient="records", date_format="iso", date_unit="ns"))


def print_json(value: object) -> None:
    sys.stdout.buffer.write(_json(value) + b"\n")
    sys.stdout.flush()


def _json(value: object) -> bytes:
    from msgspec import json

    return json.format(json.encode(value, enc_hook=_as_json), indent=2)


def _as_json(value: object) -> object:
    """Values of a table's cell that JSON does not know: nulls, numbers of numpy, times."""
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        return None
    return value.item() if hasattr(value, "item") else str(value)


def write_frame(
    frame: pd.DataFrame, name: str, shape: str, output: Path | None, coverage: Coverage | None, limit: int
) -> None:
    if shape == "parquet":
        if output is None:
            raise SourceError("Parquet cannot be printed; give a file with -o FILE.parquet.")
        frame.astype({c: "str" for c in frame.columns if any(isinstance(v, dict) for v in frame[c])}).to_parquet(output)
    elif shape == "csv":
        text = _for_spreadsheets(frame).to_csv(index=False)
        output.write_text(text, encoding="utf-8") if output else sys.stdout.write(text)
    elif shape == "json":
        value = {"table": name, "rows": rows(frame), "coverage": coverage.as_dict() if coverage else {}}
        if output is None:
            print_json(value)
        else:
            output.write_bytes(_json(value))
    else:
        _show_frame(frame, name, limit, coverage)


def _for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    texts = frame.select_dtypes(["object", "str", "category"])
    return frame.assign(**{str(c): texts[c].astype(object).map(_spreadsheet) for c in texts})


def _spreadsheet(value: Any) -> Any:
    """A cell that neither steers a terminal nor is a formula to a spreadsheet, which an apostrophe keeps from being."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(FORMULAS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show_frame(frame: pd.DataFrame, name: str, limit: int, coverage: Coverage | None) -> None:
    out = console(width=10_000)
    shown = frame.head(limit) if limit else frame
    texts = {c: [_cell(v) for v in shown[c].tolist()] for c in frame.columns}
    fitting = _fitting(texts, out.width)
    view = rich_table(*fitting)
    for row in zip(*(texts[c] for c in fitting), strict=True):
        view.add_row(*row)
    out.print(view)
    left = f", {len(frame) - len(shown)} more with --limit 0 or --format csv" if len(shown) < len(frame) else ""
    out.print(f"{name}: {len(frame)} rows{left}", style="dim")
    if out_of_sight := [c for c in frame.columns if c not in fitting]:
        out.print(
            f"Columns not shown (terminal too narrow): {', '.join(out_of_sight)} (choose with --columns, or --format "
            "csv for all)",
            style="dim",
        )
    for missing in coverage.missing if coverage else ():
        out.print(f"Missing: {plain(missing)}", style="dim")


def _fitting(texts: dict[str, list[str]], width: int) -> list[str]:
    """The columns that fit side by side; long cells are folded, so none counts for more than WIDEST."""
    fitting: list[str] = []
    used = 0
    for column, cells in texts.items():
        used += min(max(map(len, (column, *cells))), WIDEST) + GAP
        if used > width and fitting:
            break
        fitting.append(column)
    return fitting


def _cell(value: Any) -> str:
    from calicokit.select import text_of

    return plain(text_of(value))
