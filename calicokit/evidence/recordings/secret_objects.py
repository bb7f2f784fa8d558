"""What is secret in API objects by its place: environment, arguments and probes of containers, annotations, fields.

Of containers that are not Calico's nothing of this is needed, so nothing is kept. Calico's own keep their settings.
Whose a container is, its pod does not decide: names and labels anybody may give, but not make pods in the namespaces of
an installation.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import msgspec

from calicokit.evidence.own_pods import APART, USUAL
from calicokit.evidence.recordings.secret_patterns import SECRET_NAME
from calicokit.evidence.recordings.secret_texts import REDACTED, scrubbed

NAMESPACES = USUAL | set(APART.values())
"""Where Calico's parts run, and where only administrators make pods."""

CONTAINERS = frozenset(
    (
        *(
            "calico-node",
            "install-cni",
            "upgrade-ipam",
            "mount-bpffs",
            "ebpf-bootstrap",
            "flexvol-driver",
            "hostpath-init",
        ),
        *(
            "calico-node-windows",
            "felix",
            "node",
            "confd",
            "calico-typha",
            "calico-kube-controllers",
            "calico-apiserver",
        ),
        *("calico-csi", "csi-node-driver-registrar", "tigera-operator", "goldmane", "whisker", "whisker-backend"),
    )
)
"""The containers in Calico's manifests and the operator's (charts/calico/templates; tigera/operator: pkg/render)."""

_SETTINGS = re.compile(
    r"(?:FELIX|TYPHA)_[A-Z0-9_]+"  # fields of the configuration, more in every version
    r"|CALICO_(?:IPV[46]POOL_[A-Z_]+|NETWORKING_BACKEND|DISABLE_FILE_LOGGING|K8S_NODE_REF|STARTUP_LOGLEVEL|MANAGE_CNI"
    r"|EARLY_NETWORKING|ROUTER_ID|NODENAME_FILE|UNKNOWN_NODE_CLEANUP|ETCD_ENDPOINTS|LOG_LEVEL|CNI_LOG_LEVEL)"
    r"|IP6?|IP6?_AUTODETECTION_METHOD|AS|NODENAME|CLUSTER_TYPE|DATASTORE_TYPE|NO_DEFAULT_POOLS|WAIT_FOR_DATASTORE"
    r"|BGP_LOGSEVERITYSCREEN|ENABLED_CONTROLLERS|LOG_LEVEL|SLEEP|CNI_(?:CONF_NAME|MTU|NET_DIR|BIN_DIR|NETWORK_CONFIG)"
    r"|KUBERNETES_(?:NODE_NAME|SERVICE_HOST|SERVICE_PORT)"
)
"""The variables by which Calico's containers are configured (calico/node and typha: configuration references)."""

_SECRET_SETTING = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|KEY|AUTH", re.IGNORECASE)
_NOTES_OF = re.compile(
    r"(?:[\w.-]+\.)?(?:projectcalico\.org|tigera\.io|kubernetes\.io|k8s\.io)/.*|deprecated\.daemonset\..*"
)
_SECRET_NOTE = re.compile(r"last-applied|secret|token|password|credential", re.IGNORECASE)
CALICO_NOTE = "projectcalico.org/metadata"
"""JSON in an annotation: the object's own metadata, with its annotations again."""

_LABELS = frozenset(("labels", "matchLabels", "nodeSelector", "selector"))
_LOGINS = frozenset(("-u", "--user", "--proxy-user"))
_COMMANDS = ("args", "command")
_EMPTY = (None, "", REDACTED, [REDACTED])


class NotObjectsError(ValueError):
    """A text is not JSON of objects, so what is secret in it cannot be told by its place."""


def redacted(text: bytes, found: Counter[str]) -> bytes:
    """An answer of the API server without what is secret in it; the same bytes if nothing is.

    Raises :class:`NotObjectsError`: a list that is cut, badly encoded, or is no JSON.
    """
    try:
        document = msgspec.json.decode(text)
        if not isinstance(document, dict | list):
            raise NotObjectsError("it is no list of API objects")
        before = found.total()
        _Walk(found).value(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotObjectsError(f"it is not JSON ({error})") from error
    except RecursionError as error:
        raise NotObjectsError("it is nested too deeply") from error
    if found.total() > before or b"\\u" in text:  # what is escaped is spelled out for the patterns
        text = msgspec.json.encode(document)
    return scrubbed(text, found, json=True)


def arguments(words: list[Any], found: Counter[str]) -> list[Any]:
    """The arguments of a command of Calico's, without the values of those that are secret by their name."""
    kept, before = [], ""
    for word in words:
        text = word if isinstance(word, str) else ""
        start = _secret_from(text, before)
        if start is not None and text[start:].strip("'\"") not in ("", REDACTED):
            word = text[:start] + _hidden(found, "arguments")
        kept.append(word)
        before = text
    return kept


def _secret_from(word: str, before: str) -> int | None:
    """Where in an argument a secret begins, after this other one; None where none does."""
    flag, given, _ = word.partition("=")
    if before in _LOGINS and ":" in word:
        return word.index(":") + 1
    if before == "-p" or (before.startswith("-") and "=" not in before and _is_secret(before)):
        return None if word.startswith("--") else 0
    if flag.startswith("-") and given and _is_secret(flag):
        return len(flag) + 1
    return 2 if word.startswith("-p") else None


def keeps_setting(name: str) -> bool:
    """Whether a variable of Calico's containers says how Calico runs, and no secret."""
    return _SETTINGS.fullmatch(name) is not None and not _SECRET_SETTING.search(name)


def keeps_note(name: str) -> bool:
    """Whether an annotation is Calico's or Kubernetes' own, and neither applied configuration nor a secret."""
    return _NOTES_OF.fullmatch(name) is not None and not _SECRET_NOTE.search(name)


def _hidden(found: Counter[str], what: str) -> str:
    found[what] += 1
    return REDACTED


@cache
def _is_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


class _Walk:
    """Goes through a document, wherever in it objects stand, and replaces what is secret by its place."""

    def __init__(self, found: Counter[str]) -> None:
        self.found = found

    def value(self, value: Any, trusted: bool = False, calico: bool = False) -> None:
        """``trusted``: in an object of Calico's namespaces; ``calico``: in a container of Calico's."""
        if isinstance(value, list):
            for each in value:
                if isinstance(each, dict | list):
                    self.value(each, trusted, calico)
        elif isinstance(value, dict):
            meta = value.get("metadata")
            if isinstance(meta, dict) and "namespace" in meta:
                trusted = meta["namespace"] in NAMESPACES
            for key, each in value.items():
                if isinstance(each, dict | list) or key in _COMMANDS:
                    self._part(value, key, each, trusted, calico)
                elif isinstance(each, str) and _is_secret(key) and each not in _EMPTY and each not in ("true", "false"):
                    value[key] = _hidden(self.found, "passwords and tokens")

    def _part(self, here: dict[str, Any], key: str, value: Any, trusted: bool, calico: bool) -> None:
        if key in _LABELS and isinstance(value, dict):
            return
        if key in _COMMANDS:
            self._command(here, key, value, calico)
        elif key == "annotations":
            self._notes(here, value)
        elif key in ("env", "httpHeaders"):
            self._entries(here, key, value, calico)
        elif key in ("volumeAttributes", "options") and isinstance(value, dict):
            self._all(value, "options of volumes")
        elif key in ("containers", "initContainers", "ephemeralContainers") and isinstance(value, list):
            for each in value:
                named = isinstance(each, dict) and each.get("name")
                self.value(each, trusted, trusted and isinstance(named, str) and named in CONTAINERS)
        elif key == "httpGet" and isinstance(value, dict) and not calico:
            if value.get("path") not in _EMPTY:
                value["path"] = _hidden(self.found, "probes")
            self.value(value, trusted, calico)
        else:
            self.value(value, trusted, calico)

    def _command(self, here: dict[str, Any], key: str, value: Any, calico: bool) -> None:
        if calico and isinstance(value, list):
            here[key] = arguments(value, self.found)
        elif value and value not in _EMPTY:
            _hidden(self.found, "arguments")
            here[key] = [REDACTED]

    def _notes(self, here: dict[str, Any], notes: Any) -> None:
        if not isinstance(notes, dict):
            here["annotations"] = {}
            _hidden(self.found, "annotations")
            return
        for name, note in notes.items():
            if name == CALICO_NOTE and isinstance(note, str):
                notes[name] = self._nested(note)
            elif note not in _EMPTY and not keeps_note(name):
                notes[name] = _hidden(self.found, "annotations")

    def _nested(self, note: str) -> str:
        before = self.found.total()
        try:
            document = msgspec.json.decode(note)
        except (msgspec.DecodeError, RecursionError):
            return _hidden(self.found, "annotations")
        self.value(document)
        return note if self.found.total() == before else msgspec.json.encode(document).decode()

    def _entries(self, here: dict[str, Any], key: str, value: Any, calico: bool) -> None:
        what = "environment values" if key == "env" else "probes"
        if isinstance(value, dict):
            self._all(value, what)
            return
        for at, entry in enumerate(value):
            if not isinstance(entry, dict):
                value[at] = entry if entry in _EMPTY else _hidden(self.found, what)
            elif entry.get("value") not in _EMPTY:
                name = entry.get("name")
                if not (key == "env" and calico and isinstance(name, str) and keeps_setting(name)):
                    entry["value"] = _hidden(self.found, what)

    def _all(self, values: dict[str, Any], what: str) -> None:
        for name, value in values.items():
            if value not in _EMPTY:
                values[name] = _hidden(self.found, what)
