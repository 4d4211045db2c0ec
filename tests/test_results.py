"""Results that go out: what the message says, that it is owed exactly once, and how it is retried."""

import base64
import socket
import socketserver
import struct
import threading
import time
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from hl7apy.parser import parse_message

from leukoweb.cases.models import Patient
from leukoweb.cases.services import edit_case, reject_case
from leukoweb.delivery.hl7 import acknowledgement, read
from leukoweb.delivery.mllp import deliver
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.network import NotDelivered
from leukoweb.delivery.outbox import collect, send_again, send_due, undelivered
from leukoweb.delivery.services import save_interface
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.findings.marking import Mark, mark_findings
from leukoweb.review.models import Report
from leukoweb.review.reports.notes import notes_of
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import withdraw_report
from tests.conftest import PASSWORD, taken_back
from tests.test_reports import WBC, acknowledge, post_signature, reviewed, signed  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow


class Receiver(socketserver.ThreadingTCPServer):
    """A hospital system on loopback: it keeps what it gets and answers as `answer` says."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Conversation)
        self.got, self.answer = [], "AA"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Conversation(socketserver.StreamRequestHandler):
    def handle(self):
        frame = b""
        while not frame.endswith(b"\x1c\r"):
            if not (more := self.request.recv(65536)):
                return
            frame += more
        message = read(frame[1:-2])
        self.server.got.append(message)
        answer = acknowledgement(message, at=timezone.now(), control_id="1", code="AA")
        if self.server.answer == "silent":
            return
        if self.server.answer == "reset":
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
            return
        if self.server.answer == "late":
            time.sleep(1.5)
        if self.server.answer == "other":
            answer = answer.replace(message.control_id.encode(), b"somebody-else")
        elif self.server.answer == "garbage":
            answer = b"what?"
        elif self.server.answer == "umlaut":
            answer = answer.rstrip(b"\r") + "|gepr\u00fcft\r".encode("latin-1")
        elif self.server.answer != "AA":
            answer = answer.replace(b"MSA|AA", f"MSA|{self.server.answer}".encode())
        self.wfile.write(b"\x0b" + answer + b"\x1c\r")


@pytest.fixture
def receiver():
    with Receiver() as server:
        yield server
        server.shutdown()


@pytest.fixture
def interface(laboratory, admin, receiver):
    made = Interface(
        laboratory=laboratory, name="Results", direction="results_out", port=receiver.server_address[1],
        is_active=True, authority="MRN",
    )  # fmt: skip
    return save_interface(made, by=admin)


def observations(message):
    return {seg.get(3, 4) or seg.get(3): seg for seg in message.all("OBX")}


def test_a_signed_report_is_sent_once_with_its_figures_and_codes(interface, receiver, signed):  # noqa: F811
    report, _ = signed
    assert collect(interface) == 1
    assert collect(interface) == 0
    assert send_due(interface) == 1
    assert send_due(interface) == 0
    [got] = receiver.got
    assert got.kind == "ORU^R01"
    assert got.control_id == report.seal[:20]
    assert got.first("OBR").get(25) == "F"
    found = observations(got)
    rows = {row["key"]: row for row in report.content["differential"]["rows"]}
    sent = {key: seg for key, seg in found.items() if key in rows}
    assert sent
    for key, seg in sent.items():
        assert float(seg.get(5)) == pytest.approx(rows[key]["percent"] or rows[key]["per_100"], abs=0.0005)
        assert (seg.get(3), seg.get(3, 3)) == (report.content["loinc"][key]["percent"], "LN")
        assert seg.get(11) == "F"
    assert {key for key, row in rows.items() if row["count"]} <= sent.keys()
    assert found["blasts"].get(5) == "0"
    assert Message.objects.get().state == "acknowledged"


def test_the_message_is_valid_for_an_independent_reader(interface, signed):  # noqa: F811
    collect(interface)
    raw = bytes(Message.objects.get().raw)
    assert parse_message(raw.decode(), find_groups=True).validate()
    message = read(raw)  # and IHE LTW, LAB-3
    assert all(message.first("OBR").get(number) for number in (3, 4, 25))
    for obx in message.all("OBX"):
        assert all(obx.get(number) for number in (1, 3, 11))
        assert not any(obx.get(number) for number in (9, 10, 12))


def test_an_amended_report_sends_every_line_again_as_corrected(interface, receiver, signed, client, pathologist):  # noqa: F811
    report, _ = signed
    amend_report(report, by=pathologist, reason="One band was a metamyelocyte.")
    client.force_login(pathologist)
    post_signature(client, report.case)
    collect(interface)
    send_due(interface)
    send_due(interface)
    first, second = receiver.got
    assert observations(first).keys() == observations(second).keys()
    assert second.first("OBR").get(25) == "C"
    assert {seg.get(11) for seg in second.all("OBX")} == {"C"}
    assert "One band was a metamyelocyte." in second.first("NTE").get(3)


def test_an_amended_report_takes_back_what_the_version_before_had_and_it_has_not(
    interface, receiver, reviewed, sign_in, pathologist, technologist  # noqa: F811
):  # fmt: skip
    """H30: a receiver kept eosinophils, absolute counts, findings and the comment that the amendment had taken away."""
    case, client = reviewed(**WBC), sign_in(pathologist)
    mark_findings(case, [Mark("target_cells", "2")], by=technologist)
    post_signature(client, case)
    amend_report(Report.objects.get(), by=pathologist, reason="Of another specimen.")
    relabel_cells([cell for cell in current_cells(case) if cell.code == "EOS"], to="NGS", by=pathologist)
    mark_findings(case, [Mark("target_cells", "")], by=pathologist)
    fields = {"wbc": None, "wbc_unit": "", "wbc_source": "", "wbc_at": None}
    edit_case(case, by=technologist, mrn=case.patient.mrn, patient={}, fields=fields)
    post_signature(client, case, comment="")
    for _ in range(2):
        collect(interface)
        send_due(interface)
    first, second = map(observations, receiver.got)
    assert first.keys() <= second.keys()
    assert (second["EOS"].get(5), second["EOS"].get(11)) == ("0", "C")
    assert {(seg.get(5), seg.get(11)) for key, seg in second.items() if key.endswith("#")} == {("", "X")}
    assert [(second[key].get(5), second[key].get(11)) for key in ("target_cells", "33255-1")] == [("", "X")] * 2


def test_a_message_says_how_many_cells_a_person_verified_where_not_all_were(interface, signed):  # noqa: F811
    """H1, S10: the policy that allows it is said to whoever gets the result, not on paper only."""
    report, _ = signed
    verification = report.content["verification"]
    verification["verified"] = 34
    assert "34 of 100 cells verified by a person, 66 by the detector alone." in notes_of(report.content)


def test_lines_of_one_code_have_a_sub_id_and_each_is_taken_back_by_its_own(
    interface, receiver, reviewed, sign_in, pathologist  # noqa: F811
):  # fmt: skip
    """Interpretation and comment are both 33255-1, promyelocytes as a type and as a group both 26524-9."""
    case, client = reviewed({"NGS": 90, "PMO": 10}), sign_in(pathologist)
    acknowledge(client, case)
    post_signature(client, case, interpretation="Left shift.", comment="Seen twice.")
    amend_report(Report.objects.get(), by=pathologist, reason="Without interpretation.")
    acknowledge(client, case)
    post_signature(client, case, interpretation="", comment="Seen twice.")
    for _ in range(2):
        collect(interface)
        send_due(interface)
    first, second = ({(seg.get(3), seg.get(4)): seg for seg in got.all("OBX")} for got in receiver.got)
    assert {
        ("33255-1", "interpretation"),
        ("33255-1", "comment"),
        ("26524-9", "PMO"),
        ("26524-9", "promyelocytes"),
    } <= (first.keys())
    assert all(len(seen) == len(got.all("OBX")) for seen, got in zip((first, second), receiver.got))
    assert (second["33255-1", "interpretation"].get(5), second["33255-1", "interpretation"].get(11)) == ("", "X")
    assert (second["33255-1", "comment"].get(5), second["33255-1", "comment"].get(11)) == ("Seen twice.", "C")


def test_a_message_has_every_number_of_the_person_the_specimen_and_the_address_of_the_page(
    interface, reviewed, sign_in, pathologist, admin  # noqa: F811
):  # fmt: skip
    interface.site = "https://leukoweb.hospital.example"
    save_interface(interface, by=admin)
    case, client = reviewed(specimen_type="EDTA blood", collected_at=timezone.now()), sign_in(pathologist)
    old = Patient.objects.create(laboratory=case.laboratory, mrn="M-OLD", name="Old", survivor=case.patient)
    post_signature(client, case)
    collect(interface)
    raw = bytes(Message.objects.get().raw)
    assert parse_message(raw.decode(), find_groups=True).validate()
    got, report = read(raw), Report.objects.get()
    assert [got.first("PID").get(3, 1, n) for n in (1, 2)] == [case.patient.mrn, old.mrn]
    assert (got.first("SPM").get(4, 2), got.first("SPM").get(2, 2)) == ("EDTA blood", case.accession_number)
    link = observations(got)["LINK"]
    assert (link.get(2), link.get(5)) == ("RP", f"https://leukoweb.hospital.example/reports/{report.pk}/")


def test_a_rejected_specimen_is_said_without_any_figure(interface, receiver, make_case, technologist):
    reject_case(make_case(), by=technologist, reason="clotted")
    collect(interface)
    send_due(interface)
    [got] = receiver.got
    assert got.first("OBR").get(25) == "X"
    assert [seg.get(2) for seg in got.all("OBX")] == ["TX"]
    assert "clotted" in got.first("NTE").get(3)


def test_an_acknowledgement_that_comes_too_late_is_none_and_the_result_is_sent_again(interface, receiver, signed):  # noqa: F811
    """The receiver has it twice then, under the same control id, and answers the second one as the first."""
    receiver.answer = "late"
    collect(interface)
    message = Message.objects.get()
    with pytest.raises(NotDelivered, match="No answer within 1 s"):
        deliver(interface, bytes(message.raw), patience_s=1)
    receiver.answer = "AA"
    assert send_due(interface) == 1
    assert [got.control_id for got in receiver.got] == [message.control_id] * 2


def test_words_that_cannot_be_read_beside_an_acknowledgement_do_not_send_the_result_again(interface, receiver, signed):  # noqa: F811
    receiver.answer = "umlaut"
    collect(interface)
    assert send_due(interface) == 1
    assert Message.objects.get().state == "acknowledged"


def stays_owed_until_taken(interface, receiver, words, *, taken):
    """Hold the one message against the answer that took it not, then send it again to a receiver that takes it."""
    message = Message.objects.get()
    assert message.state == "queued", receiver.answer
    assert words in message.sentence, receiver.answer
    assert message.next_try_at > timezone.now()
    assert undelivered(interface.laboratory_id) == 1
    receiver.answer = taken
    send_again(message, by=interface.acts_as)
    assert send_due(interface) == 1
    assert undelivered(interface.laboratory_id) == 0


def test_without_an_acknowledgement_the_result_stays_owed_and_says_why(interface, receiver, signed):  # noqa: F811
    for answer, words in (
        ("reset", "ended the connection without an answer"),
        ("silent", "ended the connection without an answer"),
        ("other", "acknowledgement is of another message"),
        ("garbage", "no acknowledgement"),
        ("AE", "receiver refused the message"),
        ("AR", "receiver refused the message"),
    ):
        receiver.answer = answer
        with taken_back():
            interface.refresh_from_db()
            collect(interface)
            send_due(interface)
            stays_owed_until_taken(interface, receiver, words, taken="AA")


def test_a_receiver_that_is_away_for_a_day_leaves_a_message_that_is_not_delivered(interface, receiver, signed):  # noqa: F811
    receiver.shutdown()
    receiver.server_close()
    collect(interface)
    Message.objects.update(given_up_at=timezone.now() - timedelta(minutes=1))
    send_due(interface)
    message = Message.objects.get()
    assert (message.state, undelivered()) == ("dead", 1)
    assert "cannot be reached" in message.sentence


def test_a_withdrawn_report_takes_every_line_back_without_its_value(interface, receiver, signed, pathologist):  # noqa: F811
    report, _ = signed
    collect(interface)
    withdraw_report(report, by=pathologist, password=PASSWORD, reason="The tubes were mixed up.")
    assert collect(interface) == 1
    send_due(interface)
    send_due(interface)
    first, second = receiver.got
    assert observations(first).keys() == observations(second).keys()
    assert {(seg.get(5), seg.get(11)) for seg in second.all("OBX")} == {("", "X")}
    assert second.first("OBR").get(25) == "X"
    assert "withdrawn: The tubes were mixed up." in second.first("NTE").get(3)


def test_who_saves_an_interface_while_results_are_collected_sends_none_twice(interface, signed, admin):  # noqa: F811
    stale = Interface.objects.get(pk=interface.pk)
    assert collect(interface) == 1
    stale.embeds_pdf = True
    save_interface(stale, by=admin)
    assert collect(stale) == 0


def test_the_report_is_embedded_as_pdf_where_the_interface_says_so(interface, receiver, signed, admin):  # noqa: F811
    interface.embeds_pdf, interface.site = True, "https://leukoweb.hospital.example"
    save_interface(interface, by=admin)
    collect(interface)
    send_due(interface)
    last = receiver.got[0].all("OBX")[-1]
    assert [last.get(2), last.get(5, 2), last.get(5, 3), last.get(5, 4)] == ["ED", "application", "pdf", "Base64"]
    assert base64.b64decode(last.get(5, 5)).startswith(b"%PDF-")


def test_the_worklist_says_which_signed_result_did_not_arrive(interface, receiver, signed, client, technologist):  # noqa: F811
    report, _ = signed
    client.force_login(technologist)
    assert "Signed, not delivered" not in client.get(reverse("worklist")).content.decode()
    receiver.answer = "AE"
    collect(interface)
    send_due(interface)
    page = client.get(reverse("worklist")).content.decode()
    assert "Signed, not delivered" in page
    assert report.case.accession_number in page
    assert "Signed, not delivered" not in client.get(reverse("case_list")).content.decode()


def test_an_interface_of_another_laboratory_sends_nothing_of_this_one(other_laboratory, admin, signed):  # noqa: F811
    made = Interface(laboratory=other_laboratory, name="Other", direction="results_out", port=1, is_active=True)
    assert collect(save_interface(made, by=admin)) == 0
