"""Write a signed, withdrawn or rejected case as a FHIR R4 transaction and post it to another system's server.

What a resource holds is written in `review.reports.fhir`; when to send, and again, is decided in `outbox`.

References
----------
https://hl7.org/fhir/R4/http.html#transaction: a resource is created only where none has its identifier (ifNoneExist),
or replaces the one that has it (conditional update); both may be repeated without a second effect.
"""

import base64
import json
import uuid
from typing import Any

from django.conf import settings

from leukoweb import outgoing
from leukoweb.cases.models import REJECTED, Case
from leukoweb.delivery.hl7 import MAX_BYTES
from leukoweb.delivery.models import Interface
from leukoweb.delivery.network import ANSWER_LIMIT_S, client_tls, in_words
from leukoweb.review.models import Report
from leukoweb.review.reports import fhir

TYPE = "application/fhir+json"
KEPT = ("Patient", "ServiceRequest", "Specimen")  # the other system's own are never replaced
Resource = dict[str, Any]


def bundle_message(case: Case, report: Report | None, *, interface: Interface, pdf: bytes | None = None) -> bytes:
    """Write the transaction: patient, order, specimen, report, and of a signed report its figures.

    Parameters
    ----------
    case : Case
        With its state.
    report : Report or None
        The signed version; None for a rejected specimen.
    pdf : bytes, optional
        The report on paper, to be sent as `presentedForm`.
    """
    report = None if case.state == REJECTED else report
    found = [
        fhir.patient_of(case.patient.person),
        fhir.request_of(case),
        fhir.specimen_of(case),
        fhir.report_of(case, report),
    ]
    found[3].pop("media", None)  # pictures stay here
    found[0].pop("link", None)  # the other records of the person are not sent
    if pdf is not None:
        data = base64.b64encode(pdf).decode()
        found[3]["presentedForm"] = [{"contentType": "application/pdf", "data": data, "title": "Report"}]
    if report:
        found += [*fhir.observations_of(case, report), *fhir.observations_gone(case, report)]
    places = {f"{one['resourceType']}/{one['id']}": _urn(interface, one) for one in found}
    entries = [_entry(one, places, interface) for one in found]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def _urn(interface: Interface, resource: Resource) -> str:
    name = f"{interface.site.rstrip('/')}/fhir/{resource['resourceType']}/{resource['id']}"
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def _entry(resource: Resource, places: dict[str, str], interface: Interface) -> Resource:
    kind, key = resource["resourceType"], resource.pop("id")
    own = {"system": f"{interface.site.rstrip('/')}/fhir/{kind}", "value": key}
    if kind == "Patient":  # the hospital's own number finds the hospital's own patient
        own = {name: value for name, value in (("system", interface.authority), ("value", _first(resource))) if value}
        resource["identifier"] = [own]
    else:
        resource["identifier"] = [own, *resource.get("identifier", [])]
    search = f"identifier={own['system']}|{own['value']}" if "system" in own else f"identifier={own['value']}"
    request = {"method": "PUT", "url": f"{kind}?{search}"}
    if kind in KEPT:
        request = {"method": "POST", "url": kind, "ifNoneExist": search}
    return {"fullUrl": places[f"{kind}/{key}"], "resource": _with_places(resource, places), "request": request}


def _first(resource: Resource) -> str:
    return resource["identifier"][0]["value"]


def _with_places(part: Any, places: dict[str, str]) -> Any:
    """Return a resource whose references are those of the transaction."""
    if isinstance(part, list):
        return [_with_places(one, places) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: places.get(value, value) if name == "reference" else _with_places(value, places)
        for name, value in part.items()
    }


def post(interface: Interface, raw: bytes, *, patience_s: float = ANSWER_LIMIT_S) -> bytes:
    """Post a transaction; return the answer, its status in the first line.

    Raises
    ------
    NotDelivered
        When the server cannot be reached, ends the connection or does not answer in time.
    """
    headers = {"Content-Type": TYPE, "Accept": TYPE}
    if token := settings.FHIR_TOKENS.get(interface.host):
        headers["Authorization"] = f"Bearer {token}"
    with in_words(patience_s):
        status, answer = outgoing.post(
            interface.host,
            interface.port,
            interface.path or "/",
            raw,
            headers=headers,
            tls=client_tls() if interface.use_tls else None,
            patience_s=patience_s,
            most_bytes=MAX_BYTES,
        )
    return f"HTTP {status}\n".encode() + answer


def refusal_of(answer: bytes) -> str:
    """Say why an answer means that the transaction was not taken; "" where it was."""
    head, _, body = answer.partition(b"\n")
    status = head.decode("ascii", "replace").removeprefix("HTTP ")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    if status[:1] != "2":
        return f"The receiver refused the bundle (HTTP {status}). {_issue_of(said)}".strip()
    if said.get("resourceType") != "Bundle" or said.get("type") != "transaction-response":
        return f"The answer (HTTP {status}) is no response to a transaction. {_issue_of(said)}".strip()
    for entry in _dicts(said.get("entry")):
        response = entry.get("response")
        response = response if isinstance(response, dict) else {}
        if not str(response.get("status", "")).startswith("2"):
            outcome = response.get("outcome")
            issue = _issue_of(outcome if isinstance(outcome, dict) else {})
            return f"The receiver refused a resource ({str(response.get('status', 'no status'))[:40]}). {issue}".strip()
    return ""


def _issue_of(outcome: Resource) -> str:
    """The words of the first error of an OperationOutcome; "" where there is none."""
    issues = _dicts(outcome.get("issue"))
    errors = [one for one in issues if one.get("severity") in ("fatal", "error")]
    issue = next(iter([*errors, *issues]), {})
    details = issue.get("details")
    words = (details.get("text") if isinstance(details, dict) else "") or issue.get("diagnostics") or issue.get("code")
    return str(words or "")[:500]


def _dicts(value: object) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
