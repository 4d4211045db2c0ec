"""Addresses of review."""

urlpatterns = []
