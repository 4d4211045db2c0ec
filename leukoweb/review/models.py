"""What people decided and signed."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils.translation import gettext_lazy

from leukoweb.accounts.models import Laboratory
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import Case, OfCase
from leukoweb.review.criticals import models as criticals  # noqa: F401  a model is found from here
from leukoweb.review.history import models as history  # noqa: F401
from leukoweb.review.suggestions import models as suggestions  # noqa: F401

MOST_PHRASE = 2_000


class Decision(models.Model):
    """One reader's opinion on one cell; the last one is the cell's label.

    An empty `to_code` takes the cell back to what the detector said (undo of a first decision).
    """

    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="decisions")
    from_code = models.CharField(max_length=3, blank=True)
    to_code = models.CharField(max_length=3, blank=True)
    reason = models.TextField(blank=True)
    undoes = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    step = models.UUIDField(default=uuid.uuid4, help_text="Decisions made in one act share it and are undone together.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["cell", "-id"])]


class Finding(models.Model):
    """What one reader said of a finding, or of a group as a whole (findings/table.py); the last row of a key holds.

    Rows are never changed: an empty `value` takes the finding back.
    """

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="findings")
    key = models.CharField(max_length=40)
    value = models.CharField(max_length=16, blank=True)
    counted = models.PositiveIntegerField(null=True)
    examined = models.PositiveIntegerField(null=True)
    note = models.CharField(max_length=200, blank=True)
    pictures = models.JSONField(default=list, blank=True, help_text="[image, x1, y1, x2, y2] in px of each.")
    undoes = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    step = models.UUIDField(default=uuid.uuid4, help_text="Findings marked in one act share it, undone together.")
    marked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    marked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["case", "key", "-id"])]

    @property
    def said(self) -> tuple[str, int | None, int | None, str, list[list[int]]]:
        """What the row says: value, count, among how many, note, pictures."""
        return self.value, self.counted, self.examined, self.note, self.pictures


def with_labels(cells: models.QuerySet) -> models.QuerySet:
    """Annotate cells with `decided_code` ("" when none), `code` (the current label) and `last_decision_id`."""
    last = Decision.objects.filter(cell=OuterRef("pk")).order_by("-id")
    return cells.annotate(
        last_decision_id=Subquery(last.values("pk")[:1]),
        decided_code=Coalesce(Subquery(last.values("to_code")[:1]), Value("")),
        code=Coalesce(NullIf(Subquery(last.values("to_code")[:1]), Value("")), "detector_code"),
    )


class Presence(models.Model):
    """A reader has a case open on the workbench: shown to the others, and no part of the record."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="presences")
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "reader"], name="one_presence_per_case_and_reader")]


class Assignment(models.Model):
    """The reader who works on a case; who gave it to whom is in the audit."""

    case = models.OneToOneField(Case, on_delete=models.CASCADE, related_name="assignment")
    reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    assigned_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.case}: {self.reader}"


class Policy(models.Model):
    """A version of a laboratory's counting and flagging rules (see policies.py); versions are never edited."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="policies")
    version = models.PositiveIntegerField()
    rules = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        verbose_name_plural = gettext_lazy("policies")
        constraints = [models.UniqueConstraint(fields=["laboratory", "version"], name="policy_version_once")]


class HandOver(models.Model):
    """A technologist handed a case to the pathologists; a pathologist may return it with a reason."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="hand_overs")
    handed_over_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    handed_over_at = models.DateTimeField(auto_now_add=True)
    returned_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    returned_at = models.DateTimeField(null=True)
    return_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["case"], condition=models.Q(returned_at__isnull=True), name="one_open_hand_over_per_case"
            )
        ]


class Acknowledgement(models.Model):
    """A reader's receipt for an urgent flag of a case; the urgency ends only with a pathologist's."""

    class Receipt(models.TextChoices):
        BENCH = "bench", gettext_lazy("bench")
        PATHOLOGIST = "pathologist", gettext_lazy("pathologist")

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="acknowledgements")
    flag = models.CharField(max_length=40)
    receipt = models.CharField(max_length=12, choices=Receipt)
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    acknowledged_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["case", "flag", "receipt"], name="one_receipt_of_each_kind_per_flag")
        ]


class ReportQuerySet(OfCase):
    def in_force(self) -> "ReportQuerySet":
        """The signed reports that hold: neither withdrawn nor amended by another signed one."""
        signed = self.filter(state=Report.State.SIGNED, withdrawal=None)
        return signed.exclude(amended_by__state=Report.State.SIGNED)


class Report(models.Model):
    """A version of a case's report: DRAFT -> SIGNED; a signed one is never changed, only amended."""

    class State(models.TextChoices):
        DRAFT = "draft", gettext_lazy("draft")
        SIGNED = "signed", gettext_lazy("signed")

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="reports")
    version = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    interpretation = models.CharField(max_length=300, blank=True, help_text="One line, printed first.")
    comment = models.TextField(blank=True)
    lya_meaning = models.CharField(
        max_length=10,
        blank=True,
        choices=[("variant", gettext_lazy("variant")), ("abnormal", gettext_lazy("abnormal"))],
    )
    smudge_as_lymphocytes = models.BooleanField(default=False, help_text="For this report only, with a reason (C5).")
    smudge_reason = models.TextField(blank=True)
    amends = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="amended_by")
    amendment_reason = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    signed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    signed_at = models.DateTimeField(null=True)
    signature_meaning = models.CharField(max_length=40, blank=True)
    pictures = models.JSONField(default=list, blank=True, help_text="Keys of the cells whose pictures are printed.")
    sequence = models.PositiveIntegerField(null=True, help_text="The place in the laboratory's chain of seals.")
    content = models.JSONField(null=True, help_text="Everything the signature covers, frozen (see seal.py).")
    seal = models.CharField(max_length=64, blank=True)
    previous_seal = models.CharField(max_length=64, blank=True)

    objects = ReportQuerySet.as_manager()

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["case", "version"], name="report_version_once_per_case")]
        indexes = [
            models.Index(fields=["case"], name="report_signed", condition=models.Q(state="signed")),
            models.Index(fields=["case"], name="report_draft", condition=models.Q(state="draft")),
            models.Index(fields=["-signed_at"], name="report_signed_at", condition=models.Q(state="signed")),
            models.Index(fields=["-sequence"], name="report_sequence", condition=models.Q(state="signed")),
        ]

    @property
    def lya_choices(self) -> list[tuple[str, str]]:
        """The meanings that atypical lymphocytes can have."""
        return self._meta.get_field("lya_meaning").choices


class Withdrawal(models.Model):
    """A signed report that no longer holds, with the reason; the report itself stays readable for ever (S12)."""

    report = models.OneToOneField(Report, on_delete=models.PROTECT, related_name="withdrawal")
    reason = models.TextField(max_length=1000)
    withdrawn_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    withdrawn_at = models.DateTimeField(auto_now_add=True)


class Phrase(models.Model):
    """A ready sentence for comments, per laboratory."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="phrases")
    name = models.CharField(max_length=60)
    text = models.TextField(max_length=MOST_PHRASE)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["laboratory", "name"], name="phrase_name_once")]


class ReferenceCount(models.Model):
    """A reference differential of a case (C1): two blinded readers, 200 cells each, some of them read by both."""

    case = models.OneToOneField(Case, on_delete=models.PROTECT, related_name="reference_count")
    first_reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    second_reader = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(first_reader=models.F("second_reader")), name="two_different_readers"
            )
        ]


class Reading(models.Model):
    """One cell as one blinded reader of a reference count reads it; `settled_code` ends a disagreement."""

    count = models.ForeignKey(ReferenceCount, on_delete=models.PROTECT, related_name="readings")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+")
    place = models.PositiveSmallIntegerField(help_text="1: of the first reader, 2: of the second.")
    is_second_look = models.BooleanField(default=False, help_text="The other reader's cell, read for agreement only.")
    code = models.CharField(max_length=3, blank=True)
    read_at = models.DateTimeField(null=True)
    settled_code = models.CharField(max_length=3, blank=True)
    settled_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["count", "cell", "place"], name="cell_read_once_by_each_reader")]


class AtlasPicture(models.Model):
    """A picture that a laboratory chose to show what a type looks like, with where it comes from."""

    laboratory = models.ForeignKey(Laboratory, on_delete=models.CASCADE, related_name="atlas")
    code = models.CharField(max_length=3)
    caption = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=200, help_text="Where the picture comes from and under which licence.")
    jpeg = models.BinaryField()
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["code", "id"]
