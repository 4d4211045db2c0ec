"""Every counted cell is verified by a person before a signature, or the report says how many were not (S10, C10)."""

import csv
import io

import pytest
from django.urls import reverse
from pypdf import PdfReader

from leukoweb.api.services import give_token
from leukoweb.review.cells.decisions import current_cells, relabel_cells, undo_last
from leukoweb.review.counting.policies import rules_from
from leukoweb.review.models import Report
from leukoweb.review.reports.verification import cells_needed, verification_of
from leukoweb.review.services import save_policy
from tests.test_policies import form_of
from tests.test_reports import look_at, post_signature

pytestmark = pytest.mark.slow

PARTLY = "4 of 100 cells verified by a person, 96 by the detector alone."


@pytest.fixture
def case(make_case, make_slide, known_evidence):
    case = make_case()
    make_slide(case, {"NGS": 70, "LYT": 30})
    return case


def verify(case, reader, number):
    """Verify so many of a case's cells."""
    relabel_cells(list(current_cells(case).filter(detector_code="NGS")[:number]), to="NGS", by=reader)


def text_of(pdf):
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


def open_gates(client, case):
    gates = client.get(reverse("case_sign", args=[case.pk])).context["gates"]
    return {gate.key: gate for gate in gates if not gate.is_met}


def test_a_report_is_not_signed_while_one_counted_cell_is_unverified(case, sign_in, pathologist, technologist):
    client = sign_in(pathologist)
    verify(case, technologist, 34)
    gate = open_gates(client, case)["verified"]
    assert gate.sentence == "34 of 100 counted cells verified: 66 more to verify."
    assert gate.codes == ("LYT", "NGS")
    assert "34 of 100 counted cells verified" in post_signature(client, case).content.decode()
    assert not Report.objects.filter(state="signed").exists()


def test_pages_of_cells_count_as_verified_and_the_report_names_who_did_it(case, sign_in, pathologist, technologist):
    look_at(case, technologist)
    client = sign_in(pathologist)
    assert "verified" not in open_gates(client, case)
    page = client.get(post_signature(client, case).url).content.decode()
    assert "100 of 100 cells verified by a person." in page
    assert "Verified by Tess." in page
    assert "Reviewed and signed" in client.get(reverse("case_detail", args=[case.pk])).content.decode()


def test_an_undone_decision_is_no_verification(case, sign_in, pathologist, technologist):
    """H11: on the case page, at the gate, and in the API."""
    verify(case, technologist, 5)
    undo_last(case, by=technologist)
    client = sign_in(pathologist)
    assert "0 of 100 cells verified" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert open_gates(client, case)["verified"].sentence.startswith("0 of 100")
    token = give_token(pathologist)[1]
    answer = client.get("/api/v1/cases/A-1001/differential/", headers={"Authorization": f"Token {token}"}).json()
    assert (answer["reviewed_cells"], answer["counted_cells"], answer["reviewed"]) == (0, 100, False)


def test_a_cell_is_counted_once_however_often_it_was_decided_and_also_after_a_second_reading(
    case, sign_in, pathologist, technologist
):
    """H32: “233 of 101 cells”."""
    for _ in range(3):
        verify(case, technologist, 10)
    page = sign_in(pathologist).get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "10 of 100 cells verified" in page


def test_what_is_no_cell_is_not_counted_as_verified(case, technologist, sign_in, pathologist):
    relabel_cells([current_cells(case).first()], to="NOT", by=technologist)
    assert open_gates(sign_in(pathologist), case)["verified"].sentence.startswith("0 of 99 counted cells")


@pytest.fixture
def partly_signed(case, sign_in, pathologist, technologist, admin):
    """A report signed under a policy that asks for 4 % of the cells, of which 4 were verified."""
    save_policy(case.laboratory, rules_from({"least_verified": 4}), reason="Pilot of the ward.", by=admin)
    verify(case, technologist, 4)
    client = sign_in(pathologist)
    assert "Review and approval" not in client.get(reverse("case_sign", args=[case.pk])).content.decode()
    assert post_signature(client, case).status_code == 200, "nobody signs for a review that was not made"
    assert post_signature(client, case, meaning="Approval").status_code == 302
    return Report.objects.get(case=case), client


def test_a_policy_lowers_the_gate_and_both_numbers_stand_on_every_form_of_the_report(partly_signed, pathologist):
    report, client = partly_signed
    api = {"Authorization": f"Token {give_token(pathologist)[1]}"}
    forms = {
        "page": client.get(reverse("report_detail", args=[report.pk])).content.decode(),
        "case": client.get(reverse("case_detail", args=[report.case_id])).content.decode(),
        "pdf": text_of(client.get(reverse("report_pdf", args=[report.pk])).content),
        "json": client.get(reverse("report_export", args=[report.pk, "json"])).content.decode(),
        "csv": client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode("utf-8-sig"),
        "bundle": client.get(reverse("report_export", args=[report.pk, "bundle"])).content.decode(),
        "api report": client.get("/api/v1/cases/A-1001/report/", headers=api).content.decode(),
        "api differential": client.get("/api/v1/cases/A-1001/differential/", headers=api).content.decode(),
        "api pdf": text_of(client.get("/api/v1/cases/A-1001/report.pdf", headers=api).content),
        "cases": client.get(reverse("case_list")).content.decode(),
        "worklist": client.get(reverse("worklist")).content.decode(),
    }
    for name in ("page", "pdf", "api pdf"):
        assert PARTLY in forms[name], name
        assert "A person verifies at least 4 % of the counted cells" in forms[name], name
    for name in ("json", "csv", "api report", "api differential"):
        assert f"signed, {PARTLY.rstrip('.')}" in forms[name], name
    assert "4 of 100 cells verified by a person" in forms["case"]
    for name, text in forms.items():
        words = text.replace('"reviewed":false', "").replace('"reviewed_cells"', "")
        assert "reviewed" not in words.lower(), name
    rows = list(csv.DictReader(io.StringIO(forms["csv"])))
    assert {(row["cells_counted"], row["cells_verified"]) for row in rows} == {("100", "4")}


def test_a_policy_out_of_its_limits_is_refused(case, admin, sign_in):
    client = sign_in(admin)
    page = client.get(reverse("policy_edit"))
    assert client.post(reverse("policy_edit"), form_of(page, least_verified=101)).status_code == 200
    assert client.post(reverse("policy_edit"), form_of(page, least_verified=50)).status_code == 302
    page = client.get(reverse("policy_edit")).content.decode()
    assert "least_verified: 100.0 against 50.0" in page


def test_shares_are_rounded_upward():
    assert [cells_needed(113, share) for share in (0, 30, 100)] == [0, 34, 113]
    assert cells_needed(100, 4) == 4
    assert verification_of([], 100.0)["counted"] == 0


def test_one_word_for_a_case_in_every_answer(case, pathologist, technologist, client):
    """F6: the differential and the report of one case say the same."""
    api = {"Authorization": f"Token {give_token(pathologist)[1]}"}

    def said():
        return {
            client.get(f"/api/v1/cases/A-1001/{part}/", headers=api).json()["status"]
            for part in ("report", "differential")
        }

    assert said() == {"preliminary, not reviewed"}
    look_at(case, technologist)
    assert said() == {"reviewed, not signed"}


def test_a_signed_report_with_another_number_of_verified_cells_does_not_verify(
    case, sign_in, pathologist, technologist
):
    """S5: the numbers are counted again from the decisions."""
    import json

    from leukoweb.review.reports.seal import digest, problems_of

    look_at(case, technologist)
    client = sign_in(pathologist)
    post_signature(client, case)
    report = Report.objects.get(case=case)
    bundle = json.loads(client.get(reverse("report_export", args=[report.pk, "bundle"])).content)
    assert bundle["content"]["verification"] == {"counted": 100, "verified": 100, "needed": 100, "by": ["Tess"]}
    bundle["content"]["verification"]["verified"] = 99
    bundle["sections"]["verification"] = digest(bundle["content"]["verification"])
    assert "The report says 99 cells verified, its decisions say 100." in problems_of(json.dumps(bundle).encode())


def test_a_signed_report_with_a_flag_or_a_limit_taken_out_does_not_verify(case, sign_in, pathologist, technologist):
    """H32: flags and limits are raised again from the cells."""
    from leukoweb.review.reports.seal import disagreements

    relabel_cells([current_cells(case).first()], to="LYA", by=technologist)
    look_at(case, technologist)
    client = sign_in(pathologist)
    assert post_signature(client, case, lya_meaning="abnormal").status_code == 302
    content = Report.objects.get(case=case).content
    assert content["flags"]
    assert content["limits"]
    assert disagreements(content) == []
    assert any("Raised again: flags" in said for said in disagreements(content | {"flags": []}))
    changed = [{**content["flags"][0], "title": "Nothing"}, *content["flags"][1:]]
    assert any("Nothing" in said for said in disagreements(content | {"flags": changed}))
    assert any("Raised again: limits" in said for said in disagreements(content | {"limits": ["All is well."]}))
