"""Raw columns -> AlertBatch: units, and only points that can be used.

A usable point has a flux and an error that a telescope can measure (FLUX_LIMIT, FLUX_ERR_FLOOR), in a known band,
unsaturated, and is among at most MAX_READ_PER_BAND of its band.
"""

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import metadata, ragged
from models.inputs.alert_batch import AlertBatch, Decoded
from models.inputs.errors import InvalidAlert, NothingLeft
from models.inputs.photometry import BANDS, FLUX_ERR_FLOOR, FLUX_LIMIT, FLUXCAL_PER_NJY
from models.inputs.raw_columns import NO_BAND, RawColumns

MJD_RANGE = (40_000.0, 100_000.0)
"""Years 1968 to 2132: a time outside is a broken alert, not an observation."""

MAX_READ_PER_BAND = 1000
"""Of more points in a band of one alert than this, this many are read, spread evenly. Real alerts have 253 in all."""


def only_usable(raw: RawColumns, invalid: dict[int, InvalidAlert], not_after: FloatArray) -> Decoded:
    """Units, and what of it can be used; a row with an absurd point, or with none left, joins the invalid.

    ``not_after`` (N,) [mjd] is the latest time that each row may have; NaN for any.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        flux = (raw.psf_flux * FLUXCAL_PER_NJY).astype(np.float32)
        flux_err = (raw.psf_flux_err * FLUXCAL_PER_NJY).astype(np.float32)
    rows = ragged.row_of_each(raw.offsets)
    messages = raw.message.tolist()
    absurd = (
        (~((raw.mjd >= MJD_RANGE[0]) & (raw.mjd <= MJD_RANGE[1])), "a time that no survey has (mjd {0})", raw.mjd),
        (raw.mjd > not_after[rows], "a time far after its message's own (mjd {0})", raw.mjd),
        (np.isinf(flux), "a flux that is not finite ({0} nJy)", raw.psf_flux),
        (np.isinf(flux_err), "a flux error that is not finite ({0} nJy)", raw.psf_flux_err),
        (flux_err <= 0, "a flux error that is not positive ({0} nJy)", raw.psf_flux_err),
        (np.abs(flux) > FLUX_LIMIT, "a flux that no telescope measures ({0} nJy)", raw.psf_flux),
        (flux_err > FLUX_LIMIT, "a flux error that no telescope has ({0} nJy)", raw.psf_flux_err),
        (flux_err < FLUX_ERR_FLOOR, "a flux error that no telescope has ({0} nJy)", raw.psf_flux_err),
    )
    for wrong, reason, values in absurd:
        for point in np.flatnonzero(wrong):
            invalid.setdefault(messages[rows[point]], InvalidAlert(reason.format(values[point])))
    saturated = _whole_visits(raw.offsets, raw.mjd, raw.band, raw.saturated)
    measured = ~np.isnan(flux) & ~np.isnan(flux_err) & (raw.band != NO_BAND)
    usable = measured & ~saturated
    crowded = _crowded(raw, usable)
    usable &= ~crowded
    counts = np.diff(ragged.keep(raw.offsets, usable))
    for row in np.flatnonzero(counts == 0):
        lost = saturated[raw.offsets[row] : raw.offsets[row + 1]]
        why = f"{lost.sum()} saturated, {(~lost).sum()} without flux, error or band"
        nothing_left = NothingLeft(
            f"no usable observation: {why}",
            alert_id=int(raw.alert_id[row]),
            dia_source_id=int(raw.dia_source_id[row]),
            dia_object_id=int(raw.dia_object_id[row]),
        )
        invalid.setdefault(messages[row], nothing_left)

    good = ~np.isin(raw.message, list(invalid))
    kept = usable & good[rows]
    left_out = {"saturated": saturated, "not measured": ~measured & ~saturated, "crowded": crowded}
    alerts = AlertBatch(
        alert_id=raw.alert_id[good],
        dia_source_id=raw.dia_source_id[good],
        dia_object_id=raw.dia_object_id[good],
        epoch=raw.epoch[good],
        metadata=metadata.clean(raw.metadata[good]),
        has_metadata=raw.has_metadata[good],
        offsets=ragged.offsets_of(counts[good]),
        mjd=raw.mjd[kept],
        band=raw.band[kept],
        flux=flux[kept],
        flux_err=flux_err[kept],
        detected=raw.detected[kept],
        source_id=raw.source_id[kept],
    )
    return Decoded(
        alerts=alerts,
        messages=raw.message[good],
        invalid=invalid,
        left_out={reason: int(np.count_nonzero(points & good[rows])) for reason, points in left_out.items()},
    )


def _crowded(raw: RawColumns, usable: BoolArray) -> BoolArray:
    """Which points (P,) are too many: all but MAX_READ_PER_BAND of a band's usable ones, spread evenly over its times.

    The trigger, a row's first point, is among them.
    """
    crowded = np.zeros(len(usable), dtype=np.bool_)
    if not (np.diff(raw.offsets) > MAX_READ_PER_BAND).any():
        return crowded
    is_trigger = np.zeros(len(usable), dtype=np.bool_)
    is_trigger[raw.offsets[:-1]] = True
    places = np.flatnonzero(usable)
    crowd = ragged.row_of_each(raw.offsets)[places] * len(BANDS) + raw.band[places]
    order = np.lexsort((raw.mjd[places], crowd))
    starts = np.flatnonzero(ragged.first_of_each(crowd[order])) if len(order) else np.empty(0, dtype=np.int64)
    for points in np.split(places[order], starts[1:]):
        if len(points) > MAX_READ_PER_BAND:
            others = points[~is_trigger[points]]
            room = MAX_READ_PER_BAND - (len(points) - len(others))
            crowded[others] = True
            crowded[others[ragged.evenly(len(others), room)]] = False
    return crowded


def _whole_visits(offsets: IntArray, mjd: FloatArray, band: NDArray[np.int8], flagged: BoolArray) -> BoolArray:
    """Spread a flag to every point of the same visit: forced photometry has no flags, but sees the same pixels."""
    spread = flagged.copy()
    for row in np.unique(ragged.row_of_each(offsets)[flagged]):
        points = slice(offsets[row], offsets[row + 1])
        visits = set(zip(mjd[points][flagged[points]], band[points][flagged[points]], strict=True))
        spread[points] = [visit in visits for visit in zip(mjd[points], band[points], strict=True)]
    return spread
