"""What was registered and stored: patients, cases, slides and their images.

Every read starts at `Model.objects.visible_to(user)`: another laboratory's rows do not exist for the user.
"""

import uuid
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Case as FirstOf
from django.db.models import Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy, gettext_noop

from detection.images import WHOLE_SLIDES
from leukoweb.accounts.models import Laboratory, User
from leukoweb.cases.identity import search_key
from leukoweb.cases.states import (  # noqa: F401  all rooms find the states beside the case
    AMENDING,
    FAILED,
    ORDERED,
    QUEUED,
    REGISTERED,
    REJECTED,
    RUNNING,
    SIGNED,
    STATES,
    TO_REVIEW,
    TO_SIGN,
    WITHDRAWN,
    conditions_of,
)

# Why a specimen is rejected: HL7 table 0490, https://terminology.hl7.org/CodeSystem/v2-0490 (CC0).
REJECTIONS = {
    "RC": gettext_noop("Clotting"),
    "RH": gettext_noop("Hemolysis"),
    "QS": gettext_noop("Quantity not sufficient"),
    "RM": gettext_noop("Labeling"),
    "RI": gettext_noop("Identification problem"),
    "RA": gettext_noop("Missing patient ID number"),
    "RE": gettext_noop("Missing patient name"),
    "RS": gettext_noop("Name misspelling"),
    "RD": gettext_noop("Missing collection date"),
    "RP": gettext_noop("Missing phlebotomist ID"),
    "RB": gettext_noop("Broken container"),
    "RN": gettext_noop("Contamination"),
    "RR": gettext_noop("Improper storage"),
    "EX": gettext_noop("Expired"),
}
REJECTION_SYSTEM = "http://terminology.hl7.org/CodeSystem/v2-0490"
NUMBER = RegexValidator(
    r"\A[A-Za-z0-9](?:[A-Za-z0-9._/ -]*[A-Za-z0-9._-])?\Z",
    "Use letters (A to Z), digits, dot, slash, hyphen, underscore and blanks only, beginning with a letter or digit.",
)
ONE_LINE = RegexValidator(
    r"\A[^\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]*\Z",
    "Write this in one line, without control characters.",
)


class PatientQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> "PatientQuerySet":
        """The patients of the user's own laboratory, and those of the cases that the user may see in an emergency."""
        if not user.is_authenticated or not user.can("read_cases"):
            return self.none()
        own = models.Q(laboratory_id=user.laboratory_id)
        in_emergency = getattr(user, "emergency_cases", ())
        return self.filter(own | models.Q(cases__in=in_emergency) if in_emergency else own).distinct()

    def same_person(self, patient: "Patient") -> "PatientQuerySet":
        """The records of one person: the one that stands for it, and those that are merged into it."""
        stands_for_it = patient.survivor_id or patient.pk
        return self.filter(models.Q(pk=stands_for_it) | models.Q(survivor=stands_for_it))


class Patient(models.Model):
    """A person whose blood was taken."""

    class Sex(models.TextChoices):
        FEMALE = "F", gettext_lazy("female")
        MALE = "M", gettext_lazy("male")
        UNKNOWN = "U", gettext_lazy("unknown")

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="patients")
    mrn = models.CharField(gettext_lazy("medical record number"), max_length=64, validators=[ONE_LINE])
    name = models.CharField(max_length=200, validators=[ONE_LINE])
    sex = models.CharField(max_length=1, choices=Sex, default=Sex.UNKNOWN)
    birth_date = models.DateField(null=True, blank=True)
    name_key = models.CharField(max_length=400, editable=False, default="", help_text="See identity.py.")
    survivor = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, editable=False, related_name="records",
        help_text="The record that stands for this person since a merge; see merging.py.",
    )  # fmt: skip

    objects = PatientQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["laboratory", "mrn"], name="patient_mrn_once_per_laboratory")]
        indexes = [models.Index(fields=["laboratory", "name"]), models.Index(fields=["name", "id"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.mrn})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep the key of the name beside it."""
        self.name_key = search_key(self.name)[:400]  # one letter can stand for eighteen
        if kwargs.get("update_fields") and "name" in kwargs["update_fields"]:
            kwargs["update_fields"] = {*kwargs["update_fields"], "name_key"}
        super().save(*args, **kwargs)

    @property
    def person(self) -> "Patient":
        """The record that stands for this person: this one, unless it was merged into another."""
        return self.survivor or self

    @property
    def other_mrns(self) -> list[str]:
        """The other numbers of this person, the one that stands for it first."""
        records = Patient.objects.same_person(self).exclude(pk=self.pk).order_by("-survivor", "pk")
        return list(records.values_list("mrn", flat=True))


class PatientMergeQuerySet(models.QuerySet):
    def visible_to(self, user: User) -> "PatientMergeQuerySet":
        """The merges of the user's own laboratory."""
        if not user.is_authenticated or not user.can("propose_merge"):
            return self.none()
        return self.filter(kept__laboratory_id=user.laboratory_id)

    def living(self) -> "PatientMergeQuerySet":
        """Those that wait or are in force."""
        return self.filter(declined_at=None, undone_at=None)

    def in_force(self) -> "PatientMergeQuerySet":
        """Those that were approved and not undone."""
        return self.living().filter(approved_at__isnull=False)


class PatientMerge(models.Model):
    """Two records of one person: `ended` points to `kept` while it is in force; see merging.py."""

    class State(models.TextChoices):
        PROPOSED = "proposed", gettext_lazy("waits for approval")
        DECLINED = "declined", gettext_lazy("declined")
        MERGED = "merged", gettext_lazy("merged")
        UNDO_PROPOSED = "undo_proposed", gettext_lazy("undoing waits for approval")
        UNDONE = "undone", gettext_lazy("undone")

    kept = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="merges_into")
    ended = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="merges")
    reason = models.TextField(max_length=1000)
    origin = models.CharField(max_length=200, blank=True, help_text="The message that asked for it.")
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField(default=timezone.now)
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    approved_at = models.DateTimeField(null=True)
    declined_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    declined_at = models.DateTimeField(null=True)
    decline_reason = models.TextField(blank=True, max_length=1000)
    are_two_persons = models.BooleanField(default=False, help_text="The finder of duplicates does not ask again.")
    undo_proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    undo_proposed_at = models.DateTimeField(null=True)
    undo_reason = models.TextField(blank=True, max_length=1000)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    undone_at = models.DateTimeField(null=True)

    objects = PatientMergeQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["ended"],
                condition=models.Q(declined_at=None, undone_at=None),
                name="one_living_merge_of_each_record",
            ),
            models.CheckConstraint(condition=~models.Q(kept=models.F("ended")), name="merge_of_two_records"),
        ]

    @property
    def state(self) -> Any:
        """One of State."""
        if self.declined_at:
            return self.State.DECLINED
        if self.undone_at:
            return self.State.UNDONE
        if self.undo_proposed_at:
            return self.State.UNDO_PROPOSED
        return self.State.MERGED if self.approved_at else self.State.PROPOSED

    @property
    def state_name(self) -> str:
        """The state in words."""
        return str(self.State(self.state).label)

    @property
    def waits_for(self) -> User | None:
        """Who proposed what waits: somebody else must approve it."""
        return {self.State.PROPOSED: self.proposed_by, self.State.UNDO_PROPOSED: self.undo_proposed_by}.get(
            self.State(self.state)
        )

    @property
    def differences(self) -> list[str]:
        """What of the two records is not the same: to be compared before anybody approves."""
        found = {
            gettext_noop("name"): sorted(self.kept.name_key.split()) != sorted(self.ended.name_key.split()),
            gettext_noop("birth date"): self.kept.birth_date != self.ended.birth_date,
            gettext_noop("sex"): self.kept.sex != self.ended.sex,
        }
        return [word for word, is_different in found.items() if is_different]


class CaseQuerySet(models.QuerySet):
    def locked(self, pk: int) -> "Case":
        """Hold a case's row until the transaction ends, and return the case with its state, patient and laboratory."""
        Case.objects.select_for_update(no_key=True).get(pk=pk)
        return self.with_state().select_related("patient", "laboratory").get(pk=pk)

    def visible_to(self, user: User) -> models.QuerySet:
        """The cases of the user's own laboratory; none for a role that may not read cases."""
        if not user.is_authenticated or not user.can("read_cases"):
            return self.none()
        own = models.Q(laboratory_id=user.laboratory_id)
        in_emergency = getattr(user, "emergency_cases", ())  # see accounts.middleware: reading only, recorded, alerted
        return self.filter(own | models.Q(pk__in=in_emergency) if in_emergency else own)

    def with_state(self) -> "CaseQuerySet":
        """Annotate `state`, the one derived state of a case (see STATES)."""
        first = [When(is_in_it, then=Value(state)) for state, is_in_it in conditions_of(Case).items()]
        return self.annotate(state=FirstOf(*first, default=Value(TO_REVIEW), output_field=models.CharField()))

    def reported(self) -> "CaseQuerySet":
        """Return the cases that have a signed report, in force or withdrawn: they are never rejected (S12)."""
        return self.filter(reports__state="signed")

    def forget_flags(self) -> int:
        """Write that the flags of these cases must be worked out again; say it in the transaction that changes them.

        Whatever enters a flag asks for it: cells and labels, the WBC, birth date and sex, the laboratory's policy, the
        choices of the report. `leukoweb.review.urgency` works them out.
        """
        return self.update(flag_level=None, flags=[])

    def in_state(self, state: str) -> "CaseQuerySet":
        """The cases in one state, by joins in place of the derived state of every row: fast with 100,000 cases."""
        found, conditions = self, {**conditions_of(Case)}
        if state not in (REJECTED, AMENDING, WITHDRAWN, SIGNED):
            # Without a signed report there is nothing to amend or withdraw: by two indexes, and the few that are left.
            waiting = Case.objects.filter(~conditions.pop(SIGNED), rejected_at=None)
            found = found.filter(pk__in=waiting.values("pk"))
            conditions = {name: conditions[name] for name in conditions if name not in (REJECTED, AMENDING, WITHDRAWN)}
        for earlier, is_in_it in conditions.items():
            if earlier == state:
                return found.filter(is_in_it)
            if earlier != ORDERED or state == REGISTERED:  # else it has slides, which PostgreSQL joins faster alone
                found = found.filter(~is_in_it)
        return found if state == TO_REVIEW else self.none()


class Case(models.Model):
    """One specimen of one patient, under the laboratory's accession number."""

    class Priority(models.TextChoices):
        ROUTINE = "routine", gettext_lazy("routine")
        STAT = "stat", gettext_lazy("STAT")

    class WbcUnit(models.TextChoices):
        GIGA_PER_L = "10*9/L", "10⁹/L"
        KILO_PER_UL = "10*3/uL", "10³/µL"
        PER_UL = "/uL", "/µL"

    laboratory = models.ForeignKey(Laboratory, on_delete=models.PROTECT, related_name="cases")
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="cases")
    accession_number = models.CharField(max_length=64, validators=[NUMBER])
    priority = models.CharField(max_length=10, choices=Priority, default=Priority.ROUTINE)
    stain = models.CharField(max_length=60, default="May-Grünwald-Giemsa", validators=[ONE_LINE])
    collected_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(default=timezone.now)
    clinical_note = models.TextField(blank=True, max_length=4000)
    ordered_at = models.DateTimeField(null=True, blank=True, help_text="Set where the case came as an order.")
    placer_number = models.CharField(max_length=64, blank=True, db_index=True, validators=[ONE_LINE])
    filler_number = models.CharField(max_length=64, blank=True, validators=[ONE_LINE])
    requester = models.CharField(max_length=200, blank=True, validators=[ONE_LINE])
    ward = models.CharField(max_length=200, blank=True, validators=[ONE_LINE])
    copy_to = models.CharField(max_length=400, blank=True, validators=[ONE_LINE])
    specimen_type = models.CharField(max_length=100, blank=True, validators=[ONE_LINE])
    collector = models.CharField(max_length=200, blank=True, validators=[ONE_LINE])
    wbc = models.DecimalField(
        gettext_lazy("analyser WBC"),
        max_digits=12,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
    )
    wbc_unit = models.CharField(max_length=10, choices=WbcUnit, blank=True)
    wbc_at = models.DateTimeField(null=True, blank=True)
    wbc_source = models.CharField(gettext_lazy("analyser"), max_length=100, blank=True, validators=[ONE_LINE])
    rejected_at = models.DateTimeField(null=True, blank=True)
    rejected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    rejection_reason = models.TextField(blank=True, max_length=1000)
    rejection_code = models.CharField(max_length=2, blank=True, choices=list(REJECTIONS.items()))
    flag_level = models.PositiveSmallIntegerField(
        null=True, editable=False, help_text="0 none, 1 note, 2 review, 3 urgent and open; empty: to be worked out."
    )
    flags = models.JSONField(default=list, editable=False, help_text="Key, title, urgency of each flag; if open.")
    glance = models.JSONField(default=dict, editable=False, help_text="Of its cells, for the worklist: see urgency.py.")
    held_at = models.DateTimeField(
        gettext_lazy("legal hold"), null=True, blank=True, help_text="While set, nothing of it expires."
    )
    hold_reason = models.TextField(blank=True, max_length=1000)
    is_demonstration = models.BooleanField(
        default=False, editable=False, help_text="No patient: its cells and pictures never serve another case."
    )
    registered_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    registered_at = models.DateTimeField(auto_now_add=True)

    objects = CaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["laboratory", "accession_number"], name="accession_once_per_laboratory")
        ]
        indexes = [
            models.Index(fields=["laboratory", "-received_at", "-id"]),
            models.Index(fields=["laboratory", "priority", "-received_at"]),
            models.Index(fields=["laboratory", "-flag_level"]),
            # With the one of signed reports: the open cases are found without reading either table.
            models.Index(fields=["laboratory", "id"], name="case_not_rejected", condition=models.Q(rejected_at=None)),
        ]
        ordering = ["-received_at", "-id"]

    def __str__(self) -> str:
        return self.accession_number


class CbcResult(models.Model):
    """One run of an analyser over the specimen of a case; runs stand beside each other and are never changed."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="cbc_results")
    run = models.PositiveIntegerField(help_text="1 for the first of the case.")
    analyser = models.CharField(max_length=100, validators=[ONE_LINE])
    measured_at = models.DateTimeField(null=True)
    is_final = models.BooleanField(help_text="Whether the analyser's operator released it.")
    values = models.JSONField(help_text="See cbc.CbcValue.")
    remarks = models.JSONField(default=list, help_text="What the analyser suspects, in its words.")
    warnings = models.JSONField(default=list, help_text="What should be checked, in sentences.")
    received_at = models.DateTimeField(default=timezone.now)
    received_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "run"], name="cbc_run_once_per_case")]
        ordering = ["-is_final", "-run"]

    def amounts(self) -> dict[str, float | None]:
        """Key to amount in the first unit of its kind; None where the analyser gave no number."""
        return {value["key"]: value["amount"] for value in self.values}


class OfCase(models.QuerySet):
    """What belongs to a case, over `case_path`: who may see the case may see it."""

    case_path = "case"

    def visible_to(self, user: User) -> Self:
        """Return what belongs to the cases that the user may see."""
        return self.filter(**{f"{self.case_path}__in": Case.objects.visible_to(user)})


class Slide(models.Model):
    """A glass slide: one or more images of one smear."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="slides")
    label = models.CharField(max_length=60, blank=True)
    is_drawn = models.BooleanField(
        default=False, help_text="Drawn by a program, no blood: the demonstration before version 1.3."
    )
    attribution = models.TextField(
        blank=True, max_length=1000, help_text="Whose pictures these are, under which licence, and what was changed."
    )
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField(auto_now_add=True)
    set_aside_at = models.DateTimeField(null=True, blank=True, help_text="Since then no figure counts this slide.")
    set_aside_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    set_aside_reason = models.TextField(blank=True, max_length=1000)

    objects = OfCase.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.label or f"Slide {self.pk}"


class SlideImageQuerySet(OfCase):
    case_path = "slide__case"

    def of_demonstrations(self) -> models.QuerySet:
        """The pictures of demonstration cases, which serve nothing else."""
        return self.filter(slide__case__is_demonstration=True)


class SlideImage(models.Model):
    """One stored image: the original lies unchanged under its SHA-256 (see store.py)."""

    slide = models.ForeignKey(Slide, on_delete=models.PROTECT, related_name="images")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=200, help_text="As uploaded, path parts removed.")
    sha256 = models.CharField(max_length=64, db_index=True)
    size_bytes = models.BigIntegerField()
    format = models.CharField(max_length=10)
    width_px = models.PositiveIntegerField()
    height_px = models.PositiveIntegerField()
    um_per_px = models.FloatField(null=True, blank=True)
    um_per_px_source = models.CharField(max_length=20, blank=True, help_text="file, uploader; empty: not known")
    warning = models.TextField(blank=True)
    expired_at = models.DateTimeField(null=True, blank=True, help_text="When its pixels were removed (retention.py).")

    objects = SlideImageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["slide", "position"], name="image_position_once_per_slide")]
        ordering = ["slide_id", "position"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_whole_slide(self) -> bool:
        """Whether it is the scan of a whole slide, of which regions are read and never all of it."""
        return self.format in WHOLE_SLIDES

    @property
    def ending(self) -> str:
        """The ending of the original's name."""
        return {"WSI": "tiff", "DICOM": "dcm"}.get(self.format, self.format.lower().rpartition(" ")[2])


class PartialUploadQuerySet(models.QuerySet):
    def unfinished_of(self, user: User) -> "PartialUploadQuerySet":
        """Return the living uploads of a person that no slide has taken yet, oldest first."""
        return self.filter(owner=user, expires_at__gt=timezone.now()).order_by("created_at")


class PartialUpload(models.Model):
    """A file that arrives in pieces (tus.py): its bytes lie in the incoming folder until they become an image."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True, help_text="Empty until the whole file was checked.")
    facts = models.JSONField(null=True, help_text="What the check found (detection.images.ImageFacts).")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = PartialUploadQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def path(self) -> Path:
        """Where the bytes that came so far lie."""
        return settings.FILE_UPLOAD_TEMP_DIR / f"tus-{self.pk}"

    @property
    def offset(self) -> int:
        """How many bytes came so far: the file itself is the truth, also after a crash."""
        return self.path.stat().st_size if self.path.exists() else 0
