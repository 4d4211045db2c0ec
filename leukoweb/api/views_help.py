"""What helps a reader beside the cells, for programs, to be read: delta alarms of a case, film counts of a slide."""

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.analysis.models import FilmCount, FilmImage
from leukoweb.api.serializers import Refusal
from leukoweb.api.views_cases import RoleView, visible_case
from leukoweb.audit.services import record_read
from leukoweb.cases.models import Slide
from leukoweb.review.history.models import DeltaAlarm, DeltaEntry


class DeltaLogLine(serializers.ModelSerializer):
    """One line of the log of an alarm; `by` is null where the software wrote it."""

    by = serializers.CharField(source="by.printed_name", default=None, allow_null=True)

    class Meta:
        model = DeltaEntry
        fields = ["kind", "by", "at", "reason"]


class DeltaAlarmSerializer(serializers.ModelSerializer):
    """A change against an earlier result as it was when it was found; a possible mix-up holds the signature."""

    name = serializers.CharField(source="fact.name", help_text="The figure that changed.")
    unit = serializers.CharField(source="fact.unit")
    now = serializers.CharField(source="fact.now")
    before = serializers.CharField(source="fact.before")
    before_accession = serializers.CharField(source="fact.before_accession")
    before_at = serializers.CharField(source="fact.before_at")
    is_active = serializers.BooleanField(help_text="Whether it waits for an answer.")
    log = DeltaLogLine(many=True, source="entries")

    class Meta:
        model = DeltaAlarm
        fields = ["id", "title", "name", "unit", "now", "before", "before_accession", "before_at", "is_mix_up",
                  "is_active", "policy_version", "raised_at", "log"]  # fmt: skip


class FilmImageSerializer(serializers.ModelSerializer):
    """What was counted on one image; in `area_um2` of it."""

    clumps = serializers.SerializerMethodField(help_text="Possible clumps, and how many platelets are in each.")

    class Meta:
        model = FilmImage
        fields = ["image", "um_per_px", "area_um2", "red_cells", "platelets", "clumps"]

    def get_clumps(self, own: FilmImage) -> list[int]:
        return [clump[0] for clump in own.clumps]


class FilmSerializer(serializers.ModelSerializer):
    """Red cells and platelets as a detector of their own counted them: help, never a result by itself."""

    images = FilmImageSerializer(many=True)

    class Meta:
        model = FilmCount
        fields = ["state", "error", "detector", "images"]


class CaseDeltaAlarms(RoleView):
    @extend_schema(responses={200: DeltaAlarmSerializer(many=True), 404: Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """The delta alarms of a case with their log, also those that were dismissed or no longer hold."""
        case = visible_case(request, pk=pk)
        record_read(request._request, case, case)
        alarms = DeltaAlarm.objects.filter(case=case).with_log()
        return Response(DeltaAlarmSerializer(alarms, many=True).data)


class SlideFilm(RoleView):
    @extend_schema(responses={200: FilmSerializer, 404: Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """The count of red cells and platelets of a slide; not found where none was asked for."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        counts = FilmCount.objects.filter(run__slide=slide, run__is_shadow=False).prefetch_related("images")
        own = get_object_or_404(counts)
        record_read(request._request, slide, slide.case)
        return Response(FilmSerializer(own).data)
