"""findings.toml is the vocabulary: each entry is whole, in words that exist, and said by a check. (guide/test_page.py
holds its steps to the guide.)
"""

from __future__ import annotations

import pytest

from calicokit import registry
from calicokit.diagnosis.model import CHECKS, SEVERITIES, Word, vocabulary

WORDS = list(vocabulary().values())
WHOLE_CLUSTER = {"typha-down", "typha-too-few", "datastore-not-ready", "calico-apiserver-down"}
OTHER_KEYS = {"flow"}
"""Keys of subjects that are no column of any table."""


@pytest.mark.parametrize("word", WORDS, ids=lambda w: w.id)
def test_an_entry_is_whole(word: Word) -> None:
    assert word.severity in SEVERITIES
    assert all(word.subject)
    assert len(set(word.subject)) == len(word.subject)
    assert word.title
    assert word.title == word.title.strip()
    assert not word.title.endswith(".")
    assert word.means
    assert word.means == word.means.strip()
    assert not word.means.endswith(".")
    assert "/" in word.guide_step


def test_subjects_are_named_as_columns_are() -> None:
    columns = {column.name for spec in registry.load().values() for column in spec.schema.columns}
    used = {key for word in WORDS for key in word.subject}
    assert used - columns == OTHER_KEYS


def test_only_findings_about_the_whole_cluster_have_no_subject() -> None:
    assert {word.id for word in WORDS if not word.subject} == WHOLE_CLUSTER


def test_titles_differ() -> None:
    assert len({word.title for word in WORDS}) == len(WORDS)


def test_every_id_is_said_by_a_check_and_every_check_says_ids_of_the_vocabulary() -> None:
    registry.load()
    assert {id_ for check in CHECKS for id_ in check.ids} == set(vocabulary())
