"""Addresses of slides, images, cells and detector versions."""

from django.urls import path

from leukoweb.analysis import views, views_detectors, views_upload

urlpatterns = [
    path("cases/<int:pk>/slides/new/", views_upload.slide_upload, name="slide_upload"),
    path("slides/<int:pk>/progress/", views.slide_progress, name="slide_progress"),
    path("slides/<int:pk>/stop/", views.slide_stop, name="slide_stop"),
    path("slides/<int:pk>/retry/", views.slide_retry, name="slide_retry"),
    path("slides/<int:pk>/set-aside/", views.slide_set_aside, name="slide_set_aside"),
    path("slides/<int:pk>/include/", views.slide_include, name="slide_include"),
    path("slides/<int:pk>/scale/", views.slide_scale, name="slide_scale"),
    path("slides/<int:pk>/regions/", views.slide_regions, name="slide_regions"),
    path("slides/<int:pk>/reread/", views.slide_reread, name="slide_reread"),
    path("images/<int:pk>/original", views.image_original, name="image_original"),
    path("images/<int:pk>/tiles/<int:level>/<int:column>_<int:row>.jpg", views.image_tile, name="image_tile"),
    path("film/<int:pk>/clumps/<int:number>.jpg", views.clump_crop, name="clump_crop"),
    path("cells/<int:pk>/crop.jpg", views.cell_crop, name="cell_crop"),
    path("cells/<int:pk>/around.jpg", views.cell_around, name="cell_around"),
    path("manage/detectors/", views_detectors.detector_list, name="detector_list"),
    path("manage/detectors/<int:pk>/", views_detectors.detector_detail, name="detector_detail"),
    path("manage/detectors/<int:pk>/activate/", views_detectors.detector_activate, name="detector_activate"),
    path("manage/calibrations/<int:pk>/switch/", views_detectors.calibration_switch, name="calibration_switch"),
]
