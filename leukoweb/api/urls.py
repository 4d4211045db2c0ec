"""Addresses of the programming interface."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny

from leukoweb.api import (
    views_cases,
    views_cells,
    views_criticals,
    views_fhir,
    views_findings,
    views_help,
    views_merges,
    views_pages,
    views_suggestions,
)


class AccessionNumber(StringConverter):
    """Only what can be registered (cases.models.NUMBER) is looked up at all."""

    regex = r"[A-Za-z0-9](?:[A-Za-z0-9._/ -]*[A-Za-z0-9._-])?"


register_converter(AccessionNumber, "accession")
OPEN = {"permission_classes": [AllowAny], "authentication_classes": []}

urlpatterns = [
    path("api/v1/schema/", SpectacularAPIView.as_view(**OPEN), name="api_schema"),
    path("api/v1/", views_pages.api_docs, name="api_docs"),
    path("api/v1/token/", views_cases.TokenDoor.as_view(), name="api_token"),
    path("api/v1/token/revoke/", views_cases.TokenEnd.as_view(), name="api_token_revoke"),
    path("api/v1/cases/", views_cases.CaseList.as_view(), name="api_cases"),
    path("api/v1/cases/find/", views_cases.CaseFind.as_view(), name="api_case_find"),
    # By id: an accession number in an address would stand in the logs of every server on the way.
    path("api/v1/cases/id/<int:pk>/", views_cases.CaseDetail.as_view(), name="api_case_by_id"),
    path("api/v1/cases/id/<int:pk>/slides/", views_cases.SlideUpload.as_view(), name="api_case_slides_by_id"),
    path(
        "api/v1/cases/id/<int:pk>/differential/", views_cells.CaseDifferential.as_view(), name="api_differential_by_id"
    ),
    path("api/v1/cases/id/<int:pk>/findings/", views_findings.CaseFindings.as_view(), name="api_findings_by_id"),
    path(
        "api/v1/cases/id/<int:pk>/suggestions/",
        views_suggestions.CaseSuggestions.as_view(),
        name="api_suggestions_by_id",
    ),
    path("api/v1/cases/id/<int:pk>/delta-alarms/", views_help.CaseDeltaAlarms.as_view(), name="api_delta_alarms_by_id"),
    path("api/v1/cases/id/<int:pk>/report/", views_cells.CaseReport.as_view(), name="api_report_by_id"),
    path("api/v1/cases/id/<int:pk>/report.pdf", views_cells.CaseReportPdf.as_view(), name="api_report_pdf_by_id"),
    path(
        "api/v1/cases/<accession:accession_number>/slides/", views_cases.SlideUpload.as_view(), name="api_case_slides"
    ),
    path(
        "api/v1/cases/<accession:accession_number>/differential/",
        views_cells.CaseDifferential.as_view(),
        name="api_differential",
    ),
    path("api/v1/cases/<accession:accession_number>/report/", views_cells.CaseReport.as_view(), name="api_report"),
    # A number may hold slashes: what is longer comes first.
    path(
        "api/v1/cases/<accession:accession_number>/report/report.pdf",
        views_cells.CaseReportPdf.as_view(schema=None),
        name="api_report_pdf_below",
    ),
    path(
        "api/v1/cases/<accession:accession_number>/report.pdf",
        views_cells.CaseReportPdf.as_view(),
        name="api_report_pdf",
    ),
    path("api/v1/cases/<accession:accession_number>/", views_cases.CaseDetail.as_view(), name="api_case"),
    path("api/v1/criticals/", views_criticals.CriticalList.as_view(), name="api_criticals"),
    path("api/v1/patient-merges/", views_merges.MergeList.as_view(), name="api_merges"),
    path("api/v1/patient-merges/<int:pk>/decision/", views_merges.MergeDecide.as_view(), name="api_merge_decide"),
    path("api/v1/slides/<int:pk>/", views_cases.SlideDetail.as_view(), name="api_slide"),
    path("api/v1/slides/<int:pk>/scale/", views_cases.SlideScale.as_view(), name="api_slide_scale"),
    path("api/v1/slides/<int:pk>/regions/", views_cases.SlideRegions.as_view(), name="api_slide_regions"),
    path("api/v1/slides/<int:pk>/film/", views_help.SlideFilm.as_view(), name="api_slide_film"),
    path("api/v1/slides/<int:pk>/stop/", views_cases.SlideStop.as_view(), name="api_slide_stop"),
    path("api/v1/slides/<int:pk>/retry/", views_cases.SlideRetry.as_view(), name="api_slide_retry"),
    path("api/v1/slides/<int:pk>/set-aside/", views_cases.SlideSetAside.as_view(), name="api_slide_set_aside"),
    path("api/v1/slides/<int:pk>/cells/", views_cells.SlideCells.as_view(), name="api_slide_cells"),
    path("api/v1/cells/<int:pk>/decisions/", views_cells.CellDecisions.as_view(), name="api_cell_decisions"),
    path("fhir/metadata", views_fhir.Metadata.as_view(schema=None), name="fhir_metadata"),
    path("fhir/<slug:kind>", views_fhir.ResourceType.as_view(schema=None), name="fhir_type"),
    path("fhir/<slug:kind>/_search", views_fhir.ResourceSearch.as_view(schema=None), name="fhir_search"),
    path("fhir/<slug:kind>/<slug:key>", views_fhir.Resource.as_view(schema=None), name="fhir_resource"),
    path("fhir/<path:rest>", views_fhir.Nowhere.as_view(schema=None), name="fhir_nowhere"),
    path("account/tokens/", views_pages.token_list, name="token_list"),
    path("manage/tokens/", views_pages.all_tokens, name="all_tokens"),
    path("manage/tokens/<int:pk>/revoke/", views_pages.any_token_revoke, name="any_token_revoke"),
    path("account/tokens/<int:pk>/revoke/", views_pages.token_revoke, name="token_revoke"),
]
