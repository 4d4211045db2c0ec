"""The tab “Red cells & platelets”: its JSON, and the detector's count as help; thin over review.findings."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.analysis.crops import picture_of
from leukoweb.analysis.models import FilmImage, ImageResult
from leukoweb.analysis.views import picture_answer
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.given import json_of
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import CLOSED
from leukoweb.review.counting.policies import Rules
from leukoweb.review.findings.asked import FindingsRequest, UndoRequest, answer_of
from leukoweb.review.findings.detected import accept, detected_of, is_wanted
from leukoweb.review.findings.marking import mark_findings, undo_findings
from leukoweb.review.findings.table import ADEQUACY, GRADINGS
from leukoweb.review.models import Finding
from leukoweb.sentences import translated


@requires("relabel_cell")
@require_http_methods(["GET", "POST"])
def case_findings(request: HttpRequest, pk: int) -> JsonResponse:
    """The findings of a case; by POST they are marked, {"key", "findings"}, or taken back, {"key", "undo"}."""
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    if request.method == "POST":
        if request.headers.get("X-LeukoWeb-Reader", str(request.user.pk)) != str(request.user.pk):
            raise Refused(gettext("Somebody else has signed in since: sign in as yourself in another tab."),
                          code="not_signed_in")  # fmt: skip
        given = json_of(request.body or b"{}")
        undo, asked = UndoRequest(data=given), FindingsRequest(data=given)
        if undo.is_valid():
            undo_findings(case, by=request.user, step=undo.validated_data["key"])
        elif asked.is_valid():
            mark_findings(case, asked.marks(), by=request.user, step=asked.validated_data.get("key"))
        else:
            raise Refused(gettext("The findings could not be read, and none was stored. Load the page again."))
    answer = answer_of(case)
    return JsonResponse({"groups": [_told(group) for group in answer["groups"]]})


def _told(known: dict[str, Any]) -> dict[str, Any]:
    """Return a group or a finding with its words in the language of the page."""
    words = {
        "name": translated(known["name"]),
        "values": {value: translated(word) for value, word in known["values"].items()},
        "counted_per": translated(known["counted_per"]),
    }
    return known | words | ({"items": [_told(item) for item in known["items"]]} if "items" in known else {})


@requires("read_cases")
@require_GET
def finding_picture(request: HttpRequest, pk: int, x1: int, y1: int, x2: int, y2: int) -> HttpResponseBase:
    """Send the part of an image that somebody chose for a finding, and no other part."""
    living = SlideImage.objects.visible_to(request.user).filter(expired_at=None)
    image = get_object_or_404(living.select_related("slide"), pk=pk)
    chosen = Finding.objects.filter(case=image.slide.case_id).values_list("pictures", flat=True)
    if not any([pk, x1, y1, x2, y2] in pictures for pictures in chosen):
        raise Http404
    result = ImageResult.objects.filter(image=image, run__is_shadow=False).first()
    path = picture_of(image, (x1, y1, x2, y2), um_per_px=result.um_per_px if result else None)
    return picture_answer(request, path)


@requires("read_cases")
@require_GET
def case_film(request: HttpRequest, pk: int) -> HttpResponse:
    """What the detector counted of red cells and platelets, as help; empty where the laboratory does not want it."""
    case = get_object_or_404(Case.objects.visible_to(request.user).with_state(), pk=pk)
    return render(request, "review/_film_count.html", film_context(case))


@requires("relabel_cell")
@require_POST
def case_film_accept(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark the platelets as this person sees them, with the detector's figure as the note; show the panel again."""
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    problem = ""
    try:
        accept(case, request.POST.get("value", ""), by=request.user)
    except Refused as refused:
        problem = str(refused)
    case = Case.objects.with_state().get(pk=pk)
    answer = render(request, "review/_film_count.html", film_context(case) | {"problem": problem})
    answer["HX-Trigger"] = "findings-changed"
    return answer


def film_context(case: Case, rules: Rules | None = None) -> dict[str, Any]:
    """What the panel of the detector's count needs; the case has its state."""
    return {
        "case": case,
        "film": detected_of(case, rules),
        "film_is_open": case.state not in CLOSED,
        "film_values": [(value, translated(word)) for value, word in GRADINGS[ADEQUACY].items()],
    }


@requires("read_cases")
@require_GET
def slide_elements(request: HttpRequest, pk: int) -> JsonResponse:
    """The boxes of red cells and platelets of a slide, by image; none where the laboratory does not want them."""
    slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
    images = FilmImage.objects.counted().filter(image__slide=slide) if is_wanted(slide.case.laboratory_id) else []
    return JsonResponse({"images": {own.image_id: own.boxes for own in images}})
