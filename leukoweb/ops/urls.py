"""Addresses for those who run an installation, and for the programs that watch it."""

from django.urls import path

from leukoweb.ops import views

urlpatterns = [
    path("health/", views.health, name="health"),
    path("health/web/", views.health_web, name="health_web"),
    path("health/ready/", views.health_web, name="health_ready"),
    path("health/live/", views.health_live, name="health_live"),
    path("metrics", views.metrics, name="metrics"),
]
