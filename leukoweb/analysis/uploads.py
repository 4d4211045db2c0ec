"""The one service from files to a queued slide, used by page, resumable upload and API."""

from collections.abc import Iterable
from contextlib import suppress

from django.core.files import File
from django.db import transaction
from django.utils.translation import gettext_lazy

from leukoweb.accounts.models import User
from leukoweb.analysis.services import submit_slide
from leukoweb.cases.intake import DEMONSTRATION, DISK_FULL, IN_THIS_CASE, Landed, RefusedFile, image_of, landed, sift
from leukoweb.cases.models import REJECTED, SIGNED, WITHDRAWN, Case, Slide, SlideImage
from leukoweb.cases.retention import remove_unused_originals
from leukoweb.cases.store import StoreAway, hashes_locked, keep_original, prepare_original
from leukoweb.places import DISK_FULL_ERRORS
from leukoweb.refusals import Refused

CLOSED = {
    REJECTED: gettext_lazy("The specimen of this case was rejected: register a new case for the new specimen."),
    SIGNED: gettext_lazy(
        "The report of this case is signed: a pathologist must open an amendment before images can be added."
    ),
    WITHDRAWN: gettext_lazy(
        "The report of this case is withdrawn: a pathologist must open an amendment before images can be added."
    ),
}


def accept_upload(
    case: Case,
    files: Iterable[File],
    *,
    by: User,
    label: str = "",
    um_per_px: float | None = None,
    attribution: str = "",
    arrived: Iterable[Landed] = (),
    stopped: Iterable[RefusedFile] = (),
) -> tuple[Slide | None, list[RefusedFile]]:
    """Take files into a case as one slide and queue its analysis; every file is an image of it or is refused.

    `arrived` are files that came in pieces, `stopped` those that already failed while they streamed. No slide is made
    where no file was good.
    """
    require_open(case)
    with landed(files) as (whole, refused):
        own, borrowed = _apart([*whole, *arrived], case)
        slide, good = None, own
        bad: list[RefusedFile] = []
        try:
            good, bad = sift(own, known=_hashes(case))
            if good:
                slide, late = _store(case, good, label=label, um_per_px=um_per_px, by=by, attribution=attribution)
                bad += late
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS:
                raise
            bad += [RefusedFile(file.name, DISK_FULL, file.position) for file in good]
        refused = [*stopped, *refused, *borrowed, *bad]
    return slide, sorted(refused, key=lambda one: one.position)


def _store(
    case: Case, good: list[Landed], *, label: str, um_per_px: float | None, by: User, attribution: str
) -> tuple[Slide | None, list[RefusedFile]]:
    """Store originals and rows together; whatever ends this early, no original stays without a row."""
    images = {file.sha256: image_of(file, um_per_px=um_per_px) for file in good}
    try:
        for file in good:
            prepare_original(file.path, file.sha256)
        with hashes_locked(images):
            for file in good:
                keep_original(file.path, file.sha256)
            with transaction.atomic():
                # The lock makes a double click wait, and then find its pictures already here.
                locked = Case.objects.locked(case.pk)
                require_open(locked)
                known = _hashes(locked)
                new = [image for sha256, image in images.items() if sha256 not in known]
                refused = [RefusedFile(f.name, IN_THIS_CASE, f.position) for f in good if f.sha256 in known]
                _warn_of_other_patients(locked, new)
                if not new:
                    return None, refused
                slide = submit_slide(locked, images=new, label=label, by=by, attribution=attribution)
    except BaseException:
        with suppress(StoreAway), hashes_locked(images):
            remove_unused_originals(images)
        raise
    return slide, refused


def _apart(files: list[Landed], case: Case) -> tuple[list[Landed], list[RefusedFile]]:
    """Tell a patient's pictures from those of a demonstration, which never leave the demonstration."""
    if case.is_demonstration:
        return files, []
    hashes = [file.sha256 for file in files]
    shown = set(SlideImage.objects.of_demonstrations().filter(sha256__in=hashes).values_list("sha256", flat=True))
    refused = [RefusedFile(file.name, DEMONSTRATION, file.position) for file in files if file.sha256 in shown]
    return [file for file in files if file.sha256 not in shown], refused


def _warn_of_other_patients(case: Case, images: list[SlideImage]) -> None:
    """Say on both sides where a picture is in the case of another patient of this laboratory too."""
    same = SlideImage.objects.filter(
        sha256__in=[image.sha256 for image in images], slide__case__laboratory_id=case.laboratory_id
    ).exclude(slide__case__patient_id=case.patient_id)
    new = {image.sha256: image for image in images}
    for other in same.select_related("slide__case"):
        for image, where in ((new[other.sha256], other.slide.case), (other, case)):
            sentence = f"The same picture is in case {where} of another patient: check to whom it belongs."
            if sentence not in image.warning:
                image.warning = f"{image.warning} {sentence}".strip()
        other.save(update_fields=["warning"])


def require_open(case: Case) -> None:
    """Refuse where the case takes no images."""
    state = Case.objects.with_state().values_list("state", flat=True).get(pk=case.pk)
    if state in CLOSED:
        raise Refused(CLOSED[state], code="case_closed")


def _hashes(case: Case) -> set[str]:
    return set(SlideImage.objects.filter(slide__case=case).values_list("sha256", flat=True))
