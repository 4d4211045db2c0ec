"""Merges of two patient records for programs: thin views over cases.merging; two persons decide, as on the page."""

from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from leukoweb.api.serializers import Page, Refusal
from leukoweb.api.views_cases import Pages, RoleView
from leukoweb.audit.services import record
from leukoweb.cases import merging
from leukoweb.cases.models import Patient, PatientMerge
from leukoweb.cases.services import patient_with_mrn
from leukoweb.texts import MOST_REASON

PERSONS = ("proposed_by", "approved_by", "declined_by", "undo_proposed_by", "undone_by")


class MergedRecord(serializers.ModelSerializer):
    """A patient record as it is compared with another one."""

    class Meta:
        model = Patient
        fields = ("mrn", "name", "birth_date", "sex")


class MergeSerializer(serializers.ModelSerializer):
    """A merge of two records of one person: `ended` points to `kept` while its state is `merged`."""

    kept = MergedRecord()
    ended = MergedRecord()
    state = serializers.ChoiceField(PatientMerge.State.choices)
    differences = serializers.ListField(child=serializers.CharField(), help_text="What the records say differently.")
    is_waiting = serializers.SerializerMethodField(help_text="For another person than the one who proposed it.")
    proposed_by = serializers.CharField(source="proposed_by.username")
    approved_by = serializers.CharField(source="approved_by.username", default=None, allow_null=True)
    declined_by = serializers.CharField(source="declined_by.username", default=None, allow_null=True)
    undo_proposed_by = serializers.CharField(source="undo_proposed_by.username", default=None, allow_null=True)
    undone_by = serializers.CharField(source="undone_by.username", default=None, allow_null=True)

    class Meta:
        model = PatientMerge
        fields = [
            "id", "kept", "ended", "state", "is_waiting", "differences", "reason", "origin", "proposed_by",
            "proposed_at", "approved_by", "approved_at", "declined_by", "declined_at", "decline_reason",
            "are_two_persons", "undo_proposed_by", "undo_proposed_at", "undo_reason", "undone_by", "undone_at",
        ]  # fmt: skip

    def get_is_waiting(self, merge: PatientMerge) -> bool:
        return merge.waits_for is not None


class MergePage(Page):
    """One page of merges, newest first."""

    results = MergeSerializer(many=True)


class MergeRequest(serializers.Serializer):
    """Two records of one person, by their numbers, and why they are."""

    kept = serializers.CharField(max_length=64)
    ended = serializers.CharField(max_length=64)
    reason = serializers.CharField(max_length=MOST_REASON)


class MergeDecision(serializers.Serializer):
    """What is done with a merge; every act but the two approvals asks for a `reason`."""

    act = serializers.ChoiceField(tuple(merging.ACTS))
    reason = serializers.CharField(max_length=MOST_REASON, required=False, allow_blank=True, default="")


class MergeList(RoleView):
    actions = dict.fromkeys(("GET", "HEAD", "OPTIONS", "POST"), "propose_merge")  # noqa: RUF012

    @extend_schema(
        operation_id="merges_list",
        parameters=[OpenApiParameter("page", OpenApiTypes.INT), OpenApiParameter("page_size", OpenApiTypes.INT)],
        responses={200: MergePage, 400: Refusal},
    )
    def get(self, request: Request) -> Response:
        """The merges of your laboratory, newest first: those that wait for a second person and those decided."""
        pages = Pages()
        merges = PatientMerge.objects.visible_to(request.user).select_related("kept", "ended", *PERSONS)
        shown = pages.paginate_queryset(merges, request)
        record("merge.read", actor=request.user, laboratory=request.user.laboratory, changes={"shown": len(shown)})
        return pages.get_paginated_response(MergeSerializer(shown, many=True).data)

    @extend_schema(request=MergeRequest, responses={201: MergeSerializer, 400: Refusal, 403: Refusal, 409: Refusal})
    def post(self, request: Request) -> Response:
        """Propose that two records are of one person; nothing changes until another person approves."""
        asked = MergeRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        numbers = {name: asked.validated_data[name] for name in ("kept", "ended")}
        both = {name: patient_with_mrn(mrn, by=request.user, field=name) for name, mrn in numbers.items()}
        merge = merging.propose_merge(**both, by=request.user, reason=asked.validated_data["reason"])
        return Response(MergeSerializer(merge).data, status=201)


class MergeDecide(RoleView):
    actions = dict.fromkeys(("OPTIONS", "POST"), "propose_merge")  # noqa: RUF012

    @extend_schema(
        request=MergeDecision, responses={200: MergeSerializer, 400: Refusal, 403: Refusal, 404: Refusal, 409: Refusal}
    )
    def post(self, request: Request, pk: int) -> Response:
        """Approve or decline a merge, propose to undo it, approve or decline that; approving is another person's."""
        merge = get_object_or_404(PatientMerge.objects.visible_to(request.user), pk=pk)
        asked = MergeDecision(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(MergeSerializer(merging.decide(merge, by=request.user, **asked.validated_data)).data)
