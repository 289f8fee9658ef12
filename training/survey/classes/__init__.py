"""The classes of the survey: each a function that draws one object on a sight line."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.survey.classes.active import agn
from training.survey.classes.cataclysmic import dwarf_nova
from training.survey.classes.core_collapse import type_ii
from training.survey.classes.eclipsing import eclipsing_binary
from training.survey.classes.flares import mdwarf_flare
from training.survey.classes.microlensing import microlens
from training.survey.classes.pulsating import cepheid, delta_scuti, rr_lyrae
from training.survey.classes.source import Physics
from training.survey.classes.thermonuclear import type_ia


@dataclass(frozen=True)
class SurveyClass:
    """A class of the taxonomy: its physics, and its share of the objects against the others'."""

    physics: Physics
    weight: float = 1.0
    once: bool = False
    """Whether one detection makes an object, for light that is gone before the next visit."""


CLASSES: Mapping[int, SurveyClass] = {
    2222: SurveyClass(type_ia),
    2224: SurveyClass(type_ii),
    # Scarce, and found by one detection, in ELAsTiCC too: 20 of 27 real ones (SNANA, ELASTICC2_TRAIN_01) have no more.
    2233: SurveyClass(mdwarf_flare, weight=0.1, once=True),
    2234: SurveyClass(dwarf_nova),
    2235: SurveyClass(microlens),
    2322: SurveyClass(cepheid),
    2323: SurveyClass(rr_lyrae),
    2324: SurveyClass(delta_scuti),
    2325: SurveyClass(eclipsing_binary),
    2332: SurveyClass(agn),
}
"""By class id."""
