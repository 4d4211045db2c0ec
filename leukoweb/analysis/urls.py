"""Addresses of analysis."""

urlpatterns = []
