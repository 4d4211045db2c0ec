"""The seal of signed reports: one flipped byte or label fails and is named, offline and on the page (S5)."""

import copy
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from leukoweb.accounts.models import User
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.services import reject_case
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.criticals.calls import record_call
from leukoweb.review.criticals.models import Critical
from leukoweb.review.findings.marking import Mark, mark_findings
from leukoweb.review.models import Decision, Finding, Report, Withdrawal
from leukoweb.review.reports import signing
from leukoweb.review.reports.seal import FIRST, canonical, digest, problems_of
from tests.conftest import taken_back
from tests.services import ROOT
from tests.test_reports import NORMAL, PASSWORD, acknowledge, post_signature, reviewed, signed  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow

guard = import_module("leukoweb.review.migrations.0004_report_guard")


@pytest.fixture
def bundle(signed):  # noqa: F811
    """The exported bundle of a signed report, as bytes, and the client of its signer."""
    report, client = signed
    return client.get(reverse("report_export", args=[report.pk, "bundle"])).content, client


def test_an_untouched_bundle_verifies_offline_and_on_the_page(bundle, tmp_path):
    raw, client = bundle
    file = tmp_path / "bundle.json"
    file.write_bytes(raw)
    out = io.StringIO()
    call_command("verify_report", str(file), stdout=out)
    assert "unchanged" in out.getvalue()
    page = client.post(reverse("report_verify"), {"bundle": io.BytesIO(raw)}).content.decode()
    assert "The bundle is unchanged" in page
    assert "It matches this laboratory" in page


def test_the_command_needs_no_database_and_ends_with_one_on_a_flipped_label(bundle, tmp_path):
    """S5: in a fresh process whose database does not exist."""
    raw, _ = bundle
    changed = json.loads(raw)
    cell = next(cell for cell in changed["content"]["cells"] if cell["code"] == "NGS")
    cell["code"] = "MYO"
    for name, content in (("good", raw), ("bad", json.dumps(changed).encode())):
        (tmp_path / name).write_bytes(content)
    environment = {
        "PATH": "/usr/bin:/bin", "LEUKOWEB_DATA_DIR": str(tmp_path / "empty"),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "BROKER_URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip

    def verify(name):
        return subprocess.run(
            [sys.executable, "manage.py", "verify_report", str(tmp_path / name)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    good, bad = verify("good"), verify("bad")
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1
    assert "The section “cells” was changed after signing." in bad.stdout
    assert f"Cell {cell['id']} is labelled MYO, but its decisions end at NGS." in bad.stdout


DIFFERENCES = [
    (lambda b: b["content"]["report"].update(comment="All normal!"), "“report” was changed"),
    (lambda b: b["content"]["images"][0].update(sha256="f" * 64), "“images” was changed"),
    (lambda b: b["content"]["detectors"][0].update(sha256="0" * 64), "“detectors” was changed"),
    (lambda b: b["content"]["policies"]["rules"].update(minimum_count=10), "“policies” was changed"),
    (lambda b: b["content"]["signature"].update(name="Olaf"), "“signature” was changed"),
    (lambda b: b["content"].pop("flags"), "“flags” was removed"),
    (lambda b: b["content"].update(more=1), "“more” was added"),
    (lambda b: b.update(sequence=7), "The seal does not fit"),
    (lambda b: b.update(previous_seal="1" * 64), "The seal does not fit"),
    (lambda b: b["content"]["counts"].update(NGS=61), "NGS: the report counts 61, its cells are 60."),
]


def test_what_differs_is_named(bundle):
    raw, client = bundle
    for change, said in DIFFERENCES:
        changed = json.loads(raw)
        change(changed)
        page = client.post(reverse("report_verify"), {"bundle": io.BytesIO(json.dumps(changed).encode())})
        assert any(said in problem for problem in page.context["problems"]), said
        assert "This is not the signed report" in page.content.decode()


def test_one_flipped_byte_anywhere_is_found(bundle):
    """S5: every byte of the file that carries meaning; a byte of white space between values carries none."""
    raw, _ = bundle
    stored = json.loads(raw)

    @given(st.integers(0, len(raw) - 1), st.integers(1, 255))
    @examples(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def flip(place, mask):
        flipped = raw[:place] + bytes([raw[place] ^ mask]) + raw[place + 1 :]
        try:
            means_the_same = json.loads(flipped) == stored
        except ValueError:
            means_the_same = False
        assert means_the_same or problems_of(flipped)

    flip()


def test_a_forger_who_seals_anew_is_unmasked_by_the_replayed_decisions_and_by_the_seal_on_paper(bundle):
    """S5: SHA-256 alone is no secret, so the seal printed elsewhere and the stored report decide."""
    raw, client = bundle
    forged = json.loads(raw)
    genuine = forged["seal"]
    for cell in forged["content"]["cells"]:
        if cell["code"] == "NGS":
            cell |= {"code": "LYT", "detector_code": "LYT", "decisions": []}
    forged["sections"] = {name: digest(section) for name, section in forged["content"].items()}
    forged["seal"] = digest({k: forged[k] for k in ("format", "sections", "sequence", "previous_seal")})
    body = json.dumps(forged).encode()
    assert any("its cells are" in problem for problem in problems_of(body))
    assert any("not the expected one" in problem for problem in problems_of(body, expected_seal=genuine))
    page = client.post(reverse("report_verify"), {"bundle": io.BytesIO(body)})
    assert any("under another seal" in problem for problem in page.context["problems"])


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"format": "leukoweb-report/1"}', b"[" * 50_000]
)
def test_what_is_no_bundle_is_said_to_be_none(db, sign_in, technologist, raw):
    assert problems_of(raw)
    answer = sign_in(technologist).post(reverse("report_verify"), {"bundle": io.BytesIO(raw)})
    assert answer.status_code == 200
    assert answer.context["problems"]


@pytest.mark.parametrize(
    "value", [b'"\\ud800"', b"1e400", b"NaN", b'{"\\ud800": 1}', b"[" * 900 + b"]" * 900, b"9" * 30]
)
def test_a_genuine_bundle_with_a_value_that_no_report_has_is_refused_on_the_page(bundle, value):
    """H34: each answered 500, where the report that it names is stored."""
    raw, client = bundle
    for name in (b'"comment": ', b'"format": '):
        broken = raw.replace(name, name + value + b', "was": ', 1)
        page = client.post(reverse("report_verify"), {"bundle": io.BytesIO(broken)})
        assert (page.status_code, bool(page.context["problems"])) == (200, True)


def test_a_second_value_under_the_same_name_is_refused(bundle):
    """A program would read the genuine last one, a person the forged first one."""
    raw, _ = bundle
    assert problems_of(raw.replace(b'"comment":', b'"comment": "forged", "comment":', 1))


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_a_broken_bundle_never_breaks_the_verification(value):
    """Any JSON in place of the content is refused in a sentence."""
    raw = json.dumps(
        {
            "format": "leukoweb-report/1",
            "content": value,
            "sections": value,
            "sequence": 1,
            "previous_seal": "",
            "seal": "",
        }
    ).encode()
    assert problems_of(raw)


def test_seals_chain_through_the_laboratory(reviewed, sign_in, pathologist):  # noqa: F811
    """S5: each seal covers the one before it, across cases."""
    client = sign_in(pathologist)
    for number in ("A-1", "A-2", "A-3"):
        assert post_signature(client, reviewed(accession_number=number)).status_code == 302
    reports = list(Report.objects.order_by("sequence"))
    assert [report.sequence for report in reports] == [1, 2, 3]
    assert [report.previous_seal for report in reports] == [FIRST, reports[0].seal, reports[1].seal]
    out = io.StringIO()
    call_command("verify_report", "--all", stdout=out)
    assert out.getvalue().count("unchanged") == 3


@pytest.mark.django_db(transaction=True)
def test_signatures_at_the_same_moment_never_fork_the_chain(reviewed, pathologist):  # noqa: F811
    """S5: four cases signed from four connections; each seal has its own predecessor."""
    drafts = [signing.draft_of(reviewed(accession_number=f"A-{n}"), by=pathologist) for n in range(4)]

    def sign(report):
        try:
            return signing.sign_report(report, by=pathologist, password=PASSWORD, meaning=signing.MEANINGS[0])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sign, drafts))
    chain = list(Report.objects.order_by("sequence"))
    assert [report.sequence for report in chain] == [1, 2, 3, 4]
    assert [report.previous_seal for report in chain] == [FIRST, *(report.seal for report in chain[:3])]


def test_a_row_changed_behind_the_product_breaks_the_stored_chain(reviewed, sign_in, pathologist):  # noqa: F811
    """S5: somebody with the database drops the guard and rewrites a signed report."""
    client = sign_in(pathologist)
    for number in ("A-1", "A-2"):
        post_signature(client, reviewed(accession_number=number))
    first = Report.objects.get(sequence=1)
    content = copy.deepcopy(first.content)
    content["report"]["comment"] = "rewritten"
    guard.lift_guard()
    Report.objects.filter(pk=first.pk).update(content=content)
    guard.set_guard()
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("verify_report", "--all", stdout=out)
    assert f"report {first.pk}, version 1: NOT what was signed" in out.getvalue()
    assert out.getvalue().count("unchanged") == 1


def test_content_reads_the_same_from_the_database(signed):  # noqa: F811
    """S5: numbers and letters survive the JSON column of either database."""
    report, _ = signed
    before = canonical(report.content)
    report.refresh_from_db()
    assert canonical(report.content) == before
    assert connection.vendor in ("sqlite", "postgresql")


def test_a_signature_is_not_carried_over_to_a_new_password_or_person(signed, outsider):  # noqa: F811
    """S3: the signer's name stands as signed even when the account is renamed later."""
    report, client = signed
    User.objects.filter(pk=report.signed_by_id).update(first_name="Renamed")
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "Signed by Paul" in page
    assert PASSWORD not in page


def say_all():
    """What `verify_report --all` says, and whether it found something."""
    out = io.StringIO()
    try:
        call_command("verify_report", "--all", stdout=out)
    except CommandError:
        return out.getvalue()
    return ""


@pytest.fixture
def two_signed(reviewed, sign_in, pathologist):  # noqa: F811
    """Two signed cases and the client of their signer."""
    client = sign_in(pathologist)
    for number in ("A-1", "A-2"):
        post_signature(client, reviewed(accession_number=number))
    assert say_all() == ""
    return [*Report.objects.order_by("sequence"), client]


def test_a_signed_report_that_was_removed_moved_rewritten_or_made_a_draft_again_is_found(
    two_signed, make_case, technologist
):
    """H40, S3: each alone; the chain does not show that its end is missing, the audit does."""
    first, last, _ = two_signed
    other, was_signed = make_case("A-3"), f"Report {last.pk}, version 1 of case {last.case_id}, was signed on"
    for report, change, sentences in (
        (last, lambda row: row._raw_delete("default"), [was_signed, "no longer there"]),
        (last, lambda row: row.update(state="draft"), [was_signed]),
        (first, lambda row: row.update(case=other),
         [f"signed for case {first.case_id} and now belongs to case {other.pk}"]),
        (first, lambda row: row.update(signed_by=technologist), ["was signed by Paul"]),
        (first, lambda row: row.update(comment="All normal!"), ["Its column comment is not what was sealed"]),
        (first, lambda row: row.update(signature_meaning="Nothing"), ["Its column signature_meaning"]),
        (first, lambda row: row.update(lya_meaning="abnormal"), ["Its column lya_meaning"]),
    ):  # fmt: skip
        with taken_back():
            guard.lift_guard()  # as somebody would who holds the password of the database
            change(Report.objects.filter(pk=report.pk))
            guard.set_guard()
            said = say_all()
        assert not [sentence for sentence in sentences if sentence not in said], said
    assert say_all() == ""


def test_decisions_of_a_signed_case_that_were_rewritten_removed_or_added_are_found(two_signed, pathologist):
    """H40, S4."""
    decisions = list(Decision.objects.filter(cell__run__slide__case=two_signed[0].case_id).order_by("pk")[:2])
    Decision.objects.filter(pk=decisions[0].pk).update(to_code="MYO")
    Decision.objects.filter(pk=decisions[1].pk)._raw_delete("default")
    added = Decision.objects.create(cell=decisions[1].cell, to_code="MYO", decided_by=pathologist)
    said = say_all()
    assert f"Decision {decisions[0].pk} on cell {decisions[0].cell_id} is not what was sealed" in said
    assert f"Decision {decisions[1].pk} on cell {decisions[1].cell_id} is gone" in said
    assert f"Decision {added.pk} on cell {added.cell_id} came after the signature" in said


def test_a_case_that_was_given_another_patient_or_number_behind_the_product_is_found(two_signed, make_case):
    """H40: the sealed page names one person, the lists another."""
    first, second, _ = two_signed
    Case.objects.filter(pk=first.case_id).update(accession_number="A-9")
    Patient.objects.filter(pk=second.case.patient_id).update(name="Somebody Else")
    said = say_all()
    assert "The accession number of its case is not what was sealed" in said
    assert said.count("The patient's name of its case is not what was sealed") == 2


def test_findings_calls_and_rejections_that_were_changed_behind_the_product_are_found(
    reviewed, sign_in, pathologist, technologist, make_case  # noqa: F811
):  # fmt: skip
    """H40."""
    case = reviewed({**NORMAL, "MYO": 2})
    mark_findings(case, [Mark("target_cells", "2"), Mark("platelet_clumps", "1")], by=technologist)
    record_call(Critical.objects.get(), by=technologist, told_to="Dr Mole", told_role="ward", how="phone",
                is_reached=True)  # fmt: skip
    client = sign_in(pathologist)
    acknowledge(client, case)
    assert post_signature(client, case).status_code == 302
    other = make_case("A-2")
    reject_case(other, by=technologist, reason="clotted")
    assert say_all() == ""
    Finding.objects.filter(key="target_cells").update(value="3")
    Finding.objects.filter(key="platelet_clumps")._raw_delete("default")
    Case.objects.filter(pk=other.pk).update(rejection_reason="lost")
    said = say_all()
    assert "Finding target_cells is not what was sealed" in said
    assert "Finding platelet_clumps is not what was sealed" in said
    assert f"Case {other.pk}: its rejection is not what the audit says." in said


def test_a_dropped_guard_is_found(two_signed):
    """H40."""
    guard.lift_guard()
    try:
        assert "dropped its triggers" in say_all()
    finally:
        guard.set_guard()


def test_amended_withdrawn_and_cancelled_reports_verify_and_a_removed_withdrawal_is_found(two_signed, technologist):
    """S12: what the product itself does afterwards is no forgery."""
    first, second, client = two_signed
    client.post(reverse("report_amend", args=[first.pk]), {"reason": "Bands."})
    relabel_cells([c for c in current_cells(first.case) if c.code == "NGS"][:3], to="NGB", by=technologist)
    draft = Report.objects.get(version=2)
    client.post(reverse("amendment_cancel", args=[draft.pk]), {"reason": "Wrong case."})
    client.post(reverse("report_withdraw", args=[second.pk]), {"reason": "Wrong tube.", "password": PASSWORD})
    assert say_all() == ""
    Withdrawal.objects.all().delete()
    assert f"Report {second.pk}: its withdrawal is not what the audit says." in say_all()
