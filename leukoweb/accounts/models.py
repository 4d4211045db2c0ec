"""Laboratories and the people who work in them."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy

from leukoweb.accounts.roles import ROLES, TECHNOLOGIST, allows


class Laboratory(models.Model):
    """A laboratory: whoever belongs to another one sees nothing of it."""

    name = models.CharField(max_length=200, unique=True)
    address = models.TextField(blank=True, max_length=1000, help_text="Printed at the head of every report.")
    telephone = models.CharField(blank=True, max_length=60, help_text="For questions about a report.")
    director = models.CharField(blank=True, max_length=200, help_text="Who is responsible for the laboratory.")
    language = models.CharField(
        gettext_lazy("language of reports"), max_length=10, blank=True, help_text="Empty: that of the installation."
    )
    time_zone = models.CharField(
        gettext_lazy("time zone"), max_length=64, blank=True, help_text="Empty: that of the installation."
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = gettext_lazy("laboratories")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A person with one role in one laboratory."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="users", null=True)
    role = models.CharField(max_length=20, choices=list(ROLES.items()), default=TECHNOLOGIST)
    must_change_password = models.BooleanField(default=False)
    statement_accepted_at = models.DateTimeField(null=True, blank=True)
    sessions_ended_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Sessions and access tokens from before are no longer taken."
    )
    last_seen_at = models.DateTimeField(null=True, blank=True)
    preferences = models.JSONField(default=dict, blank=True, help_text="Keys and view settings of this reader.")

    class Meta:
        ordering = ["username"]

    def __str__(self) -> str:
        return self.printed_name

    @property
    def printed_name(self) -> str:
        """The name that stands on reports."""
        return self.get_full_name() or self.username

    def can(self, action: str) -> bool:
        """Say whether this person's role allows `action` (see roles.PERMISSIONS)."""
        return self.is_active and allows(self.role, action)


class Logo(models.Model):
    """A logo that reports print; earlier ones stay for the reports that were signed with them (logos.py)."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="logos")
    sha256 = models.CharField(max_length=64, db_index=True)
    png = models.BinaryField()
    text = models.CharField(max_length=200, help_text="Read where it is not seen.")
    added_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Reset(models.Model):
    """A password or second factor that administrators reset: asked by one and, for who signs, confirmed by another."""

    class Kind(models.TextChoices):
        PASSWORD = "password", gettext_lazy("password")
        SECOND_FACTOR = "second_factor", gettext_lazy("second factor")

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="resets")
    kind = models.CharField(max_length=15, choices=Kind)
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+", help_text="None: server.")
    asked_at = models.DateTimeField(auto_now_add=True)
    done_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    done_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        ordering = ["-id"]


class EmergencyAccess(models.Model):
    """A pathologist opened a case of another laboratory, said why, and somebody must follow it up (S7)."""

    opened_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    opened_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField()
    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="+", help_text="Of the case.")
    case_id = models.BigIntegerField()
    reason = models.TextField()
    followed_up_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    followed_up_at = models.DateTimeField(null=True, db_index=True)
    finding = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = gettext_lazy("emergency accesses")
