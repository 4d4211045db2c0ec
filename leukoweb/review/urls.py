"""Addresses of worklist, workbench, reports and policies."""

from django.urls import path

from leukoweb.review.views import atlas, cases, cells, detectors, policies, reference, reports, workbench, worklist

urlpatterns = [
    path("worklist/", worklist.worklist, name="worklist"),
    path("cases/<int:pk>/", cases.case_detail, name="case_detail"),
    path("cases/<int:pk>/live/", cases.case_live, name="case_live"),
    path("cases/<int:pk>/hand-over/", cases.case_hand_over, name="case_hand_over"),
    path("cases/<int:pk>/return/", cases.case_return, name="case_return"),
    path("cases/<int:pk>/acknowledge/", cases.flag_acknowledge, name="flag_acknowledge"),
    path("cases/<int:pk>/reference/", reference.reference_detail, name="reference_detail"),
    path("cases/<int:pk>/reference/start/", reference.reference_start, name="reference_start"),
    path("cases/<int:pk>/reference/read/", reference.reference_read, name="reference_read"),
    path("cases/<int:pk>/reference/settle/", reference.reference_settle, name="reference_settle"),
    path("cases/<int:pk>/sign/", reports.case_sign, name="case_sign"),
    path("reports/<int:pk>/", reports.report_detail, name="report_detail"),
    path("reports/<int:pk>/report.pdf", reports.report_pdf, name="report_pdf"),
    path("reports/<int:pk>/export.<str:form>", reports.report_export, name="report_export"),
    path("reports/<int:pk>/amend/", reports.report_amend, name="report_amend"),
    path("reports/<int:pk>/policies/", reports.report_policies, name="report_policies"),
    path("reports/verify/", reports.report_verify, name="report_verify"),
    path("manage/policy/", policies.policy_edit, name="policy_edit"),
    path("manage/phrases/", policies.phrase_list, name="phrase_list"),
    path("manage/phrases/<int:pk>/delete/", policies.phrase_delete, name="phrase_delete"),
    path("cases/<int:pk>/review/", workbench.workbench, name="workbench"),
    path("cases/<int:pk>/cells.json", cells.case_cells, name="case_cells"),
    path("cases/<int:pk>/undo/", cells.cell_undo, name="cell_undo"),
    path("cases/<int:pk>/redo/", cells.cell_redo, name="cell_redo"),
    path("cases/<int:pk>/presence/", cells.case_presence, name="case_presence"),
    path("slides/<int:pk>/", workbench.slide_detail, name="slide_detail"),
    path("slides/<int:pk>/cells.json", cells.slide_cells, name="slide_cells"),
    path("images/<int:pk>/cells/", cells.cell_add, name="cell_add"),
    path("cells/decide/", cells.cells_decide, name="cells_decide"),
    path("cells/<int:pk>/decide/", cells.cell_decide, name="cell_decide"),
    path("cells/references/<str:code>.json", cells.reference_cells, name="reference_cells"),
    path("review/keys/", workbench.reader_keys, name="reader_keys"),
    path("atlas/", atlas.atlas_list, name="atlas_list"),
    path("atlas/<int:pk>/picture.jpg", atlas.atlas_picture, name="atlas_picture"),
    path("atlas/<int:pk>/delete/", atlas.atlas_delete, name="atlas_delete"),
    path("manage/detectors/<int:pk>/against/<int:other_pk>/", detectors.detector_compare, name="detector_compare"),
]
