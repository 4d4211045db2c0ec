"""One append-only table of events, each sealed to the one before it.

The database itself fills `previous_hash` and `hash` and refuses UPDATE and DELETE (see chain.py).
"""

import json
from collections import Counter
from typing import Any, NoReturn, Self

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from detection.cell_types import label_of
from leukoweb.audit.actions import Action


def canonical(content: dict) -> str:
    """Return one text for one content: sorted keys, no spaces, times with microseconds in UTC."""
    at = content["at"].isoformat(timespec="microseconds")
    return json.dumps(
        {**content, "at": at}, cls=DjangoJSONEncoder, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def in_words(changes: dict) -> list[tuple[str, str]]:
    """Return each change as (field, sentence): a pair is old and new value."""

    def said(value: object) -> str:
        return "(empty)" if value in (None, "") else str(value)

    def sentence(value: object) -> str:
        if _is_pair(value):
            return f"{said(value[0])} → {said(value[1])}"  # type: ignore[index]
        return labels_in_words(value) if _are_labels(value) else said(value)  # type: ignore[arg-type]

    return [(name.replace("_", " "), sentence(value)) for name, value in changes.items()]


def labels_in_words(rows: list[list]) -> str:
    """Say how many cells got which label, from rows of cell, label before and label after."""

    def change(before: str, after: str) -> str:
        if before == after:
            return f"{label_of(after)} confirmed"
        return f"{label_of(before) or '(none)'} → {label_of(after) or '(none)'}"

    numbers = Counter((before or "", after or "") for _, before, after in rows)
    return "; ".join(f"{number} × {change(*pair)}" for pair, number in numbers.items())


def _are_labels(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, list) and len(row) == 3 and isinstance(row[0], int) for row in value)
        and all(part is None or isinstance(part, str) for row in value for part in row[1:])
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(part, dict | list) for part in value)


class EventQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """The events an administrator may read: their laboratory's, and those that belong to none (failed sign-ins)."""
        if not user.is_authenticated or not user.can("read_audit"):
            return self.none()
        return self.filter(Q(laboratory_id=user.laboratory_id) | Q(laboratory_id=None))

    def update(self, **changes: Any) -> NoReturn:
        raise TypeError("Events are append-only: write a new one.")

    def delete(self) -> NoReturn:
        raise TypeError("Events are append-only: they are kept as long as the records they describe.")


class Event(models.Model):
    """Somebody did something to something: rows are only ever added.

    `text` is the canonical JSON of the whole event, what the hash covers; the other columns repeat it for searching.
    """

    at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=60, db_index=True)
    object_type = models.CharField(max_length=60, blank=True)
    object_id = models.CharField(max_length=60, blank=True)
    case_id = models.BigIntegerField(null=True)
    laboratory_id = models.BigIntegerField(null=True)
    text = models.TextField()
    previous_hash = models.CharField(max_length=64, editable=False)
    hash = models.CharField(max_length=64, editable=False)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["object_type", "object_id"]),
            models.Index(fields=["case_id", "-id"]),
            models.Index(fields=["laboratory_id", "-id"]),
            models.Index(fields=["-id"], name="audit_reads", condition=Q(action__endswith=".read")),
        ]

    @property
    def content(self) -> dict:
        """The event as it was written."""
        return json.loads(self.text)

    def text_of_columns(self) -> str:
        """The text with every column put in its place: equal to `text` while nobody touched either."""
        names = ("at", "actor_id", "action", "object_type", "object_id", "case_id", "laboratory_id")
        return canonical({**self.content, **{name: getattr(self, name) for name in names}})

    @property
    def changes(self) -> dict:
        """What changed: usually {field: [old, new]}."""
        return self.content["changes"]

    @property
    def changes_in_words(self) -> list[tuple[str, str]]:
        """Each change as (field, sentence), for a case's readers."""
        return in_words(self.changes)

    @property
    def actor_name(self) -> str:
        """The actor's printed name at that time; the machine has none."""
        return self.content["actor_name"]

    @property
    def label(self) -> str:
        """The action in words."""
        # A row is kept for ever, also when its action is recorded no more.
        return Action(self.action).label if self.action in Action.values else self.action

    @property
    def is_read(self) -> bool:
        """Whether somebody only looked."""
        return self.action.endswith(".read")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Events are append-only: they are kept as long as the records they describe.")
