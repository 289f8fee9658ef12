"""The classes of the survey: each a function that draws one object on a sight line."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.survey.classes.active import agn
from training.survey.classes.core_collapse import type_ii
from training.survey.classes.pulsating import rr_lyrae
from training.survey.classes.source import Physics
from training.survey.classes.thermonuclear import type_ia


@dataclass(frozen=True)
class SurveyClass:
    """A class of the taxonomy: its physics, and its share of the objects against the others'."""

    physics: Physics
    weight: float = 1.0


CLASSES: Mapping[int, SurveyClass] = {
    2222: SurveyClass(type_ia),
    2224: SurveyClass(type_ii),
    2323: SurveyClass(rr_lyrae),
    2332: SurveyClass(agn),
}
"""By class id."""
