"""Addresses of worklist, workbench, reports and policies."""

from django.urls import path

from leukoweb.review.views import cells, detectors, workbench

urlpatterns = [
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
    path("manage/detectors/<int:pk>/against/<int:other_pk>/", detectors.detector_compare, name="detector_compare"),
]
