"""Set one slide of a case aside, so that a slide that cannot be read does not block its case, and take it back.

A slide set aside is counted in no figure and named on the report; its files and cells stay as they are.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Run
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Slide
from leukoweb.cases.services import open_case
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason


def set_slide_aside(slide: Slide, *, by: User, reason: str) -> None:
    """Leave a slide out of its case. Before: its analysis failed, the case is open. After: no figure counts it."""
    reason = checked_reason(reason, gettext("Enter why the slide is set aside: it is printed on the report."))
    with transaction.atomic():
        open_case(slide.case)
        slide = Slide.objects.select_related("case").get(pk=slide.pk)
        if slide.set_aside_at:
            raise Refused(gettext("This slide is already set aside."), code="wrong_state")
        if not Run.objects.filter(slide=slide, is_shadow=False, state=Run.State.FAILED).exists():
            raise Refused(gettext("Only a slide whose analysis failed can be set aside."), code="wrong_state")
        leave_out(slide, by=by, reason=reason)


def leave_out(slide: Slide, *, by: User, reason: str) -> None:
    """Write that a slide is set aside; the caller holds the case's row and has checked what must be so before."""
    slide.set_aside_at, slide.set_aside_by, slide.set_aside_reason = timezone.now(), by, reason
    slide.save(update_fields=["set_aside_at", "set_aside_by", "set_aside_reason"])
    Case.objects.filter(pk=slide.case_id).forget_flags()
    record("slide.set_aside", actor=by, obj=slide, case=slide.case, changes={"reason": reason})


def include_slide(slide: Slide, *, by: User) -> None:
    """Take a slide back into its case. Before: it is set aside, the case is open."""
    with transaction.atomic():
        open_case(slide.case)
        slide = Slide.objects.select_related("case").get(pk=slide.pk)
        if not slide.set_aside_at:
            raise Refused(gettext("This slide is not set aside."), code="wrong_state")
        reason = slide.set_aside_reason
        slide.set_aside_at, slide.set_aside_by, slide.set_aside_reason = None, None, ""
        slide.save(update_fields=["set_aside_at", "set_aside_by", "set_aside_reason"])
        Case.objects.filter(pk=slide.case_id).forget_flags()
        record("slide.include", actor=by, obj=slide, case=slide.case, changes={"reason": [reason, ""]})
