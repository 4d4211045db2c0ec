"""Phrases that are proposed for the interpretation, for programs: a thin view over review.suggestions."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.api.serializers import Refusal
from leukoweb.api.views_cases import RoleView, visible_case
from leukoweb.audit.services import record_read
from leukoweb.review.suggestions.answering import answer_suggestion
from leukoweb.review.suggestions.asked import AnswerRequest, SuggestionsAnswer, answer_of, answer_of_report


class CaseSuggestions(RoleView):
    actions = RoleView.actions | {"POST": "release_report"}

    @extend_schema(responses={200: SuggestionsAnswer, 404: Refusal, 409: Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """Every phrase that the laboratory's rules propose for the report, and what was answered."""
        case = visible_case(request, pk=pk)
        record_read(request._request, case, case)
        return Response(answer_of(case, by=request.user))

    @extend_schema(
        request=AnswerRequest,
        responses={200: SuggestionsAnswer, 400: Refusal, 403: Refusal, 404: Refusal, 409: Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Accept a phrase, accept it in your own words, or refuse it; what is accepted goes into the interpretation."""
        case = visible_case(request, pk=pk)
        asked = AnswerRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(answer_of_report(answer_suggestion(case, by=request.user, **asked.validated_data)))
