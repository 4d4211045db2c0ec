"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "leukoweb.api"
    label = "api"
