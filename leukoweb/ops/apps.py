"""The room of those who run an installation."""

from django.apps import AppConfig


class OpsConfig(AppConfig):
    name = "leukoweb.ops"
