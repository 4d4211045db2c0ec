"""The one door that writes an event; it knows no other model."""

from django.utils import timezone

from leukoweb.audit.models import Event


def record(action, *, actor=None, obj=None, case=None, changes=None, laboratory=None):
    """Write one event; call it last in the transaction that made the change."""
    laboratory = laboratory or getattr(case, "laboratory", None) or getattr(actor, "laboratory", None)
    return Event.objects.create(
        at=timezone.now(),
        actor=actor if getattr(actor, "pk", None) else None,
        action=action,
        object_type=obj._meta.label_lower if obj is not None else "",
        object_id=str(obj.pk) if obj is not None else "",
        case_id=case.pk if case is not None else None,
        laboratory_id=laboratory.pk if laboratory is not None else None,
        changes=changes or {},
    )
