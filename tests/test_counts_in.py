"""Blood counts that come in by HL7, ASTM and file: what joins a case, what waits, is held or refused; nothing twice."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from leukoweb.cases.models import Case, CbcResult, Patient
from leukoweb.delivery.hl7 import read
from leukoweb.delivery.models import Interface, Message, ParkedSpecimen
from leukoweb.delivery.services import receive, replay, save_interface, settle_parked
from tests.conftest import SHARED

HL7 = (
    "MSH|^~\\&|SYSMEX|XN-1000|LEUKOWEB|LAB|20260408120500||ORU^R01|S{control}|P|2.5.1\r"
    "PID|1||M-77||Wintermute^Edelgard||19610504|F\r"
    "OBR|1||A-1001|^^^CBC^CBC WITH DIFF|||20260408100000\r"
    "OBX|1|NM|^^^WBC^WBC||8.2|10*3/uL|4-10|N|||F\r"
    "OBX|2|NM|^^^HGB^HGB||14.2|g/dL|||||F\r"
    "OBX|3|NM|^^^PLT^PLATELET||++++|10*3/uL|||||F\r"
)
ASTM = (
    "H|\\^&|||Sysmex^XN-1000^V1.0|||||||P|LIS2-A2|20260408080000\r"
    "P|1||||Wintermute^Edelgard||19610504|F\r"
    "O|1|A-1001^LAB||^^^CBC\r"
    "R|1|^^^WBC^White Blood Cell Count|5.8|10^3/μL|4.5-11.0|N||F||||20260408080100\r"
    "R|2|^^^HGB|14.8|g/dL|13.5-17.5|N||F||||20260408080100\r"
    "C|1|I|Blasts?|I\r"
    "L|1|N\r"
)
CSV = "Specimen;Code;Value;Unit;measured_at;analyser\nA-1001;WBC;6,2;10^3/uL;2026-04-08 09:00;Micros 60\n"


def hl7(control=1, **changes):
    return changed(HL7.replace("{control}", str(control)), changes)


def astm(**changes):
    return changed(ASTM, changes)


def changed(text, changes):
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text.encode()


@pytest.fixture
def make_interface(laboratory, admin):
    def make(direction="cbc_hl7", **more):
        made = Interface(laboratory=laboratory, name=direction, direction=direction, port=2576, is_active=True, **more)
        return save_interface(made, by=admin)

    return make


def last_message():
    return Message.objects.latest("pk")


def kept(case):
    return {value["key"]: value for value in CbcResult.objects.filter(case=case).first().values}


def test_an_hl7_result_joins_the_case_of_its_specimen_and_gives_it_the_wbc(make_case, make_interface):
    case = make_case()
    assert read(receive(make_interface(), hl7())).first("MSA").get(1) == "AA"
    case.refresh_from_db()
    assert (float(case.wbc), case.wbc_unit, case.wbc_source) == (8.2, "10*3/uL", "SYSMEX XN-1000")
    assert kept(case)["HGB"]["amount"] == 142.0
    assert kept(case)["PLT"]["note"] == "over the range of the analyser"
    assert last_message().case == case


def test_an_oul_names_its_specimen_before_its_results(make_case, make_interface):
    make_case()
    raw = hl7(**{"ORU^R01": "OUL^R22^OUL_R22", "OBR|1||A-1001": "SPM|1|A-1001||BLD\rOBR|1||"})
    assert read(receive(make_interface(), raw)).first("MSA").get(1) == "AA"
    assert CbcResult.objects.get().case.accession_number == "A-1001"


def test_each_patient_of_a_message_is_held_against_the_case_of_their_own_specimen(make_case, make_interface):
    """The second one's name was read from the first one's PID."""
    make_case()
    other = Patient.objects.create(laboratory=Case.objects.get().laboratory, mrn="M-78", name="Somebody, Else")
    make_case("A-1002", patient=other)
    second = (
        HL7[HL7.index("PID|") :].replace("A-1001", "A-1002").replace("Wintermute^Edelgard||19610504", "Somebody^Else||")
    )
    receive(make_interface(), hl7() + second.encode())
    assert (last_message().state, last_message().sentence) == ("applied", "")
    assert set(CbcResult.objects.values_list("case__accession_number", flat=True)) == {"A-1001", "A-1002"}


@pytest.mark.parametrize("role", ["Q", "C", "E", "O"])  # control, calibrator, electronic control, proficiency
def test_control_material_is_not_kept(make_case, make_interface, role):
    make_case()
    raw = hl7(**{"ORU^R01": "OUL^R22", "OBR|1||A-1001": f"SPM|1|A-1001||BLD|||||||{role}\rOBR|1||"})
    assert "no result of a patient" in read(receive(make_interface(), raw)).first("ERR").get(8)
    assert not CbcResult.objects.exists()


def test_control_material_of_an_astm_message_joins_no_case(make_case, make_interface):
    """Its number may be that of a case, and a patient's specimen may stand in the same message."""
    interface, control = make_interface("cbc_astm"), {"A-1001^LAB||^^^CBC": "A-1001^LAB||^^^CBC|||||||Q"}
    case = make_case()
    receive(interface, astm(**control))
    assert (last_message().state, CbcResult.objects.count()) == ("refused", 0)
    other = "O|2|A-1002||^^^CBC|||||||N\rR|1|^^^WBC|6.1|10^3/μL||N||F||||20260408080100\r"
    make_case("A-1002", patient=case.patient)
    receive(interface, astm(**control, **{"L|1|N": f"{other}L|1|N"}))
    assert [row.case.accession_number for row in CbcResult.objects.all()] == ["A-1002"]


@pytest.mark.parametrize(
    ("changes", "state", "note", "remarks"),
    [
        ({"|N||F||||20260408080100\rR|2": "|N||V||||20260408080100\rR|2"}, "applied", "", ["Blasts?"]),
        ({"|N||F||||20260408080100\rR|2": "|N||W||||20260408080100\rR|2"}, "applied", "doubtful", ["Blasts?"]),
        ({"4.5-11.0|N|": "4.5-11.0|N\\W|"}, "applied", "doubtful", ["Blasts?"]),
        ({"|N||F||||20260408080100\rR|2": "|N||Z||||20260408080100\rR|2"}, "refused", None, None),
        ({"R|2|": "S|1|x\rR|2|"}, "applied", "", ["Blasts?"]),
        ({"R|2|": "Q|1|WBC^LOT-7^N|5.8\rR|2|"}, "refused", None, None),  # so OpenELIS marks what is of a control
    ],
)
def test_statuses_and_records_of_lis2_are_read_as_it_means_them(
    make_case, make_interface, changes, state, note, remarks
):
    case = make_case()
    receive(make_interface("cbc_astm"), astm(**changes))
    assert last_message().state == state, last_message().sentence
    if state == "applied":
        assert (kept(case)["WBC"]["value"], kept(case)["WBC"]["note"]) == (5.8, note)
        assert CbcResult.objects.get().remarks == remarks


def test_two_senders_on_one_port_may_use_the_same_control_id(make_case, make_interface):
    interface = make_interface()
    make_case()
    own = "SYSMEX|XN-1000"
    for sender, wbc, answer in ((own, "8.2", "AA"), ("MINDRAY|XN-1000", "8.2", "AA"), ("SYSMEX|HALL-2", "8.3", "AA"),
                                (own, "8.3", "AE")):  # fmt: skip
        assert read(receive(interface, hl7(**{own: sender, "8.2": wbc}))).first("MSA").get(1) == answer, sender
    assert last_message().sender == "SYSMEX|XN-1000"


def test_an_astm_message_joins_its_case_with_the_analysers_flags(make_case, make_interface):
    case = make_case()
    receive(make_interface("cbc_astm"), astm())
    result = CbcResult.objects.get(case=case)
    assert (result.analyser, result.is_final, result.remarks) == ("Sysmex XN-1000", True, ["Blasts?"])
    assert kept(case)["WBC"]["unit"] == "10*3/uL"
    assert timezone.localtime(result.measured_at).strftime("%Y%m%d%H%M%S") == "20260408080100"


SYSMEX = (  # as an XN-350 sends it: Astm's ParserTest.php, and SysmexXNLAnalyzer of DIGI-UW/openelisglobal-plugins
    "H|\\^&|||    XN-350^00-14^13126^^^^AW618382||||||||E1394-97\r"
    "P|1||||^^|||U|||||^||||||||||||^^^\r"
    "C|1||\r"
    "O|1||2^1^                A-1001^B|^^^^WBC\\^^^^HGB\\^^^^NEUT%|||||||N||||||||||||||F\r"
    "R|1|^^^^WBC^1|  9.24|10*3/uL||N||F||||20250329143330\r"
    "R|2|^^^^HGB^1|----|g/dL||A||||||20250329143330\r"
    "R|3|^^^^PLT^1|++++|10*3/uL||A||||||20250329143330\r"
    "R|4|^^^^NEUT%^1|52.9|%||W||F||||20250329143330\r"
    "R|5|^^^^LYMPH#^1|3.51|10*3/uL||W||F||||20250329143330\r"
    "R|6|^^^^RDW-CV^1|20.5|%||H||F||||20250329143330\r"
    "R|7|^^^^Anisocytosis||||A||F||||20250329143330\r"
    "R|8|^^^^Blasts/Abn_Lympho?|110|||A||F||||20250329143330\r"
    "R|9|^^^^PLT_Abn_Distribution||||N||F||||20250329143330\r"
    "L|1|N\r"
)
SUSPICIONS = ("Anisocytosis", "Blasts/Abn_Lympho?", "PLT_Abn_Distribution")


@pytest.mark.parametrize(
    "order", ["O|1||2^1^                A-1001^B|", "O|1|2^1^ A-1001^C||", "O|1||^^A-1001^M|", "O|1||A-1001|"]
)
def test_a_sysmex_message_names_its_specimen_within_a_field_and_its_codes_fifth(make_case, make_interface, order):
    """The rack's number comes first there: it is not taken for the specimen, even where a case has that number."""
    case, other = make_case(), make_case("2")
    text = SYSMEX.replace("O|1||2^1^                A-1001^B|", order)
    receive(make_interface("cbc_astm", codes=dict.fromkeys(SUSPICIONS, "flag")), text.encode())
    assert last_message().state == "applied", last_message().sentence
    result, values = CbcResult.objects.get(case=case), kept(case)
    assert not CbcResult.objects.filter(case=other).exists()
    assert set(values) == {"WBC", "HGB", "PLT", "NEU%", "LYM#", "RDW"}
    assert (values["HGB"]["note"], values["PLT"]["note"]) == ("not measured", "over the range of the analyser")
    assert result.remarks == ["Anisocytosis", "Blasts/Abn_Lympho?: 110"]
    assert (result.analyser, result.is_final) == ("XN-350 00-14", True)


def test_the_same_bytes_twice_are_one_run_and_a_second_run_is_kept(make_case, make_interface):
    case, interface = make_case(), make_interface("cbc_astm")
    receive(interface, astm())
    receive(interface, astm())
    assert last_message().state == "repeated"
    receive(interface, astm(**{"|5.8|": "|6.1|"}))
    assert CbcResult.objects.filter(case=case).count() == 2
    case.refresh_from_db()
    assert float(case.wbc) == 6.1


@pytest.mark.parametrize(
    ("changes", "code", "place", "words"),
    [
        ({"|8.2|10*3/uL": "|8.2|"}, "101", "OBX", "White blood cells: the unit is missing, and none is assumed."),
        ({"|14.2|g/dL": "|14.2|furlong"}, "103", "OBX", "no unit of it"),
        ({"|8.2|10*3/uL": "|6200|10*9/L"}, "102", "OBX", "more than blood can hold"),
        ({"|8.2|": "|high|"}, "102", "OBX", "no value of an analyser"),
        ({"A-1001": ""}, "101", "OBR", "names no specimen"),
        ({"ORU^R01": "OML^O21"}, "200", "MSH", "takes blood counts"),
        ({"HGB^HGB": "WBC^again"}, "102", "OBX", "WBC stands twice"),
        ({"|8.2|": "|8.2~8.4|"}, "102", "OBX", "no value of an analyser"),
        ({"|NM|^^^WBC^WBC||8.2|": "|SN|^^^WBC^WBC||^8^-^9|"}, "102", "OBX", "no value of an analyser"),
        ({"|8.2|10*3/uL": "|8,200|/uL"}, "102", "OBX", "thousands or as a fraction"),
        ({"|8.2|10*3/uL": "|8.200|/uL"}, "102", "OBX", "thousands or as a fraction"),
        ({"|4-10|N|||F": "|4-10|N|||Z"}, "103", "OBX", "“Z” is no status of a result"),
        ({"|8.2|": "|8.2^9.9|"}, "102", "OBX", "no value of an analyser"),
        ({"OBR|1|": "OBX|9|NM|RBC||5|10*6/uL|||||F\rOBR|1|"}, "100", "OBX", "before any OBR"),
    ],
)
def test_what_cannot_be_a_blood_count_is_refused_with_its_place(make_case, make_interface, changes, code, place, words):
    make_case()
    error = read(receive(make_interface(), hl7(**changes))).first("ERR")
    assert (error.get(3), error.get(2)) == (code, place)
    assert words in error.get(8)
    assert not CbcResult.objects.exists()


def test_values_that_were_not_obtained_are_no_values(make_case, make_interface):
    case = make_case()
    receive(make_interface(), hl7(**{"|4-10|N|||F": "|4-10|N|||X", "|14.2|g/dL": "|----|"}))
    assert {value["note"] for value in kept(case).values()} == {"not measured", "over the range of the analyser"}
    case.refresh_from_db()
    assert case.wbc is None


def test_every_suspicion_of_one_line_is_kept(make_case, make_interface):
    make_case()
    flags = "OBX|4|CWE|SUSPECT^Suspect flags||B^Blasts?~L^Left Shift?|||A|||F\r"
    receive(make_interface(codes={"SUSPECT": "flag"}), hl7() + flags.encode())
    assert CbcResult.objects.get().remarks == ["Suspect flags: Blasts?, Left Shift?"]


def test_what_stands_under_several_orders_of_one_specimen_is_one_run(make_case, make_interface):
    """An analyser may order each test by itself: only the last one's value was on the case."""
    case = make_case()
    receive(make_interface("cbc_astm"), astm(**{"R|2|": "O|2|A-1001||^^^HGB\rR|1|"}))
    assert CbcResult.objects.get().remarks == ["Blasts?"]
    assert set(kept(case)) == {"WBC", "HGB"}


def test_one_specimen_of_two_persons_in_a_message_is_held(make_case, make_interface):
    make_case()
    receive(make_interface("cbc_astm"), astm(**{"R|2|": "P|2||||Smith^J\rO|2|A-1001\rR|1|"}))
    assert "names a different patient" in last_message().sentence
    assert not CbcResult.objects.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Wintermute^Edelgard": "Smith^John"}, "names a different patient"),
        ({"19610504": "19610505"}, "birth date in the blood count differs"),
        ({"20260408120500": "29990408120500"}, "in the future"),
        ({"20260408120500": "02260408120500"}, "before 1900"),
        ({"^^^WBC^WBC": "^^^RETIC^Reticulocytes"}, "Unmapped codes: RETIC"),
    ],
)
def test_what_a_person_must_decide_is_held_and_changes_nothing(make_case, make_interface, changes, words):
    case = make_case()
    assert read(receive(make_interface(), hl7(**changes))).first("MSA").get(1) == "AA"
    assert last_message().state == "held"
    assert words in last_message().sentence
    assert not CbcResult.objects.filter(case=case).exists()


def test_a_count_of_a_rejected_specimen_is_held(make_case, make_interface):
    make_case(rejected_at=timezone.now(), rejection_reason="clotted")
    receive(make_interface(), hl7())
    assert "was rejected" in last_message().sentence


def test_codes_are_mapped_on_a_page_and_what_was_held_goes_on(make_case, make_interface, admin, sign_in):
    case, interface = make_case(), make_interface()
    receive(interface, hl7(**{"^^^PLT^PLATELET||++++|10*3/uL": "^^^BLAST^Blasts?||1|", "^^^HGB": "^^^HB"}))
    client, address = sign_in(admin), reverse("interface_codes", args=[interface.pk])
    page = client.get(address).content.decode()
    assert "BLAST (Blasts?)" in page
    assert "Wintermute" not in page
    client.post(address, {"code0": "flag", "code1": ""})
    assert last_message().state == "held"
    client.post(address, {"code0": "HGB"})
    assert last_message().state == "applied"
    assert CbcResult.objects.get(case=case).remarks == ["Blasts?"]
    assert kept(case)["HGB"]["value"] == 14.2
    assert "No held message" in client.get(address).content.decode()
    assert client.post(address, {"code0": "nonsense"}).status_code in (200, 302)


def test_a_count_without_a_case_is_parked_and_joins_the_case_once_it_is_there(make_case, make_interface):
    interface = make_interface()
    receive(interface, hl7())
    assert last_message().state == "parked"
    assert settle_parked() == 0
    case = make_case()
    assert settle_parked() == 1
    assert (last_message().state, last_message().case) == ("applied", case)
    assert settle_parked() == 0
    assert CbcResult.objects.count() == 1


def test_a_case_of_another_laboratory_takes_no_parked_count(make_case, make_interface, other_laboratory, technologist):
    receive(make_interface(), hl7())
    stranger = Patient.objects.create(laboratory=other_laboratory, mrn="X", name="Wintermute, Edelgard")
    make_case(laboratory=other_laboratory, patient=stranger)
    assert settle_parked() == 0


def test_after_a_week_a_parked_count_waits_no_longer(make_interface):
    receive(make_interface(), hl7())
    Message.objects.update(given_up_at=timezone.now() - timedelta(minutes=1))
    settle_parked()
    assert (last_message().state, ParkedSpecimen.objects.count()) == ("dismissed", 0)
    assert "within 7 days" in last_message().sentence


def test_of_several_specimens_those_with_a_case_are_taken_and_the_others_wait(make_case, make_interface):
    second = ASTM[ASTM.index("O|") : ASTM.index("C|")].replace("A-1001", "A-1002")
    make_case()
    interface = make_interface("cbc_astm")
    receive(interface, astm(**{"L|1|N": second + "L|1|N"}))
    assert (last_message().state, CbcResult.objects.count()) == ("parked", 1)
    make_case("A-1002")
    settle_parked()
    assert last_message().state == "applied"
    assert set(CbcResult.objects.values_list("case__accession_number", "run")) == {("A-1001", 1), ("A-1002", 1)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"H|": "P|"}, "does not begin with a header"),
        ({"H|\\^&": "H||||"}, "four different separators"),
        ({"L|1|N\r": ""}, "no terminator record"),
        ({"C|1|": "X|1|"}, "no record of LIS2-A2"),
        ({"O|1|A-1001^LAB||^^^CBC\r": ""}, "before any order record"),
        ({"A-1001^LAB": ""}, "names no specimen"),
        ({"|5.8|10^3/μL|": "|5.8||"}, "unit is missing"),
        ({"|P|LIS2-A2": "|Q|LIS2-A2"}, "production"),
        ({"Sysmex": "Sys\x00mex"}, "NUL"),
        ({"Sysmex": "Sys\x1bmex"}, "control character 1B"),
        ({"|5.8|": "|5.8\\6.0|"}, "no value of an analyser"),
        ({"|5.8|": "|^5.8|"}, "no value of an analyser"),
        ({"O|1|": "H|\\^&|||Other|||||||P|LIS2-A2|20260408080000\rO|1|"}, "one header record"),
    ],
)
def test_what_is_no_message_of_an_analyser_is_refused_in_a_sentence(make_case, make_interface, changes, words):
    make_case()
    receive(make_interface("cbc_astm"), astm(**changes))
    assert last_message().state == "refused"
    assert words in last_message().sentence
    assert not CbcResult.objects.exists()


def test_bytes_of_another_character_set_are_refused(make_interface):
    receive(make_interface("cbc_astm"), ASTM.replace("μ", "µ").encode("latin-1"))
    assert "not of the character set utf-8" in last_message().sentence


def test_a_file_of_counts_is_taken_by_specimen(make_case, make_interface, sign_in, technologist):
    case, interface = make_case(), make_interface("cbc_csv")
    text = "\ufeff" + CSV + "B-2;WBC;7;10*9/L;;\nB-3;WBC;7;;;\n"
    answer = sign_in(technologist).post(
        reverse("counts_upload"), {"interface": interface.pk, "file": SimpleUploadedFile("c.csv", text.encode())}
    )
    assert [message.state for message in answer.context["taken"]] == ["applied", "parked", "refused"]
    assert kept(case)["WBC"]["value"] == 6.2
    assert CbcResult.objects.get().analyser == "Micros 60"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column specimen, code, value, unit"),
        ("specimen,code,value\nA,WBC,1\n", "no column unit"),
        ("specimen,code,value,unit\n", "no line of results"),
        ('specimen,code,value,unit\n"A,WBC,1,%\n', "quotation mark is not closed"),
        ("specimen,code,value,unit\n\x00", "NUL"),
        ("specimen,code,unit,value\nA,WBC,10^9/L,6,2\n", "Line 2 has another number of columns"),
        ("specimen,code,value,unit\nA,WBC\n", "Line 2 has another number of columns"),
        ("specimen,code,value,unit,value\nA,WBC,6.2,10^9/L,7\n", "names value twice"),
    ],
)
def test_a_file_that_is_no_table_of_counts_is_refused_whole(make_interface, sign_in, technologist, text, words):
    interface = make_interface("cbc_csv")
    answer = sign_in(technologist).post(
        reverse("counts_upload"),
        {"interface": interface.pk, "file": SimpleUploadedFile("c.csv", text.encode() or b"\n")},
    )
    assert words in answer.content.decode()
    assert not Message.objects.exists()


def test_a_held_count_is_applied_after_the_case_was_corrected(make_case, make_interface, technologist):
    case = make_case()
    receive(make_interface(), hl7(**{"19610504": "19610505"}))
    case.patient.birth_date = "1961-05-05"
    case.patient.save()
    assert replay(last_message(), by=technologist).state == "applied"


def real_messages(folder, ending):
    return [path.read_text() for path in sorted((SHARED / "messages" / folder).glob(f"*.{ending}"))]


def test_every_real_message_of_an_analyser_ends_in_a_state(make_interface, laboratory):
    """The messages of files with several are taken one by one, without the remarks of their authors."""
    interface, states = make_interface("cbc_astm"), []
    for text in real_messages("astm", "astm") or [ASTM]:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        for message in "\r".join(lines).split("\rH"):
            receive(interface, f"{'' if message.startswith('H') else 'H'}{message}\r".encode())
            states.append(last_message().state)
    assert "parked" in states
    assert set(states) <= {"parked", "held", "refused", "repeated"}
    taken = make_interface("cbc_hl7")
    for text in real_messages("hl7", "hl7") or [HL7]:
        assert read(receive(taken, text.encode())).first("MSA").get(1) in {"AA", "AE", "AR"}
    assert not Message.objects.filter(state="received").exists()


def test_the_public_messages_of_two_analysers_join_their_cases(make_interface, make_case, laboratory):
    texts = {"horiba": "SAMPLE-2026-0002", "hematology": "SAMPLE-2025-0001"}
    for path in (SHARED / "messages" / "astm").glob("*cbc.astm"):
        name = path.name.split("-")[0]
        unborn = Patient.objects.create(laboratory=laboratory, mrn=name, name="Somebody")
        case = make_case(texts[name], patient=unborn)
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        interface = Interface.objects.first() or make_interface("cbc_astm")
        receive(interface, ("\r".join(lines) + "\r").encode())
        assert last_message().state == "applied", last_message().sentence
        assert len(kept(case)) >= 10
        assert CbcResult.objects.get(case=case).warnings == []
    assert Case.objects.count() in (0, 2)
