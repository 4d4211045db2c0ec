"""A sender that is killed between the receiver's acknowledgement and its own commit: nothing is lost or new."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from django.db import connection
from django.utils import timezone

from leukoweb.cases.services import reject_case
from leukoweb.delivery.models import Message
from leukoweb.delivery.outbox import collect, send_due
from tests import services
from tests.conftest import DATA_DIR
from tests.test_listener import KILLS
from tests.test_results import interface, receiver  # noqa: F401 (fixtures)

SENDER = (
    "import django; django.setup(); from leukoweb.delivery import tasks; print(1, flush=True); tasks.deliver_results()"
)


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_a_killed_sender_loses_no_result_and_invents_none(
    transactional_db,
    interface,  # noqa: F811
    receiver,  # noqa: F811
    make_case,
    technologist,
):
    """What the receiver had already it gets again under the same control id with the same bytes, as MLLP foresees."""
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor == "postgresql":
        url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    environment = os.environ | {"DATABASE_URL": url, "LEUKOWEB_DATA_DIR": str(DATA_DIR)}
    for number in range(KILLS):
        for part in range(4):  # however much the last sender delivered, this one has something to send
            reject_case(make_case(f"R-{number}-{part}"), by=technologist, reason="clotted")
        before = len(receiver.got)
        sender = subprocess.Popen(
            [sys.executable, "-c", SENDER], cwd=services.ROOT, env=environment, stdout=subprocess.PIPE
        )
        sender.stdout.read(1)
        if number % 2:  # as soon as the receiver has it, before the sender has read the acknowledgement
            services.wait_until(lambda: len(receiver.got) > before, timeout_s=60, what="a result", every_s=0.001)  # noqa: B023
        else:
            time.sleep(0.3 * (number + 1) / KILLS)
        sender.send_signal(signal.SIGKILL)
        sender.wait()
        Message.objects.filter(state="queued").update(next_try_at=timezone.now())  # the wait after a claim is over
    reached = Message.objects.exclude(state="acknowledged").count(), len(receiver.got)
    print(f"\nsender killed {KILLS} times: {reached[1]} results received, {reached[0]} of those written still owed")
    while collect(interface):
        pass
    Message.objects.filter(state="queued").update(next_try_at=timezone.now())
    while send_due(interface):
        pass
    owed = set(Message.objects.values_list("control_id", flat=True))
    assert len(owed) == 4 * KILLS
    assert set(Message.objects.values_list("state", flat=True)) == {"acknowledged"}
    got = Counter((message.control_id, tuple(message.segments)) for message in receiver.got)
    assert {control_id for control_id, _ in got} == owed
    assert len(got) == len(owed), "the same control id came with other bytes"
