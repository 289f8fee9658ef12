"""How the C library keeps memory; with another one than glibc, nothing of this is done."""

import ctypes


def give_back() -> None:
    """Return to the system what lies free between living blocks.

    glibc keeps it, and batches of ever different sizes fit it badly: a process that had classified 9,000 alerts held
    818 MB, and 606 MB with this every ten batches, at the same speed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
