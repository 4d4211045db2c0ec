"""Cells, decisions, the differential and the report for programs: thin views over the services of review."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.analysis.models import Cell
from leukoweb.api import serializers as forms
from leukoweb.api.views_cases import Pages, RoleView, _checked, visible_case
from leukoweb.audit.services import record, record_read
from leukoweb.cases.models import SIGNED, WITHDRAWN, Case, Slide
from leukoweb.refusals import Refused
from leukoweb.review.cells.asked import DecisionRequest
from leukoweb.review.cells.decisions import relabel_cell
from leukoweb.review.counting.differential import Row
from leukoweb.review.counting.table import Line, lines_of
from leukoweb.review.counting.words import printed
from leukoweb.review.models import Decision, Report, with_labels
from leukoweb.review.reports.files import without_cells
from leukoweb.review.reports.page import page_of, shown_content
from leukoweb.review.reports.printing import pdf_of, rejection_pdf
from leukoweb.review.reports.rejection import rejection_of
from leukoweb.review.reports.verification import is_reviewed, status_of
from leukoweb.review.services import count_case, current_policy, verification_of_count


class SlideCells(RoleView):
    @extend_schema(
        parameters=[OpenApiParameter("page", OpenApiTypes.INT), OpenApiParameter("page_size", OpenApiTypes.INT)],
        responses={200: forms.CellPage, 404: forms.Refusal},
    )
    def get(self, request: Request, pk: int) -> Response:
        """The cells of a slide in pages: `count`, `next`, `previous`, `results`."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        cells = with_labels(Cell.objects.filter(run__slide=slide).counted()).order_by("pk")
        pages = Pages()
        shown = pages.paginate_queryset(cells, request)
        record_read(request, slide, slide.case)
        return pages.get_paginated_response(forms.CellSerializer(shown, many=True).data)


class CellDecisions(RoleView):
    actions = RoleView.actions | {"POST": "relabel_cell"}

    @extend_schema(responses={200: forms.DecisionSerializer(many=True), 404: forms.Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """Everything that people decided about a cell, first to last."""
        decisions = Decision.objects.filter(cell=_visible_cell(request, pk)).select_related("decided_by").order_by("pk")
        return Response(forms.DecisionSerializer(decisions, many=True).data)

    @extend_schema(
        request=DecisionRequest,
        responses={201: forms.DecisionSerializer, 400: forms.Refusal, 404: forms.Refusal, 409: forms.Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Give a cell a label; the label it has already confirms it."""
        cell = _visible_cell(request, pk)
        asked = _checked(DecisionRequest, request.data)
        seen = asked.get("seen_decision")
        if seen is None:
            # Nothing was said to be seen: another reader's decision is not overwritten unseen.
            last = Decision.objects.filter(cell=cell).order_by("pk").last()
            seen = last.pk if last and last.decided_by_id == request.user.pk else 0
        decision = relabel_cell(
            cell,
            to=asked["code"],
            by=request.user,
            reason=asked.get("reason", ""),
            seen_decision_id=seen,
        )
        return Response(forms.DecisionSerializer(decision).data, status=201)


class CaseDifferential(RoleView):
    @extend_schema(responses={200: forms.DifferentialSerializer, 404: forms.Refusal})
    def get(self, request: Request, **case: Any) -> Response:
        """The differential of a case as its cells are labelled now, by the laboratory's policy."""
        case = visible_case(request, **case)
        if case.rejected_at:
            raise Refused(
                gettext("The specimen of this case was rejected: there is no differential."), code="case_closed"
            )
        record_read(request, case, case)
        return Response(forms.DifferentialSerializer(_differential(case)).data)


class CaseReport(RoleView):
    @extend_schema(responses={200: OpenApiTypes.OBJECT, 404: forms.Refusal})
    def get(self, request: Request, **case: Any) -> Response:
        """The newest report of a case: as it was signed, or as the case is now and then marked preliminary."""
        case = visible_case(request, **case)
        if case.rejected_at:
            record("report.export", actor=request.user, obj=case, case=case, changes={"format": "json"})
            return Response(rejection_of(case))
        report = _newest_report(case)
        answer = without_cells(report, shown_content(report))
        record("report.export", actor=request.user, obj=report if report.pk else report.case, case=report.case,
               changes={"format": "json"})  # fmt: skip
        return Response(answer)


class JsonWhateverWasAsked(DefaultContentNegotiation):
    """Refusals are JSON, also for a client that accepts PDF only."""

    def select_renderer(
        self, request: Request, renderers: list, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class CaseReportPdf(RoleView):
    content_negotiation_class = JsonWhateverWasAsked

    @extend_schema(
        responses={
            (200, "application/pdf"): OpenApiTypes.BINARY,
            (404, "application/json"): forms.Refusal,
            (503, "application/json"): forms.Refusal,
        }
    )
    def get(self, request: Request, **case: Any) -> Response:
        """The same report as a PDF."""
        case = visible_case(request, **case)
        report = Report(case=case) if case.rejected_at else _newest_report(case)
        place = f"/reports/{report.pk}/" if report.pk else f"/cases/{case.pk}/"
        if case.rejected_at:
            pdf = rejection_pdf(rejection_of(case), request.build_absolute_uri(f"{place}rejection/"))
            name = f"rejection-case-{case.pk}.pdf"
        else:
            pdf = pdf_of({**page_of(report, shown_content(report)), "address": request.build_absolute_uri(place)})
            name = f"report-case-{case.pk}-v{report.version}.pdf"
        record("report.export", actor=request.user, obj=report if report.pk else case, case=case,
               changes={"format": "pdf"})  # fmt: skip
        response = HttpResponse(pdf, content_type="application/pdf")
        response["Content-Disposition"] = f'inline; filename="{name}"'
        return response


def _visible_cell(request: Request, pk: int) -> Cell:
    return get_object_or_404(Cell.objects.visible_to(request.user), pk=pk)


def _newest_report(case: Case) -> Report:
    """The newest version of a case's report, with an open one first; an unsaved draft where there is none."""
    reports = Report.objects.filter(case=case).select_related("amends", "signed_by").order_by("-version")
    report = reports.filter(state=Report.State.SIGNED).first() or reports.first() or Report(case=case)
    report.case = case
    return report


def _differential(case: Case) -> dict:
    count, policy = count_case(case), current_policy(case.laboratory)
    differential = count.differential
    verification = verification_of_count(count)
    state = Case.objects.with_state().values_list("state", flat=True).get(pk=case.pk)
    lines = {line["key"]: line for line in lines_of(differential.as_dict(), differential.rules.as_dict())}
    return {
        "cells": {row.key: _row(row) | _as_printed(lines[row.key], row) for row in differential.rows},
        "printed": {row.key: _printed(row, differential.rules.decimals) for row in differential.rows},
        "total": differential.total,
        "unidentified": _row(differential.unidentified) | {"count_note": ""},
        "not_cells": differential.not_cells,
        "reviewed": is_reviewed(verification),
        "reviewed_cells": verification["verified"],
        "counted_cells": verification["counted"],
        "status": WITHDRAWN if state == WITHDRAWN else status_of(verification, is_signed=state == SIGNED),
        "is_limited": differential.is_limited,
        "absolute_refusal": differential.absolute_refusal,
        "range_refusal": differential.range_refusal,
        "smudge_as_lymphocytes": differential.smudge_as_lymphocytes,
        "sentences": [sentence.bench for sentence in count.sentences if sentence.bench],
        "warnings": [warning.bench for warning in count.warnings if warning.bench],
        "policies": {
            "version": policy.version if policy else 0,
            "rules": differential.rules.as_dict(),
            "sentences": differential.rules.sentences(),
        },
        "flags": [flag.as_dict() for flag in count.flags],
    }


def _as_printed(line: Line, row: Row) -> dict:
    """The count of a type as a report prints it; smudge cells among the lymphocytes have no figure of their own."""
    printed_as = {"count": line["count"], "count_note": line["count_note"]}
    return printed_as | ({"percent": None, "absolute": None} if row.per_100 is not None and not line["per_100"] else {})


def _printed(row: Row, decimals: int) -> str:
    """The percentage as a report prints it (C12)."""
    return printed(row.percent, decimals) if row.per_100 is None else printed(row.per_100, 1)


def _row(row: Row) -> dict:
    """One type: per 100 leukocytes where it stands outside of the differential."""
    outside = row.per_100 is not None
    return {
        "count": row.count,
        "percent": row.per_100 if outside else row.percent,
        "low": None if outside else row.low,
        "high": None if outside else row.high,
        "absolute": row.absolute,
    }
