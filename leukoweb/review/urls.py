"""Addresses of worklist, workbench, reports and policies."""

from django.urls import path

from leukoweb.review.views import detectors

urlpatterns = [
    path("manage/detectors/<int:pk>/against/<int:other_pk>/", detectors.detector_compare, name="detector_compare"),
]
