"""Critical results for programs, to be read: who was told and when; nothing is written here."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.api import serializers as forms
from leukoweb.api.views_cases import Pages, RoleView
from leukoweb.audit.services import record
from leukoweb.refusals import Refused
from leukoweb.review.criticals.models import Critical, CriticalEntry, CriticalException

STATES = ("open", "all")


class CriticalCall(serializers.ModelSerializer):
    """One attempt to tell somebody; `minutes` count from the detection."""

    minutes = serializers.IntegerField()

    class Meta:
        model = CriticalEntry
        fields = ["told_to", "told_role", "how", "is_reached", "is_read_back", "told_at", "minutes"]


class CriticalCover(serializers.ModelSerializer):
    """The exception of the patient that covers a critical result: nobody must be told."""

    set_by = serializers.CharField(source="set_by.printed_name")

    class Meta:
        model = CriticalException
        fields = ["id", "until", "reason", "set_by", "set_at"]


class CriticalSerializer(serializers.ModelSerializer):
    """A critical result with its value as it was detected; `minutes` end with the first call that reached somebody."""

    value = serializers.CharField(source="fact.sentence")
    code = serializers.CharField(source="fact.code", help_text="AA, HH or LL of HL7 table 0078.")
    is_open = serializers.BooleanField()
    is_read_back = serializers.BooleanField()
    minutes = serializers.IntegerField()
    calls = CriticalCall(many=True)
    exception = CriticalCover(source="covered.exception", default=None, allow_null=True)
    no_longer = serializers.SerializerMethodField(help_text="What made the value no longer critical, else empty.")

    class Meta:
        model = Critical
        fields = ["id", "case", "title", "value", "code", "detected_at", "is_open", "is_read_back", "minutes", "calls",
                  "exception", "no_longer"]  # fmt: skip

    def get_no_longer(self, critical: Critical) -> str:
        return critical.no_longer.change_words if critical.no_longer else ""


class CriticalPage(forms.Page):
    """One page of critical results, newest first."""

    results = CriticalSerializer(many=True)


class CriticalList(RoleView):
    @extend_schema(
        operation_id="criticals_list",
        parameters=[
            OpenApiParameter("state", enum=list(STATES)),
            OpenApiParameter("page", OpenApiTypes.INT),
            OpenApiParameter("page_size", OpenApiTypes.INT),
        ],
        responses={200: CriticalPage, 400: forms.Refusal},
    )
    def get(self, request: Request) -> Response:
        """The critical results of your laboratory, newest first: the open ones, with `state=all` every one."""
        state = request.query_params.get("state", "open")
        if state not in STATES:
            raise Refused(f"Choose state: {', '.join(STATES)}.", "state")
        found: QuerySet[Any] = Critical.objects.visible_to(request.user)
        if state == "open":
            found = found.open()
        pages = Pages()
        shown = pages.paginate_queryset(found.with_log().order_by("-pk"), request)
        record("critical.read", actor=request.user, changes={"results": [critical.pk for critical in shown]})
        return pages.get_paginated_response(CriticalSerializer(shown, many=True).data)
