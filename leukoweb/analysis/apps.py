"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "leukoweb.analysis"
    label = "analysis"
