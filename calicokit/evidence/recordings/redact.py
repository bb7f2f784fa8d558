"""What must not leave a cluster is taken out before anything is written: texts keep their layout, objects their shape.

The catalog says what in which evidence is secret; the rules here find it. Passwords and tokens are looked for in all
texts, as logs and configurations may hold them anywhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from calicokit.evidence.catalog import CATALOG, Api
from calicokit.evidence.model import Evidence

REDACTED = "REDACTED"

_NAMES = rb"password|passwd|secret|token|api[_-]?key|access[_-]key|private[_-]?key|client-key-data"
_HINTS = (b"passw", b"secret", b"token", b"key")
_TEXTS: tuple[tuple[str, tuple[bytes, ...], re.Pattern[bytes]], ...] = (
    (
        "private keys",
        (b"private key-----",),
        re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?P<secret>[^-]{1,20000})-----END"),
    ),
    ("tokens", (b"eyj",), re.compile(rb"(?P<secret>eyJ[\w-]{8,2000}\.[\w-]{8,8000}\.[\w-]{8,2000})")),
    ("tokens", (b"bearer",), re.compile(rb"(?i)\bbearer[ :]{1,3}(?P<secret>[\w.~+/=-]{8,8000})")),
    (
        "passwords and tokens",
        _HINTS,
        re.compile(
            rb"(?i)(?:" + _NAMES + rb")(?:\\?[\"'])?(?:[ \t]{0,4}[=:][ \t]{0,4}|[ \t]{1,4})"
            rb"\\?[\"'](?P<secret>[^\"'\\\r\n]{1,4000})\\?[\"']"
        ),
    ),
    (
        "passwords and tokens",
        _HINTS,
        re.compile(
            rb"(?i)(?:--[\w-]{0,40}(?:"
            + _NAMES
            + rb") |(?:"
            + _NAMES
            + rb")[=:][ \t]{0,4})(?P<secret>[^\s\"'\\,;&]{1,4000})"
        ),
    ),
    ("passwords in URLs", (b"://",), re.compile(rb"://[^/\s:@\"']{1,200}:(?P<secret>[^/\s@\"']{1,200})@")),
)
"""What is counted, words without which it cannot be there (looking for those is far quicker), and the pattern."""

_ANNOTATIONS = re.compile(r"last-applied-configuration|last-applied-spec|secret|token|password", re.IGNORECASE)
_PLAIN_ENV = re.compile(
    r"(?:CALICO|FELIX|TYPHA|IP|IP6|CLUSTER|DATASTORE|NODENAME|NO_DEFAULT|WAIT|KUBERNETES|BGP)(?:_\w+)?"
)
_SECRET_ENV = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|KEY|AUTH", re.IGNORECASE)


class Redactor:
    """Takes secrets out of evidence and counts, for each file, what was taken out."""

    def __init__(self) -> None:
        self.done: dict[str, Counter[str]] = {}

    def text(self, evidence: Evidence) -> bytes:
        """The evidence's text without what is secret in it."""
        found: Counter[str] = Counter()
        how = CATALOG[evidence.id].how
        text = _objects(evidence.text, found) if isinstance(how, Api) else evidence.text
        text = _scrubbed(text, found)
        if found:
            self.done.setdefault(evidence.ref, Counter()).update(found)
        return text

    def words(self, text: str, ref: str) -> str:
        """The same for a command's standard error."""
        found: Counter[str] = Counter()
        clean = _scrubbed(text.encode(), found).decode()
        if found:
            self.done.setdefault(ref, Counter()).update(found)
        return clean


def _scrubbed(text: bytes, found: Counter[str]) -> bytes:
    low = text.lower()
    for what, hints, pattern in _TEXTS:
        if any(hint in low for hint in hints):
            text = pattern.sub(_replace(what, found), text)
    return text


def _replace(what: str, found: Counter[str]) -> Callable[[re.Match[bytes]], bytes]:
    def replaced(match: re.Match[bytes]) -> bytes:
        secret = match["secret"]
        if secret in (REDACTED.encode(), b"null", b"true", b"false", b"{", b"[") or secret.startswith(b"$"):
            return match[0]
        found[what] += 1
        start, end = (n - match.start() for n in match.span("secret"))
        return match[0][:start] + REDACTED.encode() + match[0][end:]

    return replaced


def _objects(text: bytes, found: Counter[str]) -> bytes:
    """An API list with the secret fields of its objects replaced; bytes that are no list are left to the patterns."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text
    before = found.total()
    for item in document.get("items") or () if isinstance(document, dict) else ():
        if isinstance(item, dict):
            _object(item, found)
    return msgspec.json.encode(document) if found.total() > before else text


def _object(item: dict[str, Any], found: Counter[str]) -> None:
    meta = item.get("metadata")
    found_notes = meta.get("annotations") if isinstance(meta, dict) else None
    notes: dict[str, Any] = found_notes if isinstance(found_notes, dict) else {}
    for name in notes:
        if _ANNOTATIONS.search(name) and notes[name] != REDACTED:
            notes[name] = REDACTED
            found["annotations"] += 1
    for key in ("spec", "data"):
        _fields(item.get(key), found)


def _fields(value: Any, found: Counter[str]) -> None:
    """Environment values and headers of probes, wherever in the object containers stand."""
    if isinstance(value, list):
        for each in value:
            _fields(each, found)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("env", "httpHeaders") and isinstance(each, list):
                for entry in each:
                    _entry(entry, key, found)
            else:
                _fields(each, found)


def _entry(entry: Any, key: str, found: Counter[str]) -> None:
    """Calico's own settings stay, as they say how Calico runs."""
    if not isinstance(entry, dict) or not entry.get("value") or entry["value"] == REDACTED:
        return
    name = str(entry.get("name", ""))
    if key == "env" and _PLAIN_ENV.fullmatch(name) and not _SECRET_ENV.search(name):
        return
    entry["value"] = REDACTED
    found["environment values" if key == "env" else "headers of probes"] += 1
