"""Name this room for Django."""

from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "leukoweb.analysis"
    label = "analysis"
