"""`python -m leukoweb.ops.bench_load`: a laboratory's day in some minutes, against the real programs on this machine.

It starts PostgreSQL, broker, worker and web over scratch folders, lets locust's users work (load_users.py), and prints
errors, times beside an empty view, slides read and the memory of the web processes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from leukoweb.ops.bench import EMPTIEST, settings_over, status_of, wait_for
from leukoweb.ops.scratch import Postgresql, end, free_port, postgresql_programs
from leukoweb.places import ROOT
from leukoweb.processes import broker_command
from leukoweb.run import web_command, worker_command

GROWTH_LIMIT = 1.25  # of the memory of the web processes, from the first quarter of the run to its last
CELLS = 300
MODULE = "leukoweb.ops.bench_load"


def main() -> int:
    """Start, load, print; 1 after an error or where the memory grows."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--technologists", type=int, default=30)
    parser.add_argument("--pathologists", type=int, default=10)
    parser.add_argument("--pollers", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        print(json.dumps(prepare(options)))
        return 0
    programs = postgresql_programs()
    if programs is None:
        print("Not measured: no initdb on PATH or in /usr/lib/postgresql.")
        return 0
    folder = tempfile.mkdtemp(prefix="leukoweb-load-")
    try:
        with ExitStack() as stack:
            cluster = Postgresql(programs)
            stack.callback(cluster.stop)
            return load(stack, Path(folder), cluster.make("load"), options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(stack: ExitStack, folder: Path, database_url: str, options: argparse.Namespace) -> int:
    """Run the programs and the users; print what came of it."""
    environment = dict(os.environ) | settings_over(str(folder)) | {"DATABASE_URL": database_url}
    environment |= {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
    environment.pop("BROKER_URL", None)
    people = ["--technologists", options.technologists, "--pathologists", options.pathologists]
    people = [str(part) for part in [*people, "--pollers", options.pollers]]
    prepared = subprocess.run(
        [sys.executable, "-m", MODULE, "--prepare", *people],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    port, started = free_port(), []
    log = stack.enter_context((folder / "log").open("wb"))
    for command in (broker_command(folder), worker_command(), web_command(port)):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        stack.callback(end, process)
        started.append(process)
    address, web = f"http://127.0.0.1:{port}", started[-1].pid
    wait_for(address)
    result = folder / "result.json"
    site = prepared.stdout.splitlines()[-1]
    users = options.technologists + options.pathologists + options.pollers + 1
    locust = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", "leukoweb/ops/load_users.py", "--headless", "--host", address,
         "--users", str(users), "--run-time", f"{round(options.minutes * 60)}s", "--spawn-rate", "2",
         "--loglevel", "ERROR", "--only-summary", "--stop-timeout", "60"],
        cwd=ROOT, env=environment | {"LEUKOWEB_LOAD_SITE": site, "LEUKOWEB_LOAD_RESULT": str(result)},
        stdout=subprocess.DEVNULL, stderr=log,
    )  # fmt: skip
    stack.callback(end, locust)
    memory_mb = []
    while locust.poll() is None:
        time.sleep(2)
        memory_mb.append(memory_of(web))
    if not result.exists():
        print("Not measured: locust did not end as it should.")
        return 1
    return told(json.loads(result.read_text()), memory_mb, options)


def told(measured: dict[str, Any], memory_mb: list[float], options: argparse.Namespace) -> int:
    """Print errors, times and memory; return 1 after an error or where the memory grows."""
    rows, errors = measured["rows"], measured["errors"]
    empty = max(rows["(empty view)"][3], 1)
    print(f"{options.technologists} technologists, {options.pathologists} pathologists with cases of {CELLS} cells,")
    print(f"{options.pollers} open worklists and an LIS for {options.minutes:g} minutes; empty view: {EMPTIEST}")
    print(f"{'what':<26}{'times':>7}{'errors':>8}{'median ms':>11}{'p95 ms':>9}{'x empty':>9}")
    for name, (times, failures, median, p95) in sorted(rows.items()):
        print(f"{name:<26}{times:>7}{failures:>8}{median:>11.0f}{p95:>9.0f}{p95 / empty:>9.1f}")
    quarter = max(len(memory_mb) // 4, 1)
    before, after = (sum(part) / len(part) for part in (memory_mb[quarter : 2 * quarter] or memory_mb,
                                                        memory_mb[-quarter:]))  # fmt: skip
    print(f"web processes: {before:.0f} MB in the second quarter of the run, {after:.0f} MB in the last")
    print(f"errors: {sum(row[1] for row in rows.values())}")
    for error in errors:
        print(f"  {error}")
    return int(bool(errors) or after > GROWTH_LIMIT * before)


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Fill the database; return cookies by role, the cases that wait, and how many users there are."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client

    from leukoweb.accounts.models import Laboratory, User
    from leukoweb.cases.models import Case
    from leukoweb.ops.seed import LABORATORY

    waiting = max(20, int(options.pathologists * (options.minutes + 1) * 2))
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("seed", cases=3 * waiting + 50, cells=CELLS, open_cases=waiting)
    laboratory = Laboratory.objects.get(name=LABORATORY)
    cookies: dict[str, list[str]] = {}
    users = {"technologist": options.technologists, "pathologist": options.pathologists, "lis": 1}
    for kind, number in (users | {"poller": options.pollers}).items():
        role = "technologist" if kind == "technologist" else "pathologist"
        for one in range(number):
            person = User(username=f"load-{kind}-{one}", role=role, laboratory=laboratory)
            person.set_unusable_password()
            person.save()
            client = Client()
            client.force_login(person)
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
            cookies.setdefault(kind, []).append(f"{settings.SESSION_COOKIE_NAME}={cookie}")
    return {
        "cookies": cookies,
        "cases": list(Case.objects.filter(reports=None).values_list("pk", flat=True)),
        "technologists": options.technologists,
        "pathologists": options.pathologists,
        "pollers": options.pollers,
    }


def memory_of(parent: int) -> float:
    """Return the resident memory of the children of a process in MB."""
    children = [status_of(place) for place in Path("/proc").glob("[0-9]*")]
    own = [text for text in children if f"\nPPid:\t{parent}\n" in text and "VmRSS:" in text]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in own) / 1024


if __name__ == "__main__":
    sys.exit(main())
