"""The kinds of reasons why messages become dead letters, to count and to find them by."""

import re

_VALUES = re.compile(r"""\s*(\(.*|:.*|[-+]?\d\S*|"(?:[^"\\]|\\.)*"|(?<!\w)'(?:[^'\\]|\\.)*')""")
"""Of a reason: numbers, what is quoted, and what follows a bracket or a colon."""


def kind_of(reason: str) -> str:
    """A reason's words without the values, which would make a kind each."""
    return _VALUES.sub("", reason).strip()[:60] or "other"
