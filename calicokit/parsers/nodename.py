"""The file in which calico-node keeps the name that it goes by."""

from __future__ import annotations

import pandas as pd

from calicokit.net import NODE_NAME
from calicokit.parsers.base import Text, parser
from calicokit.schema import Column, Schema

SCHEMA = Schema("nodename", "calico-node's name on a node.", (Column("name", "str", "name"),))


@parser("nodename", SCHEMA, marks="")
def nodename(source: Text) -> dict[str, pd.DataFrame]:
    """`cat /var/lib/calico/nodename`: the name that calico-node goes by.

    One line (source: node/pkg/lifecycle/startup, writeNodeConfig), a name such as Kubernetes' nodes have.
    """
    names: list[dict[str, str]] = []
    for line in source.lines():
        if names or not NODE_NAME.fullmatch(line.text):
            source.reject(line, "one name of a node")
        else:
            names.append({"name": line.text})
    return {"nodename": SCHEMA.frame(names)}
