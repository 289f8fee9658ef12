"""The page of promises: each names tests, and the tests are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "deploy" / "PROMISES.md").read_text()

PROMISES = re.split(r"^\d+\. ", PAGE.partition("# What is not promised")[0], flags=re.MULTILINE)[1:]


def _tests(text: str) -> list[tuple[str, str]]:
    """The tests that are named: path and function."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def _functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_promise_names_tests_that_exist() -> None:
    assert len(PROMISES) >= 15
    for promise in PROMISES:
        named = _tests(promise)
        assert named, promise
        for path, test in named:
            assert test in _functions(path), f"{path}::{test}"


def test_what_looks_like_the_name_of_a_test_is_read_as_one() -> None:
    assert len(_tests(PAGE)) == PAGE.count("::test_")
