"""The page that takes the images of a slide: files of a form, or files that came in pieces; it knows no detector."""

from contextlib import ExitStack

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.files import File
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.analysis.uploads import CLOSED, accept_upload
from leukoweb.cases.intake import RefusedFile, plausible_um_per_px
from leukoweb.cases.models import Case, PartialUpload
from leukoweb.cases.tus import forget
from leukoweb.refusals import Refused

NOT_WHOLE = "This file has not come whole, or it was thrown away after a day: upload it again."


class SlideForm(forms.Form):
    """What is said about a slide besides its images."""

    label = forms.CharField(
        max_length=60, required=False, label="Name of the slide", help_text="Such as “1” or “feathered edge”."
    )
    um_per_px = forms.CharField(
        max_length=20,
        required=False,
        label="Scale in µm per pixel",
        help_text="Only if you know it (0.02 to 2). Else it is read from the file or the red cells.",
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    uploads = forms.CharField(required=False, max_length=8000, widget=forms.HiddenInput)

    def clean_um_per_px(self):
        try:
            return plausible_um_per_px(self.cleaned_data["um_per_px"])
        except ValueError as implausible:
            raise ValidationError(str(implausible)) from implausible

    def clean_uploads(self):
        field = forms.UUIDField()
        return [field.clean(key) for key in self.cleaned_data["uploads"].split()][:100]


@requires("upload_slide")
@require_http_methods(["GET", "POST"])
def slide_upload(request, pk):
    """Take one slide: whatever is good is stored and queued, each other file gets its sentence."""
    cases = Case.objects.visible_to(request.user).with_state().select_related("patient")
    case = get_object_or_404(cases, pk=pk)
    form = SlideForm(request.POST if request.method == "POST" else None)
    slide, refused, problem = None, [], CLOSED.get(case.state, "")
    if request.method == "POST" and form.is_valid():
        try:
            slide, refused = _take(request, case, form.cleaned_data)
        except Refused as closed:
            problem = str(closed)
        else:
            problem = "" if slide or refused else "No file came: choose the pictures of one slide."
    if request.method == "POST" and "application/json" in request.headers.get("Accept", ""):
        return _as_json(form, slide, refused, problem)
    if slide and not refused:
        messages.success(request, "The slide is uploaded and waits for the detector.")
        return redirect("slide_detail", slide.pk)
    context = {
        "case": case,
        "form": form,
        "slide": slide,
        "refused": refused,
        "problem": problem,
        "is_closed": case.state in CLOSED,
        "max_mib": settings.MAX_IMAGE_BYTES // 2**20,
        "page_settings": {"endpoint": reverse("tus_create"), "max_bytes": settings.MAX_IMAGE_BYTES, "case": case.pk},
    }
    is_wrong = request.method == "POST" and not slide
    return render(request, "cases/slide_upload.html", context, status=400 if is_wrong else 200)


def _take(request, case, asked):
    """Hand the files of the form and the finished uploads to the one door, and forget the pieces."""
    mine = PartialUpload.objects.filter(owner=request.user, expires_at__gt=timezone.now()).in_bulk(asked["uploads"])
    parts = [mine[key] for key in asked["uploads"] if key in mine and mine[key].offset == mine[key].size_bytes]
    stopped = list(getattr(request, "stopped_files", []))
    names = {part.pk for part in parts}
    stopped += [
        RefusedFile(mine[key].name if key in mine else "image", NOT_WHOLE)
        for key in asked["uploads"]
        if key not in names
    ]
    with ExitStack() as opened:
        whole = [File(opened.enter_context(part.path.open("rb")), name=part.name) for part in parts]
        slide, refused = accept_upload(
            case,
            [*request.FILES.getlist("images"), *whole],
            label=asked["label"],
            um_per_px=asked["um_per_px"],
            by=request.user,
            stopped=stopped,
        )
    for part in parts:
        forget(part)
    return slide, refused


def _as_json(form, slide, refused, problem):
    answer = {
        "slide": reverse("slide_detail", args=[slide.pk]) if slide else None,
        "errors": [{"name": one.name, "error": one.sentence} for one in refused],
        "problem": problem,
        "fields": {name: sentences[0] for name, sentences in form.errors.items()},
    }
    return JsonResponse(answer)
