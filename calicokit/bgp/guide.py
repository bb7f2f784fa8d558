"""The guide's steps for a session that is down, answered one after the other for the sessions that need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.bgp.sentences import meaning
from calicokit.bgp.sessions import worst_of
from calicokit.health.commands import NodeCommands
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells, records
from calicokit.sentences import listed, plural

STEPS = Schema(
    "bgp.steps",
    "The guide's six steps of *Diagnosing BGP Issues*, for each pair whose session is not up (for the first pair, if "
    "all are up).",
    (
        Column("node", "str", "one end"),
        Column("peer", "str", "the other end"),
        Column("step", "int", "number of the step in the guide"),
        Column("question", "str", "what the step asks"),
        Column("answer", "str", "what was seen"),
        Column("verdict", "str", "fine, wrong or unknown"),
        Column("known", "str", "what is known after this step"),
        Column("command", "str", "how to see it on a live cluster"),
    ),
    key=("node", "peer", "step"),
)

MOST_PAIRS = 50
SURE = ("up", "flapping")

Step = tuple[str, str, str, str]
"""Question, answer, verdict, command."""


@table(
    STEPS,
    needs={
        "links": "bgp.links",
        "compared": "bgp.compared",
        "configuration": "bgp.configuration",
        "birds": "bgp.birds",
    },
    wants={
        "sessions": "bgp.sessions",
        "sockets": "bgp.sockets",
        "firewall": "bgp.firewall",
        "log": "bgp.session_log",
        "pods": "health.pods",
    },
)
def steps(
    links: pd.DataFrame,
    compared: pd.DataFrame,
    configuration: pd.DataFrame,
    birds: pd.DataFrame,
    sessions: pd.DataFrame | None = None,
    sockets: pd.DataFrame | None = None,
    firewall: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
    pods: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Six rows for each pair; see :data:`STEPS`."""
    odd = links[~links["status"].isin(SURE)]
    chosen = (odd if len(odd) else links.head(1)).head(MOST_PAIRS)
    path = _Path(compared, configuration, birds, sessions, sockets, firewall, log, NodeCommands(pods))
    return STEPS.frame([row for link in records(chosen) for row in path.walk(link)])


class _Path:
    def __init__(
        self,
        compared: pd.DataFrame,
        configuration: pd.DataFrame,
        birds: pd.DataFrame,
        sessions: pd.DataFrame | None,
        sockets: pd.DataFrame | None,
        firewall: pd.DataFrame | None,
        log: pd.DataFrame | None,
        commands: NodeCommands,
    ) -> None:
        self.on, self.logs = commands.on, commands.logs
        self.compared, self.mesh = compared, bool(configuration["mesh"].iloc[0])
        self.birds = worst_of(birds)
        self.sessions, self.sockets, self.firewall, self.log = sessions, sockets, firewall, log

    def walk(self, link: Any) -> Iterator[dict[str, Any]]:
        """The steps in the guide's order; what each found is carried on to the next."""
        mine = self.compared[
            (self.compared["node"] == link.a) & (self.compared["peer"] == link.b)
            | (self.compared["node"] == link.b) & (self.compared["peer"] == link.a)
        ]
        known: list[str] = []
        found = (
            self.asked(mine),
            self.seen(mine),
            self.alive(link),
            self.routes(mine),
            self.tcp(link),
            self.logged(mine),
        )
        for number, (question, answer, verdict, command) in enumerate(found, 1):
            if verdict == "wrong":
                known.append(answer)
            if number == len(found) and isinstance(link.cause, str):
                known.append(f"cause: {link.cause}")
            yield {
                "node": link.a,
                "peer": link.b,
                "step": number,
                "question": question,
                "answer": answer,
                "verdict": verdict,
                "known": "; ".join(known) or "nothing is wrong so far",
                "command": command,
            }

    def asked(self, mine: pd.DataFrame) -> Step:
        """1. Mesh enabled; or which BGPPeer asks."""
        reasons = sorted({str(w) for w in mine["why"].dropna()})
        mesh = f"the mesh is {'on' if self.mesh else 'off'}"
        asks = f"the session is configured by {listed(reasons)}" if reasons else "no resource configures the session"
        verdict = "fine" if reasons else "wrong"
        command = "kubectl get bgpconfigurations default -o yaml; kubectl get bgppeers -o yaml"
        return "Should there be a session?", f"{mesh}; {asks}", verdict, command

    def seen(self, mine: pd.DataFrame) -> Step:
        """2. Peers on the node."""
        said = []
        for row in records(mine):
            state = row.bgp_state if isinstance(row.bgp_state, str) else "no session"
            error = f" ({row.last_error})" if isinstance(row.last_error, str) else ""
            said.append(f"{row.node}: {'not seen' if row.status == 'unknown' else state + error}")
        bad = mine["status"].isin(["down", "one-sided", "starting"]).any()
        verdict = "wrong" if bad else "unknown" if (mine["status"] == "unknown").all() else "fine"
        commands = self._asking(mine, "show", "protocols", "all")
        return "What do both ends say?", "; ".join(said), verdict, commands or "birdcl show protocols all"

    def _asking(self, mine: pd.DataFrame, *words: str) -> str:
        """BIRD's client at each end, asked about the session there; IPv6 has a BIRD, and a client, of its own."""
        client = {4: "birdcl", 6: "birdcl6"}
        own = [r for r in records(mine) if isinstance(r.protocol, str)]
        return "; ".join(self.on(str(r.node), client[int(r.family)], *words, str(r.protocol)) for r in own)

    def alive(self, link: Any) -> Step:
        """3. BIRD's status."""
        states = {n: self.birds[n] for n in (link.a, link.b) if n in self.birds}
        said = "; ".join(f"{n}: {r.state}" + (f" ({r.why})" if r.state == "dead" else "") for n, r in states.items())
        kinds = {r.state for r in states.values()}
        verdict = "wrong" if "dead" in kinds else "fine" if kinds == {"answers"} else "unknown"
        command = "; ".join(self.on(n, "birdcl", "show", "status") for n in (link.a, link.b) if n in self.birds)
        return "Does BIRD run at both ends?", said or "not seen", verdict, command or "birdcl show status"

    def routes(self, mine: pd.DataFrame) -> Step:
        """4. Routes that the session brings."""
        question, command = "Which routes does it bring?", self._asking(mine, "show", "route", "protocol")
        if self.sessions is None:
            return question, "not seen", "unknown", command
        keys = {(str(r.node), str(r.protocol)) for r in records(mine)}
        rows = self.sessions[self.sessions["node"].isin({n for n, _ in keys})]
        counted = [r for r in records(rows) if (r.node, r.protocol) in keys and pd.notna(r.imported)]
        if not counted:
            return question, "not seen", "unknown", command
        said = "; ".join(f"{r.node} imports {r.imported} and exports {r.exported}" for r in counted)
        if not all(r.up for r in counted):
            return question, f"{said}; a session that is not up brings none", "wrong", command
        return question, said, "fine" if all(r.imported for r in counted) else "unknown", command

    def tcp(self, link: Any) -> Step:
        """5. Firewall: TCP 179."""
        question = "Does TCP 179 get through?"
        command = self._try(link)
        ends = [link.a, link.b]
        rules = [] if self.firewall is None else list(self.firewall[self.firewall["node"].isin(ends)]["rule"])
        waits = 0 if self.sockets is None else self._waiting(link)
        deaf = [n for n in ends if n in self.birds and self.birds[n].listening is False]
        parts = [
            *([f"{plural(len(rules), 'rule blocks', 'rules block')} it: {rules[0]}"] if rules else []),
            *([f"{plural(waits, 'connection attempt has', 'connection attempts have')} no reply"] if waits else []),
            *([f"nothing listens on {listed(deaf)}"] if deaf else []),
        ]
        if parts:
            return question, "; ".join(parts), "wrong", command
        if link.status in SURE:
            return question, "yes: the session is up", "fine", command
        seen = self.sockets is not None and self.firewall is not None
        return question, "no sign of a problem" if seen else "not seen", "fine" if seen else "unknown", command

    def _try(self, link: Any) -> str:
        """A connection from the end that connects, which is the one whose address is greater as text.

        calico-node's image has neither nc nor ss, but bash (docs/guide-map.md, W4).
        """
        rows = self.compared[
            self.compared["node"].isin([link.a, link.b]) & self.compared["peer"].isin([link.a, link.b])
        ]
        to = {str(n): str(a) for n, a in cells(rows, "node", "peer_address") if isinstance(a, str)}
        if not to:
            return "try TCP 179 from one end to the other"
        here = min(to, key=lambda node: to[node])  # the other end's address is the smaller one
        tried = f"</dev/tcp/{to[here]}/179"
        return self.on(here, "timeout", "3", "bash", "-c", f"{tried} && echo open || echo closed")

    def _waiting(self, link: Any) -> int:
        rows = self.compared
        to = set(
            cells(
                rows[rows["node"].isin([link.a, link.b]) & rows["peer"].isin([link.a, link.b])], "node", "peer_address"
            )
        )
        half = self.sockets[self.sockets["state"] == "SYN-SENT"] if self.sockets is not None else pd.DataFrame()
        return sum((n, a) in to for n, a in cells(half, "node", "peer_address")) if len(half) else 0

    def logged(self, mine: pd.DataFrame) -> Step:
        """6. BIRD's log."""
        question = "What does BIRD's log say?"
        command = "; ".join(f"{self.logs(str(n))} | grep '^bird'" for n in dict.fromkeys(mine["node"]))
        if self.log is None:
            return question, "not seen", "unknown", command
        keys = {(str(r.node), str(r.protocol)) for r in records(mine)}
        rows = [r for r in records(self.log) if (r.node, r.protocol) in keys]
        errors = [f"{r.node}: {r.last_error}" for r in rows if isinstance(r.last_error, str)]
        if errors:
            hint = next((meaning(None, r.last_error).means for r in rows if isinstance(r.last_error, str)), "")
            return question, "; ".join(dict.fromkeys(errors)) + (f". {hint}" if hint else ""), "wrong", command
        flaps = max((int(r.returns) for r in rows), default=0)
        return (
            question,
            f"no error since it was last up; came back {flaps} times" if rows else "no line about it",
            "fine",
            command,
        )
