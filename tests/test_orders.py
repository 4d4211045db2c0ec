"""Orders that come in: what becomes a case, what waits for a person, what is refused; nothing happens twice."""

import pytest
from django.urls import reverse

from leukoweb.audit.models import Event
from leukoweb.cases.merging import approve_merge
from leukoweb.cases.models import Case, Patient, PatientMerge
from leukoweb.delivery.hl7 import read
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.services import dismiss, receive, replay, save_codes, save_interface
from leukoweb.review.models import Report
from tests.conftest import SHARED
from tests.test_hl7 import order
from tests.test_reports import post_signature, reviewed  # noqa: F401 (fixture)


@pytest.fixture
def interface(laboratory, admin):
    made = Interface(
        laboratory=laboratory, name="Hospital system", direction="orders_in", port=2575, is_active=True,
        codes={"FILM": "film", "CBC": "ignore"},
    )  # fmt: skip
    return save_interface(made, by=admin)


def answer_to(interface, raw):
    """Send a message and return (acknowledgement code, sentence)."""
    answer = read(receive(interface, raw))
    return answer.first("MSA").get(1), answer.first("ERR").get(8)


def last_message():
    return Message.objects.latest("pk")


def test_an_order_becomes_a_case_without_a_slide(interface, client, technologist):
    assert answer_to(interface, order()) == ("AA", "")
    case = Case.objects.with_state().select_related("patient").get()
    assert (case.accession_number, case.state, case.priority) == ("F-77", "ordered", "stat")
    assert (case.patient.mrn, case.patient.name, case.patient.sex) == ("44556", "Nguyen, Thanh V", "F")
    assert (case.placer_number, case.requester, case.ward) == ("ORD300", "Jones, Robert", "CLINIC 301 A")
    assert case.registered_by.printed_name == "Hospital system"
    client.force_login(technologist)
    page = client.get(reverse("worklist")).content.decode()
    for shown in ("F-77", "Ordered, no slide yet", "Jones, Robert", "CLINIC 301 A", "Please call &amp; fax"):
        assert shown in page
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    for shown in ("Jones, Robert", "Lee, Susan", "ORD300"):
        assert shown in page


def test_the_bytes_are_kept_as_they_came_and_the_trail_names_the_message(interface):
    receive(interface, order(), peer="10.1.2.3")
    message = last_message()
    assert (bytes(message.raw), message.peer, message.state) == (order(), "10.1.2.3", "applied")
    event = Event.objects.get(action="message.receive")
    assert (event.object_id, event.case_id) == (str(message.pk), Case.objects.get().pk)


def test_the_same_message_twice_gets_the_same_answer_and_changes_nothing(interface):
    first, second = receive(interface, order()), receive(interface, order())
    assert first == second
    assert Case.objects.count() == 1
    assert last_message().state == "repeated"


def test_the_same_control_id_with_other_bytes_is_refused(interface):
    receive(interface, order())
    code, sentence = answer_to(interface, order(ORD300="ORD301"))
    assert (code, sentence) == ("AE", "This control id was used before for another message.")
    assert Case.objects.count() == 1


def test_a_message_that_was_stored_but_not_applied_is_applied_when_it_comes_again(interface):
    """The process died between storing the bytes and applying them: the peer got no answer and sends again."""
    Message.objects.create(
        interface=interface, is_incoming=True, raw=order(), sha256="0" * 64, state="received", control_id="MSG034"
    )
    assert answer_to(interface, order())[0] == "AA"
    assert Case.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"OML^O21^OML_O21": "SIU^S12"}, "AR", "message type is not supported"),
        ({"OML^O21^OML_O21": "ADT^A04"}, "AR", "event is not supported"),
        ({"|P|2.5.1": "|T|2.5.1"}, "AR", "Only messages of production"),
        ({"|P|2.5.1": "|P|9.9"}, "AR", "version of HL7 is not supported"),
        ({"MSG034": ""}, "AE", "MSH-10 has no control id"),
        ({"ORC|NW": "ORC|ZZ"}, "AE", "order control in ORC-1 is not supported"),
        ({"44556^^^MRN^MR~9^^^NATIONAL": ""}, "AE", "PID-3 has no patient number"),
        ({"19830927": "yesterday"}, "AE", "no date or time"),
    ],
)
def test_what_cannot_be_an_order_is_refused_in_words_and_leaves_nothing(interface, changes, code, words):
    got, sentence = answer_to(interface, order(**changes))
    assert got == code
    assert words in sentence
    assert not Case.objects.exists()
    assert not Patient.objects.exists()
    assert last_message().state == "refused"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FILM^": "BONE^"}, "order code BONE is not mapped"),
        ({"ORC|NW": "ORC|XO"}, "order to be changed is not on file"),
        ({"ORC|NW": "ORC|CA"}, "order to be cancelled is not on file"),
        ({"19830927": "29830927"}, "birth date"),
        ({"BLD^Blood^HL70487": "BLD^Blood^HL70487|||||||Q^Control^HL70369"}, "no patient's: SPM-11 says Q"),
        ({"Nguyen^Thanh^V": "^^"}, "Name: This field cannot be blank"),
    ],
)
def test_what_a_person_must_decide_is_held_and_nothing_is_half_done(interface, changes, words):
    assert answer_to(interface, order(**changes))[0] == "AA"
    message = last_message()
    assert message.state == "held"
    assert words in message.sentence
    assert not Case.objects.exists()
    assert not Patient.objects.exists()


def test_an_order_code_that_is_ignored_makes_no_case(interface):
    assert answer_to(interface, order(**{"FILM^": "CBC^"}))[0] == "AA"
    assert last_message().state == "applied"
    assert not Case.objects.exists()


def test_a_film_that_stands_below_another_test_of_its_order_becomes_a_case(interface):
    """One ORC with two OBR, as OML^O21 allows: the second one was passed over without a word."""
    assert answer_to(interface, order(**{"OBR|1|ORD300|F-77|FILM^": "OBR|1||F-76|CBC^CBC\rOBR|2||F-77|FILM^"})) == (
        "AA", "",
    )  # fmt: skip
    assert Case.objects.get().accession_number == "F-77"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"UNICODE UTF-8": "GB 18030-2000"}, "character set in MSH-18 is not supported"),
        ({"|P|2.5.1||": "|P|2.5.1||7"}, "message in parts"),
        ({"|HIS|": "|Klinik Süd|", "UNICODE UTF-8": "ASCII"}, "not of the character set"),
    ],
)
def test_an_answer_names_the_message_also_where_a_field_of_its_header_is_refused(interface, changes, words):
    """What came after MSH-12 let the answer be without MSA-2, so that the sender could not know what was refused."""
    answer = read(receive(interface, order(**changes)))
    assert (answer.first("MSA").get(2), answer.header.get(6)) == ("MSG034", "HOSP")
    assert words in answer.first("ERR").get(8)


def test_an_answer_names_the_message_also_where_its_bytes_cannot_be_read(interface):
    raw = order().replace(b"Thanh", "Thänh".encode("latin-1"))
    answer = read(receive(interface, raw)).first("MSA")
    assert (answer.get(1), answer.get(2)) == ("AE", "MSG034")


def test_another_name_under_a_known_number_is_held(interface, make_case):
    Patient.objects.create(laboratory=interface.laboratory, mrn="44556", name="Somebody, Else")
    answer_to(interface, order())
    assert last_message().state == "held"
    assert "patient with another name" in last_message().sentence


def test_an_order_is_changed_and_cancelled_while_no_slide_is_there(interface):
    receive(interface, order())
    receive(interface, order(MSG034="2", **{"ORC|NW": "ORC|XO", "|S\r": "|R\r", "CLINIC^301": "ICU^2"}))
    case = Case.objects.get()
    assert (case.priority, case.ward) == ("routine", "ICU 2 A")
    changes = Event.objects.get(action="case.edit").changes
    assert changes["ward"] == ["CLINIC 301 A", "ICU 2 A"]
    receive(interface, order(MSG034="3", **{"ORC|NW": "ORC|CA"}))
    assert Case.objects.with_state().get().state == "rejected"


def test_a_change_leaves_what_it_does_not_say_and_a_replacement_does_not(interface):
    """XO with a ward alone made an urgent order routine and took requester and note away."""
    receive(interface, order())
    short = (
        b"MSH|^~\\&|HIS|HOSP|LEUKOWEB|LAB|20260408130000||OML^O21^OML_O21|%s|P|2.5.1\rPID|1||44556||Nguyen^Thanh^V\r"
        b"PV1|1|O|ICU^2\rORC|%s|ORD300|F-77\rOBR|1|ORD300|F-77|FILM%s\r"
    )
    receive(interface, short % (b"2", b"XO", b'||||||""||||||""'))
    case = Case.objects.get()
    assert (case.priority, case.ward, case.requester) == ("stat", "ICU 2", "")
    assert (case.clinical_note, case.specimen_type) == ("Blasts?\nPlease call & fax", "Blood")
    receive(interface, short % (b"3", b"RP", b""))
    case.refresh_from_db()
    assert (case.priority, case.clinical_note, case.specimen_type) == ("routine", "", "")


@pytest.mark.parametrize("control", ["XO", "CA"])
@pytest.mark.parametrize("changes", [{"44556^": "99999^"}, {"Nguyen^Thanh": "Nguyen^Binh"}, {"19830927": "19840927"}])
def test_what_concerns_the_case_of_somebody_else_is_held(interface, control, changes):
    receive(interface, order())
    receive(interface, order(MSG034="2", **{"ORC|NW": f"ORC|{control}"}, **changes))
    assert last_message().state == "held"
    assert "names a different patient" in last_message().sentence
    assert Case.objects.with_state().get().state == "ordered"


def test_numbers_of_two_cases_in_one_order_are_held(interface):
    receive(interface, order())
    receive(interface, order(MSG034="2", **{"ORD300": "ORD301", "F-77": "F-78"}))
    receive(interface, order(MSG034="3", **{"ORC|NW": "ORC|CA", "F-77": "F-78"}))
    assert "belong to different cases" in last_message().sentence
    assert {case.state for case in Case.objects.with_state()} == {"ordered"}


@pytest.mark.parametrize(("control", "done"), [("XO", "changed"), ("CA", "cancelled")])
def test_a_case_with_slides_is_never_changed_from_outside(interface, make_slide, control, done):
    receive(interface, order())
    case = Case.objects.get()
    make_slide(case, {"NGS": 3})
    receive(interface, order(MSG034="2", **{"ORC|NW": f"ORC|{control}", "|S\r": "|R\r"}))
    assert f"{done} by the requester after slides" in last_message().sentence
    case.refresh_from_db()
    assert (case.priority, case.rejected_at) == ("stat", None)


@pytest.mark.slow
@pytest.mark.parametrize("control", ["XO", "CA", "NW"])
def test_an_order_for_a_signed_case_is_held_and_changes_nothing(
    interface,
    reviewed,  # noqa: F811
    client,
    pathologist,
    control,
):
    case = reviewed(placer_number="ORD300")
    client.force_login(pathologist)
    post_signature(client, case)
    report = Report.objects.get(case=case)
    receive(interface, order(**{"ORC|NW": f"ORC|{control}"}))
    assert last_message().state == "held"
    assert Case.objects.with_state().get().state == "signed"
    again = Report.objects.get(case=case)
    assert (again.content, again.seal) == (report.content, report.seal)


def test_a_changed_order_that_spells_the_same_patient_otherwise_is_applied_and_leaves_the_spelling(interface):
    receive(interface, order())
    otherwise = {"Nguyen^Thanh^V": "NGUYEN^THANH\u200b^V", "44556^": "\uff144556^", "CLINIC^301": "ICU^2"}
    receive(interface, order(MSG034="2", **{"ORC|NW": "ORC|XO"}, **otherwise))
    assert last_message().state == "applied", last_message().sentence
    assert (Patient.objects.get().name, Case.objects.get().ward) == ("Nguyen, Thanh V", "ICU 2 A")


PERSON = (
    b"MSH|^~\\&|ADM|HOSP|LAB|LAB|20260408090000||ADT^%s|%s|P|2.5.1\rEVN|%s|20260408090000\r"
    b"PID|1||44556^^^MRN^MR||Nguyen^Thanh^Van||19830927|F\r"
)


def test_demographics_are_corrected_before_any_slide_and_held_after(interface, make_slide):
    receive(interface, order())
    receive(interface, PERSON % (b"A08", b"2", b"A08"))
    assert Patient.objects.get().name == "Nguyen, Thanh Van"
    make_slide(Case.objects.get(), {"NGS": 1})
    receive(interface, (PERSON % (b"A08", b"3", b"A08")).replace(b"Van", b"Viet"))
    assert last_message().state == "held"
    assert Patient.objects.get().name == "Nguyen, Thanh Van"


@pytest.mark.parametrize(
    ("old", "state", "code"),
    [(b"unknown-here", "applied", "AA"), (b"OLD-1", "held", "AA"), (b"44556", "refused", "AE")],
)
def test_a_merge_into_an_unknown_record_is_held_and_never_one_with_itself(interface, old, state, code):
    Patient.objects.create(laboratory=interface.laboratory, mrn="OLD-1", name="Nguyen, T")
    merge = PERSON % (b"A40", b"9", b"A40") + b"MRG|" + old + b"\r"
    assert answer_to(interface, merge)[0] == code
    assert last_message().state == state
    assert Patient.objects.filter(mrn="OLD-1").exists()


def test_a_merge_names_the_number_of_the_assigning_authority_in_either_case(interface, admin):
    """The first number of MRG-1 was taken, which may be another authority's and so another person's."""
    interface.authority = "HOSP"
    interface.save()
    for mrn in ("X-1", "Old-1", "44556"):
        Patient.objects.create(laboratory=interface.laboratory, mrn=mrn, name=mrn)
    merge = (PERSON % (b"A40", b"9", b"A40")).replace(b"44556^^^MRN", b"44556^^^HOSP")
    receive(interface, merge + b"MRG|X-1^^^NATIONAL~OLD-1^^^hosp\r")
    assert PatientMerge.objects.get().ended.mrn == "Old-1", last_message().sentence


def test_a_merge_is_a_proposal_that_a_person_approves(interface, admin):
    old = Patient.objects.create(laboratory=interface.laboratory, mrn="OLD-1", name="Nguyen, T")
    receive(interface, order())
    for number in (b"9", b"10"):  # the second one says nothing new
        receive(interface, PERSON % (b"A40", number, b"A40") + b"MRG|OLD-1\r")
        assert last_message().state == "applied"
    proposed = PatientMerge.objects.get()
    assert (proposed.state, proposed.proposed_by, proposed.kept.mrn) == ("proposed", interface.acts_as, "44556")
    old.refresh_from_db()
    assert old.survivor is None
    approve_merge(proposed, by=admin)
    old.refresh_from_db()
    assert old.person == proposed.kept


def test_codes_that_two_administrators_map_at_once_are_all_kept(interface, admin):
    one, two = (Interface.objects.get(pk=interface.pk) for _ in range(2))
    save_codes(one, {"BONE": "film"}, by=admin)
    save_codes(two, {"URINE": "film"}, by=admin)
    interface.refresh_from_db()
    assert {"BONE", "URINE"} <= set(interface.codes)


def test_a_held_order_is_applied_once_its_code_is_mapped(interface, admin, technologist):
    receive(interface, order(**{"FILM^": "BONE^"}))
    held = last_message()
    assert replay(held, by=technologist).state == "held"
    interface.codes = {**interface.codes, "BONE": "film"}
    save_interface(interface, by=admin)
    assert replay(held, by=technologist).state == "applied"
    assert Case.objects.get().accession_number == "F-77"
    assert replay(held, by=technologist).state == "applied"
    assert Case.objects.count() == 1


def test_a_held_message_is_dismissed_with_a_reason(interface, technologist):
    receive(interface, order(**{"FILM^": "BONE^"}))
    assert dismiss(last_message(), by=technologist, reason="Not for us").state == "dismissed"
    assert Event.objects.filter(action="message.dismiss").get().changes == {"reason": "Not for us"}


def test_two_orders_of_one_message_both_take_effect_or_neither(interface):
    both = order() + order()[order().index(b"ORC|") :].replace(b"F-77", b"F-78").replace(b"ORD300", b"ORD301")
    receive(interface, both)
    assert set(Case.objects.values_list("accession_number", flat=True)) == {"F-77", "F-78"}
    half = (
        both.replace(b"MSG034", b"2").replace(b"F-7", b"G-7").replace(b"ORD30", b"ORE30").replace(b"FILM", b"BONE", 1)
    )
    receive(interface, half)
    assert last_message().state == "held"
    assert Case.objects.count() == 2


def test_real_messages_of_other_systems_end_in_an_answer(interface):
    folder = SHARED / "messages"
    found = sorted([*folder.glob("hl7/*.hl7"), *folder.glob("hl7_conformance/*.hl7")])
    for raw in [path.read_bytes() for path in found] or [order()]:
        assert read(receive(interface, raw)).first("MSA").get(1) in {"AA", "AE", "AR"}
    assert not Message.objects.filter(state="received").exists()
