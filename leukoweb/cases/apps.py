"""Name this room for Django."""

from django.apps import AppConfig


class CasesConfig(AppConfig):
    name = "leukoweb.cases"
    label = "cases"
