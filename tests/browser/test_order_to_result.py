"""Nothing is typed twice: the order comes by MLLP, its blood count by ASTM, and the signed result goes back.

Listener, worker and the simulated hospital are real processes; what the hospital prints is what it received.
"""

import re

import pytest
from playwright.sync_api import expect

from leukoweb.cases.models import Case, CbcResult
from leukoweb.delivery.models import Message
from leukoweb.review.models import Report
from tests import services
from tests.browser.test_journey import (
    READING_LIMIT_MS,
    confirm_everything,
    send_for_sign_off,
    sign,
    sign_in,
    upload,
)
from tests.fhir_schema import problems_of
from tests.test_simulator import hospital  # noqa: F401 (fixture)

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_an_order_and_its_count_become_a_signed_result_that_the_hospital_acknowledges(
    page,
    live_server,
    hospital,  # noqa: F811
    worker,
    technologist,
    pathologist,
    smear_files,
    press,
):
    worker.start()
    services.wait_until(CbcResult.objects.exists, timeout_s=120, what="the blood count")
    case = Case.objects.select_related("patient").get()
    sign_in(page, live_server, technologist)
    row = page.locator("tr", has_text=case.accession_number)
    expect(row).to_contain_text(case.patient.name.split(",")[0])
    page.goto(f"{live_server.url}/cases/{case.pk}/")
    expect(page.get_by_text("Requested by")).to_be_visible()
    count = page.locator("table.cbc")
    expect(count).to_contain_text("Simulator CBC-1")
    page.get_by_role("link", name="Upload a slide").click()
    upload(page, smear_files)
    expect(page.locator("#slide")).to_be_visible(timeout=READING_LIMIT_MS)
    page.goto(f"{live_server.url}/cases/{case.pk}/")
    send_for_sign_off(page)

    sign_in(page, live_server, pathologist)
    page.goto(f"{live_server.url}/cases/{case.pk}/review/")
    confirm_everything(page, press)
    expect(page.locator("#workbench")).not_to_have_class("workbench is-busy", timeout=60_000)
    sign(page, live_server, case, pathologist)
    expect(page.locator("table.cbc")).to_contain_text("White blood cells")

    printed, _ = hospital.communicate(timeout=120)  # the worker sends within seconds; then the simulator ends by itself
    report = Report.objects.get(state="signed")
    assert re.search(rf"ordered {case.accession_number}: AA \w+", printed)
    assert re.search(rf"blood count of {case.accession_number}: \d+ frames acknowledged", printed)
    assert f"result {report.seal[:20]} of {case.accession_number}, final:" in printed
    for row in report.content["differential"]["rows"]:
        if row["percent"]:
            assert re.search(rf"  {re.escape(row['name'])}: {row['percent']:.3f}".rstrip("0").rstrip("."), printed)
    assert f"acknowledged AA {report.seal[:20]}" in printed
    sent = Message.objects.get(is_incoming=False)
    services.wait_until(lambda: sent.refresh_from_db() or sent.state == "acknowledged", timeout_s=20, what="the answer")

    found = page.request.get(f"{live_server.url}/fhir/DiagnosticReport").json()
    assert (found["total"], problems_of(found)) == (1, [])
    diagnostic = found["entry"][0]["resource"]
    assert (diagnostic["status"], diagnostic["identifier"]) == ("final", [{"value": report.seal}])
    panel = page.request.get(f"{live_server.url}/fhir/{diagnostic['result'][0]['reference']}").json()
    figures = [page.request.get(f"{live_server.url}/fhir/{one['reference']}").json() for one in panel["hasMember"]]
    assert [problems_of(one) for one in (panel, *figures)] == [[]] * (len(figures) + 1)
    assert case.patient.name.split(",")[0] not in worker.log()
