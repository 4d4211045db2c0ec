"""Names this room for Django; it knows nothing else."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "leukoweb.audit"
    label = "audit"
