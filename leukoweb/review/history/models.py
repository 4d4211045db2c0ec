"""Alarms of a change against an earlier result and their log, both append-only: the next entry follows, none changes.

Triggers of the database refuse a change (migrations/0017_delta_guard.py). When one is raised is in delta_rules.py.
"""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from leukoweb.cases.models import Case, OfCase


class DeltaAlarmQuerySet(OfCase):
    def active(self) -> "DeltaAlarmQuerySet":
        """Those that nobody has dismissed and that still hold, of specimens that were not rejected."""
        ended = DeltaEntry.objects.filter(alarm=OuterRef("pk"), kind__in=DeltaEntry.ENDS)
        return self.filter(~Exists(ended), case__rejected_at=None)

    def with_log(self) -> "DeltaAlarmQuerySet":
        """Load the log with them."""
        return self.prefetch_related(models.Prefetch("entries", queryset=DeltaEntry.objects.select_related("by")))


class DeltaAlarm(models.Model):
    """One change of a figure against an earlier result, with both as they were; its state is that of its log."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="delta_alarms")
    key = models.CharField(max_length=40, help_text="The row of the rules.")
    number = models.PositiveSmallIntegerField(help_text="1, then 2 where it no longer held in between.")
    title = models.CharField(max_length=60)
    fact = models.JSONField(help_text="See alarms.DeltaFact.")
    is_mix_up = models.BooleanField(help_text="Whether it must be answered before a signature.")
    policy_version = models.PositiveIntegerField()
    raised_at = models.DateTimeField(default=timezone.now)

    objects = DeltaAlarmQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["case", "key", "number"], name="delta_alarm_once")]

    def __str__(self) -> str:
        return self.title

    def _of_kind(self, *kinds: Any) -> "DeltaEntry | None":
        return next((entry for entry in self.entries.all() if entry.kind in kinds), None)

    @property
    def dismissed(self) -> "DeltaEntry | None":
        """Who dismissed it, and why."""
        return self._of_kind(DeltaEntry.Kind.DISMISSED)

    @property
    def escalated(self) -> "DeltaEntry | None":
        """Who asked for a pathologist."""
        return self._of_kind(DeltaEntry.Kind.ESCALATED)

    @property
    def no_longer(self) -> "DeltaEntry | None":
        """The entry that says that the change no longer holds."""
        return self._of_kind(DeltaEntry.Kind.NO_LONGER)

    @property
    def is_active(self) -> bool:
        """Whether it still waits for an answer."""
        return self._of_kind(*DeltaEntry.ENDS) is None


class DeltaEntry(models.Model):
    """One line of the log of an alarm; it is written once."""

    class Kind(models.TextChoices):
        DISMISSED = "dismissed", _("dismissed")
        ESCALATED = "escalated", _("escalated to the pathologist")
        NO_LONGER = "no_longer", _("no longer holds")

    ENDS = (Kind.DISMISSED, Kind.NO_LONGER)

    alarm = models.ForeignKey(DeltaAlarm, on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=12, choices=Kind)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: the software."
    )
    at = models.DateTimeField(default=timezone.now)
    reason = models.TextField(blank=True, max_length=1000)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "delta entries"
        constraints = [models.UniqueConstraint(fields=["alarm", "kind"], name="delta_entry_once")]
