"""The classes of the survey: each a function that draws one object on a sight line."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.survey.classes.active import agn
from training.survey.classes.cataclysmic import dwarf_nova
from training.survey.classes.core_collapse import type_ii
from training.survey.classes.disruption import tde
from training.survey.classes.eclipsing import eclipsing_binary
from training.survey.classes.faint_transients import cart, ilot
from training.survey.classes.flares import mdwarf_flare
from training.survey.classes.merger import kilonova
from training.survey.classes.microlensing import microlens
from training.survey.classes.peculiar_thermonuclear import type_91bg, type_iax
from training.survey.classes.pulsating import cepheid, delta_scuti, rr_lyrae
from training.survey.classes.source import Physics
from training.survey.classes.stripped_envelope import type_ibc, type_iib
from training.survey.classes.superluminous import pisn, slsn
from training.survey.classes.thermonuclear import type_ia


@dataclass(frozen=True)
class SurveyClass:
    """A class of the taxonomy: its physics, and its share of the objects against the others'."""

    physics: Physics
    weight: float = 1.0
    once: bool = False
    """Whether one detection makes an object, for light that is gone before the next visit."""


CLASSES: Mapping[int, SurveyClass] = {
    2221: SurveyClass(type_iib),
    2222: SurveyClass(type_ia),
    2223: SurveyClass(type_ibc),
    2224: SurveyClass(type_ii),
    2225: SurveyClass(type_iax),
    2226: SurveyClass(type_91bg),
    # Scarce, and found by one detection: a day later it is too faint.
    2232: SurveyClass(kilonova, weight=0.1, once=True),
    # Scarce, and found by one detection, in ELAsTiCC too: 20 of 27 real ones (SNANA, ELASTICC2_TRAIN_01) have no more.
    2233: SurveyClass(mdwarf_flare, weight=0.1, once=True),
    2234: SurveyClass(dwarf_nova),
    2235: SurveyClass(microlens),
    2242: SurveyClass(slsn),
    2243: SurveyClass(tde),
    2244: SurveyClass(ilot),
    2245: SurveyClass(cart, weight=0.1),  # scarce in ELAsTiCC, too
    2246: SurveyClass(pisn),
    2322: SurveyClass(cepheid),
    2323: SurveyClass(rr_lyrae),
    2324: SurveyClass(delta_scuti),
    2325: SurveyClass(eclipsing_binary),
    2332: SurveyClass(agn),
}
"""By class id."""
