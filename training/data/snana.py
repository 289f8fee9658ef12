"""SNANA's light curves (ELAsTiCC's and PLAsTiCC's training sets, DES, SNPCC), FITS or text -> the layout.

Every usable point is kept: the window of an alert is cut later, by ``LightCurves.until``. Nothing that only the
simulation knows (SIM_*) is taken, but the true type.
"""

import hashlib
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS, clean
from models.inputs.photometry import BANDS, FLUXCAL_ZERO_POINT
from models.taxonomy import CLASS_NAMES, GENTYPE_CLASS
from training.data import snana_fits, snana_text
from training.data.dust import reddened
from training.data.imported import Imported, Source
from training.data.layout import UNKNOWN_CLASS, Objects
from training.data.snana_tables import Tables
from training.data.splits import fold_of, split_of
from training.errors import InvalidData

_SATURATED = 1024
_TRIGGER = 2048
"""PHOTFLAG of the detection with which the survey found the object: 6144 together with ELAsTiCC's 4096."""
_MOST = 2**63 - 1
"""Of an object id."""

_LEAST_SNR = 5.0
"""What counts as a detection where no flag says so."""

_TYPE_NAMES = {
    "Ia": 2222,
    **dict.fromkeys(("Ib", "Ic", "Ibc"), 2223),
    **dict.fromkeys(("II", "IIP", "IIn", "IIL"), 2224),
}

NUMBERINGS = {
    "elasticc": GENTYPE_CLASS,
    "plasticc": {
        **dict.fromkeys((1, 11), 2222),
        **dict.fromkeys((2, 4, 6, 12, 14), 2224),
        **dict.fromkeys((3, 5, 13), 2223),
        41: 2226,
        43: 2225,
        **dict.fromkeys((50, 51), 2232),
        60: 2242,
        61: 2246,
        62: 2244,
        63: 2245,
        64: 2243,
        70: 2332,
        80: 2323,
        81: 2233,
        83: 2325,
        84: 2326,
        **dict.fromkeys((90, 91, 93), 2235),
    },
    "des": {
        1: 2222,
        **dict.fromkeys((2, 20, 21, 22, 23), 2224),
        **dict.fromkeys((3, 32, 33), 2223),
    },
}
"""SNANA leaves the numbers of types to each survey: ELAsTiCC's 11 is 91bg, PLAsTiCC's is a normal Ia."""

_NORMAL_IA = "SALT"
"""Simulated models of this name are of normal SNe Ia: a check of the numbering."""

_HOST_NAMES = {"zspec": "SPECZ", "zspec_err": "SPECZ_ERR", "zphot": "PHOTOZ", "zphot_err": "PHOTOZ_ERR"}
_REDSHIFTS = ("z_final", *(f"{host}_{z}" for host in ("hostgal", "hostgal2") for z in ("zspec", "zphot")))
_NO_MAGNITUDE = 99.0
"""SNANA writes 99 for no flux, 666 for undefined, 999 for no host."""

_HEAD, _PHOT = "_HEAD.FITS", "_PHOT.FITS"
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_TEXT = (".dat",)
_TEXTS_A_SHARD = 2000


# --- files ------------------------------------------------------------------------------------------------------------


def sources(source: Path) -> list[Source]:
    """What becomes a shard each: a pair of HEAD and PHOT, an archive of text files, or 2,000 text files of a directory.

    Raises InvalidData if there is nothing of the kind.
    """
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    root = source.parent if source.is_file() else source
    found: list[Source] = []
    texts: list[Path] = []
    for path in files:
        stem, head, rest = path.name.partition(_HEAD)
        if head and rest in ("", ".gz"):
            phot = [path.with_name(f"{stem}{_PHOT}{suffix}") for suffix in ("", ".gz")]
            found.append(Source(_name(root, path.with_name(stem)), (path, *filter(Path.is_file, phot))))
        elif path.name.lower().endswith(_ARCHIVES):
            found.append(Source(_name(root, path.with_name(path.name.partition(".")[0])), (path,)))
        elif path.name.lower().endswith(_TEXT):
            texts.append(path)
    for number, start in enumerate(range(0, len(texts), _TEXTS_A_SHARD)):
        found.append(Source(f"text-{number:05d}", tuple(texts[start : start + _TEXTS_A_SHARD])))
    if not found:
        raise InvalidData(f"{source}: no *{_HEAD}(.gz), no text files (.DAT), no archive of them (.tar.gz)")
    twice = [name for name, count in Counter(each.name for each in found).items() if count > 1]
    if twice:
        raise InvalidData(f"{source}: {twice[0]} is there twice")
    return found


def _name(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).parts)


def read(source: Source, *, numbering: str, seed: int) -> Imported:
    """A source's objects. Raises InvalidData if there is nothing to be had from it."""
    first = source.paths[0]
    if _HEAD in first.name:
        if len(source.paths) != 2:
            raise InvalidData(f"{first}: not with one {_PHOT} file, plain or gzipped, but {len(source.paths) - 1}")
        return imported(snana_fits.read(*source.paths), numbering=numbering, seed=seed, file=first)
    tables, failures = snana_text.read(_texts(source))
    if tables is None:
        raise InvalidData(f"{first}: {failures[0] if failures else 'no text files (.DAT) in it'}")
    return imported(tables, numbering=numbering, seed=seed, file=first, failures=failures)


def _texts(source: Source) -> Iterator[tuple[str, bytes]]:
    for path in source.paths:
        if not path.name.lower().endswith(_ARCHIVES):
            yield path.name, path.read_bytes()
            continue
        try:
            with tarfile.open(path, mode="r|*") as archive:
                for member in archive:
                    if member.name.lower().endswith(_TEXT) and (file := archive.extractfile(member)) is not None:
                        yield member.name, file.read()
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise InvalidData(f"{path}: broken ({error})") from error


# --- objects ----------------------------------------------------------------------------------------------------------


def imported(tables: Tables, *, numbering: str, seed: int, file: Path, failures: tuple[str, ...] = ()) -> Imported:
    """The objects of some tables, with every usable point.

    Raises InvalidData if the types are not those of the numbering.
    """
    dropped: Counter[str] = Counter()
    noted: Counter[str] = Counter(tables.noted)
    class_id = _classes(tables, numbering, file, noted)
    metadata = _metadata(tables)
    dust = np.where(tables.dereddened, metadata[:, COLUMNS.index("mwebv")], 0.0)
    curves = reddened(_light_curves(tables, dropped, noted), dust)
    some = curves.lengths > 0
    dropped["objects without a usable point"] = int((~some).sum())
    noted["objects never detected"] = int(np.isnan(curves.first_alert_mjd[some]).sum())
    noted["objects whose correction for Milky Way dust was taken back"] = int(tables.dereddened[some].sum())
    other = some & (tables.zero_point != FLUXCAL_ZERO_POINT)
    for zero_point in np.unique(tables.zero_point[other]).tolist():
        noted[f"objects brought from zero point {zero_point:g}"] = int((tables.zero_point[some] == zero_point).sum())
    object_id = np.array([_object_id(snid) for snid in tables.snid], dtype=np.int64)
    everything = Objects(
        object_id=object_id,
        class_id=class_id,
        source=np.full(len(object_id), f"snana {tables.survey}".strip()),
        split=np.array(split_of(object_id.tolist(), seed=seed), dtype=np.str_),
        fold=fold_of(object_id.tolist(), seed=seed),
        metadata=metadata,
        light_curves=curves,
    )
    return Imported(everything.where(some), dropped=+dropped, noted=+noted, failures=failures)


def _object_id(snid: str) -> int:
    """The number that the id is, or 63 bits of a name's hash, and of that of a number which 64 bits do not hold."""
    with suppress(ValueError):
        if abs(number := int(snid)) <= _MOST:
            return number
    return int.from_bytes(hashlib.sha256(snid.encode()).digest()[:8], "big") >> 1


def _classes(tables: Tables, numbering: str, file: Path, noted: Counter[str]) -> NDArray[np.int32]:
    known = {**{str(number): class_ for number, class_ in NUMBERINGS[numbering].items()}, **_TYPE_NAMES}
    for type_, model in set(zip(tables.type, tables.model, strict=True)):
        class_ = known.get(type_)
        if class_ is not None and class_ != _TYPE_NAMES["Ia"] and model.startswith(_NORMAL_IA):
            raise InvalidData(
                f"{file}: type {type_} is {CLASS_NAMES[class_]} as {numbering} numbers them, but simulated by {model}, "
                "a model of SNe Ia: give the right --numbering"
            )
    for type_, count in Counter(tables.type).items():
        if type_ not in known:
            noted[f"objects of unknown class: type {type_ or 'not given'}"] = count
    return np.array([known.get(type_, UNKNOWN_CLASS) for type_ in tables.type], dtype=np.int32)


def _light_curves(tables: Tables, dropped: Counter[str], noted: Counter[str]) -> LightCurves:
    row = ragged.row_of_each(tables.offsets)
    band = _bands(tables.band, dropped)
    saturated = (tables.flags & _SATURATED) > 0
    # What float32 cannot hold is no measurement.
    with np.errstate(over="ignore"):
        scale = 10 ** (0.4 * (FLUXCAL_ZERO_POINT - tables.zero_point))[row]
        flux, flux_err = (tables.flux * scale).astype(np.float32), (tables.flux_err * scale).astype(np.float32)
    measured = np.isfinite(flux) & np.isfinite(flux_err) & (flux_err > 0) & np.isfinite(tables.mjd) & (tables.mjd > 0)
    dropped["points saturated (PHOTFLAG 1024)"] = int(saturated.sum())
    dropped["points without a flux and a positive error"] = int((~measured & ~saturated).sum())
    usable = (band >= 0) & ~saturated & measured

    flagged = (tables.flags & tables.detected_flag) > 0
    has_flags = bool(flagged.any())
    detected = flagged if has_flags else flux >= _LEAST_SNR * flux_err
    if not has_flags:
        noted[f"objects without detection flags: detected where flux/error >= {_LEAST_SNR:g}"] = len(tables.snid)

    kept = np.flatnonzero(usable)
    kept = kept[np.lexsort((tables.mjd[kept], row[kept]))]
    offsets = ragged.keep(tables.offsets, usable)
    mjd = tables.mjd[kept]
    first_detection = ragged.first_per_row(offsets, mjd, detected[kept])
    trigger = ragged.first_per_row(offsets, mjd, (detected & ((tables.flags & _TRIGGER) > 0))[kept])
    return LightCurves(
        offsets=offsets,
        first_alert_mjd=np.where(np.isnan(trigger), first_detection, trigger),
        mjd=mjd,
        band=band[kept],
        flux=flux[kept],
        flux_err=flux_err[kept],
        detected=detected[kept],
    )


def _bands(spelled: NDArray[np.bytes_], dropped: Counter[str]) -> NDArray[np.int8]:
    """Band codes (P,), -1 for another band: ``u`` or ``LSST-u``, and the y band in either case."""
    spellings, place = np.unique(spelled, return_inverse=True)
    codes = []
    for number, spelling in enumerate(spellings.tolist()):
        name = spelling.decode(errors="replace").strip()
        letter = name.rpartition("-")[2].replace("Y", "y")
        codes.append(BANDS.index(letter) if letter in BANDS else -1)
        if codes[-1] < 0:
            dropped[f"points in band {name or '(none)'}"] = int((place == number).sum())
    return np.array(codes, dtype=np.int8)[place] if codes else np.zeros(0, dtype=np.int8)


def _metadata(tables: Tables) -> NDArray[np.float32]:
    """The 64 columns (N, 64), NaN where SNANA has none or says that it is missing."""
    n = len(tables.snid)
    raw = np.full((n, len(COLUMNS)), np.nan)
    for place, column in enumerate(COLUMNS):
        name = next((name for name in _snana_names(column) if name in tables.head), None)
        if name is None:
            continue
        values = tables.head[name]
        if "_mag" in column:
            values = np.where(values >= _NO_MAGNITUDE, np.nan, values)
        raw[:, place] = values
    # As in the light curves of PLAsTiCC, a redshift of 0 means an object of our galaxy, without one.
    for column in _REDSHIFTS:
        place, error = COLUMNS.index(column), COLUMNS.index(f"{column}_err")
        raw[raw[:, place] == 0, place : error + 1] = np.nan
    return clean(raw)


def _snana_names(column: str) -> tuple[str, ...]:
    """What SNANA calls a metadata column: the better name first."""
    host, _, name = column.partition("_")
    if host == "z":
        error = name.removeprefix("final").upper()
        # ELAsTiCC's alerts carry the heliocentric one as z_final; SNANA's own "final" is relative to the microwaves.
        return (f"REDSHIFT_HELIO{error}", f"REDSHIFT_FINAL{error}")
    if not host.startswith("hostgal"):
        return (column.upper(),)
    if name.startswith(("mag_", "magerr_")):
        kind, _, band = name.partition("_")
        return (f"{host.upper()}_{kind.upper()}_{band}",)
    return (f"{host.upper()}_{_HOST_NAMES.get(name, name.upper())}",)
