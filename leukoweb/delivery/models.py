"""Interfaces to other systems and every message that came or went, as bytes; their meaning is the services' work."""

import uuid
from collections.abc import Iterable

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy

from leukoweb.accounts.models import Laboratory, User
from leukoweb.cases.cbc import LOINC, PARAMETERS, known_code
from leukoweb.cases.models import Case
from leukoweb.delivery.hl7 import CHARACTER_SETS, Coding
from leukoweb.delivery.results_in import FLAG, IGNORE
from leukoweb.review.models import Report

FILM = "film"
PATH = RegexValidator(r"\A/[A-Za-z0-9/._~-]*\Z", gettext_lazy("Write the path of an address, such as /fhir."))


class Interface(models.Model):
    """One connection of a laboratory: orders or blood counts that come in, or results that go out."""

    class Direction(models.TextChoices):
        ORDERS_IN = "orders_in", gettext_lazy("Orders in (HL7 v2 over MLLP)")
        CBC_HL7 = "cbc_hl7", gettext_lazy("Blood counts in (HL7 v2 over MLLP)")
        CBC_ASTM = "cbc_astm", gettext_lazy("Blood counts in (ASTM LIS2-A2 over TCP)")
        CBC_CSV = "cbc_csv", gettext_lazy("Blood counts in (CSV files by page)")
        RESULTS_OUT = "results_out", gettext_lazy("Results out (HL7 v2 over MLLP)")
        FHIR_OUT = "fhir_out", gettext_lazy("Results out (FHIR R4 over HTTP)")

    class Accession(models.TextChoices):
        FILLER = "filler", gettext_lazy("filler order number, else placer order number")
        PLACER = "placer", gettext_lazy("placer order number")
        SPECIMEN = "specimen", gettext_lazy("specimen number (SPM-2)")

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="interfaces")
    name = models.CharField(max_length=100)
    direction = models.CharField(max_length=20, choices=Direction)
    is_active = models.BooleanField(gettext_lazy("active"), default=False)
    host = models.CharField(
        max_length=200,
        default="127.0.0.1",
        help_text=gettext_lazy("Address to listen on, or of the system that receives results."),
    )
    port = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(65535)])
    path = models.CharField(
        gettext_lazy("path of the FHIR server"), max_length=200, blank=True, default="/fhir", validators=[PATH],
        help_text=gettext_lazy("Results out by FHIR: bundles are posted there."),
    )  # fmt: skip
    use_tls = models.BooleanField(gettext_lazy("TLS"), default=False)
    charset = models.CharField(
        gettext_lazy("character set"),
        max_length=20,
        default="utf-8",
        choices=sorted({(value, key) for key, value in CHARACTER_SETS.items() if key not in ("UTF-8", "UNICODE")}),
        help_text=gettext_lazy("Where a message names none in MSH-18."),
    )
    authority = models.CharField(
        gettext_lazy("assigning authority"),
        max_length=100,
        blank=True,
        help_text=gettext_lazy("PID-3.4 of the MRN. Empty: the first number."),
    )
    accession_from = models.CharField(
        gettext_lazy("accession number from"), max_length=10, choices=Accession, default=Accession.FILLER
    )
    codes = models.JSONField(
        default=dict,
        blank=True,
        help_text=gettext_lazy("The sender's code to what it means here; other codes are held."),
    )
    embeds_pdf = models.BooleanField(
        gettext_lazy("embed the report as PDF"),
        default=False,
        help_text=gettext_lazy("Results out: the last OBX of every report, as Base64."),
    )
    site = models.URLField(
        gettext_lazy("address of these pages"),
        blank=True,
        help_text=gettext_lazy("Such as https://leukoweb.hospital: for the code on that PDF."),
    )
    acts_as = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        help_text=gettext_lazy("Account in the audit trail."),
    )
    last_event = models.BigIntegerField(
        default=0, editable=False, help_text=gettext_lazy("Last audit event turned into a result.")
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["laboratory", "name"], name="interface_name_once")]
        ordering = ["laboratory_id", "name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_hl7(self) -> bool:
        """Whether its messages are HL7 v2, each with an acknowledgement."""
        return self.direction not in (self.Direction.CBC_ASTM, self.Direction.CBC_CSV, self.Direction.FHIR_OUT)

    @property
    def takes_counts(self) -> bool:
        """Whether blood counts come in here."""
        return self.direction in COUNTS

    @property
    def meanings(self) -> list[str]:
        """What a sender's code may mean here."""
        if self.takes_counts:
            return [*PARAMETERS, FLAG, IGNORE]
        return [FILM, IGNORE]

    def meaning_of(self, codings: Iterable[Coding]) -> str:
        """Return what a code of the sender or its alternate means; "" where nobody has said it of either."""
        return next(filter(None, map(self._meaning_of, codings)), "")

    def _meaning_of(self, coding: Coding) -> str:
        """Known parameters need no mapping; a code is one of LOINC only where the sender says so."""
        known = ""
        if self.takes_counts:
            known = LOINC.get(coding.code, "") if coding.is_loinc else ""
            known = known or known_code(coding.code)
        return self.codes.get(coding.key) or known


COUNTS = {Interface.Direction.CBC_HL7, Interface.Direction.CBC_ASTM, Interface.Direction.CBC_CSV}
SENDING = (Interface.Direction.RESULTS_OUT, Interface.Direction.FHIR_OUT)
LISTENING = (Interface.Direction.ORDERS_IN, Interface.Direction.CBC_HL7, Interface.Direction.CBC_ASTM)


class MessageQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> models.QuerySet:
        """The messages of the user's own laboratory."""
        return self.filter(interface__laboratory_id=user.laboratory_id)


class Message(models.Model):
    """One message as it came or goes; its bytes are stored before they are read and never change."""

    class State(models.TextChoices):
        RECEIVED = "received", gettext_lazy("Received")
        APPLIED = "applied", gettext_lazy("Applied")
        HELD = "held", gettext_lazy("Held for a person")
        PARKED = "parked", gettext_lazy("Waits for its case")
        REFUSED = "refused", gettext_lazy("Refused")
        REPEATED = "repeated", gettext_lazy("Repeated")
        DISMISSED = "dismissed", gettext_lazy("Dismissed")
        QUEUED = "queued", gettext_lazy("To be sent")
        ACKNOWLEDGED = "acknowledged", gettext_lazy("Acknowledged")
        DEAD = "dead", gettext_lazy("Not delivered")

    interface = models.ForeignKey(Interface, on_delete=models.PROTECT, related_name="messages")
    is_incoming = models.BooleanField()
    control_id = models.CharField(max_length=200, blank=True, db_index=True)
    sender = models.CharField(
        max_length=200, blank=True, help_text=gettext_lazy("Sending application and facility (MSH-3, MSH-4).")
    )
    kind = models.CharField(max_length=20, blank=True, help_text=gettext_lazy("Message type and event."))
    raw = models.BinaryField()
    sha256 = models.CharField(max_length=64, db_index=True)
    peer = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=20, choices=State)
    unknown_codes = models.JSONField(
        default=dict, help_text=gettext_lazy("Codes that nobody has mapped yet, with their names.")
    )
    sentence = models.TextField(blank=True, help_text=gettext_lazy("Why it was held, refused or not delivered."))
    answer = models.BinaryField(
        default=bytes, help_text=gettext_lazy("The acknowledgement, as it was sent or received.")
    )
    case = models.ForeignKey(Case, on_delete=models.PROTECT, null=True, blank=True, related_name="messages")
    report = models.ForeignKey(Report, on_delete=models.PROTECT, null=True, blank=True, related_name="messages")
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    next_try_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["interface", "state", "id"]),
            models.Index(fields=["interface", "-id"]),
        ]
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.control_id}".strip() or str(self.pk)

    @property
    def text(self) -> str:
        """The message for a person's eye: one segment a line, in the character set that its bytes are of."""
        raw = bytes(self.raw)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            other = self.interface.charset if self.interface.charset != "utf-8" else "latin-1"
            text = raw.decode(other, "replace")
        return text.replace("\r", "\n")


class ParkedSpecimen(models.Model):
    """A specimen of a message that no case has yet: most blood counts never get a film."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="parked")
    number = models.CharField(max_length=200, db_index=True)


def new_control_id() -> str:
    """Return an id for a message of ours, at most 20 characters as version 2.5.1 allows."""
    return uuid.uuid4().hex[:20]
