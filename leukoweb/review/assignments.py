"""Who works on a case: assigned, taken over or released by any reader of the laboratory, each recorded."""

from django.db import transaction
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.models import Assignment
from leukoweb.review.reports.signing import CLOSED


def assign_case(case: Case, *, to: User | None, by: User) -> User | None:
    """Give an open case to a reader, or to nobody; return who had it.

    Before: the case is open, the reader reads cases of its laboratory. After: one Assignment, or none.
    """
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        if case.state in CLOSED:
            raise Refused(gettext("This case is closed: there is nothing to assign."), code="case_closed")
        if to is not None and (to.laboratory_id != case.laboratory_id or not to.can("relabel_cell")):
            raise Refused(gettext("Only a reader of this laboratory can be assigned."), "reader")
        before = Assignment.objects.filter(case=case).select_related("reader").first()
        had = before.reader if before else None
        if had == to:
            return had
        if to is None:
            Assignment.objects.filter(case=case).delete()
        else:
            Assignment.objects.update_or_create(case=case, defaults={"reader": to})
        record("case.assign", actor=by, obj=case, case=case, changes={"reader": [str(had or ""), str(to or "")]})
    return had
