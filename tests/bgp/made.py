"""A cluster with BGP made from the API's types, whose BIRDs say what a test wants them to.

What birdcl, bird.cfg, ss and the logs print is written here in the forms that the recordings have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Answer, Evidence, Want
from tests.clusters import Sharing
from tests.fakes import MemorySource, node, pool, source_of
from tests.only import said

STARTED = "2026-03-01 10:00:00"
CLOCK = "2026-03-01 12:00:00"
UP = "up     11:00:00    Established   "


@dataclass
class Recorded(MemorySource):
    """A memory source whose answers may have an exit status and an error text."""

    failed: dict[Want, tuple[int, str]] = field(default_factory=dict)

    def _answer(self, want: Want) -> Answer:
        if want in self.failed:
            status, stderr = self.failed[want]
            return Evidence(want, b"", command=want.id, exit=status, stderr=stderr, time=self.time)
        return super()._answer(want)


@dataclass
class Lab:
    """A healthy cluster of ``size`` nodes n1, n2, … with addresses 10.0.0.1, 10.0.0.2, …; ``say`` makes it ill."""

    size: int = 4
    peers: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] | None = None
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)  # annotations, by node
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    pools: list[dict[str, Any]] = field(default_factory=lambda: [pool("p", "10.48.0.0/16")])
    texts: dict[Want, str] = field(default_factory=dict)
    failed: dict[Want, tuple[int, str]] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    gone: set[Want] = field(default_factory=set)
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [f"n{i}" for i in range(1, self.size + 1)]

    def address(self, name: str) -> str:
        return f"10.0.0.{name[1:]}"

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        conf = [] if self.config is None else [{"metadata": {"name": "default"}, "spec": self.config}]
        made = [
            node(
                n,
                self.address(n),
                self.labels.get(n),
                **{"IPv4Address": f"{self.address(n)}/24"} | self.nodes.get(n, {}),
            )
            for n in self.names
        ]
        return {"nodes": made, "bgppeers": self.peers, "bgpconfigurations": conf, "ippools": self.pools, **self.lists}

    def expected(self) -> pd.DataFrame:
        """What the resources ask for, so that a healthy BIRD can be written."""
        source = source_of(**self.objects())
        source.answers[Want("bird-log", "n1")] = b"bird: Started\n"
        source.known_nodes = self.names
        return Cluster(source).table("bgp.expected")

    def say(self, id_: str, node_: str, text: str) -> Lab:
        self.texts[Want(id_, node_)] = text
        return self

    def state(self, node_: str, peer: str, state: str) -> Lab:
        """What birdcl says of a session: ``start  11:30:00    Connect       ERROR``."""
        self.states[node_, peer] = state
        return self

    def down(self, node_: str, peer: str, bgp_state: str, error: str = "") -> Lab:
        return self.state(node_, peer, f"start  11:30:00    {bgp_state:<14}{error}".rstrip())

    def lose(self, node_: str, *ids: str) -> Lab:
        self.gone |= {Want(i, node_) for i in ids}
        return self

    def kill(self, node_: str) -> Lab:
        """Its BIRD is gone, and its socket with it, so that birdcl leaves no file in a recording of the lab's."""
        self.say("ss-bgp", node_, SS_HEAD)
        return self.lose(node_, "birdcl-protocols", "birdcl-status")

    def source(self) -> Recorded:
        base = source_of(**self.objects())
        rows = self.expected()
        for name in self.names:
            own = rows[(rows["node"] == name) & (rows["family"] == 4)]
            self.texts.setdefault(Want("birdcl-protocols", name), self._protocols(name, own))
            self.texts.setdefault(Want("birdcl-status", name), status(self.address(name)))
            port = (self.config or {}).get("listenPort")
            listen = f"listen bgp port {port};\n" if port else ""
            self.texts.setdefault(Want("bird.cfg", name), listen + bird_cfg(own, rows))
            self.texts.setdefault(Want("bird-log", name), "bird: device1: Initializing\nbird: Started\n")
            self.texts.setdefault(Want("ss-bgp", name), SS_HEAD + SS_LISTEN)
            self.texts.setdefault(Want("nstat", name), nstat())
            self.texts.setdefault(Want("iptables-save", name), "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
        answers = {**base.answers, **{w: t.encode() for w, t in self.texts.items() if w not in self.gone}}
        return Recorded(answers, known_nodes=self.names, failed=self.failed)

    def _protocols(self, name: str, own: pd.DataFrame) -> str:
        lines = ["BIRD v0.3.3+birdv1.6.8 ready.", "name     proto    table    state  since       info"]
        lines += ["kernel1  Kernel   master   up     10:00:00    "]
        for row in own.itertuples():
            state = self.states.get((name, str(row.peer)), UP)
            if state:  # an empty one: BIRD does not have the session
                lines.append(f"{row.protocol} BGP      master   {state}")
        return "\n".join(lines) + "\n"

    def cluster(self) -> Cluster:
        return Sharing(self.source())

    def findings(self) -> list[Finding]:
        return said(self.cluster())

    def loud(self) -> list[Finding]:
        """Findings of warning or above, without those that are no matter of these tests."""
        return [f for f in self.findings() if f.severity != "info"]


SS_HEAD = "State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
SS_LISTEN = 'LISTEN 0      8            0.0.0.0:179       0.0.0.0:*     users:(("bird",pid=1,fd=8))\n'


def syn_sent(own: str, other: str) -> str:
    return f'SYN-SENT 0      1        {own}:56931  {other}:179   users:(("bird",pid=1,fd=9))\n'


def nstat(missing: int = 0, unexpected: int = 0, wrong: int = 0) -> str:
    return (
        f"#kernel\nTcpExtTCPMD5NotFound            {missing}                  0.0\n"
        f"TcpExtTCPMD5Unexpected          {unexpected}                  0.0\n"
        f"TcpExtTCPMD5Failure             {wrong}                  0.0\n"
    )


def status(router: str, started: str = STARTED) -> str:
    return (
        f"BIRD v0.3.3+birdv1.6.8 ready.\nBIRD v0.3.3+birdv1.6.8\nRouter ID is {router}\n"
        f"Current server time is {CLOCK}\nLast reboot on {started}\nLast reconfiguration on {started}\n"
        "Daemon is up and running\n"
    )


def bird_cfg(own: pd.DataFrame, every: pd.DataFrame) -> str:
    """A bird.cfg as confd would write it, without the parts that no session needs."""
    local = next((r.local_as for r in own.itertuples()), next((r.local_as for r in every.itertuples()), 64512))
    parts = [f"template bgp bgp_template {{\n  local as {local};\n}}"]
    for row in own.itertuples():
        lines = [f"neighbor {row.peer_address}{_option(' port {}', row.peer_port)} as {row.peer_as};"]
        lines += [_option("source address {};", row.source_address)]
        lines += ["passive on;"] if row.passive else []
        lines += [f"rr client; rr cluster id {row.cluster_id};"] if row.rr_client else []
        lines += ['password "s3cret";'] if isinstance(row.password, str) else []
        lines += ["import all;", "export filter { calico_export_to_bgp_peers(true); reject; };"]
        body = "\n  ".join(filter(None, lines))
        parts.append(f"protocol bgp {row.protocol} from bgp_template {{\n  {body}\n}}")
    return "\n".join(parts) + "\n"


def _option(text: str, value: Any) -> str:
    return "" if pd.isna(value) else text.format(value)


def bgp_peer(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}
