"""calico-node's one log, told apart: every line goes to one part, and the recorded logs come back whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calicokit.evidence.node_log import BIRD, CONFD, FELIX, STARTUP, UNKNOWN, split
from tests import recordings

FILES = {"felix.log": FELIX, "confd.log": CONFD, "bird.log": BIRD}


def whole(text: bytes) -> bytes:
    """Without a first line whose beginning was cut."""
    return text[text.index(b"\n") + 1 :]


def test_recorded_logs_come_back_whole_from_one_log() -> None:
    for name in recordings.names():
        for node in sorted({p.split("/")[1] for p in recordings.paths(name, "nodes/*/felix.log")}):
            found = {f: recordings.paths(name, f"nodes/{node}/{f}") for f in FILES}
            parts = {FILES[f]: whole(recordings.read(name, p[0])) for f, p in found.items() if p}
            assert split(b"".join(parts.values())) == {k: v for k, v in parts.items() if v}


def test_old_lines_are_told_by_their_process() -> None:
    text = (
        b"2026-01-02 03:04:05.678 [INFO][61] felix/daemon.go 1: Up\n"
        b"2026-01-02 03:04:05.679 [INFO][61] daemon.go 2: no component here\n"
        b"2026-01-02 03:04:05.680 [INFO][8] startup/startup.go 3: Early log level set to info\n"
        b"2026-01-02 03:04:05.681 [INFO][9] whatever.go 4: nobody knows\n"
    )
    parts = split(text)
    assert parts[FELIX].count(b"\n") == 2
    assert parts[STARTUP].count(b"\n") == 1
    assert parts[UNKNOWN].endswith(b"nobody knows\n")


def test_prefixes_of_runtimes_and_kubetail_do_not_hide_the_service() -> None:
    line = b"2026-01-02 03:04:05.678 [INFO][61] confd/run.go 8: Ready\n"
    assert set(split(b"2026-01-02T03:04:05.678123456Z stdout F " + line)) == {CONFD}
    assert set(split(b"[pod/calico-node-x1/calico-node] " + line)) == {CONFD}


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_no_byte_is_lost(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    assert sorted(b"".join(split(text).values())) == sorted(text)
