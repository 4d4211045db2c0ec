"""How rows look in JSON and what a request must hold; rules about cases and cells stand in the services."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.cell_types import CODES
from leukoweb.analysis.models import Cell, Run
from leukoweb.analysis.regions import MOST_REGIONS
from leukoweb.api.models import ApiToken
from leukoweb.cases.models import STATES, Case, Patient, Slide, SlideImage
from leukoweb.cases.wbc import unit_of
from leukoweb.refusals import CODES as REFUSAL_CODES
from leukoweb.review.models import Decision
from leukoweb.review.services import wbc_warnings
from leukoweb.texts import MOST_REASON

FLAT_PATIENT = {"mrn": "mrn", "patient_mrn": "mrn", "patient_name": "name", "name": "name", "sex": "sex",
                "patient_sex": "sex", "birth_date": "birth_date", "patient_birth_date": "birth_date"}  # fmt: skip
# HL7 table 0001 (https://terminology.hl7.org, v2-0001) besides F, M and U, the X of passports, and nothing.
OTHER_SEXES = {"O", "A", "N", "C", "X", ""}
ERROR_CODES = [(code, code) for code in REFUSAL_CODES]


class Refusal(serializers.Serializer):
    """Every refusal: one sentence, and a code for programs (docs/api-errors.md)."""

    detail = serializers.CharField()
    code = serializers.ChoiceField(ERROR_CODES)
    fields = serializers.DictField(child=serializers.CharField(), required=False)


class TokenRequest(serializers.Serializer):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False, style={"input_type": "password"})
    code = serializers.CharField(
        max_length=20, required=False, allow_blank=True, help_text="Of the authenticator app, where one is enrolled."
    )
    name = serializers.CharField(max_length=60, required=False, allow_blank=True, help_text="What the token is for.")
    scope = serializers.ChoiceField(ApiToken.Scope.choices, required=False)
    days = serializers.IntegerField(min_value=1, max_value=3650, required=False, help_text="Until it expires.")


class TokenAnswer(serializers.Serializer):
    token = serializers.CharField()
    scope = serializers.CharField()
    expires_at = serializers.DateTimeField()


class PatientSerializer(serializers.ModelSerializer):
    """A patient; `sex` takes every value of HL7 table 0001, and what is neither F nor M is kept as U (unknown)."""

    class Meta:
        model = Patient
        fields = ["mrn", "name", "sex", "birth_date"]
        extra_kwargs = {"name": {"required": False}}  # noqa: RUF012

    def to_internal_value(self, given: Any) -> dict:
        if isinstance(given, dict) and "sex" in given:
            sex = given["sex"] if given["sex"] is not None else ""
            if isinstance(sex, str):
                sex = sex.strip().upper()
                given = {**given, "sex": Patient.Sex.UNKNOWN if sex in OTHER_SEXES else sex}
        return super().to_internal_value(given)


class SlideBrief(serializers.ModelSerializer):
    state = serializers.SerializerMethodField()

    class Meta:
        model = Slide
        fields = ["id", "label", "state"]

    def get_state(self, slide: Slide) -> str:
        return next((run.state for run in slide.runs.all() if not run.is_shadow), "")


class CaseSerializer(serializers.ModelSerializer):
    """A case as it is; `patient` is the record that stands for the person since a merge."""

    patient = PatientSerializer(source="patient.person")
    registered_mrn = serializers.CharField(source="patient.mrn", read_only=True, help_text="As on the specimen.")
    state = serializers.ChoiceField(list(STATES.items()), read_only=True)
    wbc = serializers.FloatField(allow_null=True)
    wbc_source = serializers.CharField(allow_blank=True)
    warnings = serializers.SerializerMethodField(help_text="What should be checked about the analyser's WBC.")
    slides = SlideBrief(many=True)

    class Meta:
        model = Case
        fields = [
            "id", "accession_number", "state", "priority", "patient", "registered_mrn", "stain", "collected_at",
            "received_at",
            "clinical_note", "wbc", "wbc_unit", "wbc_at", "wbc_source", "rejected_at", "rejection_code",
            "rejection_reason", "registered_at", "is_demonstration", "warnings", "slides",
        ]  # fmt: skip

    def get_warnings(self, case: Case) -> list[str]:
        return [warning.bench for warning in wbc_warnings(case, self.context["rules"])]


class CaseNumber(serializers.Serializer):
    """Which case of the caller's laboratory."""

    accession_number = serializers.CharField(max_length=64)


class Page(serializers.Serializer):
    """One page of a list; whose it is adds its `results`."""

    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class CasePage(Page):
    """One page of cases, newest first."""

    results = CaseSerializer(many=True)


class CaseRequest(serializers.ModelSerializer):
    """A case to register; for the nested patient also flat `mrn`, `patient_name`, `sex`, `birth_date`."""

    patient = PatientSerializer()

    class Meta:
        model = Case
        fields = [
            "accession_number", "patient", "priority", "stain", "collected_at", "received_at", "clinical_note",
            "wbc", "wbc_unit", "wbc_at", "wbc_source",
        ]  # fmt: skip
        extra_kwargs = {"wbc": {"coerce_to_string": False}}  # noqa: RUF012

    def to_internal_value(self, given: Any) -> dict:
        if isinstance(given, dict):
            given = dict(given.items())
            flat = {inner: given[outer] for outer, inner in FLAT_PATIENT.items() if outer in given}
            if "patient" not in given and flat:
                given["patient"] = flat
            if isinstance(given.get("priority"), str):
                given["priority"] = given["priority"].lower()
            if isinstance(given.get("wbc_unit"), str):
                given["wbc_unit"] = unit_of(given["wbc_unit"])
            for name in ("wbc_unit", "wbc_source", "clinical_note"):
                if given.get(name, "") is None:
                    given[name] = ""
            for name in ("received_at", "stain", "priority"):
                if given.get(name, "") is None:
                    given.pop(name)
        return super().to_internal_value(given)


class SlideRequest(serializers.Serializer):
    """One slide (glass) with one or more images."""

    images = serializers.ListField(child=serializers.FileField(allow_empty_file=True), help_text="Repeat for more.")
    um_per_px = serializers.CharField(
        required=False, allow_blank=True, max_length=20, help_text="Micrometres per pixel, 0.02 to 1, if you know it."
    )
    label = serializers.CharField(required=False, allow_blank=True, max_length=60)


class LeaveLabels(serializers.Serializer):
    """What a new reading may do to the labels that people gave."""

    leave_labels = serializers.BooleanField(
        default=False, help_text="Whether labels that people gave may stay with the former reading, uncounted."
    )


class ScaleRequest(LeaveLabels):
    """The scale of all images of a slide, as a person states it."""

    um_per_px = serializers.CharField(max_length=20, help_text="Micrometres per pixel, 0.02 to 1.")


class Box(serializers.ListField):
    """Left, top, right and bottom in px of the image."""

    child = serializers.IntegerField(min_value=0)


class RegionsRequest(LeaveLabels):
    """The regions of one whole slide that are to be read in place of its monolayer."""

    image = serializers.IntegerField(min_value=1, help_text="Which of the slide's images.")
    regions = serializers.ListField(child=Box(min_length=4, max_length=4), max_length=MOST_REGIONS)


class MapSerializer(serializers.Serializer):
    """What is read, or was, of one whole slide: its map has a letter for each block, row by row from the top left."""

    image = serializers.IntegerField()
    regions = serializers.ListField(child=Box(), help_text="As a reader asked for them; none: the monolayer is read.")
    block_px = serializers.FloatField(allow_null=True, help_text="Edge of a block of the map, 0.3 mm; null until read.")
    map = serializers.ListField(
        child=serializers.CharField(), help_text="`s` too sparse or empty, `d` too dense, `u` usable."
    )
    read = serializers.ListField(child=Box(), help_text="The boxes that were read.")
    area_mm2 = serializers.FloatField(allow_null=True)


class SetAsideRequest(serializers.Serializer):
    """Why a slide is left out of its case."""

    reason = serializers.CharField(max_length=MOST_REASON, help_text="The report prints it.")


class FileRefusal(serializers.Serializer):
    name = serializers.CharField()
    error = serializers.CharField()
    position = serializers.IntegerField(help_text="Of the file in the request, from 0: two files may have one name.")


class ImageSerializer(serializers.ModelSerializer):
    um_per_px = serializers.SerializerMethodField()
    um_per_px_source = serializers.SerializerMethodField()

    class Meta:
        model = SlideImage
        fields = ["id", "name", "width_px", "height_px", "um_per_px", "um_per_px_source", "sha256", "format", "warning"]

    def get_um_per_px(self, image: SlideImage) -> float | None:
        measured = self._measured(image)
        return measured.um_per_px if measured else image.um_per_px

    def get_um_per_px_source(self, image: SlideImage) -> str:
        measured = self._measured(image)
        return measured.scale_method if measured else image.um_per_px_source

    def _measured(self, image: SlideImage) -> Any:
        return next((result for result in image.results.all() if not result.run.is_shadow), None)


class SlideSerializer(serializers.ModelSerializer):
    """A slide with its analysis: `progress` runs from 0 to 1, `error` says why it failed."""

    case = serializers.SlugRelatedField("accession_number", read_only=True)
    images = ImageSerializer(many=True)
    state = serializers.ChoiceField(Run.State.choices, read_only=True)
    progress = serializers.FloatField(min_value=0, max_value=1)
    error = serializers.CharField(allow_blank=True)
    scale_choices = serializers.DictField(
        child=serializers.FloatField(),
        allow_null=True,
        help_text="Not null: state the scale (POST to scale/); what the file and the red cells say, where they say it.",
    )
    queued_before = serializers.IntegerField(help_text="Runs that a worker takes before this one.")
    detector = serializers.CharField(allow_null=True)

    class Meta:
        model = Slide
        fields = [
            "id", "case", "label", "is_drawn", "attribution", "uploaded_at", "state", "progress", "error",
            "scale_choices", "queued_before", "detector", "set_aside_at", "set_aside_reason", "images",
        ]  # fmt: skip


class SlideAnswer(SlideSerializer):
    stored = serializers.IntegerField(help_text="How many of the files became images of the slide.")
    errors = FileRefusal(many=True)

    class Meta(SlideSerializer.Meta):
        fields = [*SlideSerializer.Meta.fields, "stored", "errors"]


class NothingTaken(Refusal):
    """No file of the request was good."""

    errors = FileRefusal(many=True, required=False)


class BestType(serializers.Serializer):
    """One of the types that a detector holds a cell for."""

    code = serializers.CharField()
    chance = serializers.FloatField()


class CellSerializer(serializers.ModelSerializer):
    """A cell with its label now (`code`; empty for an added cell that was taken back) and what the detector said."""

    code = serializers.CharField(allow_blank=True)
    box_xyxy = serializers.SerializerMethodField(help_text="Pixels of the original image, origin top left.")
    reviewed = serializers.SerializerMethodField(help_text="Whether a person decided on this cell.")
    best_types = serializers.SerializerMethodField(
        help_text="The detector's three best types, best first, each with its chance of being right, 0 to 1."
    )

    class Meta:
        model = Cell
        fields = ["id", "image", "code", "detector_code", "score", "best_types", "box_xyxy", "reviewed"]

    @extend_schema_field(BestType(many=True))
    def get_best_types(self, cell: Cell) -> list[dict]:
        return [{"code": code, "chance": chance} for code, chance in cell.chances]

    @extend_schema_field({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4})
    def get_box_xyxy(self, cell: Cell) -> list[float]:
        return list(cell.xyxy)

    def get_reviewed(self, cell: Cell) -> bool:
        return bool(cell.decided_code)


class CellPage(Page):
    """One page of cells."""

    results = CellSerializer(many=True)


class DecisionSerializer(serializers.ModelSerializer):
    code = serializers.CharField(source="to_code")
    decided_by = serializers.CharField(source="decided_by.printed_name")

    class Meta:
        model = Decision
        fields = ["id", "cell", "from_code", "code", "reason", "decided_by", "decided_at"]


class DifferentialRow(serializers.Serializer):
    count = serializers.IntegerField(help_text="Cells in its percentage, as the report prints them.")
    count_note = serializers.CharField(
        allow_blank=True,
        help_text="“60 of them smudge cells”, “counted as lymphocytes”, else empty.",
    )
    percent = serializers.FloatField(allow_null=True, help_text="Never 0 where a cell was counted.")
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    absolute = serializers.FloatField(allow_null=True, help_text="10*9/L")


class FlagSerializer(serializers.Serializer):
    key = serializers.CharField()
    title = serializers.CharField()
    sentence = serializers.CharField()
    urgency = serializers.CharField()
    codes = serializers.ListField(child=serializers.CharField())
    is_machine_only = serializers.BooleanField(help_text="No person has confirmed a cell of this flag.")


class DifferentialCells(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {code: DifferentialRow() for code in CODES}


class DifferentialSerializer(serializers.Serializer):
    """Percent, low and high in percent (exact 95 % interval); for EBO and KSC percent means per 100 leukocytes."""

    cells = DifferentialCells()
    printed = serializers.DictField(
        child=serializers.CharField(), help_text="Type to percentage as a report prints it: “<0.1”, never “0.0”."
    )
    total = serializers.IntegerField(help_text="Leukocytes in the denominator.")
    unidentified = DifferentialRow()
    not_cells = serializers.IntegerField()
    reviewed = serializers.BooleanField(help_text="Whether a person verified every counted cell.")
    reviewed_cells = serializers.IntegerField(help_text="Counted cells that a person verified.")
    counted_cells = serializers.IntegerField(help_text="Cells that are counted, nucleated red and smudge cells too.")
    status = serializers.CharField(
        help_text="“preliminary, not reviewed”, “reviewed, not signed”, “signed”, or “signed, 34 of 113 cells verified "
        "by a person, 79 by the detector alone”."
    )
    is_limited = serializers.BooleanField(help_text="Too few leukocytes for a differential.")
    absolute_refusal = serializers.CharField(allow_blank=True)
    range_refusal = serializers.CharField(allow_blank=True, help_text="Why reference ranges do not apply.")
    smudge_as_lymphocytes = serializers.BooleanField(help_text="The signer's choice for this report.")
    sentences = serializers.ListField(child=serializers.CharField(), help_text="What the count can and cannot say.")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="What to check about the analyser's WBC.")
    policies = serializers.DictField()
    flags = FlagSerializer(many=True)
