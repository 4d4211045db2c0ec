"""Critical results and their log, both append-only: what a row says is never changed, the next entry follows it.

Triggers of the database refuse a change (migrations/0013_critical_guard.py). Which values are critical is in rules.py.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.time_zone import today_of
from leukoweb.cases.models import ONE_LINE, Case, OfCase, Patient


class CriticalPolicy(models.Model):
    """A version of what a laboratory calls critical, and who is told by the software when nobody acts."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="critical_policies")
    version = models.PositiveIntegerField()
    rules = models.JSONField(default=list, help_text="See rules.py.")
    minutes = models.PositiveIntegerField(default=30, validators=[MinValueValidator(1), MaxValueValidator(1440)])
    exception_days = models.PositiveIntegerField(default=90, validators=[MinValueValidator(1), MaxValueValidator(366)])
    people = models.JSONField(default=list, help_text="User names, in the order in which they are told.")
    webhook = models.URLField(blank=True, max_length=500)
    reason = models.TextField(max_length=1000)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        verbose_name_plural = "critical policies"
        constraints = [models.UniqueConstraint(fields=["laboratory", "version"], name="critical_policy_version_once")]


class CriticalExceptionQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> "CriticalExceptionQuerySet":
        """The exceptions of the user's own laboratory."""
        if not user.is_authenticated or not (user.can("read_cases") or user.can("except_critical")):
            return self.none()
        return self.filter(patient__laboratory_id=user.laboratory_id)

    def of_person(self, patient: Patient) -> "CriticalExceptionQuerySet":
        """Those of a person, also under a record that is merged."""
        return self.filter(patient__in=Patient.objects.same_person(patient))

    def in_force(self, laboratory: Laboratory) -> "CriticalExceptionQuerySet":
        """Those that hold today by the laboratory's calendar."""
        return self.filter(ended_at=None, until__gte=today_of(laboratory))


class CriticalException(models.Model):
    """Critical limits that need not be told of a patient until a day, such as of a known leukaemia under treatment."""

    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="critical_exceptions")
    limits = models.JSONField(help_text="Keys of rows of the rules to their titles.")
    reason = models.TextField(max_length=1000)
    until = models.DateField(help_text="The last day, by the laboratory's calendar.")
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(default=timezone.now)
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: its day came."
    )
    ended_at = models.DateTimeField(null=True)
    end_reason = models.TextField(blank=True, max_length=1000)

    objects = CriticalExceptionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    @property
    def is_in_force(self) -> bool:
        """Whether it holds now."""
        return self.ended_at is None and self.until >= today_of(self.patient.laboratory)

    @property
    def titles(self) -> list[str]:
        """The limits by name, as they were called when it was set."""
        return list(self.limits.values())


class CriticalQuerySet(OfCase):
    def open(self) -> "CriticalQuerySet":
        """Those that nobody has closed, no exception covers and are still critical, of specimens not rejected."""
        ended = CriticalEntry.objects.filter(critical=OuterRef("pk"), kind__in=CriticalEntry.ENDS)
        return self.filter(~Exists(ended), case__rejected_at=None)

    def with_log(self) -> "CriticalQuerySet":
        """Load the log with them."""
        entries = CriticalEntry.objects.select_related("by", "to", "exception__set_by")
        return self.prefetch_related(models.Prefetch("entries", queryset=entries))


class Critical(models.Model):
    """One critical fact of a case with its value as it was detected; its state is that of its log."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="criticals")
    key = models.CharField(max_length=40, help_text="The row of the policy.")
    number = models.PositiveSmallIntegerField(help_text="1, then 2 where it was no longer critical in between.")
    title = models.CharField(max_length=60)
    fact = models.JSONField(help_text="See rules.Fact.")
    policy_version = models.PositiveIntegerField(help_text="0: the defaults.")
    detected_at = models.DateTimeField(default=timezone.now)

    objects = CriticalQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["case", "key", "number"], name="critical_fact_once")]
        indexes = [models.Index(fields=["detected_at"])]

    def __str__(self) -> str:
        return self.title

    def of_kind(self, *kinds: Any) -> list["CriticalEntry"]:
        """Return the entries of some kinds, first to last."""
        return [entry for entry in self.entries.all() if entry.kind in kinds]

    @property
    def calls(self) -> list["CriticalEntry"]:
        """Every attempt to tell somebody."""
        return self.of_kind(CriticalEntry.Kind.CALL)

    @property
    def told(self) -> "CriticalEntry | None":
        """The first call that reached somebody."""
        return min((call for call in self.calls if call.is_reached), key=lambda call: call.told_at, default=None)

    @property
    def is_read_back(self) -> bool:
        """Whether somebody who was told has read the value back."""
        return any(call.is_read_back for call in self.calls)

    @property
    def ending(self) -> "CriticalEntry | None":
        """The entry that ended it: a person closed it, an exception covers it, or it is no longer critical."""
        return next(iter(self.of_kind(*CriticalEntry.ENDS)), None)

    @property
    def no_longer(self) -> "CriticalEntry | None":
        """The entry that says that the value is no longer critical."""
        return next(iter(self.of_kind(CriticalEntry.Kind.NO_LONGER)), None)

    @property
    def covered(self) -> "CriticalEntry | None":
        """The entry that says that an exception covers it: nobody must be told."""
        return next(iter(self.of_kind(CriticalEntry.Kind.COVERED)), None)

    @property
    def is_open(self) -> bool:
        """Whether it still has to be told, or closed with a reason."""
        return self.ending is None

    @property
    def bench_receipt(self) -> "CriticalEntry | None":
        """The receipt of the bench."""
        return next(iter(self.of_kind(CriticalEntry.Kind.BENCH)), None)

    @property
    def pathologist_receipt(self) -> "CriticalEntry | None":
        """The receipt of a pathologist."""
        return next(iter(self.of_kind(CriticalEntry.Kind.PATHOLOGIST)), None)

    @property
    def receipts(self) -> list["CriticalEntry"]:
        """Both receipts, as far as they were given."""
        return self.of_kind(CriticalEntry.Kind.BENCH, CriticalEntry.Kind.PATHOLOGIST)

    @property
    def escalations(self) -> list["CriticalEntry"]:
        """Who was told by the software, in order."""
        return self.of_kind(CriticalEntry.Kind.ESCALATED)

    def minutes_to(self, at: datetime) -> int:
        """Return the minutes from detection to a time."""
        return max(0, int((at - self.detected_at).total_seconds() // 60))

    @property
    def minutes(self) -> int:
        """The minutes since detection, until somebody was told."""
        return self.minutes_to(self.told.told_at if self.told else timezone.now())


class CriticalEntry(models.Model):
    """One line of the log of a critical result; it is written once."""

    class Kind(models.TextChoices):
        BENCH = "bench", _("seen at the bench")
        PATHOLOGIST = "pathologist", _("seen by a pathologist")
        CALL = "call", _("call")
        CLOSED = "closed", _("closed")
        NO_LONGER = "no_longer", _("no longer critical")
        ESCALATED = "escalated", _("escalated")
        COVERED = "covered", _("covered by an exception")

    class How(models.TextChoices):
        PHONE = "phone", _("by telephone")
        MESSAGE = "message", _("by secure message")

    ENDS = (Kind.CLOSED, Kind.NO_LONGER, Kind.COVERED)

    critical = models.ForeignKey(Critical, on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=12, choices=Kind)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: the software."
    )
    at = models.DateTimeField(default=timezone.now)
    told_to = models.CharField(max_length=200, blank=True, validators=[ONE_LINE])
    told_role = models.CharField(max_length=100, blank=True, validators=[ONE_LINE])
    how = models.CharField(max_length=10, blank=True, choices=How)
    is_reached = models.BooleanField(null=True)
    is_read_back = models.BooleanField(null=True)
    told_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, max_length=1000)
    change = models.JSONField(null=True, help_text="What made the value no longer critical.")
    to = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", help_text="Escalated to."
    )
    step = models.PositiveSmallIntegerField(null=True, help_text="The place in the escalation list, from 1.")
    exception = models.ForeignKey(CriticalException, on_delete=models.PROTECT, null=True, related_name="entries")

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "critical entries"
        constraints = [
            models.UniqueConstraint(fields=["critical", "step"], name="escalated_once_to_each"),
            models.UniqueConstraint(
                fields=["critical", "kind"],
                condition=models.Q(kind__in=["bench", "pathologist", "closed", "no_longer", "covered"]),
                name="critical_entry_once",
            ),
        ]

    @property
    def change_words(self) -> str:
        """What made the value no longer critical, with the number under which it is found."""
        change = self.change or {}
        if change.get("what") == "decision":
            return f"decision {change['decision']} on cell {change['cell']} by {change['by']}"
        if change.get("what") == "finding":
            return f"finding {change['finding']} marked by {change['by']}"
        if change.get("what") == "critical_policy":
            return f"version {change['version']} of the rules of critical results"
        if change.get("what") == "case.reject":
            return f"the specimen was rejected by {change['by']}"
        if "event" in change:
            return f"event {change['event']} of the audit ({change['what']}) by {change['by']}"
        return "a change of the laboratory's counting rules"

    @property
    def minutes(self) -> int:
        """The minutes from detection to this entry, of a call to the call itself."""
        return self.critical.minutes_to(self.told_at or self.at)


class CriticalNotice(models.Model):
    """A message about an open critical result that is to be sent, without any name of a patient."""

    class Channel(models.TextChoices):
        MAIL = "mail", _("e-mail")
        WEBHOOK = "webhook", _("webhook")

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        SENT = "sent", _("sent")
        DEAD = "dead", _("given up")

    entry = models.ForeignKey(CriticalEntry, on_delete=models.PROTECT, related_name="notices")
    channel = models.CharField(max_length=10, choices=Channel)
    address = models.CharField(max_length=500)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    sentence = models.CharField(max_length=300, blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["entry", "channel"], name="one_notice_of_each_kind")]
