"""Addresses of cases and of resumable uploads."""

from django.urls import path

from leukoweb.cases import emergency, tus, views, views_merging

urlpatterns = [
    path("cases/", views.case_list, name="case_list"),
    path("cases/new/", views.case_register, name="case_register"),
    path("cases/patient/", views.patient_lookup, name="patient_lookup"),
    path("cases/emergency/", emergency.emergency_open, name="emergency_open"),
    path("cases/<int:pk>/edit/", views.case_edit, name="case_edit"),
    path("cases/<int:pk>/hold/", views.case_hold, name="case_hold"),
    path("cases/<int:pk>/reject/", views.case_reject, name="case_reject"),
    path("patients/merges/", views_merging.merge_list, name="merge_list"),
    path("patients/merges/propose/", views_merging.merge_propose, name="merge_propose"),
    path("patients/merges/two-persons/", views_merging.merge_two_persons, name="merge_two_persons"),
    path("patients/merges/<int:pk>/", views_merging.merge_decide, name="merge_decide"),
    path("uploads/", tus.tus_create, name="tus_create"),
    path("uploads/discard/", tus.uploads_discard, name="uploads_discard"),
    path("uploads/<uuid:pk>/", tus.tus_upload, name="tus_upload"),
]
