"""The file in which calico-node keeps the name that it goes by."""

from __future__ import annotations

import re

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.schema import Column, Schema

SCHEMA = Schema("nodename", "calico-node's name on a node.", (Column("name", "str", "name"),))

_NAME = re.compile(r"[a-z0-9A-Z](?:[a-zA-Z0-9._-]{0,251}[a-z0-9A-Z])?")
"""A DNS subdomain, as all nodes' names; capitals are Calico's to complain of."""


@parser("nodename", SCHEMA, marks="")
def nodename(source: Text) -> dict[str, pd.DataFrame]:
    """`cat /var/lib/calico/nodename`: the name that calico-node goes by.

    One line (source: node/pkg/lifecycle/startup, writeNodeConfig), a name such as Kubernetes' nodes have.
    """
    names: list[dict[str, str]] = []
    for line in source.lines():
        if names or not _NAME.fullmatch(line.text):
            source.reject(line, "one name of a node")
        else:
            names.append({"name": line.text})
    return {"nodename": SCHEMA.frame(names)}
