"""Addresses of audit."""

urlpatterns = []
