"""Health and figures: what is wrong is said in words to who may act, and only the state to everybody else."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress

import pytest
from celery import current_app
from django.core.cache import cache

from leukoweb.analysis.detectors import register_detector
from leukoweb.analysis.models import DetectorVersion
from leukoweb.ops.health import broker_check
from tests.services import ROOT, end, free_port, migrated_sqlite, wait_until


@pytest.fixture
def state(client):
    """Ask as an anonymous program: the state of each thing, and the status code under `code`."""

    def ask():
        cache.clear()  # else strangers are told what was seen some seconds ago
        answer = client.get("/health/")
        return {name: check["state"] for name, check in answer.json()["checks"].items()} | {"code": answer.status_code}

    return ask


def test_without_broker_and_worker_the_answer_is_503_and_names_both(state, db):
    seen = state()
    assert seen["code"] == 503
    assert (seen["database"], seen["broker"], seen["worker"]) == ("ok", "failed", "failed")


@pytest.mark.services
def test_with_broker_and_worker_everything_is_well(state, worker):
    assert state()["broker"] == "ok"
    worker.start()
    wait_until(lambda: state()["worker"] == "ok", timeout_s=60, what="an answer of the worker")
    assert state()["code"] == 200


def test_a_broker_that_takes_connections_and_never_answers_is_asked_once_for_the_whole_page(client, admin, monkeypatch):
    """Each question waits a second; the checks and the figures of the page asked four times."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system takes the connections, nobody answers
        silent.setblocking(False)
        monkeypatch.setattr(current_app.conf, "broker_write_url", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert broker_check().state == "failed"
        once = _taken(silent)
        cache.clear()
        client.force_login(admin)
        page = client.get("/health/", headers={"Accept": "text/html"})
        assert _taken(silent) <= once + 1  # a library tries again at times; each check and figure asked for itself
    assert page.status_code == 503
    for words in ("The broker does not answer", "No worker can be asked", "Free on that disk"):
        assert words in page.content.decode(), words


def _taken(server):
    """How many connections wait at a server."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_weights_that_were_changed_or_lost_are_noticed(state, db, tmp_path):
    shipped = ROOT / "detection" / "weights" / "leukocyte-yolov5n-1.json"
    card = json.loads(shipped.read_text()) | {"weights": "own.pt"}
    (tmp_path / "own.json").write_text(json.dumps(card))
    shutil.copy(shipped.with_suffix(".pt"), tmp_path / "own.pt")
    version = register_detector(tmp_path / "own.json")
    DetectorVersion.objects.filter(pk=version.pk).update(is_active=True)
    assert state()["detector"] == "ok"
    weights = tmp_path / "own.pt"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert state()["detector"] == "failed"
    weights.unlink()
    assert state()["detector"] == "failed"


def test_a_disk_below_the_reserve_is_a_failure(state, db, settings):
    assert state()["disk"] in {"ok", "warning"}
    settings.DISK_RESERVE_BYTES = 2**60
    assert state()["disk"] == "failed"


def test_words_are_for_those_who_may_see_the_system(client, admin, technologist):
    assert "words" not in client.get("/health/").content.decode()
    client.force_login(technologist)
    assert "words" not in client.get("/health/", headers={"Accept": "text/html"}).content.decode()
    client.force_login(admin)
    page = client.get("/health/", headers={"Accept": "text/html"})
    assert "No worker can be asked while the broker is away." in page.content.decode()


def test_a_load_balancer_asks_only_whether_pages_can_be_served(client, db):
    answer = client.get("/health/web/")
    assert (answer.status_code, answer.json()) == (200, {"state": "ok"})


def test_a_process_lives_and_is_ready_without_more_than_one_query(client, db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/health/live/").json() == {"state": "ok"}
    with django_assert_num_queries(1):
        assert client.get("/health/ready/").json() == {"state": "ok"}


def test_triggers_that_somebody_dropped_are_a_failure(state, db):
    """F: both append-only guards, of the audit and of signed reports, and both after every migration."""
    from importlib import import_module

    audit = import_module("leukoweb.audit.migrations.0002_guard")
    guard = import_module("leukoweb.review.migrations.0004_report_guard")
    assert state()["append-only"] == "ok"
    for one in (audit, guard):
        one.lift_guard()
        assert state()["append-only"] == "failed"
        one.set_guard()
        assert state()["append-only"] == "ok"


def test_a_slide_that_waits_too_long_is_a_warning(state, make_case, make_slide):
    from django.utils import timezone

    from leukoweb.analysis.models import Run
    from leukoweb.ops.health import QUEUE_PATIENCE

    run = make_slide(make_case(), {"NGS": 1}).runs.get()
    Run.objects.update(state=Run.State.QUEUED)
    assert state()["queue"] == "ok"
    Run.objects.filter(pk=run.pk).update(queued_at=timezone.now() - QUEUE_PATIENCE)
    assert state()["queue"] == "warning"


def test_a_queue_that_takes_long_a_waiting_stat_slide_and_a_silent_worker_are_warnings(
    state, client, make_case, make_slide, admin
):
    from datetime import timedelta

    from django.utils import timezone

    from leukoweb.analysis.models import Run
    from leukoweb.ops.health import STAT_PATIENCE

    make_slide(make_case(), {"NGS": 1})
    now = timezone.now()
    waits = {"state": Run.State.QUEUED, "queued_at": now, "megapixels": 1, "is_stat": False}
    for changed, is_ok in (
        ({}, True),
        ({"megapixels": 10_000}, False),
        ({"is_stat": True, "queued_at": now - STAT_PATIENCE}, False),
        ({"state": Run.State.RUNNING, "seen_at": now}, True),
        ({"state": Run.State.RUNNING, "seen_at": now - timedelta(minutes=5)}, False),
    ):
        Run.objects.update(**waits | changed)
        assert (state()["queue"] == "ok") == is_ok, changed
    assert client.get("/health/").json()["state"] == "failed"  # no broker here: the worst counts
    client.force_login(admin)
    assert "no longer answers" in client.get("/health/", headers={"Accept": "text/html"}).content.decode()


def test_strangers_who_ask_for_the_health_again_and_again_cost_one_look(client, db, django_assert_num_queries):
    first = client.get("/health/").json()
    with django_assert_num_queries(0):
        assert [client.get("/health/").json() for _ in range(20)] == [first] * 20


@pytest.mark.services
def test_a_queue_that_no_worker_takes_is_a_failure(state, worker, client, admin):
    worker.start(queues="celery,runs")
    wait_until(lambda: "ready" in worker.log(), timeout_s=60, what="the start of the worker")
    assert state()["worker"] == "failed"
    client.force_login(admin)
    page = client.get("/health/", headers={"Accept": "text/html"}).content.decode()
    assert "No worker that answers takes long analyses" in page


def test_figures_are_given_for_the_token_or_to_who_may_see_the_system(client, admin, technologist, settings):
    assert client.get("/metrics").status_code == 403
    settings.METRICS_TOKEN = "scrape-me"
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    answer = client.get("/metrics", headers={"Authorization": "Bearer scrape-me"})
    assert b'leukoweb_runs{priority="stat",state="queued"} 0.0' in answer.content
    assert b"django_http_requests" in answer.content
    client.force_login(technologist)
    assert client.get("/metrics").status_code == 403
    client.force_login(admin)
    assert client.get("/metrics").status_code == 200


@pytest.mark.services
def test_figures_are_of_all_web_processes_together_and_outlive_them(tmp_path):
    """H.53: each process counted for itself, and the answer was that of whichever was asked."""
    port, figures = free_port(), tmp_path / "metrics"
    environment = os.environ | {
        "LEUKOWEB_DATA_DIR": str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(figures),
        "LEUKOWEB_METRICS_TOKEN": "scrape-me",
    }  # fmt: skip
    environment.pop("DATABASE_URL", None)
    shutil.copy(migrated_sqlite(), tmp_path / "leukoweb.sqlite3")
    command = [
        sys.executable, "-m", "gunicorn", "leukoweb.wsgi", "--workers", "2", "--threads", "1", "--max-requests", "7",
        "--bind", f"127.0.0.1:{port}", "--no-control-socket",
    ]  # fmt: skip

    def asked(path, **headers):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)  # noqa: S310
        with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.read().decode()
        return ""

    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: asked("/health/live/"), timeout_s=120, what="the start of the web processes")
        for _ in range(25):
            wait_until(lambda: asked("/health/live/"), timeout_s=60, what="an answer")
        text = wait_until(lambda: asked("/metrics", Authorization="Bearer scrape-me"), timeout_s=60, what="the figures")
    finally:
        end(process)
    [count] = re.findall(
        r'django_http_requests_total_by_view_transport_method_total\{[^}]*view="health_live"[^}]*\} (\S+)', text
    )
    assert float(count) >= 26
    assert len({path.stem for path in figures.glob("counter_*.db")}) > 2  # processes that were replaced still count


def test_without_a_token_in_the_settings_an_empty_one_opens_nothing(client, db, settings):
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 403
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
