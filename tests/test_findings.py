"""Findings of red cells, white cells, platelets and parasites: marked by a person, printed, sealed and sent."""

import csv
import io
import uuid

import pytest
from django.urls import reverse
from hl7apy.parser import parse_message
from pypdf import PdfReader
from scipy.stats import binomtest

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.delivery.results import result_message, withdrawal_message
from leukoweb.refusals import Refused
from leukoweb.review.counting.policies import rules_from
from leukoweb.review.findings.marking import Mark, mark_findings, undo_findings
from leukoweb.review.findings.state import count_words, current_findings
from leukoweb.review.findings.table import GROUPS, ITEMS
from leukoweb.review.models import Finding, Report
from leukoweb.review.reports.fhir import observations_of
from leukoweb.review.reports.files import file_of
from leukoweb.review.reports.ledger import problems_of_report
from leukoweb.review.reports.seal import problems_of
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import cancel_amendment, withdraw_report
from leukoweb.review.services import save_policy
from tests.conftest import PASSWORD, SHARED
from tests.test_reports import post_signature, reviewed  # noqa: F401 (fixture)

MARKS = [
    Mark("schistocytes", "2", counted=12, examined=1000),
    Mark("target_cells", "0"),
    Mark("white_cells", "normal"),
    Mark("platelets", "not_examined"),
    Mark("parasites", "seen", note="ring forms"),
]


@pytest.fixture
def signed_film(reviewed, sign_in, pathologist):  # noqa: F811
    """A signed report with findings, and the client of its signer."""
    case, client = reviewed(), sign_in(pathologist)
    mark_findings(case, MARKS, by=pathologist)
    assert post_signature(client, case).status_code == 302
    return Report.objects.get(case=case), client


def values(case):
    return {key: row.value for key, row in current_findings(case).items()}


def test_every_code_of_the_table_has_the_name_that_its_source_gives_it():
    source = "".join(path.read_text() for path in sorted((SHARED / "messages" / "loinc").glob("*.json")))
    missing = [x.key for x in (*ITEMS.values(), *GROUPS.values()) if x.loinc and f'"{x.loinc}"' not in source]
    assert not missing or not source  # without ../shared/data only their number is known
    codes = [item.loinc for item in ITEMS.values() if item.loinc]
    assert len(codes) == len(set(codes)) == 49


def test_nothing_is_graded_before_a_person_marks_it(make_case, technologist):
    case = make_case()
    assert current_findings(case) == {}
    mark_findings(case, [Mark("schistocytes", "1")], by=technologist)
    assert values(case) == {"schistocytes": "1"}


def test_a_change_is_a_new_row_and_undo_is_one_too(make_case, technologist):
    case = make_case()
    mark_findings(case, [Mark("schistocytes", "1"), Mark("spherocytes", "0")], by=technologist)
    mark_findings(case, [Mark("schistocytes", "3")], by=technologist)
    undo_findings(case, by=technologist)
    assert values(case) == {"schistocytes": "1", "spherocytes": "0"}
    undo_findings(case, by=technologist)
    assert values(case) == {}
    assert undo_findings(case, by=technologist) == []
    assert list(Finding.objects.values_list("key", "value")) == [
        ("schistocytes", "1"), ("spherocytes", "0"), ("schistocytes", "3"), ("schistocytes", "1"),
        ("schistocytes", ""), ("spherocytes", ""),
    ]  # fmt: skip
    events = Event.objects.filter(action__startswith="finding.").order_by("id")
    assert [event.action for event in events] == ["finding.mark"] * 2 + ["finding.undo"] * 2
    assert events[1].changes["findings"] == [["schistocytes", "1", "3"]]


def test_the_same_step_twice_and_the_same_grade_twice_are_stored_once(make_case, technologist):
    case, step = make_case(), uuid.uuid4()
    first = mark_findings(case, [Mark("rouleaux", "2")], by=technologist, step=step)
    assert mark_findings(case, [Mark("rouleaux", "2")], by=technologist, step=step) == first
    assert mark_findings(case, [Mark("rouleaux", "2")], by=technologist) == []
    assert Finding.objects.count() == 1


@pytest.mark.parametrize(
    ("before", "marks", "sentence"),
    [
        ([], [Mark("rouleaux", "4")], "Rouleaux cannot be “4”. Choose one of: 0 (not seen), 1 (1+), 2 (2+), 3 (3+)."),
        ([], [Mark("heinz", "2")], "Heinz bodies cannot be “2”. Choose one of: 0 (not seen), 1 (seen)."),
        ([], [Mark("unicorns", "1")], "“unicorns” is no finding."),
        ([], [Mark("rouleaux", "1"), Mark("rouleaux", "0")], "Rouleaux is marked twice."),
        ([], [Mark("rouleaux", "1"), Mark("red_cells", "normal")], "cannot be “normal” while Rouleaux is “1+”"),
        ([Mark("rouleaux", "1")], [Mark("red_cells", "normal")], "cannot be “normal” while Rouleaux is “1+”"),
        ([Mark("red_cells", "normal")], [Mark("rouleaux", "2")], "cannot be “normal” while Rouleaux is “2+”"),
        ([Mark("rouleaux", "0")], [Mark("red_cells", "not_examined")], "cannot be “not examined” while Rouleaux"),
        ([], [Mark("schistocytes", "2", 11, 10)], "more were counted than cells were examined"),
        ([], [Mark("schistocytes", "2", 3)], "Enter both how many were counted and among how many"),
        ([], [Mark("schistocytes", "2", 0, 1000)], "the count and the grade contradict each other"),
        ([], [Mark("schistocytes", "0", 3, 1000)], "the count and the grade contradict each other"),
        ([], [Mark("schistocytes", "0", 0, 0)], "must be from 1 to 1,000,000"),
        ([], [Mark("rouleaux", "1", 3, 1000)], "Rouleaux is graded, not counted."),
        ([], [Mark("rouleaux", "", note="many")], "has a note or a count, but no grade"),
        ([], [Mark("parasites", "seen", note="n" * 201)], "The note has 201 characters"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_a_sentence_and_nothing_of_it_is_stored(
    make_case, technologist, before, marks, sentence
):
    case = make_case()
    mark_findings(case, before, by=technologist)
    with pytest.raises(Refused) as refused:
        mark_findings(case, marks, by=technologist)
    assert sentence in str(refused.value)
    assert Finding.objects.count() == len(before)


def test_a_group_is_normal_with_findings_that_were_looked_for_and_not_seen(make_case, technologist):
    case = make_case()
    mark_findings(case, [Mark("red_cells", "normal"), Mark("rouleaux", "0"), Mark("platelets", "normal"),
                         Mark("platelet_adequacy", "2")], by=technologist)  # fmt: skip
    with pytest.raises(Refused, match="Platelets on the film is “decreased”"):
        mark_findings(case, [Mark("platelet_adequacy", "1")], by=technologist)


def test_what_another_reader_marked_since_is_not_overwritten(make_case, technologist, pathologist):
    case = make_case()
    [row] = mark_findings(case, [Mark("rouleaux", "1")], by=technologist)
    mark_findings(case, [Mark("rouleaux", "2", seen=row.pk)], by=pathologist)
    with pytest.raises(Refused, match="Another reader has marked Rouleaux"):
        mark_findings(case, [Mark("rouleaux", "3", seen=row.pk)], by=technologist)
    with pytest.raises(Refused, match="Another reader has marked Rouleaux"):
        undo_findings(case, by=technologist)
    assert values(case) == {"rouleaux": "2"}


def test_a_count_is_printed_with_its_interval_and_the_laboratorys_limit():
    rules = rules_from({})
    interval = binomtest(12, 1000).proportion_ci(method="exact")
    assert [round(100 * end, 1) for end in interval] == [0.6, 2.1]
    assert count_words(12, 1000, "red cells", rules) == (
        "12 of 1,000 red cells, 1.2 % (95 % interval 0.6 to 2.1), above 1 %?"
    )
    assert count_words(40, 1000, "red cells", rules).endswith(", above 1 %")
    assert count_words(10, 1000, "red cells", rules).endswith(", not above 1 %")
    assert count_words(40, 1000, "red cells", rules_from({"schistocytes_above": 5})).endswith(", not above 5 %")


@pytest.mark.slow
def test_a_signed_case_and_a_case_of_another_laboratory_are_refused(signed_film, outsider, client):
    report, own = signed_film
    address = reverse("case_findings", args=[report.case_id])
    body = {"key": str(uuid.uuid4()), "findings": [{"key": "rouleaux", "value": "1"}]}
    answer = own.post(address, body, "application/json")
    assert answer.status_code == 409
    assert "open an amendment to change the findings" in answer.json()["detail"]
    own.logout()
    client.force_login(outsider)
    assert client.post(address, body, "application/json").status_code == 404
    assert client.get(reverse("api_findings_by_id", args=[report.case_id])).status_code == 404


@pytest.mark.slow
def test_the_report_says_findings_on_page_csv_json_hl7_and_fhir(signed_film):
    report, client = signed_film
    page = " ".join(client.get(reverse("report_detail", args=[report.pk])).content.decode().split())
    assert "Schistocytes 2+" in page
    assert "12 of 1,000 red cells, 1.2 %" in page
    assert "Target cells not seen" in page
    assert "not examined" in page
    assert "seen (ring forms)" in page
    rows = {row["code"]: row for row in csv.DictReader(io.StringIO(file_of(report, report.content, "csv")[0]))}
    assert rows["schistocytes"]["loinc_finding"] == "800-3"
    assert rows["schistocytes"]["finding"].startswith("2+, 12 of 1,000 red cells")
    assert rows["platelets"]["finding"] == "not examined"
    answer = client.get(reverse("api_report_by_id", args=[report.case_id])).json()
    assert [group["text"] for group in answer["findings"]] == ["", "normal", "not examined", "seen"]
    sent = result_message(report, control_id="1", zone_time=report.signed_at).decode()
    lines = [line.split("|") for line in sent.split("\r") if line.startswith("OBX")]
    said = {line[3].split("^")[0]: line for line in lines if line[2] == "ST"}
    assert said["800-3"][5].startswith("2+, 12 of 1,000")
    assert said["11125-2"][5] == "not examined"
    assert said["parasites"][3] == "parasites^Parasites^99LW"
    parse_message(sent, find_groups=False)
    case = Case.objects.with_state().get(pk=report.case_id)
    found = {one["id"].partition("-film-")[2]: one for one in observations_of(case, report)}
    assert found["schistocytes"]["code"]["coding"] == [{"system": "http://loinc.org", "code": "800-3"}]
    assert found["parasites"]["valueString"] == "seen (ring forms)"
    assert found["platelets"]["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert "valueString" not in found["platelets"]


@pytest.mark.slow
def test_the_seal_covers_the_findings_and_a_withdrawal_takes_them_back(signed_film, pathologist):
    report, _ = signed_film
    bundle = file_of(report, report.content, "bundle")[0]
    assert problems_of(bundle.encode()) == []
    assert problems_of(bundle.replace('"2+"', '"3+"').encode()) != []
    withdrawal = withdraw_report(report, by=pathologist, password=PASSWORD, reason="Wrong tube.")
    sent = withdrawal_message(withdrawal, control_id="2", zone_time=report.signed_at).decode()
    [line] = [line for line in sent.split("\r") if "800-3" in line]
    assert line.split("|")[2] == "ST"
    assert line.split("|")[5] == ""
    assert line.split("|")[11] == "X"


@pytest.mark.slow
def test_what_nobody_marked_is_printed_as_not_examined_and_blocks_only_where_the_laboratory_requires_it(
    reviewed, pathologist, admin, sign_in  # noqa: F811
):  # fmt: skip
    case, client = reviewed(), sign_in(pathologist)
    [gate] = [g for g in client.get(reverse("case_sign", args=[case.pk])).context["gates"] if g.key == "findings"]
    assert gate.is_met
    assert gate.sentence == "Printed as “not examined”: Red cells, White cell morphology, Platelets, Parasites."
    save_policy(case.laboratory, rules_from({"findings_required": True}), reason="Whole films.", by=admin)
    assert "Grade or mark as “not examined”" in post_signature(client, case).content.decode()
    assert not Report.objects.filter(state="signed").exists()
    whole = [Mark(key, "not_examined") for key in ("red_cells", "white_cells", "platelets", "parasites")]
    mark_findings(case, whole, by=pathologist)
    assert post_signature(client, case).status_code == 302


@pytest.mark.slow
def test_a_signature_on_a_page_that_showed_other_findings_is_refused(reviewed, pathologist, sign_in):  # noqa: F811
    case, client = reviewed(), sign_in(pathologist)
    seen = client.get(reverse("case_sign", args=[case.pk])).context["seen"]
    mark_findings(case, [Mark("rouleaux", "1")], by=pathologist)
    assert "The case changed since this page was shown" in post_signature(client, case, seen=seen).content.decode()


@pytest.mark.slow
def test_an_amendment_prints_what_changed_and_a_withdrawn_one_marks_again_what_was_signed(signed_film, pathologist):
    report, client = signed_film
    draft = amend_report(report, by=pathologist, reason="Second look.")
    mark_findings(report.case, [Mark("schistocytes", "3"), Mark("rouleaux", "1")], by=pathologist)
    page = client.get(reverse("report_detail", args=[draft.pk])).content.decode()
    assert "Schistocytes 2+, 12 of 1,000" in page
    cancel_amendment(draft, by=pathologist, reason="Opened by mistake.")
    assert values(report.case) == {
        "schistocytes": "2", "target_cells": "0", "white_cells": "normal", "platelets": "not_examined",
        "parasites": "seen",
    }  # fmt: skip


def test_a_program_reads_and_marks_findings_once(make_case, technologist, client):
    case = make_case()
    client.force_login(technologist)
    address = reverse("api_findings_by_id", args=[case.pk])
    groups = client.get(address).json()["groups"]
    assert [group["key"] for group in groups] == list(GROUPS)
    assert sum(len(group["items"]) for group in groups) == len(ITEMS)
    body = {"key": str(uuid.uuid4()), "findings": [{"key": "heinz", "value": "1"}]}
    for _ in range(2):
        answer = client.post(address, body, "application/json")
        assert answer.status_code == 200
    items = {item["key"]: item for group in answer.json()["groups"] for item in group["items"]}
    assert items["heinz"]["value"] == "1"
    assert items["heinz"]["by"] == technologist.printed_name
    assert Finding.objects.count() == 1
    wrong = client.post(address, {"findings": [{"key": "heinz", "value": "7"}]}, "application/json")
    assert wrong.status_code == 400
    assert "Choose one of: 0 (not seen), 1 (seen)" in wrong.json()["detail"]


@pytest.mark.slow
def test_the_page_takes_findings_and_undo_and_not_in_the_name_of_another_person(make_case, technologist, client):
    case = make_case()
    client.force_login(technologist)
    address = reverse("case_findings", args=[case.pk])
    body = {"key": str(uuid.uuid4()), "findings": [{"key": "red_cells", "value": "normal"}]}
    assert client.post(address, body, "application/json").status_code == 200
    undo = {"key": str(uuid.uuid4()), "undo": True}
    for _ in range(2):
        assert client.post(address, undo, "application/json").status_code == 200
    assert values(case) == {}
    assert Finding.objects.count() == 2
    other = client.post(address, body, "application/json", headers={"X-LeukoWeb-Reader": "0"})
    assert other.status_code == 401
    assert client.post(address, {"findings": 7}, "application/json").status_code == 400
    assert User.objects.get(pk=technologist.pk).can("relabel_cell")


@pytest.mark.slow
def test_a_finding_carries_pictures_of_its_case_onto_page_and_paper(
    reviewed, make_case, make_slide, draw_pixels, sign_in, pathologist, outsider  # noqa: F811
):  # fmt: skip
    case = reviewed()
    image = case.slides.get().images.get()
    draw_pixels(case.slides.get())
    box = [image.pk, 10, 20, 210, 220]
    mark_findings(case, [Mark("sickle_cells", "2", pictures=[box])], by=pathologist)
    other = make_slide(make_case("A-2"), {"NGS": 1}).images.get()
    for wrong in ([other.pk, 0, 0, 50, 50], [image.pk, 0, 0, 50, 10**6], [image.pk, 30, 30, 31, 31]):
        with pytest.raises(Refused, match="a part of an image of this case"):
            mark_findings(case, [Mark("target_cells", "1", pictures=[wrong])], by=pathologist)
    with pytest.raises(Refused, match="at most 3 pictures"):
        mark_findings(case, [Mark("target_cells", "1", pictures=[box] * 4)], by=pathologist)
    client, address = sign_in(pathologist), reverse("finding_picture", args=box)
    assert client.get(address)["Content-Type"] == "image/jpeg"
    assert client.get(reverse("finding_picture", args=[image.pk, 10, 20, 210, 221])).status_code == 404
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert f'src="{address}" alt="Picture of the finding Sickle cells"' in page
    pdf = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    drawn = [one.get_object() for sheet in pdf.pages for one in sheet["/Resources"].get("/XObject", {}).values()]
    # As they are stored: to open them is Pillow's part, whose `open` takes no keyword once a detector was loaded.
    assert len({one.get_data() for one in drawn if one["/Subtype"] == "/Image"}) == 1
    assert problems_of_report(report) == []
    Finding.objects.filter(key="sickle_cells").update(pictures=[])
    assert problems_of_report(report) == ["Finding sickle_cells is not what was sealed."]
    assert sign_in(outsider).get(address).status_code == 404
