"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class CasesConfig(AppConfig):
    name = "leukoweb.cases"
    label = "cases"
