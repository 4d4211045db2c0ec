"""Addresses of the programming interface."""

urlpatterns = []
