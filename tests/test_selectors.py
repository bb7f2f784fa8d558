"""Calico's selector language. The cases are facts of libcalico-go/lib/selector, with values of our own."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calicokit.selectors import MAX_LABEL_LENGTH, Selector, SelectorError, parse
from tests.examples import examples

WEB, DB, BARE = {"role": "web", "tier": "front"}, {"role": "db"}, dict[str, str]()

MATCHES = [
    # expression, labels selected, labels not selected
    ("", [BARE, WEB], []),
    (" \t ", [BARE, WEB], []),
    ("all()", [BARE, WEB], []),
    ("global( )", [BARE, WEB], []),
    ("!all()", [], [BARE, WEB]),
    ("role == 'web'", [WEB], [DB, BARE, {"tier": "web"}]),
    ("role != 'web'", [DB, BARE], [WEB]),
    ("role in {'web', 'db'}", [WEB, DB], [BARE, {"role": "dns"}]),
    ("role not in {'web', 'db'}", [BARE, {"role": "dns"}], [WEB, DB]),
    ("role in {}", [], [WEB, BARE]),
    ("role not in {}", [WEB, BARE], []),
    ("role in {'web',}", [WEB], [DB]),
    ("role contains 'e'", [WEB], [DB, BARE]),
    ("role starts with 'w'", [WEB], [DB, BARE, {"role": "xw"}]),
    ("role ends with 'b'", [WEB, DB], [BARE, {"role": "bx"}]),
    ("role contains ''", [WEB, {"role": ""}], [BARE]),
    ("has(role)", [WEB, DB, {"role": ""}], [BARE, {"tier": "x"}]),
    ("!has(role)", [BARE, {"tier": "x"}], [WEB]),
    ("!! ! has( role\t)", [BARE], [WEB]),
    # "!" covers the one test that follows it
    ("!role == 'web' && has(role)", [DB], [WEB, BARE]),
    ("!(role == 'web' && has(tier))", [DB, BARE, {"role": "web"}], [WEB]),
    # && binds before ||
    ("has(x) || has(y) && has(z)", [{"x": ""}, {"y": "", "z": ""}], [{"y": ""}, {"z": ""}]),
    ("has(y) && has(z) || has(x)", [{"x": ""}, {"y": "", "z": ""}], [{"y": ""}, {"z": ""}]),
    ("(has(x) || has(y)) && has(z)", [{"x": "", "z": ""}], [{"x": ""}, {"z": ""}, {"x": "", "y": ""}]),
    # operators and functions are words only in their place
    ("in in {'in'}", [{"in": "in"}], [{"in": "not"}]),
    ("not notin {'in'}", [BARE, {"not": "x"}], [{"not": "in"}]),
    ("has == 'all' && all != 'x'", [{"has": "all"}], [{"has": "all", "all": "x"}]),
    ("startswith startswith'a'", [{"startswith": "ab"}], [BARE]),
    ("a.b/c-d_E9 endswith\t'z'&&!has(-)", [{"a.b/c-d_E9": "z"}], [{"a.b/c-d_E9": "z", "-": ""}]),
    # values: any character but their own quote, and no escapes
    ("""v in {"it's", 'say "x"'}""", [{"v": "it's"}, {"v": 'say "x"'}], [{"v": "its"}]),
    (r"v == 'a\n'", [{"v": r"a\n"}], [{"v": "a\n"}]),
    ("v == 'größe 日本 😀'", [{"v": "größe 日本 😀"}], [{"v": "größe"}]),
    ("v starts with '日' && v ends with '😀'", [{"v": "日本😀"}], [{"v": "本😀"}]),
    ("v == 'a\nb'", [{"v": "a\nb"}], [{"v": "a b"}]),
]


@pytest.mark.parametrize(("expression", "selected", "rejected"), MATCHES)
def test_matches(expression: str, selected: list[dict[str, str]], rejected: list[dict[str, str]]) -> None:
    for selector in (parse(expression), parse(str(parse(expression)))):
        assert [labels for labels in selected if not selector.matches(labels)] == []
        assert [labels for labels in rejected if selector.matches(labels)] == []


@pytest.mark.parametrize(
    ("expression", "canonical"),
    [
        ("", "all()"),
        ("((all( )) )", "all()"),
        ("global()", "global()"),
        ("x=='1'&&y=='2'", '(x == "1" && y == "2")'),
        ("x=='1'||y=='2'&&has(z)", '(x == "1" || (y == "2" && has(z)))'),
        ("(has(x) && has(y)) && has(z)", "((has(x) && has(y)) && has(z))"),
        ("!(!has(x)||!!has(y))", "!(!has(x) || has(y))"),
        ("!(!has(x))", "!!has(x)"),  # Calico folds only neighbours
        ("!(x == '1')", '!x == "1"'),
        ("x in {'z','a','z',\"é\"}", 'x in {"a", "z", "é"}'),
        ("x notin { }", "x not in {}"),
        ("x startswith 'a'", 'x starts with "a"'),
        ("x ends   with 'a'", 'x ends with "a"'),
        ("x contains'\"'", "x contains '\"'"),
    ],
)
def test_canonical_text(expression: str, canonical: str) -> None:
    selector = parse(expression)
    assert str(selector) == canonical
    assert selector.expression == expression
    assert parse(canonical).matches(WEB) == selector.matches(WEB)


ERRORS = [
    # expression, reason begins with, what the caret points at (None: the end)
    ("x", "expected operator", None),
    ("x y", "expected operator", "y"),
    ("x squiggles 'y'", "expected operator", "squiggles"),
    ("x startswithy 'y'", "expected operator", "startswithy"),
    ("x inf {'y'}", "expected operator", "inf"),
    ("x == y", "expected string", "y"),
    ("x contains y", "expected string", "y"),
    ("x ==", "expected string", None),
    ("x = 'y'", "expected ==", "= "),
    ("x == 'y' & has(z)", "expected &&", "& "),
    ("x == 'y' | has(z)", "expected ||", "| "),
    ("x in 'y'", "expected set literal", "'y'"),
    ("x in {'y' 'z'}", "expected }", "'z'"),
    ("x in {,}", "expected }", ",}"),
    ("x in {'y'", "expected }", None),
    ("x == 'y", "unterminated string", "'y"),
    ("x == \"y'", "unterminated string", "\"y'"),
    ("'x' == y", "unexpected string", "'x'"),
    ("!", "unexpected end", None),
    ("has(x) &&", "unexpected end", None),
    ("has(x) || || has(y)", "unexpected ||", "|| has(y)"),
    ("()", "unexpected )", ")"),
    ("(has(x)", "expected )", None),
    ("(has(x) has(y))", "expected )", "has(y)"),
    ("has(x))", "unexpected content", ")"),
    ("has(x) has(y)", "unexpected content", "has(y)"),
    ("has (x)", "expected operator", "(x)"),
    ("has()", "expected identifier", ")"),
    ("has(", "expected identifier", None),
    ("has( x y)", "expected ) after has(", "y)"),
    ("all(x)", "expected ) after all(", "x)"),
    ("global(", "expected ) after global(", None),
    ("x == 'y' && %", "expected identifier", "%"),
    ("é == 'y'", "expected identifier", "é"),
    ("\nall()", "expected identifier", "\nall()"),  # only blanks and tabs are white space
    ("a" * 513 + " == 'y'", "label too long", "a" * 513),
    ("has( " + "a" * 513 + ")", "label too long", "a" * 513),
]


@pytest.mark.parametrize(("expression", "reason", "at"), ERRORS)
def test_errors_point_into_the_expression(expression: str, reason: str, at: str | None) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(expression)
    error = caught.value
    assert error.reason.startswith(reason)
    assert error.expression == expression
    assert error.position == (len(expression) if at is None else expression.rindex(at))
    first, shown, caret = str(error).split("\n")
    assert first == error.reason
    assert caret.strip() == "^"
    if at is not None and at.isprintable():
        assert shown[caret.index("^")] == at[0]


def test_error_message() -> None:
    with pytest.raises(ValueError, match="expected string") as caught:
        parse("tier == web")
    assert str(caught.value) == "expected string\n  tier == web\n          ^"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.position) == (str(caught.value), 8)


def test_error_in_a_long_expression_shows_the_place() -> None:
    with pytest.raises(SelectorError) as caught:
        parse("has(x) && " * 500 + "% && " + "has(y) && " * 500)
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) < 130
    assert shown[caret.index("^")] == "%"


def test_longest_label() -> None:
    label = "a" * MAX_LABEL_LENGTH
    assert parse(f"has({label})").matches({label: ""})


def test_keys() -> None:
    assert parse("x == '1' && !(has(y) || z in {}) || all()").keys() == {"x", "y", "z"}
    assert parse("").keys() == frozenset()


def test_selector_is_a_cached_frozen_value() -> None:
    selector = parse("role == 'web'")
    assert parse("role == 'web'") is selector
    same = parse(' (role=="web") ')
    assert same == selector
    assert hash(same) == hash(selector)
    assert selector != parse("role == 'db'")
    assert pickle.loads(pickle.dumps(selector)).matches(WEB)
    with pytest.raises(FrozenInstanceError):
        selector.expression = ""  # type: ignore[misc]


@pytest.mark.slow
def test_any_depth() -> None:
    depth = 10_000
    assert parse("(" * depth + "has(x)" + ")" * depth).matches({"x": ""})
    assert parse("!(" * depth + "has(x)" + ")" * depth).matches({"x": ""})
    assert parse("!" * (depth + 1) + "has(x)").matches({})
    selector = parse("(has(x) && !" * depth + "has(y)" + ")" * depth)
    assert not selector.matches({})
    assert selector.matches({"x": ""}) is False
    assert str(selector).count("(has(x) && !") == depth
    for unbalanced in ("(" * depth, "(" * depth + "has(x)", "has(x)" + ")" * depth):
        with pytest.raises(SelectorError):
            parse(unbalanced)


# --- properties: a tree is a tuple (operator, ...), written and evaluated here in the plainest way

Tree = tuple[Any, ...]
LABELS = st.sampled_from(["a", "b", "in", "not", "has", "c.d/e-f_G"])
VALUES = st.sampled_from(["", "a", "b", "ab", "bab", "é", "日本é", 'q"'])
SETS = st.lists(VALUES, max_size=3)
OBJECTS = st.dictionaries(LABELS, VALUES, max_size=4)
LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.tuples(st.sampled_from(["all()", "global()"])),
    st.tuples(st.just("has"), LABELS),
    st.tuples(st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]), LABELS, VALUES),
    st.tuples(st.sampled_from(["in", "not in"]), LABELS, SETS),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("!"), inner),
        st.tuples(st.sampled_from(["&&", "||"]), inner, inner),
        st.tuples(st.sampled_from(["&&", "||"]), inner, inner, inner),
    ),
    max_leaves=12,
)


def quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


def written(tree: Tree) -> str:
    operator, *rest = tree
    if operator == "!":
        return f"!({written(rest[0])})"
    if operator in ("&&", "||"):
        return "(" + f" {operator} ".join(written(part) for part in rest) + ")"
    if operator == "has":
        return f"has({rest[0]})"
    if operator in ("in", "not in"):
        return f"{rest[0]} {operator} {{{', '.join(quoted(value) for value in rest[1])}}}"
    return f"{rest[0]} {operator} {quoted(rest[1])}" if rest else str(operator)


NAIVE: dict[str, Callable[[str | None, Any], bool]] = {
    "==": lambda found, value: found is not None and found == value,
    "!=": lambda found, value: found is None or found != value,
    "in": lambda found, values: found is not None and found in values,
    "not in": lambda found, values: found is None or found not in values,
    "contains": lambda found, value: found is not None and found.find(value) >= 0,
    "starts with": lambda found, value: found is not None and found[: len(value)] == value,
    "ends with": lambda found, value: found is not None and found[::-1][: len(value)] == value[::-1],
}


def naive(tree: Tree, labels: Mapping[str, str]) -> bool:
    operator, *rest = tree
    if operator == "!":
        return not naive(rest[0], labels)
    if operator == "&&":
        return all(naive(part, labels) for part in rest)
    if operator == "||":
        return any(naive(part, labels) for part in rest)
    if operator == "has":
        return rest[0] in labels
    return NAIVE[operator](labels.get(rest[0]), rest[1]) if rest else True


@examples(300)
@given(TREES, st.lists(OBJECTS, min_size=1, max_size=4))
def test_agrees_with_a_naive_evaluator_and_round_trips(tree: Tree, objects: list[dict[str, str]]) -> None:
    selector = parse(written(tree))
    again = parse(str(selector))
    for labels in objects:
        assert selector.matches(labels) == naive(tree, labels)
        assert again.matches(labels) == selector.matches(labels)
    assert again.keys() == selector.keys()


@examples(200)
@given(st.data(), OBJECTS)
def test_precedence_without_parentheses(data: st.DataObject, labels: dict[str, str]) -> None:
    """Alternatives of conjunctions of tests, each with its own run of "!", read the same without parentheses."""
    negated = st.tuples(st.sampled_from(["", "!", "! !"]), LEAVES)
    groups = data.draw(st.lists(st.lists(negated, min_size=1, max_size=3), min_size=1, max_size=3))
    text = "||".join(" && ".join(bangs + written(leaf) for bangs, leaf in group) for group in groups)
    expected = any(all(naive(leaf, labels) != (bangs == "!") for bangs, leaf in group) for group in groups)
    assert parse(text).matches(labels) == expected


SIGNS = [*"(){},!=&|\"' \t\n%é", "==", "!=", "&&", "||", "'v'"]
NAMES = ["a", "b", "in", "not", "has", "has(", "has(a)", "all(", "all()", "starts", "with", "contains"]
WORDS = st.sampled_from(SIGNS + NAMES)


@examples(500)
@given(st.one_of(st.text(), st.lists(WORDS).map("".join), st.lists(WORDS).map(" ".join)))
@example("a == '\ud800'")
@example("has(\x00)")
def test_any_text_is_a_selector_or_an_error(text: str) -> None:
    try:
        selector = parse(text)
    except SelectorError as error:
        where, lines = error.position, str(error).split("\n")
    else:
        assert isinstance(selector, Selector)
        assert str(parse(str(selector))).replace("!!", "") == str(selector).replace("!!", "")
        return
    assert 0 <= where <= len(text)
    assert len(lines) == 3
