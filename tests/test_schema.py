"""Schemas: the same columns and dtypes for empty input as for full, in every table of every recording."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit import registry
from calicokit.diagnosis.model import CHECKS, finding, vocabulary
from calicokit.evidence.catalog import CATALOG
from calicokit.kube.families import NO_IPV6
from calicokit.parsers.base import kinds
from calicokit.schema import DTYPES, Column, Schema, SchemaError, Table
from tests import clusters, recordings
from tests.fakes import cluster_of

TABLES = registry.load()
ABSENT = ("not in this recording", "the node does not run eBPF")
THING = Schema(
    "t.thing", "For tests.", tuple(Column(k, k, f"a {k}") for k in DTYPES), key=("str",)
)  # one column of every kind


@pytest.mark.parametrize("name", recordings.names())
def test_every_table_of_every_recording_fits_its_schema(name: str) -> None:
    cluster = clusters.fresh(name)
    for table, spec in TABLES.items():
        if spec.options:
            continue
        frame = cluster.table(table)
        spec.schema.check(frame)
        assert all(
            m.why.startswith(ABSENT) or "not sampled" in m.why or m.younger or m.why == NO_IPV6 for m in frame.unknown
        ), table
        if spec.schema.key:
            assert not frame.astype("str").duplicated(list(spec.schema.key)).any(), table
    assert [m for m in cluster.coverage.missing if not m.why.startswith(ABSENT) and "not sampled" not in m.why] == []


def test_every_table_of_an_empty_cluster_fits_its_schema() -> None:
    cluster = cluster_of()
    for table, spec in TABLES.items():
        assert (
            spec.options
            or spec.schema.check(cluster.table(table)).empty
            or table
            in (
                *("guide.checklist", "guide.practices", "guide.rows"),
                "health.install",
                "ipam.config",
                "kube.families",
                "ipam.check_report",
                "bgp.configuration",
                "bgp.use",
                "scaling.size",
            )
        )


@pytest.mark.parametrize("name", TABLES)
def test_every_schema_says_what_it_means(name: str) -> None:
    schema = TABLES[name].schema
    assert schema.name == name
    assert schema.meaning.endswith(".")
    assert set(schema.key) <= set(schema.names)
    assert len(set(schema.names)) == len(schema.names)
    for column in schema.columns:
        assert re.fullmatch("[a-z][a-z0-9_]*", column.name)
        assert column.kind in DTYPES
        assert column.meaning


def test_the_same_name_is_the_same_kind_everywhere() -> None:
    kinds_of: dict[str, set[str]] = {}
    for name, spec in TABLES.items():
        if name.startswith("output.nft"):
            continue  # a handle is a number in nftables' own words
        for column in spec.schema.columns:
            kind = "str" if column.kind == "category" else column.kind  # the same text, and it joins as such
            kinds_of.setdefault(column.name, set()).add(kind)
    joined = ("node", "namespace", "pod", "pool", "block", "address", "handle", "owner", "version")
    assert {n: k for n, k in kinds_of.items() if n in joined and len(k) > 1 and n != "version"} == {}


def test_every_input_is_a_table_or_in_the_catalog() -> None:
    known = {*TABLES, *registry.MODELS, *CATALOG, *(f"{i}+series" for i in CATALOG)}
    known |= {"@now", "@calico-namespace", "@findings"}
    made = (*TABLES.values(), *registry.MODELS.values(), *registry.NOT_APPLICABLE, *CHECKS)
    assert {i for spec in made for i in spec.inputs} <= known


def test_every_parser_that_the_catalog_names_exists() -> None:
    assert {i.parser.partition(":")[0] for i in CATALOG.values() if i.parser} <= set(kinds())


def test_every_check_says_words_of_the_vocabulary() -> None:
    assert {i for c in CHECKS for i in c.ids} == set(vocabulary())


def test_a_finding_keeps_to_its_words() -> None:
    with pytest.raises(ValueError, match="subject"):
        finding("ipam-exhausted", subject={"node": "x"}, cause="", remedy="")


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={"str": st.text(), "int": st.integers(-(2**62), 2**62), "bool": st.booleans()}
        )
    )
)
def test_any_rows_make_a_frame_of_the_schema(rows: list[dict[str, object]]) -> None:
    frame = THING.check(THING.frame(rows))
    assert len(frame) == len(rows)


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(SchemaError, match="not declared"):
        THING.frame([{"stray": 1}])
    with pytest.raises(SchemaError, match="kind int"):
        THING.frame([{"int": "seven"}])
    with pytest.raises(SchemaError, match="kind time"):
        THING.frame([{"time": "yesterday"}])
    with pytest.raises(SchemaError, match="columns are"):
        THING.check(pd.DataFrame({"a": [1]}))


def test_what_is_computed_from_a_known_table_is_known() -> None:
    table = Table(THING.frame([{"str": "a"}]))
    for made in (table[table["str"] == "a"], table.merge(table, on="str")):
        assert (type(made), made.unknown, len(made)) == (Table, (), 1)
