"""One page of an evaluation, for an astronomer to read: tables and pictures in a single HTML file."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from models.arrays import FloatArray
from models.taxonomy import CLASS_NAMES
from training.data.alert_sample import BINS
from training.measure import ALERT_VIEWS, ALERTS, ENOUGH, Measured, days_of, difference
from training.metrics import ECE_BINS, Estimate

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .8rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #d8dee4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #57606a; }
small { color: #57606a; } img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
"""


def page(title: str, lead: str, variants: Sequence[Measured], pictures: Mapping[str, Figure]) -> str:
    """The whole page. ``pictures`` by file name, as ``evaluate`` writes them."""
    days = [view for view in variants[0].views if days_of(view) is not None]
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{lead}</p>",
        "<p>Figures are macro means over the classes, with 95&nbsp;% intervals of a bootstrap over the objects of each "
        f"class and over the seeds; a class takes no part in the mean of a view that has fewer than {ENOUGH} of its "
        "objects, or not all of them where it has no more anywhere. A "
        "light curve <em>n days</em> long ends that long after the first alert; "
        "<em>alerts as sent</em> carry what the survey sends with a detection, the first one too.</p>",
        "<h2>In short</h2>",
        _table(["model", "seeds", *_short(days), "all alerts", "ECE, all alerts"], (_line(m, days) for m in variants)),
        "<h2>F1 against days since the first alert</h2>",
        _picture(pictures["f1_by_days.png"]),
        _table(["model", *days], ([m.variant, *(_number(m.macro(view)) for view in days)] for m in variants)),
        "<h2>F1 of alerts as sent, by number of detections</h2>",
        _picture(pictures["f1_by_detections.png"]),
        _by_detections(variants),
        *(_differences(variants, days) if len(variants) > 1 else []),
        f"<h2>Classes, {days[-1]}</h2>",
        *(f"<h3>{html.escape(m.variant)}</h3>\n{_classes(m, days[-1])}" for m in variants),
        "<h2>Confusion</h2><p>Shares of each true class.</p>",
        *_pictures(pictures, "confusion"),
        f"<h2>Calibration</h2><p>Of alerts as sent; expected calibration error in {ECE_BINS} bins of equal mass, "
        "in per cent. The prior that the model names is of objects, each of which counts with all its alerts.</p>",
        _calibration(variants),
        *_pictures(pictures, "reliability"),
        "<h2>Time a whole light curve</h2>",
        _times(variants),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>\n{body}\n</body></html>\n"
    )


def _by_detections(variants: Sequence[Measured]) -> str:
    rows = ([m.variant, *(_number(m.macro(view)) if _has(m, view) else "" for view in ALERT_VIEWS)] for m in variants)
    return _table(["model", "all", *BINS], rows)


def _differences(variants: Sequence[Measured], days: Sequence[str]) -> list[str]:
    """Of each from the first."""
    first, chosen = variants[0], [*_short(days), ALERTS]
    rows = (
        [f"{m.variant} &minus; {first.variant}", *(_points(difference(m, first, view)) for view in chosen)]
        for m in variants[1:]
    )
    heading = "<h2>Differences in macro F1, points</h2><p>On the same objects and light curves.</p>"
    return [heading, _table(["", *chosen], rows)]


def _calibration(variants: Sequence[Measured]) -> str:
    rows = (
        [
            m.variant,
            html.escape(m.prior),
            *(_percent(m, view) for view in ALERT_VIEWS),
            f"{m.cross_entropy[ALERTS]:.3f}",
        ]
        for m in variants
    )
    return _table(["model", "prior", "all", *BINS, "cross-entropy"], rows)


def _times(variants: Sequence[Measured]) -> str:
    rows = (
        [m.variant, _milliseconds(m, "inference"), _milliseconds(m, "features"), html.escape(m.machine)]
        for m in variants
    )
    return _table(["model", "inference", "features", "where"], rows)


def _short(days: Sequence[str]) -> list[str]:
    """The lengths to show where there is room for two."""
    return [view for view in ("8 days", days[-1]) if view in days]


def _line(measured: Measured, days: Sequence[str]) -> list[str]:
    cells = [_interval(measured.macro(view)) for view in (*_short(days), ALERTS)]
    return [measured.variant, str(len(measured.seeds)), *cells, _percent(measured, ALERTS)]


def _classes(measured: Measured, view: str) -> str:
    place = measured.place(view)
    rows = [
        [
            CLASS_NAMES[class_id],
            str(measured.objects[place, column]),
            *(_interval(getattr(measured, of)[:, place, column]) for of in ("precision", "recall", "f1")),
        ]
        for column, class_id in enumerate(measured.classes)
        if measured.present[place, column]
    ]
    means = [_interval(measured.macro(view, of=of)) for of in ("precision", "recall", "f1")]
    rows.append(["<b>macro</b>", str(measured.objects[place].sum()), *means])
    return _table(["class", "objects", "precision", "recall", "F1"], rows)


def _has(measured: Measured, view: str) -> bool:
    return bool(measured.present[measured.place(view)].any())


def _number(draws: FloatArray) -> str:
    return f"{draws[0]:.3f}"


def _interval(draws: FloatArray) -> str:
    estimate = Estimate.of(draws)
    return f"{estimate.value:.3f} <small>{estimate.low:.3f} to {estimate.high:.3f}</small>"


def _points(estimate: Estimate) -> str:
    return f"{estimate.value:+.1f} <small>{estimate.low:+.1f} to {estimate.high:+.1f}</small>"


def _percent(measured: Measured, view: str) -> str:
    if view not in measured.ece:
        return ""
    estimate = Estimate.of(measured.ece[view]).times(100)
    return f"{estimate.value:.1f} <small>{estimate.low:.1f} to {estimate.high:.1f}</small>"


def _milliseconds(measured: Measured, step: str) -> str:
    return f"{1000 * measured.seconds[step]:.2f} ms" if step in measured.seconds else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _pictures(pictures: Mapping[str, Figure], kind: str) -> list[str]:
    return [_picture(picture) for name, picture in pictures.items() if name.startswith(kind)]


def _picture(picture: Figure) -> str:
    data = io.BytesIO()
    picture.savefig(data, format="png", dpi=110)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
