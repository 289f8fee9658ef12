"""The real ELAsTiCC alerts that benchmarks run on."""

from pathlib import Path

from models.inputs import avro
from tests.conftest import DATA

ALL, LONG = "*.avro", "finktut*.avro"
"""All files, and those of long light curves: 36 points in the mean, where all have 19."""


def files(pattern: str = ALL) -> list[Path]:
    """The files with such a name. Ends the process where there is none."""
    folder = DATA / "elasticc" / "alerts"
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise SystemExit(f"benchmarks of alerts need real ones, {pattern} in {folder}: set ATAT_DATA")
    return paths


def messages(pattern: str = ALL) -> list[bytes]:
    """Every alert of the files with such a name, as a bare datum."""
    found = [message for path in files(pattern) for message in avro.messages(path.read_bytes())]
    return [message for message in found if isinstance(message, bytes)]
