"""The rules of every node, whatever printed them: iptables (nf_tables and legacy), ip6tables, nftables.

``iptables-save`` prints one of the two backends, the same as ``iptables-nft-save`` or ``iptables-legacy-save``, and is
read only where those are missing. ``nft list ruleset`` shows the tables of iptables-nft again, in other words; they are
left out where iptables itself printed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from calicokit.evidence.model import Evidence
from calicokit.evidence.texts import Texts
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers.base import Parsed
from calicokit.registry import Given, table
from calicokit.schema import Column, Schema, cells

_WHERE = (
    Column("node", "str", "node"),
    Column("family", "str", "ip, ip6, inet, arp, bridge or netdev"),
    Column("backend", "str", "nft (iptables on nf_tables), legacy (x_tables) or nftables (native nft tables)"),
    Column("table", "str", "table"),
    Column("chain", "str", "chain, as printed"),
)
PLACE = ("node", "family", "backend", "table", "chain")

RULES = Schema(
    "dataplane.rules",
    "Every rule of every node in chain order; a built-in chain ends with a row for its policy.",
    (
        *_WHERE,
        Column("rule", "int", "1-based position in the chain; null for the chain's policy"),
        Column("matches", "str", "match conditions, as printed; null for any packet"),
        Column(
            "verdict", "str", "accept, drop, reject, return, jump, goto, vmap, mark, log, dnat, …; null: counts only"
        ),
        Column("target", "str", "target chain, extension or verdict map, as printed"),
        Column("comment", "str", "comment"),
        Column("packets", "int", "packets that matched; null without counters", "packets"),
        Column("bytes", "int", "bytes that matched; null without counters", "bytes"),
        Column("owner", "str", "calico, kube-proxy (also the kubelet), foreign, or kernel-policy: a chain's policy"),
        Column("spec", "str", "the whole rule, as printed"),
        Column("line", "int", "line in the output; null for a chain's policy, and in JSON"),
        EVIDENCE,
    ),
    key=("node", "family", "backend", "table", "chain", "rule"),
)

CHAINS = Schema(
    "dataplane.chain_list",
    "Every declared chain of every node, including empty ones, with its hook.",
    (
        *_WHERE,
        Column(
            "hook", "str", "prerouting, input, forward, output or postrouting; null for chains reached by jumps only"
        ),
        Column("priority", "int", "order among the chains of a hook, lowest first"),
        Column("type", "str", "filter, nat or route; null for chains reached by jumps only"),
        Column("policy", "str", "default policy at its end: accept or drop; null for chains reached by jumps only"),
        EVIDENCE,
    ),
    key=PLACE,
)

SETS = Schema(
    "dataplane.sets",
    "Members of IP sets and of nftables sets and maps; an empty set has one row with a null element.",
    (
        Column("node", "str", "node"),
        Column("family", "str", "ip or ip6"),
        Column("table", "str", "nftables' table; null for the kernel's IP sets, which every table can use"),
        Column("set", "str", "set or map"),
        Column("type", "str", "type, such as hash:net, or ipv4_addr . inet_proto . inet_service"),
        Column("element", "str", "address, prefix, or parts joined as printed; null for an empty set"),
        Column("value", "str", "value of a map element, such as goto CHAIN"),
        Column("nomatch", "bool", "nomatch: the element is excluded from the set"),
        EVIDENCE,
    ),
)

HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
SOURCE_NAT = 100
"""Priority of the nat table behind routing: input and postrouting."""

_VERDICTS = {
    "ACCEPT": "accept",
    "DROP": "drop",
    "REJECT": "reject",
    "RETURN": "return",
    "MARK": "mark",
    "CONNMARK": "connmark",
    "LOG": "log",
    "NFLOG": "nflog",
    "TRACE": "trace",
    "DNAT": "dnat",
    "SNAT": "snat",
    "REDIRECT": "redirect",
    "MASQUERADE": "masquerade",
    "NOTRACK": "notrack",
    "CT": "ct",
    "NFQUEUE": "queue",
}
_COMMENT = r'-m comment --comment (?:"(?:[^"\\]|\\.)*+"|[^" ]\S*) ?'
_TARGET = r"(?:^|(?<= ))-[jg] \S.*$"
_NFT_TAIL = r' ?comment "[^"]*"$'
_NFT_COUNTER = r"\bcounter packets \d+ bytes \d+ ?"
_NFT_STATEMENT = (
    r"(?:^| )(?:meta mark set .*|(?:jump|goto) \S+|accept|drop|return|continue|notrack|reject.*|masquerade.*"
    r"|(?:dnat|snat|redirect)\b(?! counter).*|log\b.*)$"
)
_SHOWN_AS_MARK = " mark set "


def _verdict(target: object, goto: object, chains: frozenset[str]) -> str | None:
    if not isinstance(target, str) or not target:
        return None
    if goto is True:
        return "goto"
    return "jump" if target in chains else _VERDICTS.get(target, "jump" if target[:1].islower() else target.lower())


def _iptables_owner(chain: str, comment: object, target: object) -> str:
    if isinstance(comment, str) and comment.startswith("cali:"):
        return "calico"
    if chain.startswith("KUBE-") or (isinstance(target, str) and target.startswith("KUBE-")):
        return "kube-proxy"
    # Python Felix and the first versions in Go put no hash into their jumps.
    return "calico" if isinstance(target, str) and target.startswith(("cali-", "felix-")) else "foreign"


def iptables_rules(node: str | None, family: str, backend: str, parsed: Parsed, ref: str) -> pd.DataFrame:
    """The rules of one text of iptables-save, with the policies of built-in chains at their ends."""
    rules, chains = parsed.frame, parsed.tables["iptables_chains"]
    names = frozenset(chains["chain"])
    spec = rules["spec"]
    made = pd.DataFrame(
        {
            "node": pd.Series([node] * len(rules), dtype="str"),
            "family": pd.Series([family] * len(rules), dtype="str"),
            "backend": pd.Series([backend] * len(rules), dtype="str"),
            "table": rules["table"],
            "chain": rules["chain"],
            "rule": rules["rule"],
            "matches": spec.str.replace(_COMMENT, "", regex=True)
            .str.replace(_TARGET, "", regex=True)
            .str.strip()
            .replace("", None),
            "verdict": pd.Series([_verdict(t, g, names) for t, g in cells(rules, "target", "goto")], dtype="str"),
            "target": rules["target"],
            "comment": rules["comment"],
            "packets": rules["packets"],
            "bytes": rules["bytes"],
            "owner": pd.Series(
                [_iptables_owner(*row) for row in cells(rules, "chain", "comment", "target")], dtype="str"
            ),
            "spec": spec,
            "line": rules["line"],
            "evidence": pd.Series([ref] * len(rules), dtype="str"),
        }
    )
    ends = [
        {
            "node": node,
            "family": family,
            "backend": backend,
            "table": table_,
            "chain": chain,
            "verdict": str(policy).lower(),
            "target": policy,
            "packets": packets,
            "bytes": octets,
            "owner": "kernel-policy",
            "evidence": ref,
        }
        for table_, chain, policy, packets, octets in cells(chains, "table", "chain", "policy", "packets", "bytes")
        if isinstance(policy, str)
    ]
    return pd.concat([made, RULES.frame(ends)]) if ends else made


def iptables_chains(
    node: str | None, family: str, backend: str, parsed: Parsed, ref: str
) -> Iterator[dict[str, object]]:
    """The chains that one text of iptables-save declares."""
    for table_, chain, policy in cells(parsed.tables["iptables_chains"], "table", "chain", "policy"):
        hook = HOOKS.get(chain) if isinstance(policy, str) else None
        row = {"node": node, "family": family, "backend": backend, "table": table_, "chain": chain, "evidence": ref}
        if hook:
            behind = table_ == "nat" and hook in ("postrouting", "input")
            row["priority"] = SOURCE_NAT if behind else PRIORITIES.get(table_)
            row |= {"hook": hook, "type": "nat" if table_ == "nat" else "filter", "policy": policy.lower()}
        yield row


def _nft_owner(table_: str, chain: str, comment: object, target: object) -> str:
    if isinstance(comment, str) and comment.startswith("cali:"):
        return "calico"
    if table_ in ("calico", "calico-arp"):
        return "calico"
    kube = chain.startswith("KUBE-") or (isinstance(target, str) and target.startswith("KUBE-"))
    return "kube-proxy" if kube or table_ == "kube-proxy" else "foreign"


def _nft_verdict(verdict: object, spec: object) -> str | None:
    if isinstance(verdict, str) and verdict:
        return verdict
    text = spec if isinstance(spec, str) else ""
    if _SHOWN_AS_MARK in text or '"mangle":{"key":{"meta":{"key":"mark"' in text:
        return "mark"
    if "log prefix" in text or text.startswith("log") or '"log":' in text:
        return "nflog" if " group " in text or '"group":' in text else "log"  # for flow logs, not for the kernel's log
    return None


def nft_rules(node: str | None, parsed: Parsed, ref: str) -> pd.DataFrame:
    """The rules of one text of ``nft list ruleset``, with the policies of its base chains at their ends."""
    rules = parsed.frame
    targets = rules["target_chain"].fillna(rules["verdict_map"])
    owner = [_nft_owner(*row) for row in cells(rules.assign(t=targets), "table", "chain", "comment", "t")]
    made = pd.DataFrame(
        {
            "node": pd.Series([node] * len(rules), dtype="str"),
            "family": rules["family"],
            "backend": pd.Series(["nftables"] * len(rules), dtype="str"),
            "table": rules["table"],
            "chain": rules["chain"],
            "rule": rules["rule"],
            "matches": rules["expression"]
            .str.replace(_NFT_TAIL, "", regex=True)
            .str.replace(_NFT_COUNTER, "", regex=True)
            .str.replace(_NFT_STATEMENT, "", regex=True)
            .str.strip()
            .replace("", None),
            "verdict": pd.Series([_nft_verdict(*row) for row in cells(rules, "verdict", "expression")], dtype="str"),
            "target": targets,
            "comment": rules["comment"],
            "packets": rules["packets"],
            "bytes": rules["bytes"],
            "owner": pd.Series(owner, dtype="str"),
            "spec": rules["expression"],
            "line": rules["line"],
            "evidence": pd.Series([ref] * len(rules), dtype="str"),
        }
    )
    chains = parsed.tables["nft_chains"]
    ends = [
        {
            "node": node,
            "family": family,
            "backend": "nftables",
            "table": table_,
            "chain": chain,
            "verdict": policy,
            "target": policy,
            "owner": "kernel-policy",
            "evidence": ref,
        }
        for family, table_, chain, policy in cells(chains, "family", "table", "chain", "policy")
        if isinstance(policy, str)
    ]
    return pd.concat([made, RULES.frame(ends)]) if ends else made


def _nft_chains(node: str | None, parsed: Parsed, ref: str) -> Iterator[dict[str, object]]:
    names = ("family", "table", "chain", "hook", "priority", "type", "policy")
    for row in cells(parsed.tables["nft_chains"], *names):
        yield {"node": node, "backend": "nftables", **dict(zip(names, row, strict=True)), "evidence": ref}


# ---- which text tells what


def backend_of(id_: str, parsed: Parsed) -> str:
    """Which kernel tables a text of iptables-save shows: by the command, else by what it printed of itself."""
    if "legacy" in id_:
        return "legacy"
    said = [b for b in parsed.tables["iptables_generated"]["backend"] if isinstance(b, str)]
    return "nft" if "nft" in id_ or "nf_tables" in said else "legacy"


IptablesText = tuple[Evidence, Parsed, str, str]


def iptables_texts(texts: Iterable[Texts | None]) -> Iterator[IptablesText]:
    """Each node's texts of iptables-save with family and backend; one for each, the first that was given."""
    seen: set[tuple[str | None, str, str, object]] = set()
    for given in texts:
        for evidence, parsed in given.parsed("iptables-save") if given is not None else ():
            family = "ip6" if given is not None and given.id.startswith("ip6") else "ip"
            backend = backend_of(given.id if given is not None else "", parsed)
            key = (evidence.node, family, backend, evidence.time if evidence.want.series else None)
            if key not in seen:
                seen.add(key)
                yield evidence, parsed, family, backend


_OF_IPTABLES = ("iptables-nft-save", "iptables-legacy-save", "iptables-save", "ip6tables-save")


@table(RULES, any_of={"saves": _OF_IPTABLES, "nft": "nft-ruleset"})
def rules(saves: Given, nft: Texts | None) -> pd.DataFrame:
    """One row a rule; see :data:`RULES`."""
    frames = [iptables_rules(e.node, f, b, p, e.ref) for e, p, f, b in iptables_texts(saves.values())]
    shown = {key for frame in frames for key in _tables_of(frame)}
    for evidence, parsed in nft.parsed("nft-ruleset") if nft is not None else ():
        frames.append(_without(nft_rules(evidence.node, parsed, evidence.ref), shown))
    return RULES.take(pd.concat(frames)) if frames else RULES.frame()


def _tables_of(frame: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Node, family and table of what iptables-nft printed, which nft prints again."""
    own = frame[frame["backend"] == "nft"]
    return set(cells(own[["node", "family", "table"]].drop_duplicates(), "node", "family", "table"))


def _without(frame: pd.DataFrame, shown: set[tuple[str, str, str]]) -> pd.DataFrame:
    new = [key not in shown for key in cells(frame, "node", "family", "table")]
    return frame[pd.Series(new, index=frame.index, dtype=bool)]  # a list of none would choose no columns


@table(CHAINS, any_of={"saves": _OF_IPTABLES, "nft": "nft-ruleset"})
def chain_list(saves: Given, nft: Texts | None) -> pd.DataFrame:
    """One row a chain; see :data:`CHAINS`."""
    rows: list[dict[str, object]] = []
    for evidence, parsed, family, backend in iptables_texts(saves.values()):
        rows += iptables_chains(evidence.node, family, backend, parsed, evidence.ref)
    shown = {(r["node"], r["family"], r["table"]) for r in rows if r["backend"] == "nft"}
    for evidence, parsed in nft.parsed("nft-ruleset") if nft is not None else ():
        new = _nft_chains(evidence.node, parsed, evidence.ref)
        rows += [r for r in new if (r["node"], r["family"], r["table"]) not in shown]
    return CHAINS.frame(rows)


@table(SETS, any_of={"ipsets": "ipset-list", "nft": "nft-ruleset"})
def sets(ipsets: Texts | None, nft: Texts | None) -> pd.DataFrame:
    """One row a member; see :data:`SETS`."""
    frames = [_ipset_members(e.node, p, e.ref) for e, p in (ipsets.parsed("ipset-list") if ipsets is not None else ())]
    frames += [_nft_members(e.node, p, e.ref) for e, p in (nft.parsed("nft-ruleset") if nft is not None else ())]
    return SETS.take(pd.concat(frames)) if frames else SETS.frame()


def _ipset_members(node: str | None, parsed: Parsed, ref: str) -> pd.DataFrame:
    members, declared = parsed.frame, parsed.tables["ipset_sets"]
    family = {s: "ip6" if f == "inet6" else "ip" for s, f in cells(declared, "set", "family")}
    empty = declared[~declared["set"].isin(members["set"])]
    rows = pd.concat([members[["set", "type", "member", "nomatch"]], empty[["set", "type"]]])
    return SETS.frame(  # what the columns hold is of the kinds declared
        {  # type: ignore[arg-type]
            "node": [node] * len(rows),
            "family": [family.get(s, "ip") for s in rows["set"]],
            "set": rows["set"].tolist(),
            "type": rows["type"].tolist(),
            "element": [m if isinstance(m, str) else None for m in rows["member"]],
            "nomatch": [n is True for n in rows["nomatch"]],
            "evidence": [ref] * len(rows),
        }
    )


def _nft_members(node: str | None, parsed: Parsed, ref: str) -> pd.DataFrame:
    members, declared = parsed.tables["nft_elements"], parsed.tables["nft_sets"]
    rows = declared[["family", "table", "set", "type"]].merge(members, on=["family", "table", "set"], how="left")
    return SETS.frame(
        {
            "node": [node] * len(rows),
            "family": rows["family"].tolist(),
            "table": rows["table"].tolist(),
            "set": rows["set"].tolist(),
            "type": rows["type"].tolist(),
            "element": [e if isinstance(e, str) else None for e in rows["element"]],
            "value": [v if isinstance(v, str) else None for v in rows["value"]],
            "nomatch": [False] * len(rows),
            "evidence": [ref] * len(rows),
        }
    )
