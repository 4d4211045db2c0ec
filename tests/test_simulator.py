"""The simulated hospital: from its order and its analyser's count to the result that it prints."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from leukoweb.cases.cbc import contradictions_of
from leukoweb.cases.models import Case, CbcResult
from leukoweb.delivery.astm import read_astm_results
from leukoweb.delivery.hl7 import read
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.orders import read_orders
from leukoweb.delivery.outbox import collect, send_due
from leukoweb.delivery.results_in import sort_observations
from leukoweb.delivery.services import save_interface
from leukoweb.delivery.simulator import count_of, order_of, patients
from tests import services
from tests.test_listener import Listener
from tests.test_reports import NORMAL, look_at, post_signature

AT = datetime(2026, 4, 8, 9, tzinfo=UTC)


def test_what_is_simulated_is_read_as_an_order_and_a_count_without_contradiction():
    for patient in patients(5, seed=3, at=AT):
        [order] = read_orders(read(order_of(patient, at=AT)), authority="", zone=UTC)
        assert (order.filler_number, order.person.mrn) == (patient.accession, patient.number)
        [given] = read_astm_results(count_of(patient, at=AT, seed=3), charset="utf-8", zone=UTC)
        found = sort_observations(given, lambda codings: codings[0].code)
        values = found.values
        assert found.is_final
        assert given.numbers == (patient.accession,)
        assert contradictions_of({value.key: value.amount for value in values}) == []


@pytest.fixture
def hospital(transactional_db, laboratory, admin):
    """Interfaces of the three kinds, the listener on the first two, and the simulator that orders and waits."""
    ports = {name: services.free_port() for name in ("orders_in", "cbc_astm", "results_out")}
    for kind, port in ports.items():
        codes = {"FILM": "film"} if kind == "orders_in" else {}
        made = Interface(laboratory=laboratory, name=kind, direction=kind, port=port, is_active=True, codes=codes)
        save_interface(made, by=admin)
    listener = Listener(ports["orders_in"])
    listener.start()
    simulator = subprocess.Popen(
        [sys.executable, "manage.py", "simulate", "lis", "--patients", "1", "--until", "1",
         "--orders", str(ports["orders_in"]), "--counts", str(ports["cbc_astm"]),
         "--results", str(ports["results_out"])],
        cwd=services.ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield simulator
    simulator.kill()
    simulator.wait()
    listener.stop()


@pytest.mark.services
def test_from_an_order_to_the_acknowledged_result(
    hospital, technologist, pathologist, make_slide, client, known_evidence
):
    """The order comes by MLLP, the count by ASTM, the case is signed on its page, and the result goes out."""
    services.wait_until(CbcResult.objects.exists, timeout_s=120, what="the blood count")
    case = Case.objects.get()
    assert case.wbc_source == "Simulator CBC-1"
    make_slide(case, NORMAL)
    look_at(case, technologist)
    client.force_login(pathologist)
    post_signature(client, case)
    results_out = Interface.objects.get(direction="results_out")
    collect(results_out)
    assert send_due(results_out) == 1
    printed, _ = hospital.communicate(timeout=60)
    assert re.search(r"ordered SIM-\S+: AA \w+", printed)
    assert re.search(rf"result \w+ of {case.accession_number}, final:", printed)
    assert "neutrophil" in printed.lower()
    assert f"acknowledged AA {Message.objects.get(is_incoming=False).control_id}" in printed
