"""Name this room for Django."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "leukoweb.api"
    label = "api"
