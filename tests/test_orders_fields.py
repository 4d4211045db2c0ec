"""Every field of an order that comes in: where it may stand, how senders write it, and what is kept of it."""

import re

import pytest

from leukoweb.cases.models import Case
from leukoweb.delivery.hl7 import read
from leukoweb.delivery.orders import read_orders
from leukoweb.delivery.services import receive
from tests.services import ROOT
from tests.test_hl7 import UTC, order
from tests.test_orders import interface, last_message  # noqa: F401 (fixture)

BY = "1234^Jones^Robert"
SPM = "SPM|1|S-9||BLD^Blood^HL70487"
NOTE = "Blasts?\nPlease call & fax"


def given(changes):
    """Read an order in which parts of the usual one are replaced."""
    for old in changes:
        assert old.encode() in order(), old
    [found] = read_orders(read(order(**changes)), authority="", zone=UTC)
    return found


@pytest.mark.parametrize(
    ("changes", "mrn"),
    [
        ({"44556^^^MRN^MR~9^^^NATIONAL": "~V1^^^HOSP^VN~44556^^^HOSP^MR"}, "44556"),  # a visit comes first
        ({"44556^^^MRN^MR~9^^^NATIONAL": "999-99^^^SSA^SS~44556^^^HOSP^PI"}, "44556"),
        ({"44556^^^MRN^MR~9^^^NATIONAL": "999-99^^^SSA^SS~44556"}, "44556"),
        ({"44556^^^MRN^MR~9^^^NATIONAL": "44556^^^HOSP^XX~9^^^B^YY"}, "44556"),  # types that say nothing: the first
    ],
)
def test_the_record_number_is_told_from_other_numbers_of_the_person_by_its_type(changes, mrn):
    assert given(changes).person.mrn == mrn


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Nguyen^Thanh^V^Jr^Dr^MD^L", "Nguyen, Thanh V"),
        ("Miller^Thanh^^^^^M~Nguyen^Thanh^V^^^^L", "Nguyen, Thanh V"),
        ("~Nguyen^Thanh^V", "Nguyen, Thanh V"),
        ("van der Berg&van der&Berg^Thanh", "van der Berg, Thanh"),
    ],
)
def test_the_name_is_the_one_in_use(sent, name):
    assert given({"Nguyen^Thanh^V": sent}).person.name == name


@pytest.mark.parametrize(
    ("changes", "is_stat"),
    [
        ({"TQ1|1||||||||S": "TQ1|1||||||||R"}, False),
        ({"TQ1|1||||||||S": "TQ1|1||||||||R\rTQ1|2||||||||S"}, True),
        ({"TQ1|1||||||||S\r": ""}, None),
        ({"TQ1|1||||||||S\r": "", "F-77|||||||||": "F-77||||^^^^^S|||||"}, True),
        (
            {
                "TQ1|1||||||||S\r": "",
                "77^Lee^Susan": "77^Lee^Susan",
                f"{BY}||||||||||||": f"{BY}|||||||||||^^^^^R~^^^^^S|",
            },
            True,
        ),
        ({"TQ1|1||||||||S\r": "", "film^L|||": "film^L|S||"}, True),
        ({"TQ1|1||||||||S": "TQ1|1||||||||R", "F-77|||||||||": "F-77||||^^^^^A|||||"}, True),
    ],
)
def test_stat_anywhere_in_an_order_is_stat(changes, is_stat):
    assert given(changes).is_stat is is_stat


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"Blasts?\\.br\\Please": "Blasts? ^ AML & CLL~Please"}, "note", "Blasts? ^ AML & CLL\nPlease call & fax"),
        ({"20260408130000||||||": "20260408130000||||||suspected AML"}, "note", f"suspected AML\n{NOTE}"),
        ({"20260408130000||||||": "20260408130000||||||AML-1^AML^L"}, "note", f"AML\n{NOTE}"),
        ({"77^Lee^Susan": "77^Lee^Susan|||ALL-1^ALL^L~^Fever"}, "note", f"ALL\nFever\n{NOTE}"),
        ({SPM: f"{SPM}|||||||||||||||||HE^Hemolyzed^HL70490"}, "note", f"{NOTE}\nSpecimen rejected: Hemolyzed"),
        ({SPM: f"{SPM}||||||||||||||||||||CLOT^Clotted"}, "note", f"{NOTE}\nSpecimen condition: Clotted"),
        ({SPM: "SPM|1|S-9||^^^BLD^Blood^L"}, "specimen_type", "Blood"),
        ({"CLINIC^301^A": "^^^HOSP^^^^^Ward 3 East"}, "ward", "Ward 3 East"),
        ({f"|||||||||{BY}\rTQ1": "|||||||||\rTQ1", f"20260408130000|||||||||{BY}": "20260408130000|||||||||1234"},
         "requester", "1234"),
        ({"77^Lee^Susan": "77^Lee^Susan~^Kim^Ann~78"}, "copy_to", "Lee, Susan; Kim, Ann; 78"),
    ],
)  # fmt: skip
def test_what_an_order_says_is_kept_whole(changes, field, value):
    assert getattr(given(changes), field) == value


def test_a_case_was_received_when_the_order_says_so(interface):  # noqa: F811
    receive(interface, order(**{SPM: f"{SPM}||||||||||||||20260408131500+0000"}))
    assert Case.objects.get().received_at.isoformat() == "2026-04-08T13:15:00+00:00"


def test_two_films_below_one_orc_are_two_cases_by_their_own_numbers(interface):  # noqa: F811
    """Both had the numbers of the ORC, so that the second one held the message."""
    second = "OBR|2|ORD301|F-78|FILM^Blood film^L\rNTE|1||"
    receive(interface, order(**{"NTE|1||": second}))
    assert last_message().state == "applied", last_message().sentence
    assert sorted(Case.objects.values_list("accession_number", "placer_number")) == [
        ("F-77", "ORD300"), ("F-78", "ORD301"),
    ]  # fmt: skip


def test_the_example_of_the_documentation_is_answered_as_it_is_printed(interface):  # noqa: F811
    text = (ROOT / "docs" / "interfaces.md").read_text().partition("## An order and its answer")[2].split("```")[1]
    sent, printed = text.strip().split("\n\n")
    answer = receive(interface, f"{sent}\n".replace("\n", "\r").encode()).decode()
    varied = re.compile(r"\d{14}\+0000|(?<=\^ACK\|)[^|]+")
    assert varied.sub("", answer.strip().replace("\r", "\n")) == varied.sub("", printed)
    case = Case.objects.get()
    assert (case.accession_number, case.placer_number, case.priority, case.ward) == (
        "F-77", "ORD300", "stat", "CLINIC 301 A",
    )  # fmt: skip


@pytest.mark.parametrize("version", ["2.7.1", "2.8.1", "2.8.2", "2.5^DEU"])
def test_versions_between_those_that_are_named_are_taken(interface, version):  # noqa: F811
    assert read(receive(interface, order(**{"|P|2.5.1": f"|P|{version}"}))).first("MSA").get(1) == "AA"
