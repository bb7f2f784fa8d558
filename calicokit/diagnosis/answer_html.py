"""The answer of a check for a notebook: the terminal's, as plain HTML that folds what it folds. Everything is escaped.

It has no scripts and inherits the colours of what it stands in, so that it reads in JupyterLab's light and dark themes
and in the exported page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from calicokit.diagnosis.answer import READ, Found, by_id, counted, listed_rows, not_seen
from calicokit.diagnosis.model import Finding
from calicokit.diagnosis.ranking import Tree
from calicokit.sentences import plural

MOST_CARDS = 10
MOST_EFFECTS = 6
COLOURS = {"critical": "#b3261e", "warning": "#8a5a00", "info": "#57606a"}
"""Each dark enough for white text on it, and seen as a line on black."""


def answer_html(findings: Found) -> str:
    """The answer: the verdict, causes with their effects, information, and what was not seen."""
    parts = [
        f"<p><b>{escape(findings.verdict())}</b></p>",
        *_folded(list(map(_card, findings.causes)), MOST_CARDS, "more cause", (r.id for r, _ in findings.causes)),
        *(_kind(same) for same in by_id(findings.infos).values()),
        _seen(findings),
    ]
    return f'<div class="answer" style="max-width:100ch;line-height:1.45;overflow-wrap:anywhere">{"".join(parts)}</div>'


def _card(tree: Tree) -> str:
    root, effects = tree
    title = f"{_badge(root)} <b>{escape(root.title)}</b> <code>{escape(root.id)}</code>"
    told = [title, escape(root.cause), f"<b>Do:</b> {escape(root.remedy)}"]
    body = "".join(f'<div style="margin:2px 0">{t}</div>' for t in told)
    hung = "".join(_folded(list(map(_effect, effects)), MOST_EFFECTS, "more effect", (f.id for f in effects)))
    rests = _details("What it rests on", [f"{listed_rows(root)}. Guide: {READ} {root.guide_step}"])
    colour = COLOURS[root.severity]
    return f'<div style="border-left:4px solid {colour};padding-left:12px;margin:14px 0">{body}{hung}{rests}</div>'


def _badge(found: Finding) -> str:
    style = f"background:{COLOURS[found.severity]};color:#fff;border-radius:3px;padding:0 6px;font-size:85%"
    return f'<span style="{style}">{escape(found.severity)}</span>'


def _effect(found: Finding) -> str:
    text = f"└ {_badge(found)} <code>{escape(found.id)}</code>: {escape(found.cause)}"
    return f'<div style="margin:3px 0 3px {1.6 * found.depth:.1f}em;text-indent:-1.2em">{text}</div>'


def _folded(shown: Sequence[str], most: int, what: str, ids: Iterable[str]) -> Iterator[str]:
    """The first of them, and how many more there are, which opens."""
    yield from shown[:most]
    if left := shown[most:]:
        named = counted(list(ids)[most:])
        yield f"<details><summary>{escape(f'{plural(len(left), what)}: {named}')}</summary>{''.join(left)}</details>"


def _kind(same: Sequence[Finding]) -> str:
    """Information of one id, in a line that opens."""
    first = same[0]
    times = f" × {len(same)}" if len(same) > 1 else ""
    head = f"{_badge(first)} <code>{escape(first.id)}</code>{times}: {escape(first.title)}"
    return _details(head, [f.cause for f in same], escaped=True)


def _seen(findings: Found) -> str:
    coverage = findings.coverage
    lines = not_seen(findings)
    said = f"Checked {len(coverage.checked)} kinds of findings on {plural(len(coverage.seen), 'piece')} of evidence"
    if not lines:
        return f"<p>{escape(said)}.</p>"
    return _details(f"{said}; not all, for {plural(len(lines), 'reason')}", lines)


def _details(head: str, lines: Iterable[str], escaped: bool = False) -> str:
    """A line that opens to others. ``escaped`` says that the head is HTML already."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    summary = head if escaped else escape(head)
    style = 'style="margin:6px 0"'
    return f'<details {style}><summary style="cursor:pointer">{summary}</summary><ul>{items}</ul></details>'
