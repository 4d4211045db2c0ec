"""Services that write and read events.

One event is one INSERT. On PostgreSQL it takes the chain's lock until the transaction ends, so it comes last in it.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django.db import models
from django.http import HttpRequest
from django.utils import timezone

from leukoweb.audit.actions import Action
from leukoweb.audit.models import Event, canonical


def record(
    action: Action | str,
    *,
    actor: Any = None,
    obj: models.Model | None = None,
    case: Any = None,
    changes: Mapping[str, object] | None = None,
    laboratory: Any = None,
) -> Event:
    """Write one event; call it last in the transaction that made the change.

    An action that is not in the list of actions is a ValueError.
    """
    event = event_of(action, at=timezone.now(), actor=actor, obj=obj, case=case, changes=changes, laboratory=laboratory)
    event.save(force_insert=True)
    return event


def differing(before: Mapping[str, object], now: Mapping[str, object]) -> dict[str, list[object]]:
    """Return what differs as an event keeps it: name to the value before and the one now."""
    return {name: [before[name], now[name]] for name in now if before[name] != now[name]}


def event_of(
    action: Action | str,
    *,
    at: datetime,
    actor: Any = None,
    obj: models.Model | None = None,
    case: Any = None,
    changes: Mapping[str, object] | None = None,
    laboratory: Any = None,
) -> Event:
    """Return an event that is not written yet."""
    action = Action(action)
    actor = actor if getattr(actor, "pk", None) else None
    place = (
        laboratory.pk if laboratory else getattr(case, "laboratory_id", None) or getattr(actor, "laboratory_id", None)
    )
    columns = {
        "at": at,
        "actor_id": actor.pk if actor else None,
        "action": action.value,
        "object_type": obj._meta.label_lower if obj is not None else "",
        "object_id": str(obj.pk) if obj is not None else "",
        "case_id": case.pk if case is not None else None,
        "laboratory_id": place,
    }
    actor_name = f"{actor.printed_name} ({actor.username})" if actor else ""
    text = canonical({**columns, "actor_name": actor_name, "changes": changes or {}})
    return Event(**columns, text=text)


def record_read(request: HttpRequest, obj: models.Model, case: models.Model) -> Event:
    """Write that the signed-in person looked at something of a case (S7); not for fragments that poll."""
    return record(f"{obj._meta.model_name}.read", actor=request.user, obj=obj, case=case)


def history_of(case: models.Model, *, last: int | None = None) -> models.QuerySet[Event] | list[Event]:
    """Everything that happened to a case, or the last events only, first thing first."""
    events = Event.objects.filter(case_id=case.pk)
    return list(events.order_by("-id")[:last])[::-1] if last else events.order_by("id")


def head_of(day: date) -> dict | None:
    """The chain's head at the end of a day: whoever holds it can prove that nothing before was rewritten."""
    last = Event.objects.filter(at__date__lte=day).order_by("-id").first()
    return last and {"day": day.isoformat(), "id": last.id, "at": last.at.isoformat(), "hash": last.hash}
