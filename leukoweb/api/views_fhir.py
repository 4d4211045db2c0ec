"""FHIR R4 at `/fhir/`: read, search and order; thin views over the services of cases and what was signed.

How a resource is written is in `review.reports.fhir`. Every refusal is an OperationOutcome.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import Http404, QueryDict
from django.urls import reverse
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from leukoweb.analysis.crops import crop_path
from leukoweb.analysis.models import Cell
from leukoweb.api.fhir_orders import moment_of, order_of
from leukoweb.api.parsers import GuardedJson
from leukoweb.api.views_cases import RoleView
from leukoweb.audit.services import record, record_read
from leukoweb.cases.identity import clean_number
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.services import register_case
from leukoweb.given import whole_number
from leukoweb.refusals import Refused, outcome_of
from leukoweb.review.models import Report
from leukoweb.review.reports import fhir

MOST_ROWS, ROWS = 100, 50
PAGED = ("_id", "_count", "_after")
SEARCHED = {
    "Patient": (*PAGED, "identifier"),
    "ServiceRequest": (*PAGED, "identifier", "patient"),
    "Specimen": (*PAGED, "identifier", "patient"),
    "DiagnosticReport": (*PAGED, "identifier", "patient", "_lastUpdated"),
    "Observation": (*PAGED, "patient", "code"),
    "Media": (*PAGED, "patient"),
}
TYPES = {"_id": "token", "patient": "reference", "_lastUpdated": "date", "code": "token"}


class FhirRenderer(JSONRenderer):
    media_type = "application/fhir+json"


class FhirParser(GuardedJson):
    media_type = "application/fhir+json"


class FhirView(RoleView):
    renderer_classes = (FhirRenderer, JSONRenderer)
    parser_classes = (FhirParser, GuardedJson)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a format that is not written here; clients ask for JSON by `_format` too."""
        super().initial(request, *args, **kwargs)
        if "json" not in request.query_params.get("_format", "json"):
            raise Refused("Answers are application/fhir+json.", "_format", code="wrong_format")

    def handle_exception(self, error: Exception) -> Response:
        """Answer a refusal as an OperationOutcome, with the sentence and code that every other address gives."""
        if isinstance(error, Refused) and error.code == "taken":
            error.status = 409
        answer = super().handle_exception(error)
        said = answer.data if isinstance(answer.data, dict) else {}
        code = str(said.get("code", "server_error"))
        answer.data = outcome_of(str(said.get("detail", "The request was refused.")), code=code)
        return answer


class Metadata(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    renderer_classes = (FhirRenderer, JSONRenderer)

    def get(self, request: Request) -> Response:
        """Say what this server can do (CapabilityStatement)."""
        can = {kind: ["read", "search-type"] for kind in fhir.KINDS}
        can["ServiceRequest"].append("create")
        resources = [
            {"type": kind, "interaction": [{"code": code} for code in codes],
             "searchParam": _parameters(kind)}
            for kind, codes in can.items()
        ]  # fmt: skip
        security = {"description": "Authorization: Bearer <token>; a token of the scope “read” cannot order."}
        return Response({
            "resourceType": "CapabilityStatement", "status": "active", "date": "2026-11-27", "kind": "instance",
            "software": {"name": "LeukoWeb", "version": settings.VERSION},
            "implementation": {"description": "Leukocyte differentials of one laboratory"},
            "fhirVersion": "4.0.1", "format": ["application/fhir+json"],
            "rest": [{"mode": "server", "security": security,
                      "resource": [{k: v for k, v in one.items() if v} for one in resources]}],
        })  # fmt: skip


class ResourceType(FhirView):
    actions = RoleView.actions | {"POST": "register_case"}

    def get(self, request: Request, kind: str) -> Response:
        """Search by parameters that name nobody."""
        if "identifier" in request.query_params:
            raise Refused(
                "Numbers of patients and specimens in addresses end up in logs: send them by POST to _search.",
                "identifier",
            )
        return _search(request, kind, _asked(request.query_params))

    def post(self, request: Request, kind: str) -> Response:
        """Order a blood film (ServiceRequest)."""
        if kind != "ServiceRequest":
            raise Refused("Only a ServiceRequest can be created here.", code="wrong_method")
        case = register_case(by=request.user, **order_of(request.data, _patients(request)))
        resource = fhir.request_of(_cases(request).get(pk=case.pk))
        return Response(resource, status=201, headers={"Location": f"{_base(request)}/ServiceRequest/{case.pk}"})


class ResourceSearch(FhirView):
    actions = {"POST": "read_cases"}  # noqa: RUF012
    is_open_to_reading_tokens = True

    def post(self, request: Request, kind: str) -> Response:
        """Search by any parameter; they come as a form or as JSON in the body."""
        if not hasattr(request.data, "items"):
            raise Refused("Send the search parameters by name.", code="unreadable")
        if _asked(request.query_params):
            raise Refused("Send every parameter of this search in its body, none in the address.", "search")
        return _search(request, kind, _asked(request.data))

    def get_parsers(self) -> list:
        """Forms too: clients send a search as one."""
        from rest_framework.parsers import FormParser

        return [*super().get_parsers(), FormParser()]


class Resource(FhirView):
    def get(self, request: Request, kind: str, key: str) -> Response:
        """Return one resource; each look is recorded."""
        number, _, part = key.partition("-")
        pk = whole_number(number)
        if pk is None or (part and kind != "Observation"):
            raise Http404
        if kind == "Patient":
            patient = _patients(request).filter(pk=pk).first()
            if patient is None:
                raise Http404
            record("patient.read", actor=request.user, obj=patient, laboratory=patient.laboratory)
            return Response(fhir.patient_of(patient))
        if kind == "Media":
            if (picture := _media(request, pk)) is None:
                raise Http404
            return Response(picture)
        case = _cases(request).filter(pk=pk).first()
        if case is None or kind not in fhir.KINDS:
            raise Http404
        found = _observation(case, key) if kind == "Observation" else _resource(request, kind, case)
        record_read(request._request, case, case)
        return Response(found)


class Nowhere(FhirView):
    def get(self, request: Request, rest: str) -> Response:
        """Say that there is no such address."""
        raise Http404


def _asked(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a search; one that is there twice is refused, not read by half."""
    if twice := [name for name in given if isinstance(given, QueryDict) and len(given.getlist(name)) > 1]:
        raise Refused(f"Give each parameter once, not twice: {', '.join(twice)[:100]}.", "search")
    if odd := [name for name, value in given.items() if isinstance(value, bool) or not isinstance(value, str | int)]:
        raise Refused(f"Give each parameter as a text: {', '.join(odd)[:100]}.", "search")
    return {name: str(value) for name, value in given.items() if name != "_format"}


def _base(request: Request) -> str:
    return request.build_absolute_uri("/fhir")


def _cases(request: Request) -> QuerySet[Case]:
    own = Case.objects.visible_to(request.user).filter(laboratory=request.user.laboratory)
    return own.with_state().select_related("patient")


def _patients(request: Request) -> QuerySet[Patient]:
    return Patient.objects.filter(laboratory=request.user.laboratory).select_related("laboratory")


def _signed(case: Case) -> Report | None:
    """The signed version in force; a demonstration is nobody's result."""
    signed = Report.objects.filter(case=case, state=Report.State.SIGNED, case__is_demonstration=False)
    return signed.order_by("-version").first()


def _parameters(kind: str) -> list[dict[str, str]]:
    """Return what a kind is searched by in an address, with the type of each parameter."""
    return [{"name": name, "type": of} for name, of in TYPES.items() if name in SEARCHED[kind]]


def _resource(request: Request, kind: str, case: Case) -> fhir.Resource:
    if kind == "ServiceRequest":
        return fhir.request_of(case)
    if kind == "Specimen":
        return fhir.specimen_of(case)
    pdf_url = request.build_absolute_uri(reverse("api_report_pdf_by_id", args=[case.pk]))
    return fhir.report_of(case, _signed(case), pdf_url=pdf_url)


def _updated(rows: QuerySet[Case], since: str) -> QuerySet[Case]:
    """Return the cases whose report was signed, withdrawn or rejected since a time, such as ge2026-11-28T08:00:00Z."""
    at = moment_of(since[2:], "_lastUpdated") if since[:2] in ("ge", "gt") else None
    if at is None:
        raise Refused("_lastUpdated is ge or gt and a time with its offset, or a date: ge2026-11-28.", "_lastUpdated")
    end = "gte" if since[:2] == "ge" else "gt"
    signed = Q(**{f"reports__signed_at__{end}": at}) | Q(**{f"reports__withdrawal__withdrawn_at__{end}": at})
    changed = Case.objects.filter(signed | Q(**{f"rejected_at__{end}": at}))
    return rows.filter(pk__in=changed.values("pk"))


def _observations(case: Case) -> list[fhir.Resource]:
    report = _signed(case) if case.rejected_at is None else None
    return fhir.observations_of(case, report) if report else []


def _observation(case: Case, key: str) -> fhir.Resource:
    found = next((one for one in _observations(case) if one["id"] == key), None)
    if found is None:
        raise Http404
    return found


def _media(request: Request, pk: int) -> fhir.Resource | None:
    """Return a picture of a signed report in force; None where there is none, or its file was removed."""
    cell = Cell.objects.filter(pk=pk).select_related("image__slide").first()
    case = _cases(request).filter(pk=cell.image.slide.case_id).first() if cell else None
    report = _signed(case) if case else None
    if cell is None or case is None or report is None or pk not in report.content["pictures"]:
        return None
    scales = {image["id"]: image["um_per_px"] for image in report.content["images"]}
    path = crop_path(cell, um_per_px=scales.get(cell.image_id))
    if path is None:
        return None
    record_read(request._request, case, case)
    return fhir.media_of(case, report, pk, base64.b64encode(path.read_bytes()).decode())


def _search_parts(request: Request, kind: str, asked: Any) -> Response:
    """Return a page of the figures or pictures of one person's signed reports, or the one of a key."""
    if (one := asked.get("_id")) is None and "patient" not in asked:
        raise Refused(f"{kind} is searched by patient or by _id.", "patient")
    code = _only(asked["code"], "code") if "code" in asked else None
    if code is not None and not code.strip("| "):
        raise Refused("The code is empty.", "code")
    signed = Report.objects.filter(state=Report.State.SIGNED)
    cases = _cases(request).filter(pk__in=signed.values("case")).order_by("pk")
    if "patient" in asked:
        cases = _of_person(request, cases, asked["patient"])
    if one is not None and kind == "Observation":
        cases = cases.filter(pk=_key(one.partition("-")[0], "_id"))
    elif one is not None:
        cases = cases.filter(pk__in=Cell.objects.filter(pk=_key(one, "_id")).values("image__slide__case"))
    found: dict[str, fhir.Resource | None] = {}
    for case in cases:
        if kind == "Observation":
            record_read(request._request, case, case)
            found |= {own["id"]: own for own in _observations(case) if _has_code(own, code)}
        elif report := _signed(case):
            found |= {str(pk): None for pk in report.content["pictures"]}
    keys = [key for key in found if one in (None, key)]
    if "_after" in asked and asked["_after"] not in keys:
        raise Refused("What was found has changed meanwhile: begin the search again.", "_after")
    after = keys.index(asked["_after"]) + 1 if "_after" in asked else 0
    count = _rows_of(asked)
    shown = keys[after : after + count]
    resources = [own for key in shown if (own := found[key] or _media(request, int(key)))]
    links = {"self": f"{_base(request)}/{kind}"}
    if shown and after + count < len(keys):
        links["next"] = f"{_base(request)}/{kind}?{urlencode(dict(asked.items()) | {'_after': shown[-1]})}"
    return Response(fhir.bundle_of(resources, total=len(keys), base=_base(request), links=links))


def _has_code(observation: fhir.Resource, code: str | None) -> bool:
    """Tell whether an observation has a code: alone, after its system and a bar, or any code of `system|`."""
    if code is None:
        return True
    system, bar, wanted = code.rpartition("|")
    codings = observation["code"].get("coding", [])
    return any(wanted in ("", one["code"]) and (not bar or system == one["system"]) for one in codings)


def _only(text: str, name: str) -> str:
    """Return the one value of a parameter: a comma separates several, one that is part of a value has a backslash."""
    if re.search(r"(?<!\\),", text):
        raise Refused(f"Search by one {name} at a time: several, separated by commas, are not taken.", name)
    return text.replace("\\,", ",")


def _of_person(request: Request, rows: QuerySet[Case], reference: str) -> QuerySet[Case]:
    """Return the cases of the person that a record is of, also those under merged records."""
    named = _patients(request).filter(pk=_key(reference.removeprefix("Patient/"), "patient")).first()
    return rows.filter(patient__in=Patient.objects.same_person(named)) if named else rows.none()


def _search(request: Request, kind: str, asked: Any) -> Response:
    """Return a page of resources, by key: rows of equal times cannot be lost between pages."""
    if kind not in SEARCHED:
        raise Http404
    if unknown := sorted(set(asked) - set(SEARCHED[kind])):
        raise Refused(f"This server does not search {kind} by {', '.join(unknown)[:100]}.", "search")
    if kind in ("Observation", "Media"):
        return _search_parts(request, kind, asked)
    rows = _patients(request) if kind == "Patient" else _cases(request)
    if (identifier := asked.get("identifier")) is not None:
        number = clean_number(_only(identifier, "identifier").rpartition("|")[2])
        if not number:
            raise Refused("The identifier is empty.", "identifier")
        own = Q(accession_number=number) | Q(placer_number=number)
        rows = _stands_for(rows, number) if kind == "Patient" else rows.filter(own)
    if (patient := asked.get("patient")) is not None:
        rows = _of_person(request, rows, patient)
    if (one := asked.get("_id")) is not None:
        rows = rows.filter(pk=_key(one, "_id"))
    if (since := asked.get("_lastUpdated")) is not None:
        rows = _updated(rows, since)
    total = rows.count()
    if (after := asked.get("_after")) is not None:
        rows = rows.filter(pk__gt=_key(after, "_after"))
    count = _rows_of(asked)
    shown = list(rows.order_by("pk")[: count + 1]) if count else []
    links = {"self": f"{_base(request)}/{kind}"}
    if len(shown) > count and "identifier" not in asked:
        kept = {name: value for name, value in asked.items() if name != "_after"} | {"_after": shown[count - 1].pk}
        links["next"] = f"{_base(request)}/{kind}?{urlencode(kept)}"
    resources = []
    for row in shown[:count]:
        if isinstance(row, Patient):
            record("patient.read", actor=request.user, obj=row, laboratory=row.laboratory)
            resources.append(fhir.patient_of(row))
        else:
            record_read(request._request, row, row)
            resources.append(_resource(request, kind, row))
    return Response(fhir.bundle_of(resources, total=total, base=_base(request), links=links))


def _stands_for(patients: QuerySet[Patient], mrn: str) -> QuerySet[Patient]:
    """The record that stands for the person with a number, also where that number was merged into it."""
    named = patients.filter(mrn=mrn).first()
    return patients.filter(pk=named.person.pk) if named else patients.none()


def _rows_of(asked: Any) -> int:
    """Return how many resources a page of a search has."""
    return min(_key(asked.get("_count", str(ROWS)), "_count"), MOST_ROWS)


def _key(text: str, name: str) -> int:
    number = whole_number(text)
    if number is None:
        of = "a whole number" if name == "_count" else "a number of this server"
        raise Refused(f"{name} must be {of}.", name)
    return number
