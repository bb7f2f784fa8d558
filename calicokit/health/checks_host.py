"""The check of the host's network managers."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.diagnosis.model import Finding, Rows, check, explains, finding
from calicokit.schema import records

MOST = 3
REMEDY = {
    "firewalld": "Disable firewalld on Calico's nodes (systemctl disable --now firewalld), as Calico's system "
    "requirements say, and restart calico-node there.",
    "ufw": "Disable ufw on Calico's nodes (ufw disable), or let it forward: DEFAULT_FORWARD_POLICY=ACCEPT in "
    "/etc/default/ufw and rules for what Calico needs.",
}
UNMANAGED = (
    "Exclude Calico's interfaces from the network manager: NetworkManager by "
    "/etc/NetworkManager/conf.d/calico.conf with [keyfile] unmanaged-devices=interface-name:cali*;"
    "interface-name:tunl*;interface-name:vxlan.calico;interface-name:vxlan-v6.calico;interface-name:wireguard.cali; "
    "systemd-networkd by Unmanaged=yes in a .network file that matches them. Then restart it and calico-node."
)


@check("host-network-manager-interferes", needs={"signs": "health.host_managers"})
def host_manager(signs: pd.DataFrame) -> Iterator[Finding]:
    """One finding for each node on which a manager changed something; a single flush that was mended is info."""
    for node, rows in signs.groupby("node"):
        managers = sorted(set(rows["manager"]))
        told = [f"{r.manager}: {r.what} ({r.where})" for r in records(rows.head(MOST))]
        more = f" and {len(rows) - MOST} more" if len(rows) > MOST else ""
        mended = bool((rows["sign"] == "flush").all()) and int(rows["times"].max()) < 2
        yield finding(
            "host-network-manager-interferes",
            severity="info" if mended else "",
            subject={"node": str(node)},
            cause=f"On {node}, the host's network manager interferes with Calico. {'; '.join(told)}{more}.",
            remedy=" ".join(dict.fromkeys(REMEDY.get(m, UNMANAGED) for m in managers)),
            evidence=[
                Rows.of(
                    id_, "health.host_managers", [{"node": r.node, "where": r.where} for r in records(g)], str(node)
                )
                for id_, g in rows.groupby(rows["sign"].map(EVIDENCE))
            ],
            about={str(node), *rows["where"]},
        )


EVIDENCE = {"rule": "iptables-save", "flush": "felix-log", "address": "ip-addr", "route": "ip-route-all"}


@explains("foreign-drop-rule", "host-network-manager-interferes", on="node")
def _its_rule(cause: Finding, effect: Finding) -> bool:
    return f"{cause.subject['table']} {cause.subject['chain']}" in effect.about
