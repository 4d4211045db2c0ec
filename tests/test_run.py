"""`make run` as a real process: it starts everything, ends everything, and says in words why it does not run."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
import requests

from leukoweb.ops.demo import CASES, PICTURES
from leukoweb.processes import broker_command
from tests.conftest import EXPORTS
from tests.services import ROOT, free_port, migrated_sqlite, wait_until
from tests.test_backup import Installation

pytestmark = pytest.mark.services


@contextlib.contextmanager
def running(data_dir, *options, port=None, **environment):
    """Run the product over `data_dir`; its output can be read from the file that is yielded beside the process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEUKOWEB_", "DJANGO_")) and k != "DATABASE_URL"}
    env = kept | {"LEUKOWEB_ENV_FILE": "", "PYTHONUNBUFFERED": "1"} | environment
    port = port or free_port()
    output = data_dir.parent / f"{data_dir.name}-{port}.out"
    command = [sys.executable, "-m", "leukoweb.run", "--port", str(port), "--data", str(data_dir)]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process, output
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.fixture(scope="module")
def prepared(smear_files, tmp_path_factory):
    """A data folder with all that a start makes, three small images and no demonstration to read."""
    installation = Installation(tmp_path_factory.mktemp("prepared"), "", migrated=True)
    code, said = installation.manage("prepare", "--images", smear_files[0].parent)
    assert code == 0, said
    (installation.folder / "detector-cache").symlink_to(EXPORTS)
    return installation.folder


@pytest.fixture
def data_dir(prepared, tmp_path):
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "d", symlinks=True)


def address(process, output):
    def shown():
        assert process.poll() is None, output.read_text()
        return re.search(r"at (http://localhost:\d+/)", output.read_text())

    return wait_until(shown, timeout_s=150, what="the address")[1]


def health(url):
    """The words of the health page, which answers 503 as long as the worker is still starting."""
    try:
        return urllib.request.urlopen(url + "health/").read()
    except urllib.error.HTTPError as not_yet_well:
        return not_yet_well.read()


def alive(pids):
    """Those of `pids` that still run; who has ended and was not yet collected by the system is gone."""
    running = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
    return running


def family(process):
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


def states(data_dir):
    """State of the run, hand-overs and signed versions of each case, as the database of the folder has them."""
    asked = """
        SELECT c.accession_number, r.state,
               (SELECT COUNT(*) FROM review_handover h WHERE h.case_id = c.id),
               (SELECT COUNT(*) FROM review_report p WHERE p.case_id = c.id AND p.state = 'signed'),
               (SELECT COUNT(*) FROM analysis_cell k WHERE k.run_id = r.id AND k.detector_code != '')
        FROM cases_case c JOIN cases_slide s ON s.case_id = c.id JOIN analysis_run r ON r.slide_id = s.id"""
    with contextlib.closing(sqlite3.connect(data_dir / "leukoweb.sqlite3", timeout=30)) as database:
        return {number: (state, *counts) for number, state, *counts in database.execute(asked)}


def views_read(data_dir):
    """How many pictures the detector has read to their end, of all runs."""
    with contextlib.closing(sqlite3.connect(data_dir / "leukoweb.sqlite3", timeout=30)) as database:
        return database.execute("SELECT SUM(images_done) FROM analysis_run").fetchone()[0]


@pytest.mark.slow
@pytest.mark.timeout(720)
@pytest.mark.parametrize("read", [0, pytest.param(3, marks=pytest.mark.nightly)])  # cases of the demonstration
def test_from_an_empty_folder_it_serves_reads_real_cells_stops_without_orphans_and_starts_again_with_what_it_had(
    tmp_path, read
):
    """One address, one button, and the detector, the queue and the readers do the rest while pages are served."""
    data_dir = tmp_path / "kept"
    with running(data_dir, LEUKOWEB_DEMO_PASSWORD="") as (process, output):
        url = address(process, output)
        said = output.read_text()
        shown = re.search(r"Their password: (\S{15,})   \(kept in (.+)\)", said)
        assert Path(shown[2]).read_text() == shown[1]
        assert said.count("is registered; the detector reads it now.") == 3
        with running(data_dir) as (second, words):
            assert second.wait(30) == 1
            assert "already runs over" in words.read_text()
        look_around(url)
        wait_until(lambda: views_read(data_dir), timeout_s=300, what="the reading of the first views")
        wanted = [("done", 0, 0), ("done", 1, 0), ("done", 1, 2)][:read]  # once the readers are through, too
        wait_until(
            lambda: [found[:3] for _, found in sorted(states(data_dir).items())][:read] == wanted,
            timeout_s=540, what="the reading of the demonstration",
        )  # fmt: skip
        pictures = {plan.accession_number: len(list((PICTURES / plan.folder).iterdir())) for plan in CASES}
        for number, (*_, cells) in sorted(states(data_dir).items())[:read]:
            assert 0.95 * pictures[number] <= cells <= 1.05 * pictures[number]

        def all_started():  # itself, broker, two workers and their children, web and its child
            return pids if len(pids := family(process)) >= 8 else None

        pids = wait_until(all_started, timeout_s=60, what="the children of workers and web")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "LeukoWeb has stopped." in output.read_text()
        assert alive(pids) == []
    with running(data_dir) as (process, output):
        address(process, output)
        assert "password" not in output.read_text()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0


def look_around(url):
    """Enter the demonstration as its pathologist, as the page of sign-in offers it."""
    visitor = requests.Session()
    page = visitor.get(url + "sign-in/").text
    assert "Look around as" in page
    entered = visitor.post(
        url + "sign-in/demonstration/pathologist/",
        data={"csrfmiddlewaretoken": re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]},
        headers={"Referer": url},
    )
    assert entered.url == url + "worklist/"
    assert "DEMO-1" in entered.text


def test_given_images_are_read_and_when_the_worker_dies_everything_ends_and_the_reason_is_named(data_dir):
    with running(data_dir) as (process, output):
        address(process, output)
        wait_until(lambda: list(states(data_dir).values())[0][0] == "done", timeout_s=120, what="the end of the run")
        [(*_, cells)] = states(data_dir).values()
        assert cells > 0
        pids = family(process)
        [worker] = [c for c in psutil.Process(process.pid).children() if "worker@%h" in c.cmdline()]
        worker.kill()
        assert process.wait(30) == 1
        assert "the worker ended with code -9" in output.read_text()
        assert alive(pids) == []


def test_a_long_path_and_damaged_files_of_the_broker_do_not_keep_it_from_starting_and_killed_it_leaves_nothing(
    prepared, tmp_path
):
    data_dir = shutil.copytree(prepared, tmp_path / ("long-" * 20) / ("longer-" * 10) / "d", symlinks=True)
    broker_command(data_dir)
    files = data_dir / "broker" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")  # after a power cut
    (files / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS9999 of a version that nobody here can read")
    with running(data_dir) as (process, output):
        url = address(process, output)
        assert "begins anew" in output.read_text()
        wait_until(lambda: b'"broker": {"state": "ok"}' in health(url), timeout_s=30, what="the broker")
        pids = family(process)
        process.kill()
        process.wait()
        wait_until(lambda: not alive(pids), timeout_s=30, what="the end of every child")


def test_a_child_whose_parent_died_before_the_signal_was_set_ends_at_once():
    code = "import os; from leukoweb.processes import end_with_parent as e; e(parent={})(); print('lives')"
    lives = subprocess.run([sys.executable, "-c", code.format("os.getppid()")], cwd=ROOT, capture_output=True)
    assert (lives.returncode, lives.stdout) == (0, b"lives\n")
    assert subprocess.run([sys.executable, "-c", code.format(2**22 + 1)], cwd=ROOT).returncode == -signal.SIGKILL


def test_a_port_in_use_is_named_with_a_way_out(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(tmp_path / "d", port=port) as (process, output):
            assert process.wait(30) == 1
            assert f"port {port} is in use" in output.read_text()
            assert "make run PORT=" in output.read_text()
    assert not (tmp_path / "d").exists()


def test_images_that_are_no_images_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "letter.txt").write_text("no picture")
    (tmp_path / "d").mkdir()
    shutil.copy(migrated_sqlite(), tmp_path / "d" / "leukoweb.sqlite3")
    with running(tmp_path / "d", "--images", str(tmp_path / "images")) as (process, output):
        assert process.wait(60) == 1
        assert "could be taken" in output.read_text()
        assert "Traceback" not in output.read_text()


def test_files_that_another_broker_program_wrote_are_not_kept(tmp_path, capsys):
    files = tmp_path / "broker" / "appendonlydir"
    files.mkdir(parents=True)
    (tmp_path / "broker" / "written-by").write_text("Redis of another version")
    broker_command(tmp_path)
    assert not files.exists()
    assert "written by another program: it begins anew" in capsys.readouterr().err
