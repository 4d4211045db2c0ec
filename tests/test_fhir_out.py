"""Results that go out as FHIR: what the other server gets, no second effect of a repeat, and every way it refuses."""

import base64
import json
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.cases.services import edit_case, reject_case
from leukoweb.delivery.fhir_out import post
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.network import NotDelivered
from leukoweb.delivery.outbox import collect, send_due, undelivered
from leukoweb.delivery.services import save_interface
from leukoweb.delivery.tasks import deliver_results
from leukoweb.review.models import Report
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import withdraw_report
from tests.conftest import PASSWORD, taken_back
from tests.fhir_schema import problems_of
from tests.test_delivery_pages import FORM
from tests.test_reports import WBC, post_signature, reviewed, signed  # noqa: F401 (fixtures)
from tests.test_results import stays_owed_until_taken

pytestmark = pytest.mark.slow

SITE = "https://leukoweb.hospital.example"
OUTCOME = {"resourceType": "OperationOutcome", "issue": [
    {"severity": "warning", "code": "informational", "diagnostics": "A note."},
    {"severity": "error", "code": "processing", "details": {"text": "Unknown patient."}},
]}  # fmt: skip


class FhirServer(ThreadingHTTPServer):
    """A FHIR server on loopback: it keeps resources by their identifier, as conditional requests ask."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.bundles, self.kept, self.asked, self.answer = [], {}, [], "ok"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, bundle):
        """Do what a transaction asks for; the answer of each entry."""
        for entry in bundle["entry"]:
            request, resource = entry["request"], entry["resource"]
            if request["method"] == "POST":
                key = request["url"], request["ifNoneExist"]
                is_new = key not in self.kept
                self.kept.setdefault(key, resource)
            else:
                kind, _, search = request["url"].partition("?")
                is_new = (kind, search) not in self.kept
                self.kept[kind, search] = resource
            yield {"response": {"status": "201 Created" if is_new else "200 OK"}}

    def of(self, kind):
        return [resource for (kept, _), resource in self.kept.items() if kept == kind]


class Conversation(BaseHTTPRequestHandler):
    def do_POST(self):
        how = self.server.answer
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers)))
        if how == "silent":
            time.sleep(1.5)
        if how in ("silent", "cut"):
            self.close_connection = True
            return
        if how == "slow":
            for sign in b"HTTP/1.1 200 OK\r\n":
                self.wfile.write(bytes([sign]))
                time.sleep(0.1)
        if how == "no http":
            self.wfile.write(b"what?\r\n\r\n")
            return
        bundle = json.loads(raw)
        self.server.bundles.append(bundle)
        if isinstance(how, bytes):
            self.say(422, how)
        elif isinstance(how, int):
            self.say(how, OUTCOME)
        elif how == "words":
            self.say(200, "thank you")
        elif how == "entry":
            refused = {"response": {"status": "422 Unprocessable", "outcome": OUTCOME}}
            self.say(200, response([{"response": {"status": "201"}}, refused]))
        else:
            self.say(200, response(list(self.server.take(bundle))))

    def say(self, status, body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(raw)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def response(entries):
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


@pytest.fixture
def server():
    with FhirServer() as made:
        yield made
        made.shutdown()


@pytest.fixture
def interface(laboratory, admin, server):
    made = Interface(
        laboratory=laboratory, name="FHIR", direction="fhir_out", port=server.server_address[1], is_active=True,
        site=SITE, path="/base", authority="urn:oid:1.2.3",
    )  # fmt: skip
    return save_interface(made, by=admin)


def test_a_signed_report_is_posted_as_a_valid_transaction_with_its_figures(interface, server, signed):  # noqa: F811
    report, _ = signed
    deliver_results()
    [bundle] = server.bundles
    assert (server.asked[0][0], server.asked[0][1]["Content-Type"]) == ("/base", "application/fhir+json")
    assert (bundle["type"], problems_of(bundle)) == ("transaction", [])
    [found] = server.of("DiagnosticReport")
    assert found["status"] == "final"
    assert found["identifier"] == [
        {"system": f"{SITE}/fhir/DiagnosticReport", "value": str(report.case_id)},
        {"value": report.seal},
    ]
    row = next(row for row in report.content["differential"]["rows"] if row["key"] == "NGS")
    figures = {one["code"]["text"]: one["valueQuantity"]["value"] for one in server.of("Observation")
               if "valueQuantity" in one}  # fmt: skip
    assert figures[row["name"]] == pytest.approx(row["percent"], abs=0.0005)
    message = Message.objects.get()
    assert (message.state, message.kind, message.control_id) == ("acknowledged", "FHIR Bundle", report.seal[:20])
    assert bytes(message.answer).startswith(b"HTTP 200\n")


def test_every_reference_of_the_transaction_is_to_a_resource_in_it_and_no_address_holds_a_number(
    interface,
    server,
    signed,  # noqa: F811
):
    report, _ = signed
    deliver_results()
    [bundle] = server.bundles
    text = json.dumps(bundle)
    urns = {entry["fullUrl"] for entry in bundle["entry"]}
    assert len(urns) == len(bundle["entry"])
    assert {part.split('"')[0] for part in text.split('"reference": "')[1:]} <= urns
    assert all("id" not in entry["resource"] for entry in bundle["entry"])
    patient = next(entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient")
    mrn = report.case.patient.mrn
    assert patient["request"] == {
        "method": "POST",
        "url": "Patient",
        "ifNoneExist": f"identifier=urn:oid:1.2.3|{mrn}",
    }
    assert mrn not in server.asked[0][0]


def test_a_repeat_after_a_lost_answer_has_no_second_effect(interface, server, signed):  # noqa: F811
    collect(interface)
    message = Message.objects.get()
    post(interface, bytes(message.raw))
    before = json.dumps(sorted(map(str, server.kept)))
    assert send_due(interface) == 1
    assert json.dumps(sorted(map(str, server.kept))) == before
    assert len(server.bundles) == 2


def test_an_amended_and_a_withdrawn_report_replace_the_one_before(interface, server, signed, client, pathologist):  # noqa: F811
    report, _ = signed
    deliver_results()
    amend_report(report, by=pathologist, reason="One band was a metamyelocyte.")
    client.force_login(pathologist)
    post_signature(client, report.case)
    deliver_results()
    [found] = server.of("DiagnosticReport")
    assert (found["status"], {one["status"] for one in server.of("Observation")}) == ("corrected", {"corrected"})
    newest = report.case.reports.order_by("-version").first()
    withdraw_report(newest, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    deliver_results()
    assert [one["status"] for one in server.of("DiagnosticReport")] == ["entered-in-error"]
    assert [problems_of(bundle) for bundle in server.bundles] == [[], [], []]
    assert len(server.of("Patient")) == len(server.of("Specimen")) == 1


def test_figures_that_an_amendment_no_longer_has_become_entered_in_error(
    interface, server, reviewed, sign_in, pathologist, technologist  # noqa: F811
):  # fmt: skip
    """H30: the other system kept them as final."""
    case, client = reviewed(**WBC), sign_in(pathologist)
    post_signature(client, case)
    deliver_results()
    amend_report(Report.objects.get(), by=pathologist, reason="Of another specimen.")
    fields = {"wbc": None, "wbc_unit": "", "wbc_source": "", "wbc_at": None}
    edit_case(case, by=technologist, mrn=case.patient.mrn, patient={}, fields=fields)
    post_signature(client, case)
    deliver_results()
    statuses = {one["code"].get("text", "panel"): one["status"] for one in server.of("Observation")}
    assert {status for name, status in statuses.items() if name.endswith(", absolute")} == {"entered-in-error"}
    assert {status for name, status in statuses.items() if not name.endswith(", absolute")} == {"corrected"}
    assert [problems_of(bundle) for bundle in server.bundles] == [[], []]


def test_a_withdrawn_report_is_sent_as_such_also_when_an_amendment_was_opened_meanwhile(
    interface, server, signed, pathologist  # noqa: F811
):  # fmt: skip
    """H22: it was sent as final."""
    report, _ = signed
    withdraw_report(report, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    amend_report(report, by=pathologist, reason="The right tube.")
    deliver_results()
    assert [one["status"] for one in server.of("DiagnosticReport")] == ["entered-in-error"]
    assert {one["status"] for one in server.of("Observation")} == {"entered-in-error"}


def test_a_rejected_specimen_is_posted_without_any_figure(interface, server, make_case, technologist):
    reject_case(make_case(), by=technologist, reason="clotted")
    deliver_results()
    [bundle] = server.bundles
    assert problems_of(bundle) == []
    assert (server.of("DiagnosticReport")[0]["status"], server.of("Observation")) == ("cancelled", [])
    assert "clotted" in server.of("DiagnosticReport")[0]["conclusion"]


def test_the_report_goes_along_as_pdf_where_the_interface_says_so(interface, server, signed):  # noqa: F811
    Interface.objects.update(embeds_pdf=True)
    deliver_results()
    [form] = server.of("DiagnosticReport")[0]["presentedForm"]
    assert base64.b64decode(form["data"]).startswith(b"%PDF-")
    assert problems_of(server.bundles[0]) == []


REFUSALS = [
    (422, "refused the bundle (HTTP 422). Unknown patient."),
    (500, "refused the bundle (HTTP 500). Unknown patient."),
    (401, "refused the bundle (HTTP 401)"),
    (302, "refused the bundle (HTTP 302)"),
    ("entry", "refused a resource (422 Unprocessable). Unknown patient."),
    ("words", "is no response to a transaction"),
    ("no http", "was not HTTP"),
    ("cut", "ended the connection without an answer"),
]


def test_without_a_response_that_takes_all_the_result_stays_owed_and_says_why(interface, server, signed):  # noqa: F811
    for answer, words in REFUSALS:
        server.answer = answer
        with taken_back():
            deliver_results()
            stays_owed_until_taken(interface, server, words, taken="ok")


def test_an_answer_that_no_row_can_keep_leaves_the_results_of_other_cases_their_turn(
    interface,
    server,
    signed,  # noqa: F811
    make_case,
    technologist,
):
    """H34: deep nesting, a NUL or half of a surrogate pair in an answer ended the round of the whole interface."""
    reject_case(make_case("A-2"), by=technologist, reason="clotted")
    for answer in (b"[" * 100_000, b'{"issue": [{"diagnostics": "Full\\u0000\\ud800."}]}'):
        server.answer = answer
        Message.objects.update(next_try_at=timezone.now())
        deliver_results()
        said = list(Message.objects.values_list("state", "sentence"))
        assert [state for state, _ in said] == ["queued"] * 2
    assert {sentence for _, sentence in said} == {"The receiver refused the bundle (HTTP 422). Full."}


@pytest.mark.parametrize("answer", ["silent", "slow"])
def test_a_server_that_does_not_answer_in_time_is_left(interface, server, signed, answer):  # noqa: F811
    """However steadily it sends: it held the results of every interface."""
    server.answer = answer
    collect(interface)
    with pytest.raises(NotDelivered, match="No answer within 1 s"):
        post(interface, bytes(Message.objects.get().raw), patience_s=1)


def test_a_server_that_is_away_for_a_day_leaves_a_message_that_is_not_delivered(
    interface,
    server,
    signed,  # noqa: F811
    client,
    technologist,
):
    server.shutdown()
    server.server_close()
    collect(interface)
    Message.objects.update(given_up_at=timezone.now() - timedelta(minutes=1))
    send_due(interface)
    message = Message.objects.get()
    assert (message.state, undelivered()) == ("dead", 1)
    client.force_login(technologist)
    page = client.get(reverse("message_detail", args=[message.pk])).content.decode()
    assert "cannot be reached" in page
    assert "transaction" in page
    assert "Signed, not delivered" in client.get(reverse("worklist")).content.decode()


def test_the_token_of_the_server_goes_along_and_is_on_no_page(interface, server, signed, settings, client, admin):  # noqa: F811
    settings.FHIR_TOKENS = {"127.0.0.1": "s3cret-token", "elsewhere": "other"}
    deliver_results()
    assert server.asked[0][1]["Authorization"] == "Bearer s3cret-token"
    client.force_login(admin)
    for address in (reverse("interface_list"), reverse("interface_edit", args=[interface.pk])):
        assert "s3cret-token" not in client.get(address).content.decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"site": ""}, "need this address"), ({"path": "fhir?x=1"}, "Write the path of an address")],
)
def test_what_an_interface_of_this_kind_lacks_is_said_at_its_field(admin, sign_in, changes, words):
    form = FORM | {"direction": "fhir_out", "codes": "", "site": SITE, "path": "/fhir"}
    client = sign_in(admin)
    assert words in client.post(reverse("interface_add"), form | changes).content.decode()
    assert client.post(reverse("interface_add"), form).status_code == 302
