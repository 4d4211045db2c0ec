"""The page that takes the images of a slide: files of a form, or files that came in pieces."""

import uuid
from dataclasses import replace

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.analysis.uploads import CLOSED, accept_upload
from leukoweb.cases.intake import NOTHING_WRONG, RefusedFile, plausible_um_per_px
from leukoweb.cases.models import Case, PartialUpload, Slide, SlideImage
from leukoweb.cases.store import StoreAway
from leukoweb.cases.tus import check_whole, forget, landed_of
from leukoweb.refusals import Refused

KEPT = gettext_lazy(
    "The server could not store this file now. It is kept and need not be sent again: press “Upload the slide” later."
)
NOT_WHOLE = gettext_lazy("This file has not come whole, or it was thrown away after a day: upload it again.")


class NotYetChecked(Exception):
    """Only some of the files that came in pieces could be checked in this request: the page sends the form again."""

    def __init__(self, checked: int, of: int) -> None:
        super().__init__(f"{checked} of {of}")
        self.checked, self.of = checked, of


class SlideForm(forms.Form):
    """What is said about a slide besides its images."""

    label = forms.CharField(
        max_length=60,
        required=False,
        label=gettext_lazy("Name of the slide"),
        help_text=gettext_lazy("Such as “1” or “feathered edge”."),
    )
    um_per_px = forms.CharField(
        max_length=20,
        required=False,
        label=gettext_lazy("Scale in µm per pixel"),
        help_text=gettext_lazy("Optional (0.02–1). If blank, read from the file or estimated from red cells."),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    uploads = forms.CharField(required=False, widget=forms.HiddenInput)

    def clean_um_per_px(self) -> float | None:
        """Return the scale, or refuse it in a sentence."""
        try:
            return plausible_um_per_px(self.cleaned_data["um_per_px"])
        except ValueError as implausible:
            raise ValidationError(str(implausible)) from implausible

    def clean_uploads(self) -> list[uuid.UUID]:
        """Return the keys of uploads that came in pieces."""
        field = forms.UUIDField()
        keys = [field.clean(key) for key in self.cleaned_data["uploads"].split()]
        if len(keys) > settings.MOST_IMAGES:
            raise ValidationError(
                gettext(
                    "%(count)s files were chosen and a slide takes at most %(most_images)s: remove some and "
                    "upload them as another slide."
                )
                % {"count": len(keys), "most_images": settings.MOST_IMAGES}
            )
        return keys


@requires("upload_slide")
@require_http_methods(["GET", "POST"])
def slide_upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Take one slide: whatever is good is stored and queued, each other file gets its sentence."""
    cases = Case.objects.visible_to(request.user).with_state().select_related("patient")
    case = get_object_or_404(cases, pk=pk)
    form = SlideForm(request.POST if request.method == "POST" else None)
    slide, problem = None, CLOSED.get(case.state, "")
    refused: list[RefusedFile] = []
    if request.method == "POST" and form.is_valid():
        try:
            slide, refused = _take(request, case, form.cleaned_data)
        except StoreAway:
            raise  # what came in pieces is kept, and sent again as it is
        except Refused as closed:
            problem = str(closed)
        except NotYetChecked as part:
            return JsonResponse({"checked": part.checked, "of": part.of}, status=202)
        else:
            problem = "" if slide or refused else gettext("No file came: choose the pictures of one slide.")
    count = SlideImage.objects.filter(slide=slide).count() if slide else 0
    if request.method == "POST" and "application/json" in request.headers.get("Accept", ""):
        return _as_json(form, slide, count, refused, problem)
    if slide and not refused:
        messages.success(
            request,
            gettext("%(count)s of %(count)s images stored. The slide is queued for analysis.") % {"count": count},
        )
        return redirect("slide_detail", slide.pk)
    unfinished = list(PartialUpload.objects.unfinished_of(request.user))
    context = {
        "case": case,
        "form": form,
        "slide": slide,
        "count": count,
        "refused": refused,
        "refused_count": len(refused),
        "problem": problem,
        "is_closed": case.state in CLOSED,
        "unfinished": unfinished,
        "unfinished_bytes": sum(upload.size_bytes for upload in unfinished),
        "quota_bytes": settings.UPLOAD_QUOTA_BYTES,
        "max_mib": settings.MAX_IMAGE_BYTES // 2**20,
        "max_slide_mib": settings.MAX_SLIDE_BYTES // 2**20,
        "max_files": settings.MOST_IMAGES,
        "page_settings": {
            "endpoint": reverse("tus_create"),
            "max_bytes": settings.MAX_UPLOAD_BYTES,
            "max_files": settings.MOST_IMAGES,
            "case": case.pk,
        },
    }
    is_wrong = request.method == "POST" and not slide
    return render(request, "cases/slide_upload.html", context, status=400 if is_wrong else 200)


def _take(request: HttpRequest, case: Case, asked: dict) -> tuple[Slide | None, list[RefusedFile]]:
    """Hand the files of the form and the finished uploads to `submit_slide`; remove the pieces it took or refused."""
    mine = PartialUpload.objects.unfinished_of(request.user).in_bulk(asked["uploads"])
    parts = [part for part in mine.values() if part.offset == part.size_bytes]
    if unexamined := check_whole(parts, within_s=settings.CHECK_PART_S):
        raise NotYetChecked(len(parts) - unexamined, len(parts))
    sent = request.FILES.getlist("images")
    stopped = list(getattr(request, "stopped_files", []))
    arrived, whole, first = [], {part.pk for part in parts}, len(sent) + len(stopped)
    for position, key in enumerate(asked["uploads"], start=first):
        if key in whole:
            arrived.append(landed_of(mine[key], position))
        else:
            stopped.append(RefusedFile(mine[key].name if key in mine else "image", NOT_WHOLE, position))
    slide, refused = accept_upload(
        case,
        sent,
        label=asked["label"],
        um_per_px=asked["um_per_px"],
        by=request.user,
        arrived=arrived,
        stopped=stopped,
    )
    key_of = {file.position: asked["uploads"][file.position - first] for file in arrived}
    kept = {key_of[one.position] for one in refused if one.position in key_of and one.sentence in NOTHING_WRONG}
    for part in parts:
        if part.pk not in kept:
            forget(part)
    return slide, [replace(one, sentence=KEPT) if key_of.get(one.position) in kept else one for one in refused]


def _as_json(
    form: SlideForm, slide: Slide | None, count: int, refused: list[RefusedFile], problem: str
) -> JsonResponse:
    answer = {
        "slide": reverse("slide_detail", args=[slide.pk]) if slide else None,
        "stored": count,
        "errors": [
            {"name": one.name, "error": one.sentence, "position": one.position, "kept": one.sentence == KEPT}
            for one in refused
        ],
        "problem": problem,
        "fields": {name: sentences[0] for name, sentences in form.errors.items()},
    }
    return JsonResponse(answer)
