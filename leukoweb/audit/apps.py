"""Name this room for Django and give SQLite the hash of the chain."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class AuditConfig(AppConfig):
    name = "leukoweb.audit"
    label = "audit"

    def ready(self) -> None:
        from leukoweb.audit.chain import teach_sha256

        connection_created.connect(teach_sha256, dispatch_uid="audit-sha256")
