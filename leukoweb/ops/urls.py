"""Addresses for those who run an installation, for the programs that watch it, and for who sees it first."""

from django.urls import path

from leukoweb.ops import views, views_visitors

urlpatterns = [
    path("help/", views_visitors.help_page, name="help"),
    path("sign-in/demonstration/<slug:role>/", views_visitors.demonstration_enter, name="demonstration_enter"),
    path("health/", views.health, name="health"),
    path("health/web/", views.health_web, name="health_web"),
    path("health/ready/", views.health_web, name="health_ready"),
    path("health/live/", views.health_live, name="health_live"),
    path("metrics", views.metrics, name="metrics"),
]
