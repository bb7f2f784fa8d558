"""Clusters that share what they build: most tests look at one of a few incidents, whole or with one answer edited.

A table is a pure function of its inputs, so one that was built from the same evidence is the same table. A
:class:`Sharing` cluster remembers every table by the content of all the evidence that it rests on, across clusters:
where a test edits one answer of an incident, only what rests on that answer is built anew, and every check still runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from hashlib import blake2b
from typing import Any

from calicokit import registry
from calicokit.cluster import Cluster
from calicokit.diagnosis.findings import Findings
from calicokit.diagnosis.model import Check, Finding
from calicokit.evidence.model import Evidence, Missing
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording
from calicokit.evidence.sources import source_of
from calicokit.progress import Progress
from calicokit.schema import Table

MOST = 6000
"""How many tables and models a process remembers: those of all incidents, and of what was edited last."""

_FIELDS = [f.name for f in fields(Evidence) if f.name != "text"]
_BUILT: OrderedDict[bytes, tuple[Any, dict[str, list[Missing]]]] = OrderedDict()


class Sharing(Cluster):
    """A cluster that takes from others what they built from the same evidence."""

    checking = False

    def check(self, progress: Progress | None = None) -> Findings:
        self.checking = True
        try:
            return super().check(progress)
        finally:
            self.checking = False

    def table(self, name: str, **options: str) -> Table:
        found = super().table(name, **options)
        if self.checking:
            return found
        return Table(found, unknown=found.unknown)  # one of its own: what a test writes to it, no other sees

    def run(self, check: Check) -> list[Finding]:
        run = partial(super().run, check)
        said: list[Finding] = run() if self.lower(check) else self._shared(check, run)
        return said

    def _build(self, name: str, options: dict[str, str] | None = None) -> Table:
        build = partial(super()._build, name, options)
        found: Table = self._shared(registry.TABLES[name], build, **(options or {}))
        return found

    def _model(self, name: str) -> Any:
        return self._shared(registry.MODELS[name], partial(super()._model, name))

    def _shared(self, spec: registry.Spec, build: Callable[[], Any], **options: str) -> Any:
        inputs = {i: self._input(i) for i in spec.inputs}
        texts = {i: v.problems for i, v in inputs.items() if hasattr(v, "problems")}
        key = _digest(self._key_of(spec), sorted(options.items()))
        if key in _BUILT:
            _BUILT.move_to_end(key)
            found, problems = _BUILT[key]
            for i, told in problems.items():
                texts[i].extend(told)
            self._note_problems(inputs.values())
            return found
        known = {i: len(told) for i, told in texts.items()}
        found = build()
        if found is not None and not getattr(found, "unknown", ()):  # why something is unknown, each tells by itself
            _BUILT[key] = found, {i: told[known[i] :] for i, told in texts.items()}
            while len(_BUILT) > MOST:
                _BUILT.popitem(last=False)
        return found

    def _lose(self, evidence: Evidence, why: Missing) -> None:
        super()._lose(evidence, why)
        self.__dict__.pop("_keys", None)  # what is built from now on rests on less

    def _key(self, name: str) -> bytes:
        """The content of all that something rests on, as a digest."""
        keys: dict[str, bytes] = self.__dict__.setdefault("_keys", {})
        if name not in keys:
            keys[name] = self._new_key(name)
        return keys[name]

    def _key_of(self, spec: registry.Spec) -> bytes:
        return _digest(id(spec), *(self._key(i) for i in spec.inputs))

    def _new_key(self, name: str) -> bytes:
        if name == "@now":
            return _digest(self.time)
        if name == "@calico-namespace":
            return _digest(self._source.calico_namespace)
        spec = registry.spec_of(name)
        if spec is not None:
            return _digest(name, self._key_of(spec))
        plain = name.removesuffix("+series")
        answers = [*self._evidence.items(), *self._missing.items()]
        if name == "@findings":
            return _digest(name, *sorted(_of_answer(a) for _, given in answers for a in given))
        found = [a for want, given in answers if want.id == plain and want.series == (plain != name) for a in given]
        return _digest(name, *sorted(map(_of_answer, found)))


def _of_answer(answer: Evidence | Missing) -> bytes:
    if isinstance(answer, Missing):
        return _digest(answer)
    return _digest([getattr(answer, f) for f in _FIELDS], blake2b(answer.text, digest_size=16).digest())


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16).digest()


@cache
def recording(name: str) -> Recording:
    """A bundled incident, unpacked once."""
    return Recording(index()[name].path, name)


@cache
def opened(name: str) -> Cluster:
    """A bundled incident, to be read only: all tests of a process have the same one."""
    return fresh(name)


def fresh(name: str) -> Cluster:
    """A bundled incident of which nobody has asked anything, for what its coverage says."""
    return Sharing(recording(name))


def of(source: str) -> Cluster:
    """The same of any source, as :func:`calicokit.open` takes it."""
    return fresh(source) if source in index() else Sharing(source_of(source))


@cache
def checked(name: str) -> Findings:
    """What every check says of a bundled incident."""
    return fresh(name).check()
