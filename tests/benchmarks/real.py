"""The real ELAsTiCC alerts that benchmarks run on."""

from models.inputs import avro
from tests.conftest import DATA

ALL, LONG = "*.avro", "finktut*.avro"
"""All files, and those of long light curves: 36 points in the mean, where all have 19."""


def messages(pattern: str = ALL) -> list[bytes]:
    """Every alert of the files with such a name, as a bare datum."""
    paths = sorted((DATA / "elasticc" / "alerts").glob(pattern))
    if not paths:
        raise SystemExit(f"this benchmark needs the real alerts in {DATA}; set ATAT_DATA")
    found = [message for path in paths for message in avro.messages(path.read_bytes())]
    return [message for message in found if isinstance(message, bytes)]
