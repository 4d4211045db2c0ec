"""From a registered case to a signed report, in the browser, with a real worker and broker and real smears."""

import io
import re
from collections import Counter

import pytest
from playwright.sync_api import expect
from pypdf import PdfReader

from detection.cell_types import BY_CODE
from leukoweb.cases.models import Case
from leukoweb.review.models import Decision, Report
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.services, pytest.mark.slow]

READING_LIMIT_MS = 240_000
KEYS = {"LYT": "l", "NGS": "s"}


@pytest.fixture
def smears(real_images, smear_files):
    """One real field of an acute leukaemia and two of another microscope; drawn ones where these are absent."""
    if real_images is None:
        return smear_files
    others = sorted((real_images / "bccd" / "JPEGImages").glob("*.jpg"))[:2]
    return [real_images / "apl_aml" / "fields" / "AML_35_ca9436ea.jpg", *others]


def sign_in(page, live_server, person):
    page.goto(live_server.url + "/sign-in/")
    page.get_by_label("Username").fill(person.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()


def register(page):
    page.get_by_role("navigation").get_by_role("link", name="Register a case").click()
    page.locator("[name=accession_number]").fill("J-2026-1")
    with page.expect_response("**/cases/patient/"):  # is this patient known here?
        page.locator("[name=mrn]").fill("M-4711")
        page.locator("[name=mrn]").press("Tab")
    page.locator("#patient-fields [name=name]").fill("Edelgard Wintermute")
    page.get_by_role("button", name="Register the case").click()
    expect(page.get_by_role("heading", name="Upload a slide of case J-2026-1")).to_be_visible()


def upload(page, files):
    page.locator("#images").set_input_files(files)
    page.get_by_role("button", name="Upload the slide").click()
    expect(page).to_have_url(re.compile(r"/slides/\d+/$"), timeout=60_000)


def counts_of(page):
    """The counts of the differential's table on a page: code -> number."""
    rows = page.locator("table.differential tr.line")
    counts = {}
    for row in rows.all():
        if (key := row.get_attribute("data-key")) in BY_CODE:
            counts[key] = int(row.locator("td").first.inner_text().split()[0])
    return counts


def confirm_everything(bench, press):
    """Look at what needs a look one by one, then confirm the others a page at a time."""
    looks = bench.locator("[data-part=looks]")
    press("n")
    for _ in range(120):
        if looks.inner_text() == "none to review singly":
            break
        before = looks.inner_text()
        press("Enter")
        expect(looks).not_to_have_text(before, timeout=15_000)
    expect(looks).to_have_text("none to review singly")
    settled = bench.locator("[data-part=settled]")
    for _ in range(30):
        if settled.inner_text() == "All cells reviewed.":
            return
        press("Shift+Enter")
        bench.wait_for_timeout(500)
    expect(settled).to_have_text("All cells reviewed.")


def sign(page, live_server, case, pathologist):
    """Acknowledge what is urgent, write a comment and sign, as the pathologist does on the page of the report."""
    page.goto(f"{live_server.url}/cases/{case.pk}/sign/")
    acknowledge = page.get_by_role("button", name="Acknowledge", exact=True)
    for left in reversed(range(acknowledge.count())):
        acknowledge.first.click()
        expect(acknowledge).to_have_count(left)
    page.locator("#comment").fill("Read on three fields.")
    if page.locator("#lya-variant").count():
        page.locator("[name=lya_meaning]").first.check()
    page.locator("#username").fill(pathologist.username)
    page.locator("#password").fill(PASSWORD)
    page.get_by_role("button", name="Sign version 1").click()
    expect(page).to_have_url(re.compile(r"/reports/\d+/$"))
    expect(page.get_by_text("Signed by Paul")).to_be_visible()


def send_for_sign_off(page):
    """Send the case whose page is open to the pathologist, then sign out."""
    page.get_by_label(re.compile("Send although none of the")).check()
    page.get_by_role("button", name="Send for sign-off").click()
    page.locator(".dropdown-toggle").last.click()
    page.get_by_role("button", name="Sign out").click()


def test_smears_are_uploaded_read_reviewed_signed_and_printed(
    page, live_server, worker, technologist, pathologist, smears, press
):
    worker.start()
    sign_in(page, live_server, technologist)
    register(page)
    upload(page, smears)
    expect(page.locator("#slide-progress")).to_contain_text(re.compile("Queued|Analysing"))
    expect(page.locator("#slide")).to_be_visible(timeout=READING_LIMIT_MS)  # it follows without being loaded again
    expect(page.locator("#preliminary")).to_be_visible()
    case = Case.objects.get(accession_number="J-2026-1")
    page.goto(f"{live_server.url}/cases/{case.pk}/")
    expect(page.get_by_text("Preliminary, not reviewed.")).to_be_visible()
    found = counts_of(page)
    send_for_sign_off(page)

    sign_in(page, live_server, pathologist)
    page.goto(f"{live_server.url}/cases/{case.pk}/review/")
    was, to = ("NGS", "LYT") if found["NGS"] else ("LYT", "NGS")
    page.locator(f".group[data-code={was}] .tile").first.click()
    press(KEYS[to])
    expect(page.locator(f".tally-row[data-code={was}] .tally-count")).to_have_text(str(found[was] - 1))
    press("a", "ArrowRight", "e")
    expect(page.locator(".tally-row[data-code=EOS] .tally-count")).to_have_text(str(found["EOS"] + 1))
    confirm_everything(page, press)
    expect(page.locator("#workbench")).not_to_have_class("workbench is-busy", timeout=60_000)  # everything is sent
    assert Decision.objects.filter(decided_by=pathologist).count() >= sum(found.values())

    sign(page, live_server, case, pathologist)
    signed = {**found, was: found[was] - 1, to: found[to] + 1, "EOS": found["EOS"] + 1}
    assert +Counter(counts_of(page)) == +Counter(signed)  # types that were not seen share one line on paper
    report = Report.objects.get()
    pdf = page.request.get(f"{live_server.url}/reports/{report.pk}/report.pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    text = " ".join(sheet.extract_text() for sheet in PdfReader(io.BytesIO(pdf.body())).pages)
    for row in page.locator("table.differential tr.line").all():
        code, count = row.locator(".code"), row.locator("td").first.inner_text()
        if code.count() and count != "0":
            name = row.locator("th").inner_text().replace(code.first.inner_text(), "").strip()
            percent = row.locator("td").nth(1).inner_text()
            assert re.search(rf"{re.escape(name)}(?: [A-Z]{{3}})?\W+{count}\s+{re.escape(percent)}", text), (
                name,
                count,
                percent,
            )
    assert "Read on three fields." in text
    assert "Edelgard Wintermute" in text
    assert "Edelgard" not in worker.log()
