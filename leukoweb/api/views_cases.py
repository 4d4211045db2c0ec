"""Tokens, cases and slides for programs: thin views over the services of the pages; they count no cells."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import authenticate
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from leukoweb.accounts.lockout import address_of, lock_sentence, locked_until
from leukoweb.accounts.second_factor import check_code, has_second_factor
from leukoweb.analysis.models import ImageResult, Run
from leukoweb.analysis.regions import map_of, regions_asked, require_whole_slide
from leukoweb.analysis.services import reread_slide, retry_run, runs_before, stop_run
from leukoweb.analysis.set_aside import include_slide, set_slide_aside
from leukoweb.analysis.uploads import accept_upload
from leukoweb.answers import as_json
from leukoweb.api import serializers as forms
from leukoweb.api.authentication import duty_of
from leukoweb.api.models import ApiToken
from leukoweb.api.services import give_token, revoke_token
from leukoweb.audit.services import record_read
from leukoweb.cases.identity import clean_number
from leukoweb.cases.intake import plausible_um_per_px
from leukoweb.cases.models import STATES, Case, Slide
from leukoweb.cases.services import register_case
from leukoweb.refusals import Refused
from leukoweb.review.services import current_policy, rules_of

DEPRECATED_SINCE = 1796083200  # 2026-12-01: addresses with accession numbers


class MayDo(BasePermission):
    """Ask the role for the action that the view names for this method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            return False
        # A method that the view does not have is answered with 405, not 403.
        return request.method not in view.actions or request.user.can(view.actions[request.method])


class RoleView(APIView):
    """A view whose `actions` say what a role must be allowed to do for each method."""

    permission_classes = (MayDo,)
    actions = {"GET": "read_cases", "HEAD": "read_cases", "OPTIONS": "read_cases"}  # noqa: RUF012

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Say of an address with an accession number that it goes (RFC 9745), and where its successor is described."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if "accession_number" in kwargs:
            response["Deprecation"] = f"@{DEPRECATED_SINCE}"
            response["Link"] = f'<{reverse("api_case_find")}>; rel="successor-version"'
        return response


class Pages(PageNumberPagination):
    page_size_query_param = "page_size"
    max_page_size = 1000


class TokenDoor(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "token"

    @extend_schema(
        request=forms.TokenRequest,
        responses={200: forms.TokenAnswer, 400: forms.Refusal, 403: forms.Refusal, 429: forms.Refusal},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Get a token for a user name and password; send it as `Authorization: Token <token>`."""
        asked = _checked(forms.TokenRequest, request.data)
        if until := locked_until(asked["username"], address_of(request._request)):
            raise Refused(lock_sentence(until), code="locked_out")
        user = authenticate(request._request, username=asked["username"], password=asked["password"])
        if user is None:
            raise Refused(gettext("User name or password is wrong."), code="wrong_password")
        if has_second_factor(user) and not check_code(user, asked.get("code", ""), request=request._request):
            raise Refused(gettext("Send `code`: the current code of your authenticator app."), code="wrong_password")
        if duty := duty_of(user):
            raise Refused(duty, code="account_duty")
        wanted = {name: asked[name] for name in ("name", "scope", "days") if name in asked}
        token, secret = give_token(user, **wanted)
        return Response({"token": secret, "scope": token.scope, "expires_at": token.expires_at})


class TokenEnd(APIView):
    is_open_to_reading_tokens = True

    @extend_schema(request=None, responses={204: None, 400: forms.Refusal})
    def post(self, request: Request) -> Response:
        """Revoke the token that this request carries."""
        if not isinstance(request.auth, ApiToken):
            raise Refused(gettext("This request carries no token: sign out on the page instead."))
        revoke_token(request.auth, by=request.user)
        return Response(status=204)


class CaseList(RoleView):
    actions = RoleView.actions | {"POST": "register_case"}

    @extend_schema(
        operation_id="cases_list",
        parameters=[
            OpenApiParameter("state", enum=list(STATES)),
            OpenApiParameter("priority", enum=Case.Priority.values),
            OpenApiParameter("page", OpenApiTypes.INT),
            OpenApiParameter("page_size", OpenApiTypes.INT),
        ],
        responses={200: forms.CasePage, 400: forms.Refusal},
    )
    def get(self, request: Request) -> Response:
        """The cases of your laboratory, newest first, in pages of 100: `count`, `next`, `previous`, `results`."""
        cases, asked = Case.objects.visible_to(request.user), request.query_params
        if (priority := asked.get("priority")) is not None:
            cases = cases.filter(priority=_one_of(priority, Case.Priority.values, "priority"))
        if (state := asked.get("state")) is not None:
            cases = cases.in_state(_one_of(state, STATES, "state"))
        pages = Pages()
        # Counted and cut by key alone: the derived state is worked out for the rows of the page only.
        keys = pages.paginate_queryset(cases.order_by("-received_at", "-id").values_list("pk", flat=True), request)
        shown = _shown_cases(Case.objects.visible_to(request.user).filter(pk__in=keys))
        return pages.get_paginated_response(_case_json(request, shown, many=True))

    @extend_schema(
        request=forms.CaseRequest, responses={201: forms.CaseSerializer, 400: forms.Refusal, 403: forms.Refusal}
    )
    def post(self, request: Request) -> Response:
        """Register a case; the patient is found by MRN in your laboratory, or made."""
        fields = dict(_checked(forms.CaseRequest, request.data))
        patient = dict(fields.pop("patient"))
        case = register_case(by=request.user, mrn=patient.pop("mrn"), patient=patient, case=fields)
        [case] = _shown_cases(Case.objects.visible_to(request.user).filter(pk=case.pk))
        return Response(_case_json(request, case), status=201)


class CaseFind(RoleView):
    actions = RoleView.actions | {"POST": "read_cases"}
    is_open_to_reading_tokens = True

    @extend_schema(request=forms.CaseNumber, responses={200: forms.CaseSerializer, 404: forms.Refusal})
    def post(self, request: Request) -> Response:
        """Find a case by its accession number, sent in the body: numbers in addresses end up in logs."""
        asked = _checked(forms.CaseNumber, request.data)
        own = Case.objects.visible_to(request.user).filter(laboratory=request.user.laboratory)
        number = clean_number(asked["accession_number"])  # two cases never differ in capitals only
        case = get_object_or_404(_shown_cases(own), accession_number__iexact=number)
        record_read(request, case, case)
        return Response(_case_json(request, case))


class CaseDetail(RoleView):
    @extend_schema(responses={200: forms.CaseSerializer, 404: forms.Refusal})
    def get(self, request: Request, **case: Any) -> Response:
        """One case with its patient and slides."""
        own = Case.objects.visible_to(request.user).filter(laboratory=request.user.laboratory)
        case = get_object_or_404(_shown_cases(own), **case)
        record_read(request, case, case)
        return Response(_case_json(request, case))


class SlideUpload(RoleView):
    actions = RoleView.actions | {"POST": "upload_slide"}
    parser_classes = (MultiPartParser,)
    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "upload"

    @extend_schema(
        request={"multipart/form-data": forms.SlideRequest},
        responses={201: forms.SlideAnswer, 400: forms.NothingTaken, 404: forms.Refusal, 409: forms.Refusal},
    )
    def post(self, request: Request, **case: Any) -> Response:
        """Upload the images of one slide; its analysis is queued at once. Files that are refused stand in `errors`."""
        case = visible_case(request, **case)
        files = request.FILES.getlist("images")
        stopped = getattr(request._request, "stopped_files", [])
        asked = _checked(forms.SlideRequest, request.data, partial=True)
        if not files and not stopped:
            raise Refused(gettext("No file was received: send the pictures as multipart field “images”."), "images")
        try:
            um_per_px = plausible_um_per_px(asked.get("um_per_px"))
        except ValueError as implausible:
            raise Refused(str(implausible), "um_per_px") from implausible
        slide, refused = accept_upload(
            case, files, label=asked.get("label", ""), um_per_px=um_per_px, by=request.user, stopped=stopped
        )
        errors = [{"name": one.name, "error": one.sentence, "position": one.position} for one in refused]
        if slide is None:
            none = Refused(gettext("No files were accepted."), code="nothing_taken")
            return Response(as_json(none) | {"errors": errors}, status=none.status)
        shown = slide_json(slide)
        return Response(shown | {"stored": len(shown["images"]), "errors": errors}, status=201)


class SlideDetail(RoleView):
    @extend_schema(responses={200: forms.SlideSerializer, 404: forms.Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """A slide, how far its analysis is, and its images; ask again every few seconds while it runs."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        record_read(request, slide, slide.case)
        return Response(slide_json(slide))


class SlideScale(RoleView):
    actions = {"POST": "upload_slide"}  # noqa: RUF012

    @extend_schema(
        request=forms.ScaleRequest,
        responses={200: forms.SlideSerializer, 400: forms.Refusal, 404: forms.Refusal, 409: forms.Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """State the scale of a slide and have it read again, also after its run failed for want of one."""
        slides = Slide.objects.visible_to(request.user).select_related("case__laboratory")
        slide = get_object_or_404(slides, pk=pk)
        asked = _checked(forms.ScaleRequest, request.data)
        try:
            um_per_px = plausible_um_per_px(asked["um_per_px"])
        except ValueError as implausible:
            raise Refused(str(implausible), "um_per_px") from implausible
        reread_slide(slide, um_per_px=um_per_px, by=request.user, leave_labels=asked["leave_labels"])
        return Response(slide_json(slide))


class SlideRegions(RoleView):
    actions = RoleView.actions | {"POST": "upload_slide", "DELETE": "upload_slide"}

    @extend_schema(responses={200: forms.MapSerializer(many=True), 404: forms.Refusal})
    def get(self, request: Request, pk: int) -> Response:
        """The whole slides among the images of a slide: regions that were asked for, the map, and what was read."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        record_read(request, slide, slide.case)
        run = Run.objects.get(slide=slide, is_shadow=False)
        results = {result.image_id: result for result in ImageResult.objects.filter(run=run)}
        images = [image for image in slide.images.all() if image.is_whole_slide]
        return Response([map_of(image, results.get(image.pk), run.regions or []) for image in images])

    @extend_schema(
        request=forms.RegionsRequest,
        responses={200: forms.SlideSerializer, 400: forms.Refusal, 404: forms.Refusal, 409: forms.Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Have regions of a whole slide read in place of what was read; they replace those asked for before."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case__laboratory"), pk=pk)
        asked = _checked(forms.RegionsRequest, request.data)
        lines = "\n".join(" ".join(map(str, box)) for box in asked["regions"])
        regions = regions_asked(slide.images.filter(pk=asked["image"]).first(), lines)
        reread_slide(slide, by=request.user, leave_labels=asked["leave_labels"], regions=regions)
        return Response(slide_json(slide))

    @extend_schema(
        parameters=[forms.LeaveLabels],
        responses={200: forms.SlideSerializer, 400: forms.Refusal, 404: forms.Refusal, 409: forms.Refusal},
    )
    def delete(self, request: Request, pk: int) -> Response:
        """Forget the regions and have the monolayer read again."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case__laboratory"), pk=pk)
        require_whole_slide(next((image for image in slide.images.all() if image.is_whole_slide), None))
        asked = _checked(forms.LeaveLabels, request.query_params)
        reread_slide(slide, by=request.user, leave_labels=asked["leave_labels"], regions=[])
        return Response(slide_json(slide))


class SlideStop(RoleView):
    actions = {"POST": "upload_slide"}  # noqa: RUF012

    @extend_schema(request=None, responses={200: forms.SlideSerializer, 404: forms.Refusal, 409: forms.Refusal})
    def post(self, request: Request, pk: int) -> Response:
        """Stop the analysis of a slide, whether it waits or works."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        if not stop_run(Run.objects.get(slide=slide, is_shadow=False), by=request.user):
            raise Refused(gettext("The analysis has already ended."), code="wrong_state")
        return Response(slide_json(slide))


class SlideRetry(RoleView):
    actions = {"POST": "upload_slide"}  # noqa: RUF012

    @extend_schema(request=None, responses={200: forms.SlideSerializer, 404: forms.Refusal, 409: forms.Refusal})
    def post(self, request: Request, pk: int) -> Response:
        """Queue an analysis again that failed or was stopped."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        if not retry_run(Run.objects.get(slide=slide, is_shadow=False), by=request.user):
            raise Refused(gettext("The analysis has not failed: there is nothing to try again."), code="wrong_state")
        return Response(slide_json(slide))


class SlideSetAside(RoleView):
    actions = {"POST": "upload_slide", "DELETE": "upload_slide"}  # noqa: RUF012

    @extend_schema(
        request=forms.SetAsideRequest,
        responses={200: forms.SlideSerializer, 400: forms.Refusal, 404: forms.Refusal, 409: forms.Refusal},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Leave a slide that cannot be read out of its case; the report names it with the reason."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        set_slide_aside(slide, by=request.user, reason=_checked(forms.SetAsideRequest, request.data)["reason"])
        return Response(slide_json(Slide.objects.get(pk=pk)))

    @extend_schema(responses={200: forms.SlideSerializer, 404: forms.Refusal, 409: forms.Refusal})
    def delete(self, request: Request, pk: int) -> Response:
        """Take a slide that was set aside back into its case."""
        slide = get_object_or_404(Slide.objects.visible_to(request.user).select_related("case"), pk=pk)
        include_slide(slide, by=request.user)
        return Response(slide_json(Slide.objects.get(pk=pk)))


def visible_case(request: Request, **case: Any) -> Case:
    """The case of the caller's laboratory, or 404: a number names one case there, and perhaps another one elsewhere."""
    cases = Case.objects.visible_to(request.user).filter(laboratory=request.user.laboratory)
    cases = cases.select_related("patient", "laboratory")
    return get_object_or_404(cases, **case)


def slide_json(slide: Slide) -> dict:
    """A slide with the state of its counted run."""
    run = Run.objects.select_related("detector").get(slide=slide, is_shadow=False)
    slide.state, slide.progress, slide.error = run.state, run.progress, run.error
    slide.scale_choices = run.scale_choices if run.asks_scale else None
    slide.queued_before = runs_before(run) if run.state == Run.State.QUEUED else 0
    slide.detector = str(run.detector) if run.detector else None
    results = ImageResult.objects.filter(run=run).select_related("run")
    by_image = {result.image_id: [result] for result in results}
    images = list(slide.images.all())
    for image in images:
        image._prefetched_objects_cache = {"results": by_image.get(image.pk, [])}
    slide._prefetched_objects_cache = {"images": images}
    return forms.SlideSerializer(slide).data


def _case_json(request: Request, cases: Any, *, many: bool = False) -> Any:
    """One or many cases of the caller's laboratory, with what its rules warn of."""
    rules = rules_of(current_policy(request.user.laboratory))
    return forms.CaseSerializer(cases, many=many, context={"rules": rules}).data


def _shown_cases(cases: QuerySet[Case]) -> QuerySet[Case]:
    return cases.with_state().select_related("patient").prefetch_related("slides__runs").order_by("-received_at", "-id")


def _checked(form: type[BaseSerializer], given: Any, *, partial: bool = False) -> dict:
    checked = form(data=given, partial=partial)
    checked.is_valid(raise_exception=True)
    return checked.validated_data


def _one_of(value: str, known: Iterable[str], name: str) -> str:
    if value not in known:
        raise Refused(
            gettext("There is no such %(name)s: choose one of %(names)s.") % {"name": name, "names": ", ".join(known)},
            name,
        )
    return value
