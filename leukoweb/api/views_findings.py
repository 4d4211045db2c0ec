"""Findings of red cells, white cells, platelets and parasites for programs: a thin view over review.findings."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.api.serializers import Refusal
from leukoweb.api.views_cases import RoleView, visible_case
from leukoweb.audit.services import record_read
from leukoweb.review.findings.asked import FindingsAnswer, FindingsRequest, answer_of
from leukoweb.review.findings.marking import mark_findings


class CaseFindings(RoleView):
    actions = RoleView.actions | {"POST": "relabel_cell"}

    @extend_schema(responses={200: FindingsAnswer, 404: Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """Every finding that can be marked, with its values, and what is marked now."""
        case = visible_case(request, pk=pk)
        record_read(request._request, case, case)
        return Response(answer_of(case))

    @extend_schema(
        request=FindingsRequest,
        responses={200: FindingsAnswer, 400: Refusal, 403: Refusal, 404: Refusal, 409: Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Mark findings in one step, all or none; an empty value takes one back."""
        case = visible_case(request, pk=pk)
        asked = FindingsRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        mark_findings(case, asked.marks(), by=request.user, step=asked.validated_data.get("key"))
        return Response(answer_of(case))
