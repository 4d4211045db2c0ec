"""Pixels and progress: originals, viewer tiles, cell pictures, and how far a slide's analysis is.

People's decisions are left to the review room.
"""

import os
from pathlib import Path

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.analysis import services
from leukoweb.analysis.crops import crop_path, picture_of
from leukoweb.analysis.models import Cell, FilmImage, ImageResult, Run
from leukoweb.analysis.regions import regions_asked
from leukoweb.analysis.set_aside import include_slide, set_slide_aside
from leukoweb.analysis.slide_tiles import tile_path
from leukoweb.answers import refusal_shown
from leukoweb.audit.services import record
from leukoweb.cases.copies import local_original
from leukoweb.cases.intake import plausible_um_per_px
from leukoweb.cases.models import Slide, SlideImage
from leukoweb.given import whole_number
from leukoweb.numbers import number
from leukoweb.refusals import Refused

CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "BMP": "image/bmp", "TIFF": "image/tiff"}


@requires("read_cases")
@require_GET
def image_original(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send an original unchanged, as a download under a neutral name; this read is recorded."""
    image = get_object_or_404(_living(request).select_related("slide__case"), pk=pk)
    name = f"slide-{image.slide_id}-image-{image.position + 1}.{image.ending}"
    answer = picture_answer(
        request, local_original(image.sha256), CONTENT_TYPES.get(image.format, "application/octet-stream")
    )
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "private, no-store"
    record("image.download", actor=request.user, obj=image, case=image.slide.case)
    return answer


@requires("read_cases")
@require_GET
def image_tile(request: HttpRequest, pk: int, level: int, column: int, row: int) -> HttpResponseBase:
    """Send one Deep Zoom tile."""
    image = get_object_or_404(_living(request), pk=pk)
    return picture_answer(request, tile_path(image, level, column, row))


@requires("read_cases")
@require_GET
def cell_crop(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the small picture of a cell, every cell at the same magnification."""
    return _crop(request, pk, around=False)


@requires("read_cases")
@require_GET
def cell_around(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the picture of a cell with its neighbours."""
    return _crop(request, pk, around=True)


@requires("read_cases")
@require_GET
def clump_crop(request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
    """Send the picture of a clump of platelets with its neighbours."""
    own = get_object_or_404(
        FilmImage.objects.visible_to(request.user).filter(image__expired_at=None).select_related("image"), pk=pk
    )
    if number >= len(own.clumps):
        raise Http404
    _, x1, y1, x2, y2 = own.clumps[number]
    return picture_answer(request, picture_of(own.image, (x1, y1, x2, y2), um_per_px=own.um_per_px))


@requires("read_cases")
@require_GET
def slide_progress(request: HttpRequest, pk: int) -> HttpResponse:
    """Show how far the analysis is; the fragment asks again by itself only while there is something to wait for."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user), pk=pk)
    shown = progress_of(slide)
    answer = render(request, "analysis/_slide_progress.html", shown)
    if not shown["is_waiting"]:  # done or failed
        answer["HX-Trigger"] = "slide-done"  # the page then exchanges its live part, without being loaded again
    return answer


@requires("upload_slide")
@require_POST
def slide_retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Queue a failed analysis again."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user), pk=pk)
    if services.retry_run(_counted_run(slide), by=request.user):
        messages.info(request, gettext("The slide is queued for analysis again."))
    return redirect("slide_detail", pk=pk)


@requires("upload_slide")
@require_POST
def slide_stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop an analysis that waits or works."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user), pk=pk)
    if services.stop_run(_counted_run(slide), by=request.user):
        messages.info(request, gettext("Analysis stopped."))
    return redirect("slide_detail", pk=pk)


@requires("upload_slide")
@require_POST
def slide_set_aside(request: HttpRequest, pk: int) -> HttpResponse:
    """Leave a slide that cannot be read out of its case, with a reason."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
    with refusal_shown(request):
        set_slide_aside(slide, by=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, gettext("%(slide)s is set aside; the report names it.") % {"slide": slide})
    return redirect("case_detail", slide.case_id)


@requires("upload_slide")
@require_POST
def slide_include(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a slide that was set aside back into its case."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
    with refusal_shown(request):
        include_slide(slide, by=request.user)
        messages.success(request, gettext("%(slide)s is part of the case again.") % {"slide": slide})
    return redirect("case_detail", slide.case_id)


@requires("upload_slide")
@require_POST
def slide_scale(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a slide read again at the scale that the reader states."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case__laboratory"), pk=pk)
    try:
        um_per_px = plausible_um_per_px(request.POST.get("um_per_px", ""))
        if um_per_px is None:
            messages.error(request, gettext("Enter the scale in micrometres per pixel, such as 0.1."))
        else:
            services.reread_slide(
                slide, um_per_px=um_per_px, by=request.user, leave_labels="leave_labels" in request.POST
            )
            messages.info(
                request,
                gettext("The slide is queued again at %(um_per_px)s µm per pixel.")
                % {"um_per_px": number(um_per_px, "g")},
            )
    except (ValueError, Refused) as refused:
        messages.error(request, str(refused))
    return redirect("slide_detail", pk=pk)


@requires("upload_slide")
@require_POST
def slide_reread(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a slide read again by the detector version that is active now."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case__laboratory"), pk=pk)
    with refusal_shown(request):
        services.reread_slide(slide, by=request.user, leave_labels="leave_labels" in request.POST)
        messages.info(
            request, gettext("The slide is queued for the active detector. Its former cells are kept but not counted.")
        )
    return redirect("slide_detail", pk=pk)


@requires("upload_slide")
@require_POST
def slide_regions(request: HttpRequest, pk: int) -> HttpResponse:
    """Have drawn regions of a whole slide read in place of what was read, or its monolayer again."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case__laboratory"), pk=pk)
    with refusal_shown(request):
        image = slide.images.filter(pk=whole_number(request.POST.get("image"))).first()
        regions: list[list[int]] = []
        if "monolayer" not in request.POST:
            regions = regions_asked(image, request.POST.get("regions", ""))
        services.reread_slide(slide, by=request.user, leave_labels="leave_labels" in request.POST, regions=regions)
        messages.info(request, gettext("The slide is queued again. Its former cells are kept but not counted."))
    return redirect("slide_detail", pk=pk)


def progress_of(slide: Slide) -> dict:
    """What the progress fragment shows."""
    run = _counted_run(slide)
    is_waiting = run.state in (Run.State.QUEUED, Run.State.RUNNING)
    return {
        "slide": slide,
        "run": run,
        "is_waiting": is_waiting,
        "percent": round(100 * run.progress),
        "sentence": services.progress_sentence(run) if is_waiting else "",
        "before": services.runs_before(run) if run.state == Run.State.QUEUED else 0,
    }


def _counted_run(slide: Slide) -> Run:
    return get_object_or_404(Run, slide=slide, is_shadow=False)


def _living(request: HttpRequest) -> QuerySet[SlideImage]:
    """The images whose pixels did not expire: another machine may still have copies of those that did."""
    return SlideImage.objects.visible_to(request.user).filter(expired_at=None)


def _crop(request: HttpRequest, pk: int, around: bool) -> HttpResponseBase:
    scale = ImageResult.objects.filter(run=OuterRef("run"), image=OuterRef("image"))
    cells = Cell.objects.visible_to(request.user).filter(image__expired_at=None).select_related("image")
    cell = get_object_or_404(cells.annotate(um_per_px=Subquery(scale.values("um_per_px")[:1])), pk=pk)
    return picture_answer(request, crop_path(cell, um_per_px=cell.um_per_px, around=around))


def picture_answer(request: HttpRequest, path: Path | None, content_type: str = "image/jpeg") -> HttpResponseBase:
    """Answer with a file whose type we state ourselves.

    The reader's browser may keep it, and asks each time whether it may be shown: after sign-out it may not.
    """
    if path is None:
        raise Http404
    try:
        file = path.open("rb")
    except FileNotFoundError as absent:
        raise Http404 from absent
    found = os.fstat(file.fileno())
    etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    answer = FileResponse(file, content_type=content_type)
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cache-Control"] = "private, no-cache"
    answer["ETag"] = etag
    given = get_conditional_response(request, etag=etag, response=answer)
    if given is not answer:
        file.close()
    return given
