"""The JSON of the tab “Red cells & platelets”; thin over review.findings, which decides what may be marked."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.cases.models import Case
from leukoweb.given import json_of
from leukoweb.refusals import Refused
from leukoweb.review.findings.asked import FindingsRequest, UndoRequest, answer_of
from leukoweb.review.findings.marking import mark_findings, undo_findings
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
