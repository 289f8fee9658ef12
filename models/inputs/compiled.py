"""Loops over numbers that numpy has no call for, compiled by numba."""

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """Compiled at its first call, and kept for the next start where a folder can be written to."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no place for its cache
        return numba.njit(nogil=True)(function)
