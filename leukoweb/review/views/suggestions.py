"""The answer of the sign page to a proposed phrase; thin over review.suggestions."""

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from leukoweb.accounts.access import requires
from leukoweb.answers import json_answer
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.suggestions.answering import answer_suggestion
from leukoweb.review.suggestions.asked import AnswerRequest


@requires("release_report")
@require_POST
def case_suggestion(request: HttpRequest, pk: int) -> JsonResponse:
    """Accept, edit or refuse one phrase; the interpretation as it is then."""
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=pk)
    asked = AnswerRequest(data=request.POST)
    if not asked.is_valid():
        return json_answer(Refused(gettext("The answer could not be read. Load the page again.")))
    try:
        report = answer_suggestion(case, by=request.user, **asked.validated_data)
    except Refused as refused:
        return json_answer(refused)
    return JsonResponse({"interpretation": report.interpretation})
