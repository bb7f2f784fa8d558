"""The file in which calico-node keeps the name that it goes by."""

from __future__ import annotations

import pandas as pd

from calicokit.parsers.base import Text, parser
from calicokit.schema import Column, Schema

SCHEMA = Schema("nodename", "calico-node's name on a node.", (Column("name", "str", "name"),))


@parser("nodename", SCHEMA, marks="")
def nodename(source: Text) -> dict[str, pd.DataFrame]:
    """`cat /var/lib/calico/nodename`: the name that calico-node goes by.

    One line, without spaces (source: node/pkg/lifecycle/startup, writeNodeConfig).
    """
    names: list[dict[str, str]] = []
    for line in source.lines():
        if names or " " in line.text:
            source.reject(line, "one name")
        else:
            names.append({"name": line.text})
    return {"nodename": SCHEMA.frame(names)}
