"""RR Lyrae of SDSS Stripe 82 (Sesar et al. 2010, table 1: one text file a star, in a tar archive) -> the layout.

They are the only real RR Lyrae in five of the six bands that anyone may have. A survey of differences would see them
against a template: here the median of each band is taken off, and what is five times its error is a detection.
"""

import io
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS
from models.inputs.photometry import FLUXCAL_ZERO_POINT
from training.data.imported import Imported, Source
from training.data.layout import Objects
from training.data.splits import fold_of, split_of
from training.errors import InvalidData

RR_LYRAE = 2323
_N_BANDS = 5
_COLUMNS_PER_FILE = 2 + 3 * _N_BANDS
_PER_MAGNITUDE = 0.4 * np.log(10)
"""Relative change of a flux per magnitude."""
_FAINTEST = 40.0
"""Magnitudes that are none are written as -99.99 or 99.99."""
_DETECTION_SNR = 5.0

Points = tuple[FloatArray, NDArray[np.int8], FloatArray, FloatArray]


def read(source: Source, *, seed: int) -> Imported:
    """Every star of the archive, by its number. Raises InvalidData for what is no such archive, naming the file."""
    dropped: Counter[str] = Counter()
    stars = _stars(source.paths[0], dropped)
    object_id = np.array(sorted(stars), dtype=np.int64)
    mjd, band, flux, flux_err = (
        np.concatenate(each) for each in zip(*(stars[id_] for id_ in sorted(stars)), strict=True)
    )
    offsets = ragged.offsets_of(np.array([len(stars[id_][0]) for id_ in sorted(stars)], dtype=np.int64))
    detected = np.abs(flux) >= _DETECTION_SNR * flux_err
    first = ragged.first_per_row(offsets, mjd, detected)
    objects = Objects(
        object_id=object_id,
        class_id=np.full(len(object_id), RR_LYRAE, dtype=np.int32),
        source=np.full(len(object_id), "stripe82"),
        split=np.array(split_of(object_id.tolist(), seed=seed)),
        fold=fold_of(object_id.tolist(), seed=seed),
        metadata=np.full((len(object_id), len(COLUMNS)), np.nan, dtype=np.float32),
        light_curves=LightCurves(
            offsets=offsets,
            first_alert_mjd=first,
            mjd=mjd,
            band=band,
            flux=flux.astype(np.float32),
            flux_err=flux_err.astype(np.float32),
            detected=detected,
        ),
    )
    noted = Counter({"objects never detected": int(np.isnan(first).sum())})
    return Imported(objects, dropped=+dropped, noted=+noted)


def _stars(archive: Path, dropped: Counter[str]) -> dict[int, Points]:
    stars = {}
    try:
        with tarfile.open(archive) as files:
            for member in files:
                if member.name.endswith(".dat") and (file := files.extractfile(member)) is not None:
                    stars[int(Path(member.name).stem)] = _points(file.read(), dropped)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise InvalidData(f"{archive}: no archive of Stripe 82 light curves ({error})") from error
    if not stars:
        raise InvalidData(f"{archive}: no .dat file in it")
    return stars


def _points(text: bytes, dropped: Counter[str]) -> Points:
    """Ra, dec, then mjd, magnitude and error of u g r i z a line -> the points in time order."""
    table = np.loadtxt(io.BytesIO(text), ndmin=2)
    if table.shape[1] != _COLUMNS_PER_FILE:
        raise ValueError(f"{table.shape[1]} columns, not {_COLUMNS_PER_FILE}")
    mjd, magnitude, error = (table[:, place::3].T for place in (2, 3, 4))
    band = np.broadcast_to(np.arange(_N_BANDS, dtype=np.int8)[:, None], mjd.shape)
    measured = (mjd > 0) & (np.abs(magnitude) < _FAINTEST) & (magnitude > 0) & (error > 0) & (error < 1)
    dropped["points without a magnitude"] += int((~measured).sum())
    total = np.where(measured, 10 ** (-0.4 * (magnitude - FLUXCAL_ZERO_POINT)), np.nan)
    template = np.array([np.median(own[~np.isnan(own)]) if (~np.isnan(own)).any() else np.nan for own in total])
    order = np.argsort(mjd[measured], kind="stable")
    return (
        mjd[measured][order],
        band[measured][order],
        (total - template[:, None])[measured][order],
        (total * error * _PER_MAGNITUDE)[measured][order],
    )
