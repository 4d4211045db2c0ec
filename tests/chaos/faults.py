"""What each kind of fault does to the real processes; each returns the moment from which recovery counts."""

import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import psutil
from celery import current_app

from tests.services import wait_until

IN_MID_S = 20  # so long a fault waits for what it is to hit
STOPPED_S = 35  # past the limit of silence


def inject(fault, rig, lab):
    """Do what the fault is; the moment from which recovery counts."""
    worker, number = rig.workers[fault.which], fault.number
    way = number % 8  # how far a message is when its receiver is killed
    act = {
        "worker killed (SIGKILL)": worker.kill,
        "worker's process killed (SIGKILL)": lambda: _end_readers(rig.workers, signal.SIGKILL),
        "worker ended (SIGTERM)": lambda: os.kill(worker.process.pid, signal.SIGTERM),
        "worker stopped past the limits (SIGSTOP)": lambda: _stop_worker(worker),
        "broker killed (SIGKILL)": lambda: _broker_away(rig, fault.hold_s, rig.broker.start),
        "broker emptied": lambda: rig.broker.client().flushall(),
        "broker killed, its files removed": lambda: _broker_away(rig, fault.hold_s, lambda: _begin_anew(rig)),
        "broker hangs (SIGSTOP)": lambda: _broker_hangs(rig, 2 * fault.hold_s),
        "database stopped in mid-store (SIGINT)": lambda: _database_away(rig, signal.SIGINT, fault.hold_s),
        "database crashed in mid-store (SIGQUIT)": lambda: _database_away(rig, signal.SIGQUIT, fault.hold_s),
        "disk full": lambda: _disk_full(rig, 2 * fault.hold_s),
        "web killed in mid-upload (SIGKILL)": lambda: _kill_amid(rig.web, 0.15 * way, lab.upload_extra, number),
        "web ended (SIGTERM)": lambda: os.kill(rig.web.process.pid, signal.SIGTERM),
        "web killed while it signs (SIGKILL)": lambda: lab.sign_next(meanwhile=rig.web.kill),
        "listener killed in mid-order (SIGKILL)": lambda: _kill_amid(rig.listener, 0.03 * way, lab.order, f"X{number}"),
        "picture that kills the worker (SIGSEGV)": lambda: _poison(rig, lab, fault),
        "order sent twice at once, tasks enqueued twice": lambda: _double(rig, lab, fault),
        "picture sent six times at once, its case rejected": lambda: lab.send_six_times(number),
    }[fault.kind]
    _at_work(rig)
    since = datetime.now(UTC)
    outage_ended = act()
    return outage_ended if isinstance(outage_ended, datetime) else since


def _at_work(rig):
    """Wait until a run is at work."""
    with suppress(AssertionError):
        wait_until(
            lambda: rig.rows("SELECT 1 FROM analysis_run WHERE state = 'running'"), timeout_s=IN_MID_S, what="work",
            every_s=0.02,
        )  # fmt: skip


def _end_readers(workers, number, run=None):
    for worker in workers:
        for child in worker.readers(run):
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)


def _stop_worker(worker):
    """Stop a worker for longer than it may be silent; it wakes up later, while another worker has its run."""
    stopped = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
    for process in stopped:
        process.suspend()

    def wake():
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    threading.Timer(STOPPED_S + 10, wake).start()


def _broker_away(rig, hold_s, start):
    rig.broker.process.kill()
    rig.broker.process.wait()
    time.sleep(hold_s)
    start()
    return datetime.now(UTC)


def _begin_anew(rig):
    rig.broker.forget()
    rig.broker.start()


def _broker_hangs(rig, hold_s):
    rig.broker.process.send_signal(signal.SIGSTOP)
    time.sleep(hold_s)
    rig.broker.process.send_signal(signal.SIGCONT)
    return datetime.now(UTC)


def _database_away(rig, number, hold_s):
    """Stop the database while a result is being stored, or where none was seen to be, while a run is at work."""
    storing = (
        "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' "
        "AND query LIKE '%analysis_cell%' AND pid <> pg_backend_pid()"
    )
    with suppress(AssertionError):
        wait_until(lambda: rig.rows(storing), timeout_s=IN_MID_S / 2, what="a store", every_s=0.005)
    rig.database.process.send_signal(number)
    rig.database.process.wait(30)
    time.sleep(hold_s)
    rig.database.start()
    return datetime.now(UTC)


def _disk_full(rig, hold_s):
    """Leave not a byte on the disk of images, tiles and parts."""
    filler, until = rig.disk / "filler", time.monotonic() + hold_s
    with filler.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            with suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            with suppress(OSError):
                file.write(bytes(1))
            time.sleep(0.2)
    filler.unlink()
    return datetime.now(UTC)


def _kill_amid(process, after_s, send, what):
    """Kill a process while something is sent to it; when it was killed."""
    sending = threading.Thread(target=send, args=(what,))
    sending.start()
    time.sleep(after_s)
    process.kill()
    killed = datetime.now(UTC)
    sending.join()
    return killed


def _poison(rig, lab, fault):
    """Upload a picture, and end by its own fault each process that reads it, until the product says what is wrong."""
    slide = lab.upload_extra(fault.number)
    lab.poison.add(slide)
    [(run,)] = rig.rows("SELECT id FROM analysis_run WHERE slide_id = %s AND NOT is_shadow", slide)

    def has_ended():
        _end_readers(rig.workers, signal.SIGSEGV, run)
        rows = rig.rows("SELECT state FROM analysis_run WHERE id = %s AND state IN ('done', 'failed')", run)
        return rows and rows[0][0]

    ended = wait_until(has_ended, timeout_s=180, what="the end of a picture that kills its worker", every_s=0.02)
    if ended == "done":  # it was read between two looks
        lab.poison.discard(slide)


def _double(rig, lab, fault):
    """Send one order over two connections at once, and enqueue twice every run that is open."""
    lab.order(f"D{fault.number}", is_doubled=True)
    for (run,) in rig.rows("SELECT id FROM analysis_run WHERE state IN ('queued', 'running')") or []:
        for _ in range(2):
            current_app.send_task("leukoweb.analysis.tasks.run_detection", args=[run], queue="runs")
