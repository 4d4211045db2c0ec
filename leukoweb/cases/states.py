"""The derived states of a case and the condition of each: the one file here that names tables of rooms above."""

from functools import cache
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy

ORDERED, REGISTERED, REJECTED = "ordered", "registered", "rejected"
FAILED, RUNNING, QUEUED = "failed", "running", "queued"
TO_REVIEW, TO_SIGN, SIGNED, AMENDING = "to_review", "to_sign", "signed", "amending"
WITHDRAWN = "withdrawn"
STATES = {
    ORDERED: gettext_lazy("Ordered, no slide yet"),
    REGISTERED: gettext_lazy("Registered, no slide yet"),
    QUEUED: gettext_lazy("Queued for analysis"),
    RUNNING: gettext_lazy("Analysing"),
    FAILED: gettext_lazy("Analysis failed"),
    TO_REVIEW: gettext_lazy("To review"),
    TO_SIGN: gettext_lazy("To sign"),
    SIGNED: gettext_lazy("Signed"),
    AMENDING: gettext_lazy("Amendment open"),
    WITHDRAWN: gettext_lazy("Report withdrawn"),
    REJECTED: gettext_lazy("Specimen rejected"),
}


@cache
def conditions_of(case: type[models.Model]) -> dict[str, Any]:
    """The states with their conditions: the first that a case fulfils is its state; without any it is TO_REVIEW.

    Do not change what it returns: it is made once.
    Each condition asks the rows that point at the case, by their index, and never joins the case with itself.
    """

    def has(relation: str, **fields: Any) -> Exists:
        # Found by its name: some are of rooms above.
        model = case._meta.get_field(relation).related_model
        return Exists(model._base_manager.filter(case=OuterRef("pk"), **fields))

    runs = {
        state: has("slides", set_aside_at=None, runs__state=state, runs__is_shadow=False)
        for state in (FAILED, RUNNING, QUEUED)
    }
    has_slides = has("slides", set_aside_at=None)
    return {
        REJECTED: models.Q(rejected_at__isnull=False),
        AMENDING: has("reports", state="draft", version__gt=1),
        WITHDRAWN: has("reports", withdrawal__isnull=False, amended_by__isnull=True),
        SIGNED: has("reports", state="signed"),
        FAILED: runs[FAILED],
        RUNNING: runs[RUNNING],
        QUEUED: runs[QUEUED],
        ORDERED: models.Q(~has_slides, ordered_at__isnull=False),
        REGISTERED: ~has_slides,
        TO_SIGN: has("hand_overs", returned_at__isnull=True),
    }
