"""A web process that is killed between the commit of a signature and its answer: each case is signed and sent once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection

from leukoweb.audit.models import Event
from leukoweb.delivery.models import Message
from leukoweb.delivery.outbox import collect, send_due
from leukoweb.review.models import Report
from tests import services
from tests.conftest import DATA_DIR, PASSWORD
from tests.test_listener import KILLS
from tests.test_reports import reviewed  # noqa: F401 (fixture)
from tests.test_results import interface, receiver  # noqa: F401 (fixtures)

LONGEST_WAIT_S = 1.0  # about as long as a signature takes on a busy machine


class Web:
    """A web process of one worker over the database of this test."""

    def __init__(self):
        database, self.port, self.process = connection.settings_dict, services.free_port(), None
        url = f"sqlite:///{database['NAME']}"
        if connection.vendor == "postgresql":
            url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
        self.environment = os.environ | {"DATABASE_URL": url, "LEUKOWEB_DATA_DIR": str(DATA_DIR)}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable, "-m", "gunicorn", "leukoweb.wsgi", "--worker-class", "leukoweb.serving.Worker",
            "--workers", "1", "--threads", "2", "--bind", f"127.0.0.1:{self.port}", "--no-control-socket",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=services.ROOT, env=self.environment, start_new_session=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        services.wait_until(self._answers, timeout_s=180, what="the start of the web process")

    def _answers(self):
        try:
            return requests.get(f"{self.url}/sign-in/", timeout=20).ok
        except requests.ConnectionError:
            return False

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def web(transactional_db):
    made = Web()
    made.start()
    yield made
    if made.process.poll() is None:
        made.kill()


@pytest.fixture
def signer(client, pathologist):
    """The pathologist's browser session; the web process of the tests hashes passwords as the product does."""
    pathologist.password = make_password(PASSWORD, hasher="argon2")
    pathologist.save(update_fields=["password"])
    client.force_login(pathologist)
    browser = requests.Session()
    browser.cookies.set(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
    browser.person = pathologist
    return browser


def form_of(signer, address):
    page = signer.get(address, timeout=60).text
    hidden = {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("csrfmiddlewaretoken", "seen")}
    words = {"act": "sign", "comment": "Normal differential.", "meaning": "Review and approval"}
    return hidden | words | {"username": signer.person.username, "password": PASSWORD}


def sign(signer, address, form):
    """Send the form; the status of the answer, None where the process was killed before it."""
    try:
        return signer.post(address, data=form, timeout=60, allow_redirects=False).status_code
    except requests.ConnectionError:
        return None


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_a_killed_web_process_signs_once_and_owes_each_result_once(
    web,
    signer,
    interface,  # noqa: F811
    receiver,  # noqa: F811
    reviewed,  # noqa: F811
):
    """Every second kill follows the commit as soon as it is seen; the others move from before the form is read on."""
    ends = Counter()
    for number in range(KILLS):
        case = reviewed({"NGS": 60, "LYT": 40}, f"W-{number}")
        address = f"{web.url}/cases/{case.pk}/sign/"
        signed = Report.objects.filter(case=case, state="signed")
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(sign, signer, address, form_of(signer, address))
            if number % 2:
                services.wait_until(signed.exists, timeout_s=60, what="the signature", every_s=0.001)
            else:
                time.sleep(LONGEST_WAIT_S * number / KILLS)
            web.kill()
            answered = sending.result()
        is_signed = signed.exists()
        ends["answered" if answered else "signed, not answered" if is_signed else "neither"] += 1
        assert is_signed or not answered
        web.start()
        if not is_signed:
            assert sign(signer, address, form_of(signer, address)) == 302
        assert signed.count() == 1
    print(f"\nweb killed {KILLS} times while it signed: {dict(ends)}")
    assert Event.objects.filter(action="report.sign").count() == KILLS
    while collect(interface):
        pass
    while send_due(interface):
        pass
    got = Counter(message.control_id for message in receiver.got)
    assert set(got.values()) == {1}
    assert len(got) == KILLS == Message.objects.filter(state="acknowledged").count()
