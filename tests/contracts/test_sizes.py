"""A stage reads as a list of its steps: no function of the package is longer than a screen. (That
none takes more than seven parameters is the linter's to say.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "meddistill"
MOST_LINES = 60


def long_functions(source: str) -> Iterator[str]:
    """`name: lines` of each function that is longer."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES:
                yield f"{node.name}: {lines} lines"


def test_no_function_is_longer_than_a_screen():
    modules = sorted(PACKAGE.rglob("*.py"))
    long = {
        str(module.relative_to(PACKAGE)): found
        for module in modules
        if (found := list(long_functions(module.read_text("utf-8"))))
    }
    assert modules
    assert long == {}


def test_a_long_function_is_found():
    assert list(long_functions("def f():\n" + "    x = 1\n" * 60)) == ["f: 61 lines"]
