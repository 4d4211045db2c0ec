"""Messages as analysers send them: every value that is kept stands so in the message, which is read independently."""

from datetime import UTC

import pytest
from django.utils import timezone

from leukoweb.cases.models import Case, CbcResult, Patient
from leukoweb.delivery.hl7 import read
from leukoweb.delivery.models import Interface
from leukoweb.delivery.services import receive, receive_file, save_codes, save_interface
from tests.conftest import SHARED
from tests.test_counts_in import SYSMEX, hl7, last_message, make_interface  # noqa: F401 (fixture)
from tests.test_hl7 import order

# A BC-5380 of Mindray: MSH-18 says UNICODE for UTF-8, codes are of LOINC or its own, three values were not obtained.
MINDRAY = (
    "MSH|^~\\&|BC-5380|Mindray|||20210202151447||ORU^R01|87|P|2.3.1||||||UNICODE\r"
    "PID|1||7393670^^^^MR||Größe^Anna||19610504000000|Female\rPV1|1||nk^^001\r"
    "OBR|1||B-5380|00001^Automated Count^99MRC|||20210202151339|||||||||||||||||HM||||||||Service Engineer\r"
    "OBX|1|IS|08001^Take Mode^99MRC||C||||||F\r"
    "OBX|2|NM|6690-2^WBC^LN||3.91|10*9/L|4.00-10.00|L|||F\r"
    "OBX|3|NM|704-7^BAS#^LN||0.03|10*9/L|0.00-0.10|N~A|||F\r"
    "OBX|4|NM|706-2^BAS%^LN||0.8|%|0.0-1.0|N~A|||F\r"
    "OBX|5|NM|751-8^NEU#^LN||2.31|10*9/L|2.00-7.00|~A|||F\r"
    "OBX|6|NM|770-8^NEU%^LN||59.1|%|50.0-70.0|N~A|||F\r"
    "OBX|7|NM|711-2^EOS#^LN||0.16|10*9/L|0.02-0.50|N~A|||F\r"
    "OBX|8|NM|713-8^EOS%^LN||4,0|%|0,5-5,0|N~A|||F\r"
    "OBX|9|NM|731-0^LYM#^LN||***.**|10*9/L|0.80-4.00|~A|||F\r"
    "OBX|10|NM|736-9^LYM%^LN||**.*|%|20.0-40.0|~A|||F\r"
    "OBX|11|NM|742-7^MON#^LN||0.14|10*9/L|0.12-1.20|N~A|||F\r"
    "OBX|12|NM|5905-5^MON%^LN||3.7|%|3.0-12.0|N~A|||F\r"
    "OBX|13|NM|789-8^RBC^LN||4.84|10*12/L|3.50-5.50|N|||F\r"
    "OBX|14|NM|718-7^HGB^LN||138|g/L|110-160|N|||F\r"
    "OBX|15|NM|4544-3^HCT^LN||43.1|%|37.0-54.0|N|||F\r"
    "OBX|16|NM|787-2^MCV^LN||89.0|fL|80.0-100.0|N|||F\r"
    "OBX|17|NM|785-6^MCH^LN||28.4|pg|27.0-34.0|N|||F\r"
    "OBX|18|NM|786-4^MCHC^LN||320|g/L|320-360|N|||F\r"
    "OBX|19|NM|788-0^RDW-CV^LN||12.5|%|11.0-16.0|N|||F\r"
    "OBX|20|NM|777-3^PLT^LN||245|10*9/L|100-300|N|||F\r"
    "OBX|21|NM|32623-1^MPV^LN||9.2|fL|7.0-11.0|N|||F\r"
    "OBX|22|NM|10002^PCT^99MRC||0.225|%|0.108-0.282|N|||F\r"
    "OBX|23|IS|12011^Anemia^99MRC||T||||||F\r"
    "OBX|24|ED|15008^WBC Histogram. BMP^99MRC||^Image^BMP^Base64^Qk0=||||||F\r"
)
SHORT = {"RDW-CV": "RDW", "NEUT%": "NEU%", "LYMPH%": "LYM%", "MONO%": "MON%", "EO%": "EOS%", "BASO%": "BAS%"}


def said_in(text):
    """Read OBX of a message by hand: name of the parameter to (value, unit) as they stand there."""
    found = {}
    for line in text.replace("\n", "\r").split("\r"):
        if line.startswith("OBX"):
            parts = [*line.split("|"), "", "", ""]
            code, name = [part for part in parts[3].split("^") if part][:2]
            found[SHORT.get(name, name) if code[0].isdigit() else SHORT.get(code, code)] = parts[5], parts[6]
    return found


def kept(case):
    return {value["key"]: value for value in CbcResult.objects.get(case=case).values}


def test_a_mindray_message_is_read_by_its_loinc_codes(make_case, make_interface):  # noqa: F811
    """It was refused for MSH-18, and its codes were held although they are those of LOINC."""
    case = make_case("B-5380")
    case.patient.name = "Größe, Anna"
    case.patient.save()
    ours = {"08001": "ignore", "10002": "ignore", "12011": "flag"}
    assert read(receive(make_interface(codes=ours), MINDRAY.encode())).first("MSA").get(1) == "AA"
    assert last_message().state == "applied", last_message().sentence
    values, said = kept(case), said_in(MINDRAY)
    assert set(values) == set(said) - {"Take Mode", "PCT", "Anemia", "WBC Histogram. BMP"}
    for key, value in values.items():
        assert value["sent"] == said[key][0]
        if "*" in value["sent"]:
            assert (value["value"], value["note"]) == (None, "not measured")
        else:
            assert (value["value"], value["unit"]) == (float(said[key][0].replace(",", ".")), said[key][1])
    result = CbcResult.objects.get(case=case)
    assert (result.analyser, result.remarks, result.is_final) == ("BC-5380 Mindray", ["Anemia"], True)


@pytest.mark.parametrize(
    ("sent", "state", "kept_as"),
    [
        ("6690-2^Leukocytes^LN", "applied", "WBC"),
        ("6690-2^Leukocytes^L", "held", None),  # a number of somebody's own list
        ("6690-2^Leukocytes", "held", None),  # nobody says that it is LOINC
        ("L-7^Leukocytes^99ABC^6690-2^Leukocytes^LN", "applied", "WBC"),
        ("770-8^Own^99ABC^WBC^WBC^99ABC", "applied", "WBC"),
        ("WBC^White Blood Cell^LN", "applied", "WBC"),
    ],
)
def test_a_code_is_one_of_loinc_only_where_the_sender_says_so(make_case, make_interface, sent, state, kept_as):  # noqa: F811
    case = make_case("B-5380")
    line = MINDRAY.split("\r")
    line[5] = line[5].replace("6690-2^WBC^LN", sent)
    raw = "\r".join([*line[:1], *line[3:4], line[5]]).encode()
    receive(make_interface(), raw)
    assert last_message().state == state, last_message().sentence
    assert [value["key"] for run in CbcResult.objects.filter(case=case) for value in run.values] == (
        [kept_as] if kept_as else []
    )


@pytest.mark.parametrize(
    ("sent", "state"),
    [("24318-8^Diff^LN", "applied"), ("24318-8^Diff", "applied"), ("24318-8^Haemoglobin^99HIS", "held"),
     ("D-9^Diff^99HIS^24318-8^Diff^LN", "applied"), ("D-9^Diff^99HIS", "held")],
)  # fmt: skip
def test_a_mapped_number_of_loinc_is_not_the_same_number_of_another_list(laboratory, admin, sent, state):
    """The code of an order; another system's code of that number can be mapped by itself."""
    hospital = Interface(laboratory=laboratory, name="H", direction="orders_in", port=2575, codes={"24318-8": "film"})
    hospital = save_interface(hospital, by=admin)
    receive(hospital, order(**{"FILM^Blood film^L": sent}))
    assert last_message().state == state
    if state == "held":
        [code] = last_message().unknown_codes
        assert code == ("24318-8^99HIS" if "24318" in sent else "D-9")
        save_codes(hospital, {code: "film"}, by=admin)
        assert last_message().state == "applied"


def test_every_value_of_the_public_hl7_results_is_kept_as_it_stands_there(make_interface, laboratory):  # noqa: F811
    """Each file of ../shared/data/messages/hl7, and the drawn one where they are absent."""
    texts = [path.read_text() for path in sorted((SHARED / "messages" / "hl7").glob("*-result.hl7"))]
    interface = make_interface()
    for number, text in enumerate(text for text in [*texts, MINDRAY] if "WBC" in text):
        specimen = next(line for line in text.replace("\n", "\r").split("\r") if line.startswith("OBR")).split("|")[3]
        patient = Patient.objects.create(laboratory=laboratory, mrn=f"P-{number}", name="Doe Martin Smith Größe, J")
        case = Case.objects.create(laboratory=laboratory, patient=patient, accession_number=specimen,
                                   received_at=timezone.now(), registered_by=interface.acts_as)  # fmt: skip
        interface.codes = {"08001": "ignore", "10002": "ignore", "12011": "ignore"}
        interface.save()
        receive(interface, text.encode())
        assert last_message().state == "applied", (specimen, last_message().sentence)
        said = said_in(text)
        values = kept(case)
        assert {key: (value["sent"], value["unit"]) for key, value in values.items() if value["value"] is not None} == {
            key: said[key] for key, value in values.items() if value["value"] is not None
        }
        assert {key for key in said if key in ("WBC", "RBC", "HGB", "HCT", "PLT")} <= set(values)


def test_what_sysmex_marks_as_unreliable_is_doubtful_and_a_low_degree_of_suspicion_is_none(make_case, make_interface):  # noqa: F811
    """R-7 W is the asterisk of its screen, R-9 N is final; every suspicion is sent with its degree, called A or not."""
    case = make_case()
    more = "R|10|^^^^Left_Shift?|80|||||F\rR|11|^^^^PLT_Clumps?|0|||||F\rL|1|N"
    text = SYSMEX.replace("10*3/uL||N||F||||20250329143330", "10*3/uL||W||N||||20250329143330", 1)
    text = text.replace("L|1|N", more)
    codes = ("Anisocytosis", "Blasts/Abn_Lympho?", "PLT_Abn_Distribution", "Left_Shift?", "PLT_Clumps?")
    receive(make_interface("cbc_astm", codes=dict.fromkeys(codes, "flag")), text.encode())
    values = kept(case)
    assert (values["WBC"]["value"], values["WBC"]["note"], values["RDW"]["note"]) == (9.24, "doubtful", "")
    result = CbcResult.objects.get(case=case)
    assert result.remarks == ["Anisocytosis", "Blasts/Abn_Lympho?: 110"]
    assert result.is_final
    case.refresh_from_db()
    assert case.wbc is None


@pytest.mark.parametrize(
    "name", ["WINTERMUTE^Edelgard^^Jr^Dr^MD", "Edelgard Wintermute", "Wintermute, Edelgard",
             "Smith^Edelgard^^^^^M~Wintermute^Edelgard^^^^^L", "~Wintermute^Edelgard"],
)  # fmt: skip
def test_a_person_is_known_however_the_sender_writes_the_name(make_case, make_interface, name):  # noqa: F811
    case = make_case()
    receive(make_interface(), hl7(**{"Wintermute^Edelgard": name}))
    assert last_message().state == "applied", last_message().sentence
    assert kept(case)["WBC"]["value"] == 8.2


def test_words_below_a_result_are_kept_beside_it(make_case, make_interface, admin):  # noqa: F811
    case = make_case()
    receive(make_interface(), hl7(**{"OBR|1|": "NTE|1||of the patient\rOBR|1|"}) + b"NTE|1||Clumps & giant~see film\r")
    assert CbcResult.objects.get(case=case).remarks == ["Clumps & giant", "see film"]
    CbcResult.objects.all().delete()
    other = Interface(laboratory=case.laboratory, name="chemistry", direction="cbc_hl7", port=2577,
                      codes=dict.fromkeys(("WBC", "HGB", "PLT"), "ignore"))  # fmt: skip
    receive(save_interface(other, by=admin), hl7(control=2) + b"NTE|1||All in range\r")
    assert last_message().state == "applied"
    assert not CbcResult.objects.exists()


@pytest.mark.parametrize(("kind", "sent"), [("SN", "=^8.2"), ("CWE", "^^^^^^^^8.2"), ("ST", "8,2"), ("NM", "+8.2")])
def test_a_number_is_read_in_every_type_that_may_hold_it(make_case, make_interface, kind, sent):  # noqa: F811
    case = make_case()
    receive(make_interface(), hl7(**{"|NM|^^^WBC^WBC||8.2|": f"|{kind}|^^^WBC^WBC||{sent}|"}))
    assert kept(case)["WBC"]["value"] == 8.2


@pytest.mark.parametrize(
    ("sent", "hour"),
    [("2026-04-08 09:00", 9), ("2026-04-08T09:00:00Z", 9), ("2026-04-08T09:00:00.5-05:00", 14), ("20260408090000", 9),
     ("08.04.2026 09:00", None), ("04/08/2026", None), ("2026", None)],
)  # fmt: skip
def test_a_time_in_a_file_is_read_as_iso_or_hl7_or_refused(make_case, make_interface, technologist, sent, hour):  # noqa: F811
    case = make_case()
    rows = f"specimen,code,value,unit,measured_at\nA-1001,WBC,6.2,10*9/L,{sent}\n"
    [message] = receive_file(make_interface("cbc_csv"), rows.encode(), by=technologist)
    if hour is None:
        assert (message.state, message.sentence) == ("refused", "Line 2: write the time such as 2026-04-08 09:00.")
    else:
        assert CbcResult.objects.get(case=case).measured_at.astimezone(UTC).hour == hour
