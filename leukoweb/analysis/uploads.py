"""The door from files to a queued slide, used by page, resumable upload and API; it knows no network and no page."""

from django.db import transaction

from leukoweb.analysis.services import submit_slide
from leukoweb.cases.intake import IN_THIS_CASE, RefusedFile, take_in
from leukoweb.cases.models import REJECTED, SIGNED, Case, SlideImage
from leukoweb.refusals import Refused

CLOSED = {
    REJECTED: "The specimen of this case was rejected: register a new case for the new specimen.",
    SIGNED: "The report of this case is signed: a pathologist must open an amendment before images can be added.",
}


def accept_upload(case, files, *, label="", um_per_px=None, by, stopped=()):
    """Take files into a case as one slide and queue its analysis: (Slide or None, list of RefusedFile).

    `stopped` are files that already failed while they streamed. No slide is made where no file was good.
    """
    require_open(case)
    images, refused = take_in(files, known=_hashes(case), um_per_px=um_per_px)
    refused = [*stopped, *refused]
    if not images:
        return None, refused
    with transaction.atomic():
        # The lock makes a double click wait, and then find its pictures already here.
        locked = Case.objects.locked(case.pk)
        require_open(locked)
        known = _hashes(locked)
        refused += [RefusedFile(image.name, IN_THIS_CASE) for image in images if image.sha256 in known]
        images = [image for image in images if image.sha256 not in known]
        slide = submit_slide(locked, images=images, label=label, by=by) if images else None
    return slide, refused


def require_open(case) -> None:
    """Refuse where the case takes no images."""
    state = Case.objects.with_state().values_list("state", flat=True).get(pk=case.pk)
    if state in CLOSED:
        raise Refused(CLOSED[state], code="case_closed")


def _hashes(case) -> set[str]:
    return set(SlideImage.objects.filter(slide__case=case).values_list("sha256", flat=True))
