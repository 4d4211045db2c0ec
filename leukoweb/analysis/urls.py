"""Addresses of slides, images, cells and detector versions."""

from django.urls import path

from leukoweb.analysis import views_detectors

urlpatterns = [
    path("manage/detectors/", views_detectors.detector_list, name="detector_list"),
    path("manage/detectors/<int:pk>/", views_detectors.detector_detail, name="detector_detail"),
    path("manage/detectors/<int:pk>/activate/", views_detectors.detector_activate, name="detector_activate"),
]
