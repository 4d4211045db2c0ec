"""How long pixels are kept: images of old cases expire unless a legal hold stands; rows, reports and hashes never do.

Detectors and reports are left alone.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, SlideImage
from leukoweb.cases.store import hashes_locked, remove_stored
from leukoweb.texts import checked_reason


def set_hold(case: Case, *, by: User, reason: str) -> None:
    """Keep everything of a case whatever its age. Before: any state. After: a legal hold with its reason."""
    _change_hold(case, "case.hold", timezone.now(), by, reason)


def lift_hold(case: Case, *, by: User, reason: str) -> None:
    """Let a case's images expire by age again."""
    _change_hold(case, "case.hold_lifted", None, by, reason)


def expired_images(received_before: datetime) -> QuerySet[SlideImage]:
    """The images whose pixels may go: of cases received before that time, without a legal hold."""
    return SlideImage.objects.filter(
        expired_at=None, slide__case__received_at__lt=received_before, slide__case__held_at=None
    ).select_related("slide__case__laboratory")


def expire_image(image: SlideImage) -> bool:
    """Remove the pixels of one image, keep its row and hash; False when a hold was set meanwhile.

    The row changes first: a stop between the two leaves a file that check_store reports, never a row without its file.
    """
    with hashes_locked([image.sha256]):
        with transaction.atomic():
            case = Case.objects.locked(image.slide.case_id)
            if case.held_at or not SlideImage.objects.filter(pk=image.pk, expired_at=None).update(
                expired_at=timezone.now()
            ):
                return False
            record("image.expire", obj=image, case=case, changes={"sha256": image.sha256})
        remove_unused_originals([image.sha256])
    return True


def remove_unused_originals(hashes: Iterable[str]) -> list[str]:
    """Remove the originals, and what was derived of them, that no living row names; return their hashes.

    Before: the caller holds the hashes (store.hashes_locked). The same picture may belong to a case that needs it.
    """
    hashes = set(hashes)
    used = set(SlideImage.objects.filter(sha256__in=hashes, expired_at=None).values_list("sha256", flat=True))
    removed = sorted(hashes - used)
    for sha256 in removed:
        remove_stored(sha256)
    return removed


def _change_hold(case: Case, action: str, at: datetime | None, by: User, reason: str) -> None:
    reason = checked_reason(reason, gettext("Write the reason: it is kept in the case's history."))
    with transaction.atomic():
        case = Case.objects.locked(case.pk)
        case.held_at, case.hold_reason = at, reason if at else ""
        case.save(update_fields=["held_at", "hold_reason"])
        record(action, actor=by, obj=case, case=case, changes={"reason": reason})
