"""Addresses of the audit pages."""

from django.urls import path

from leukoweb.audit import views

urlpatterns = [
    path("manage/audit/", views.audit_log, name="audit_log"),
    path("manage/audit/events.csv", views.audit_csv, name="audit_csv"),
    path("manage/audit/head.json", views.audit_head, name="audit_head"),
]
