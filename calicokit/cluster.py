"""A cluster as it was seen: one object with a topic per attribute, the same for every source.

``cluster.table(name)`` walks the road for one table: it finds the evidence that the table rests on, asks the source for
all of it at once, and builds what lies between. Everything is kept, so that nothing is fetched or computed twice.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from calicokit import registry
from calicokit.discover import method_of
from calicokit.evidence.catalog import CATALOG, OF_CALICO, OF_SERVICES, OTHER_BACKENDS, Api, Discovery, Log
from calicokit.evidence.model import (
    Answer,
    Coverage,
    Evidence,
    Failed,
    Left,
    Missing,
    PartlyRead,
    Source,
    SourceError,
    Unread,
    Want,
    asking,
)
from calicokit.evidence.objects import Objects, OddShapeError, decode_list
from calicokit.evidence.recordings.recording import NO_OBJECTS
from calicokit.evidence.recordings.redact import guarded
from calicokit.evidence.sources import source_of
from calicokit.evidence.texts import Texts
from calicokit.faults import attempt
from calicokit.progress import Progress, shown
from calicokit.registry import Spec
from calicokit.schema import Table

if TYPE_CHECKING:
    from calicokit.connectivity.cause import Cause
    from calicokit.dataplane.packets.trace_flow import Asked
    from calicokit.diagnosis.findings import Findings
    from calicokit.diagnosis.model import Check, Finding
    from calicokit.policy.explain import Explainer
    from calicokit.policy.explanation import Explanation
    from calicokit.topics import Topics
else:
    Topics = object


@dataclass(frozen=True)
class Lower:
    """How a table is known in lower rank: by which evidence, printed by which commands; why its lists are unknown."""

    table: str
    ids: tuple[str, ...]
    words: tuple[str, ...]
    holes: tuple[Missing, ...]


NO_NODE = "no node is known of which it could be asked"


def open(source: str | Path) -> Cluster:  # noqa: A001 (the word that fits)
    """The cluster of a source: a recording's or bundle's path, a bundled incident's name, or ``context:NAME``.

    Raises :class:`~calicokit.evidence.model.SourceError` with one clear sentence if there is no such source.

    >>> open("ipam-exhausted").ipam.pools()["pool"].tolist()
    ['default-ipv4-ippool']
    """
    return Cluster(source_of(str(source)))


def connect(
    context: str | None = None,
    *,
    kubeconfig: str | None = None,
    in_cluster: bool = False,
    since: int | None = None,
    tail: int = 20_000,
    namespace: str = "",
) -> Cluster:
    """The live cluster of a kubeconfig's context (the current one if none is named), or the one this pod runs in.

    Logs are read as far back as ``since`` seconds, at most ``tail`` lines. ``namespace`` is Calico's, to be
    named where it is none of the usual ones and several may be it. Nothing is asked before something needs it;
    nothing is ever changed. Raises :class:`~calicokit.evidence.model.SourceError` with one sentence if the
    configuration cannot be used.
    """
    from calicokit.evidence.live.cluster import LiveCluster

    return Cluster(LiveCluster(context, kubeconfig, in_cluster, since, tail, namespace))


def watched(source: str | Path, url: str, hours: float = 1.0, headers: Mapping[str, str] | None = None) -> Cluster:
    """The cluster of a source (as :func:`open` takes it), with what a Prometheus server saw in the last hours.

    Raises :class:`~calicokit.evidence.model.SourceError` if there is no such source, or ``url`` is no address.
    """
    from calicokit.evidence.live.prometheus_server import PrometheusServer, Watched

    server = PrometheusServer(url, headers or {})
    return Cluster(Watched(source_of(str(source)), server, datetime.now(UTC) - timedelta(hours=hours)))


class Cluster(Topics):
    """What one source shows of a cluster, fetched when asked for and kept."""

    def __init__(self, source: Source) -> None:
        self._source = guarded(source)
        self._evidence: dict[Want, list[Evidence]] = {}
        self._missing: dict[Want, list[Missing]] = {}
        self._built: dict[str, Any] = {}
        self._lower: dict[str, Lower] = {}
        self._spare: set[str] = set()  # ids that only tables of lower rank asked for: nobody misses them
        self._fetched: set[str] = set()  # names whose evidence has been asked for: it is asked for once
        self._problems: dict[Missing, None] = {}  # in order, each once
        self.progress: Progress | None = None
        """Called with progress messages while evidence is collected, which takes time on a live cluster."""

    def __repr__(self) -> str:
        return f"<Cluster {self._source.name}, {len(self._evidence)} pieces of evidence seen so far>"

    if not TYPE_CHECKING:  # type checkers know the topics and their tables from topics.pyi

        def __getattr__(self, topic: str) -> Topic:
            if topic.startswith("_") or topic not in registry.TOPICS:
                raise AttributeError(f"a Cluster has no topic {topic!r}; it has {', '.join(registry.TOPICS)}")
            return Connectivity(self, topic) if topic == "connectivity" else Topic(self, topic)

    def __dir__(self) -> list[str]:
        return sorted([*object.__dir__(self), *registry.TOPICS])

    @property
    def name(self) -> str:
        """What the source was called."""
        return self._source.name

    @property
    def time(self) -> pd.Timestamp | None:
        """When this state was seen (UTC); None where the source cannot tell."""
        now = self._source.now()
        return None if now is None else pd.Timestamp(now).tz_convert("UTC")

    @property
    def coverage(self) -> Coverage:
        """What has been seen and what could not be, of all that was asked for so far.

        That something was not sampled over time is no hole: a series is taken on purpose, and tables of growth say so.
        Nor is it one that a recording has nothing of what the kit did not know of when it was made.
        """
        coverage = Coverage(seen=list(self._evidence))
        asked = {w: ms for w, ms in self._missing.items() if not w.series and w.id not in self._spare}
        coverage.add_missing(m for missing in asked.values() for m in missing)
        coverage.add_missing(self._problems)
        coverage.add_missing(self._source.unused)  # files of a bundle that are no evidence
        spared = self._spared()
        coverage.missing = [m for m in coverage.missing if not _is_in(spared, m.id, m.node) and not m.younger]
        return coverage

    @property
    def answered(self) -> bool:
        """Whether anything was seen but what anybody is told: which kinds there are, and that some have no objects."""
        seen = (e for found in self._evidence.values() for e in found)
        return any(e.path != NO_OBJECTS and not isinstance(CATALOG[e.id].how, Discovery) for e in seen)

    def _spared(self) -> set[tuple[str, str | None]]:
        """Evidence that nobody misses (``registry.not_applicable``), as far as the tables built so far tell."""
        built = (s for s in registry.NOT_APPLICABLE if all(n in self._built for n in s.needed))
        return {spared for spec in built for spared in self._spared_by(spec)}

    def _spared_by(self, spec: registry.Sparing) -> registry.Spared:
        if any(self._resolve(n).unknown or n in self._lower for n in spec.needed):
            return ()
        found: registry.Spared = spec.make(self._resolve)
        return found

    def node_holes(self) -> dict[str, dict[str, Missing]]:
        """Evidence of nodes that was asked for and is missing, and missed: its id → node → why."""
        spared = self._spared()
        found: dict[str, dict[str, Missing]] = {}
        for want, (missing, *_) in self._missing.items():
            if want.node and not want.series and not _is_in(spared, want.id, want.node) and not missing.younger:
                found.setdefault(want.id, {})[want.node] = missing
        return found

    def partly_read(self) -> list[PartlyRead]:
        """What could be read in part only, of which more may have been there; but logs, which lack much anyway."""
        found = [p for p in self._problems if isinstance(p, PartlyRead) and not isinstance(CATALOG[p.id].how, Log)]
        spared = self._spared() if found else set()
        return [p for p in found if not _is_in(spared, p.id, p.node)]

    def table(self, name: str, **options: str) -> Table:
        """A table by its name (``calicokit table --list`` names them).

        It always has its declared columns; ``.unknown`` says why it is unknown, if it is. Raises ``KeyError`` for a
        name that no table has, and ``OptionError``, a ``ValueError``, for options (``routes.path`` has some) that it
        has not, or not so. :func:`~calicokit.select.select` takes rows and columns of it.
        """
        if name not in registry.load():
            raise KeyError(f"no table is named {name!r}; `calicokit table --list` lists them")
        known = registry.TABLES[name].options
        if set(options) - set(known) or any(d is None and o not in options for o, d in known.items()):
            raise registry.OptionError(f"{name} takes {', '.join(f'--{o}' for o in known) or 'no options'}")
        self.fetch([name])
        given = {o: d for o, d in known.items() if d is not None} | options
        return self._build(name, given) if known else self._resolve(name)

    def explain(
        self, src: str, dst: str, port: int | None = None, proto: str = "tcp", *, what_if: str | Path | None = None
    ) -> Explanation:
        """Whether policy allows a flow, and which rule decides.

        ``src`` and ``dst`` are NS/POD or an IP, ``dst`` also svc/NS/SERVICE. What makes no sense is answered
        ``unknown`` with the reason. ``what_if`` names a YAML file whose objects are taken as added or changed.

        >>> open("policy-drop").explain("shop/nobody", "10.48.0.1", 80).verdict
        'unknown'
        """
        return self.explainer(what_if).explain(src, dst, port, proto)

    def explainer(self, what_if: str | Path | None = None) -> Explainer:
        """What answers many questions about flows: its ``explain`` is :meth:`explain`."""
        self.fetch(["policy.model"])
        found: Explainer | None = self._given("policy.model")
        if found is None:
            raise SourceError(f"{self.name} has no policy objects.")
        if what_if is None:
            return self._with_programmed(found)
        from calicokit.policy.what_if import objects_in, selects_anew

        new = objects_in(what_if)
        asked = found.changed(new)
        return asked if selects_anew(new) else self._with_programmed(asked)

    def _with_programmed(self, asked: Explainer) -> Explainer:
        """The same, surer where lists are missing and the nodes' rules tell what would be in them."""
        return asked.with_programmed(self.given("dataplane.chains")) if asked.optional_unseen else asked

    def walk(self, src: str, dst: str, port: int | None = None, proto: str = "tcp") -> Asked:
        """Where the first packet of a connection ends, and by which rule, as the rules of the nodes on its way are.

        ``src`` is NS/POD or an IP, ``dst`` NS/POD, svc/NS/SERVICE or an IP. What is not known is answered ``unknown``.

        >>> open("policy-drop").walk("10.48.84.130", "10.48.139.67", 5432).verdict
        'drop'
        """
        from calicokit.dataplane.packets.trace_flow import walk

        return walk(self, src, dst, port, proto)

    def check(self, progress: Progress | None = None) -> Findings:
        """Run every check; the findings come most likely root cause first."""
        from calicokit.diagnosis.findings import run_checks

        with _collector_paused():
            return run_checks(self, progress)

    def run(self, check: Check) -> list[Finding]:
        """What one check finds, not yet ranked; its needs must be known."""
        self.fetch(check.inputs)
        return list(check.make(partial(self._given_to, check)))

    def unknown_to(self, spec: Spec) -> list[Missing]:
        """Why what this needs is unknown, or known in lower rank only where it takes no such table; or none."""
        self.fetch(spec.needed)
        return list(dict.fromkeys(m for n in spec.needed if self._is_lost(n, spec) for m in self._holes(n)))

    def lower(self, spec: Spec) -> list[Lower]:
        """What this needs and is known in lower rank only."""
        return [self._lower[n] for n in spec.needed if n in self._lower]

    def rank(self, name: str) -> Lower | None:
        """How a table is known in lower rank, if it is; it must have been asked for."""
        return self._lower.get(name)

    def left_over(self) -> list[Left]:
        """What lies in the source, was read, and nothing asked for so far."""
        asked = {*self._evidence, *self._missing}
        return [left for left in self._source.holds if left.want not in asked]

    def given(self, name: str) -> Any:
        """An input of a builder or check: a table, evidence, ``@now`` or ``@findings``; None where it is unknown."""
        self.fetch([name])
        return self._given(name)

    def _given(self, name: str) -> Any:
        return self._given_to(None, name)

    def _given_to(self, spec: Spec | None, name: str) -> Any:
        value = self._input(name)
        if name in self._lower and (spec is None or name not in spec.printed):
            return None
        if isinstance(value, Table):  # builders compute with plain DataFrames, which are faster, and know None
            return None if value.unknown else pd.DataFrame(value)
        return value

    def fetch(self, names: Iterable[str]) -> None:
        """Ask the source, in bulk, for the evidence that these tables rest on and that has not been asked for yet."""
        registry.load()
        new = [n for n in dict.fromkeys(names) if n not in self._fetched]
        if not new:
            return
        ids = [i for i in registry.evidence_of(tuple(new)) if not i.startswith("@")]
        self._ask([Want(i.removesuffix("+series"), series=i.endswith("+series")) for i in ids if _of_cluster(i)])
        of_nodes = [i for i in ids if not _of_cluster(i)]
        if of_nodes:
            nodes = self.nodes()
            wants = [Want(i.removesuffix("+series"), n, i.endswith("+series")) for i in of_nodes for n in nodes]
            doubtful = {i for spec in registry.NOT_APPLICABLE for i in spec.unasked}
            self._ask([w for w in wants if w.id not in doubtful])
            self._ask(self._applicable([w for w in wants if w.id in doubtful]))
            for i in of_nodes if not nodes else ():
                want = Want(i.removesuffix("+series"), series=i.endswith("+series"))
                self._missing[want] = [Missing(want.id, NO_NODE)]
        self._fetched.update(new)

    @cached_property
    def unasked(self) -> dict[tuple[str, str | None], str]:
        """Evidence (id, node; no node: of all) that no source is asked for, as there is none, and why.

        What tells so is fetched; where that is unknown, all is asked for.
        """
        specs = [spec for spec in registry.NOT_APPLICABLE if spec.unasked]
        for spec in specs:
            self.fetch(spec.needed)
        return {spared: spec.why for spec in specs for spared in self._spared_by(spec) if spared[0] in spec.unasked}

    def _applicable(self, wants: list[Want]) -> list[Want]:
        """Those that a source is asked for; the others count as spared."""
        why = {w: self.unasked.get((w.id, w.node)) or self.unasked.get((w.id, None)) for w in wants}
        for want, reason in why.items():
            if reason:
                self._missing.setdefault(want, [Missing(want.id, reason, want.node)])
        return [w for w, reason in why.items() if not reason]

    def asks(self, id_: str) -> bool:
        """Whether any node is asked for a piece of evidence."""
        return (id_, None) not in self.unasked

    def nodes(self) -> list[str]:
        """The nodes to ask: those of the API (without Windows, which runs no calico-node image) and of the source."""
        self._ask([Want("nodes")])
        windows: set[str] = set()
        names = set(self._source.nodes())
        objects = self._input("nodes")
        for name, system in objects.rows(_name_and_system) if isinstance(objects, Objects) else ():
            (windows if system == "windows" else names).add(name)
        return sorted(names - windows)

    def _ask(self, wants: list[Want]) -> None:
        new = [w for w in wants if w not in self._evidence and w not in self._missing]
        if not new:
            return
        with self._telling() as say, asking(self._source, new) as answers:
            for number, (want, answer) in enumerate(answers, 1):
                say(f"{min(number, len(new))} of {len(new)} answers")
                self._take(want, answer)
        for want in new:
            if want not in self._evidence and want not in self._missing:
                self._missing[want] = [Missing(want.id, "the source gave no answer", want.node)]
        self._judge([e for want in new for e in self._evidence.get(want, ())])

    def _judge(self, answers: list[Evidence]) -> None:
        """Lose what is no answer; what may excuse the silent ones of all nodes is asked for at once."""
        self._ask([Want(i, e.node) for e in answers if _is_silent(e) for i in OTHER_BACKENDS.get(e.id, ())])
        for answer in answers:
            if why := self._no_answer(answer):
                self._lose(answer, Missing(answer.id, why, answer.node))

    def _no_answer(self, evidence: Evidence) -> str:
        """Why a text tells nothing, or less than it should: it is empty where none can be, or cut."""
        item = CATALOG[evidence.id]
        if evidence.text.strip():
            whole = evidence.text.endswith(b"\n") or evidence.exit is None or not item.ends_lines
            return "" if whole else f"{evidence.ref} is cut: its last line has no end"
        if not _is_silent(evidence):
            return ""
        others = (Want(i, evidence.node) for i in OTHER_BACKENDS.get(evidence.id, ()))
        texts = [e.text for other in others for e in self._evidence.get(other, ())]
        if any(all(any(m in text for m in marks) for marks in (OF_CALICO, OF_SERVICES)) for text in texts):
            return ""
        return f"{evidence.ref} is empty, and {item.how.words} never prints nothing"

    def _lose(self, evidence: Evidence, why: Missing) -> None:
        """Count as missing what was given as an answer and is none."""
        found = self._evidence.get(evidence.want, [])
        if evidence in found:
            found.remove(evidence)
            if found:  # what another pod of the same component said
                self.note(why)
            else:
                del self._evidence[evidence.want]
                self._missing.setdefault(evidence.want, []).append(why)

    def _take(self, want: Want, answer: Answer) -> None:
        if isinstance(answer, Missing):
            self._missing.setdefault(want, []).append(answer)
            return
        if b"\0" in answer.text:  # what a disk or a sparse file leaves of what was never written; some are very long
            whole = b"\n".join(line for line in answer.text.split(b"\n") if b"\0" not in line)
            answer = replace(answer, text=whole, partial=f"{answer.ref} has gaps of zero bytes")
        self._evidence.setdefault(want, []).append(answer)
        if answer.partial:
            self.note(PartlyRead(want.id, answer.partial, want.node))

    def _telling(self) -> AbstractContextManager[Progress]:
        if self.progress is None and self._source.live:
            return shown(f"asking {self.name}")
        return nullcontext(self.progress or (lambda _: None))

    def _resolve(self, name: str) -> Table:
        if name not in self._built:
            found = self._build(name)
            self._built[name] = self._of_prints(name, found) if found.unknown and name in registry.PRINTED else found
        made: Table = self._built[name]
        return made

    def _build(self, name: str, options: dict[str, str] | None = None) -> Table:
        return self._build_of(name, registry.TABLES[name], options)

    def _of_prints(self, name: str, listed: Table) -> Table:
        """The table in lower rank, where its evidence is missing and something printed holds rows of it.

        No live cluster prints, as only its administrator could run these commands; a recording that lacks a list is
        damaged, and a list that is not whole lies beside: these are to be told.
        """
        spec = registry.PRINTED[name]
        broken = {left.want.id for left in self._source.holds} & {w.id for w in self._missing}
        if not self._source.by_hand or broken & set(registry.TABLES[name].needed):
            return listed
        ids = {i for i in spec.inputs if i in CATALOG} - {w.id for w in (*self._evidence, *self._missing)}
        self._spare |= ids
        self.fetch(spec.inputs)
        made = self._build_of(name, spec)
        rank = self._rank_of(name, spec, listed.unknown)
        if made.empty or not rank.ids:  # no row says that there is nothing
            return listed
        self._lower[name] = rank
        return made

    def _rank_of(self, name: str, spec: Spec, holes: tuple[Missing, ...]) -> Lower:
        """What a table in lower rank rests on: the texts that this takes, and those of its inputs of lower rank."""
        said = [(e.id, e.command or CATALOG[e.id].how.words.strip("`")) for e in self._texts(spec)]
        below = [self._lower[i] for i in spec.inputs if i in self._lower]
        ids = dict.fromkeys([i for i, _ in said] + [i for b in below for i in b.ids])
        words = dict.fromkeys([w for _, w in said] + [w for b in below for w in b.words])
        return Lower(name, tuple(ids), tuple(words), holes)

    def _texts(self, spec: Spec) -> Iterator[Evidence]:
        """The texts that this takes."""
        for name in spec.inputs:
            if name in CATALOG and isinstance(texts := self._input(name), Texts):
                yield from texts

    def _is_lost(self, name: str, spec: Spec) -> bool:
        """Whether an input is unknown to this."""
        return _is_unknown(self._input(name)) or (name in self._lower and name not in spec.printed)

    def _holes(self, name: str) -> Iterable[Missing]:
        if name in self._lower:
            return self._lower[name].holes
        return getattr(self._input(name), "unknown", ()) or self._why(name)

    def _build_of(self, name: str, spec: Spec, options: dict[str, str] | None = None) -> Table:
        schema = registry.TABLES[name].schema
        inputs = {i: self._input(i) for i in spec.inputs}
        lost = [i for i in spec.needed if self._is_lost(i, spec)]
        if spec.any_needed and all(self._is_lost(i, spec) for i in spec.any_needed):
            lost += spec.any_needed
        if lost:
            holes = (m for i in lost for m in self._holes(i))
            return Table(schema.frame(), unknown=tuple(dict.fromkeys(holes)))

        def build() -> pd.DataFrame:
            with _collector_paused():
                return schema.check(spec.make(partial(self._given_to, spec), **(options or {})))

        said = registry.UnseenError, registry.UnreadableError, registry.OptionError
        try:
            frame: pd.DataFrame | Missing = attempt(name, build, passing=said)
        except registry.UnseenError as error:
            why = dict.fromkeys(m for i in error.names or spec.wanted for m in self._why(i))
            return Table(schema.frame(), unknown=tuple(why) or (Missing(name, str(error)),))
        except registry.UnreadableError as error:
            frame = Missing(name, str(error))
        finally:
            self._note_problems(inputs.values())
        if any(isinstance(value, Texts) and not value.items for value in inputs.values()):
            return self._build_of(name, spec, options)  # one of its inputs told nothing, and is unknown by now
        if isinstance(frame, Missing):
            self.note(frame)
            return Table(schema.frame(), unknown=(frame,))
        return Table(frame)

    def _input(self, name: str) -> Any:
        """A table, the objects of an API list, or evidence (a list for what every node has); None where unknown."""
        if name == "@now":
            return self.time
        if name == "@calico-namespace":
            return self._source.calico_namespace
        if name == "@findings" and name not in self._built:
            self._built[name] = self._findings(name)
        if name in registry.TABLES:
            return self._resolve(name)
        if name not in self._built:
            self._built[name] = self._model(name) if name in registry.MODELS else self._evidence_input(name)
        return self._built[name]

    def _findings(self, name: str) -> Findings | None:
        try:
            return self.check(self.progress)
        except SourceError as error:
            self.note(Missing(name, str(error)))
            return None

    def _model(self, name: str) -> Any:
        spec = registry.MODELS[name]
        inputs = [self._given(i) for i in spec.inputs]

        def build() -> Any:
            with _collector_paused():
                return spec.make(self._given)

        made = attempt(name, build)
        self._note_problems(inputs)
        if any(isinstance(value, Texts) and not value.items for value in inputs):
            return self._model(name)
        if isinstance(made, Failed):
            self.note(made)
            return None
        return made

    def _evidence_input(self, name: str) -> Any:
        plain = name.removesuffix("+series")
        found = [e for w, es in self._evidence.items() if w.id == plain and w.series == (plain != name) for e in es]
        if not _of_cluster(name) or plain != name:
            # Answers arrive in any order; tables must not depend on it.
            ordered = sorted(found, key=lambda e: (e.node or "", str(e.time), e.path))
            return Texts(plain, ordered) if ordered else None
        if not found:
            return None
        if not isinstance(CATALOG[plain].how, Api):
            return Texts(plain, found)
        try:
            return decode_list(found[0])
        except OddShapeError as error:
            self.note(Missing(plain, str(error)))
            return None

    def _why(self, name: str) -> Iterator[Missing]:
        """Why an input is unknown: the holes in the evidence that it rests on."""
        ids = {name, *(i.removesuffix("+series") for i in registry.evidence_of((name,)))}
        missing = [m for w, ms in self._missing.items() if w.id in ids for m in ms]
        yield from missing + [p for p in self._problems if p.id in ids]

    def note(self, *missing: Missing) -> None:
        """Add holes to the coverage, each once."""
        self._problems.update(dict.fromkeys(missing))

    def _note_problems(self, inputs: Iterable[Any]) -> None:
        """Keep what builders could not read, for the coverage."""
        for value in inputs:
            if isinstance(value, (Objects, Texts)):
                self.note(*(p for p in value.problems if not isinstance(p, Unread)))
            if isinstance(value, Texts):
                self._lose_unread(value)

    def _lose_unread(self, texts: Texts) -> None:
        for problem in [p for p in texts.problems if isinstance(p, Unread)]:
            for evidence in [e for e in texts.items if e.node == problem.node]:
                texts.items.remove(evidence)
                self._lose(evidence, problem)
        if not texts.items:
            self._built[texts.id] = None


class Topic:
    """The tables of one topic as methods: ``cluster.ipam.blocks()`` is ``cluster.table("ipam.blocks")``.

    Each takes what of it is wanted too (:func:`~calicokit.select.select`):

    >>> open("ipam-exhausted").ipam.utilisation(where="used>0.9", columns="pool")["pool"].tolist()
    ['default-ipv4-ippool']
    """

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster, self._topic = cluster, topic

    def __dir__(self) -> list[str]:
        prefix = f"{self._topic}."
        return [n.removeprefix(prefix) for n in registry.load() if n.startswith(prefix)]

    def __getattr__(self, table: str) -> Callable[..., Table]:
        name = f"{self._topic}.{table}"
        if table.startswith("_") or name not in registry.load():
            raise AttributeError(f"no table is named {name!r}; {self._topic} has {', '.join(dir(self))}")
        return method_of(name, self._cluster.table)

    def __repr__(self) -> str:
        return f"<{self._topic}: {', '.join(dir(self))}>"


class Connectivity(Topic):
    """The tables of connectivity; called, it tells why one end does not reach another."""

    def __call__(self, src: str, dst: str, port: int | None = None, proto: str = "tcp") -> Cause:
        """Why one end does not reach another, or that nothing is in the way: ``cluster.connectivity(src, dst, port)``.

        ``src`` is NS/POD or an IP, ``dst`` NS/POD, svc/NS/SERVICE or an IP. Raises ``ValueError`` for ends that are
        none.
        """
        from calicokit.connectivity.cause import cause

        return cause(self._cluster, src, dst, port, proto)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Building a big table makes millions of objects and no cycles; looking for those takes as long as the building."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is_in(spared: set[tuple[str, str | None]], id_: str, node: str | None) -> bool:
    """Whether evidence is among what nobody misses: of its node, or of all."""
    return (id_, node) in spared or (id_, None) in spared


def _is_silent(evidence: Evidence) -> bool:
    """Whether it printed nothing, and no error, where it always prints something."""
    return not evidence.text.strip() and not evidence.exit and CATALOG[evidence.id].always_prints


def _of_cluster(id: str) -> bool:  # noqa: A002
    return CATALOG[id.removesuffix("+series")].scope == "cluster"


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, Table) and bool(value.unknown))


def _name_and_system(node: dict[str, Any]) -> tuple[str, str]:
    meta = node["metadata"]
    return meta["name"], (meta.get("labels") or {}).get("kubernetes.io/os", "linux")
