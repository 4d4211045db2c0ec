"""`python -m leukoweb.ops.bench_size`: what pages cost with many cases against few, in PostgreSQL.

It makes two throw-away databases with `leukoweb seed`, serves both and asks them in turn: figures of one run are
compared only with each other.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukoweb.ops.bench import EMPTIEST, settings_over, web
from leukoweb.ops.scratch import Postgresql, postgresql_programs
from leukoweb.places import ROOT

GROWTH, IN_EMPTY_VIEWS, REPORT_IN_EMPTY_VIEWS = 3, 15, 30  # at most
TOKEN = "b" * 32


@dataclass(frozen=True)
class Site:
    """A served database: its address, and the cookies and pages that `prepare` found."""

    address: str
    cookies: dict[str, str]
    pages: dict[str, list[str]]


def main() -> int:
    """Fill two databases, ask both, print."""
    parser = argparse.ArgumentParser(prog="python -m leukoweb.ops.bench_size", description=__doc__)
    parser.add_argument("--cases", type=int, nargs=2, default=(1_000, 10_000))
    parser.add_argument("--open", type=int, nargs=2, default=(200, 200), help="of these, cases that are not signed")
    parser.add_argument("--cells", type=int, default=100, help="of each case")
    parser.add_argument("--times", type=int, default=40, help="how often each page is asked for")
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        print(json.dumps(prepare(options.prepare, options.open[0], options.cells)))
        return 0
    programs = postgresql_programs()
    if programs is None:
        print("Not measured: no initdb on PATH or in /usr/lib/postgresql.")
        return 0
    cluster, folder = Postgresql(programs), tempfile.mkdtemp(prefix="leukoweb-bench-")
    try:
        with ExitStack() as stack:
            sites = [serve(stack, cluster, folder, place, options) for place in (0, 1)]
            return measure(sites, options)
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def serve(stack: ExitStack, cluster: Postgresql, folder: str, place: int, options: argparse.Namespace) -> Site:
    """Fill one database and serve it until the stack ends."""
    cases, open_cases = options.cases[place], options.open[place]
    own = Path(folder) / str(place)
    own.mkdir()
    environment = dict(os.environ) | settings_over(str(own)) | {"DATABASE_URL": cluster.make(f"size{place}")}
    environment.pop("BROKER_URL", None)
    begun = time.monotonic()
    filled = subprocess.run(
        [sys.executable, "-m", "leukoweb.ops.bench_size", "--prepare", str(cases), "--cells", str(options.cells),
         "--open", str(open_cases), str(open_cases)],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found = json.loads(filled.stdout.splitlines()[-1])
    print(f"{cases:,} cases, {open_cases:,} of them open, {cases * options.cells:,} cells: made in "
          f"{time.monotonic() - begun:.0f} s, {found.pop('bytes') / 1e9:.2f} GB", flush=True)  # fmt: skip
    return Site(stack.enter_context(web(environment))[0], found["cookies"], found["pages"])


def prepare(cases: int, open_cases: int, cells: int) -> dict[str, Any]:
    """Fill the database of DATABASE_URL; return its size, who -> cookie, and page -> addresses."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from leukoweb.accounts.models import User

    call_command("migrate", verbosity=0)
    call_command("seed", cases=cases, cells=cells, open_cases=open_cases)
    cookies = {}
    for who in ("pathologist", "admin"):
        client = Client()
        client.force_login(User.objects.get(username=f"seeded-{who}"))
        cookies[who] = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
    return {"bytes": size, "cookies": cookies, "pages": pages_of(cases)}


def pages_of(cases: int) -> dict[str, list[str]]:
    """Return the addresses of each page, a few cases, persons and depths for each; "search" has what is searched."""
    from django.urls import reverse

    from leukoweb.audit.models import Event
    from leukoweb.cases.models import Case, Patient
    from leukoweb.review.models import Report

    drawn = random.Random(1)  # noqa: S311
    deep = drawn.sample(range(cases // 10, cases * 8 // 10), 10)
    waiting = list(Case.objects.filter(reports=None).order_by("pk").values_list("pk", flat=True)[:10])
    reports = Report.objects.order_by("pk").values_list("pk", flat=True)
    signed = [reports[int(number * reports.count() / 10)] for number in range(10)]
    names = [name.split()[0] for name in Patient.objects.order_by("pk").values_list("name", flat=True)[:10]]
    last = Event.objects.count()
    listed = reverse("case_list")
    return {
        "worklist": [reverse("worklist")],
        "list of cases": [listed],
        "list, deep": [f"{listed}?after={key}" for key in deep],
        "list by patient, deep": [f"{listed}?sort=patient&after={key}" for key in deep],
        "list, to review": [f"{listed}?state=to_review"],
        "list, signed": [f"{listed}?state=signed"],
        "search by name": names,
        "search by number": [f"S{number:07}"[:-1] for number in deep],
        "case": [reverse("case_detail", args=[key]) for key in [*deep[:5], *waiting[:5]]],
        "workbench": [reverse("workbench", args=[key]) for key in waiting],
        "cells of the workbench": [reverse("case_cells", args=[key]) for key in waiting],
        "report and signature": [reverse("case_sign", args=[key]) for key in waiting],
        "signed report": [reverse("report_detail", args=[key]) for key in signed],
        "history of a person": [reverse("patient_detail", args=[key // 4 + 1]) for key in deep],
        "audit log": [reverse("audit_log")],
        "audit log, deep": [f"{reverse('audit_log')}?before={last * key // cases}" for key in deep],
        "audit log, one action": [f"{reverse('audit_log')}?action=report.sign"],
        "audit log, reads only": [f"{reverse('audit_log')}?reads=reads"],
        "API, list of cases": [reverse("api_cases")],
        "API, last page": [f"{reverse('api_cases')}?page={cases // 100}"],
        "API, to review": [f"{reverse('api_cases')}?state=to_review"],
    }


def measure(sites: list[Site], options: argparse.Namespace) -> int:
    """Ask for each page of both sites in turn and print; 1 where a page costs more than it may."""
    few, many = (f"{cases:,}" for cases in options.cases)
    print(f"x empty: beside {EMPTIEST}, which is asked in turn with each page")
    print(f"{'median and p95 in ms at':<24}{few:>8}{'':>8}{many:>9}{'':>8}{'x few':>7}{'x empty':>9}")
    is_too_slow = False
    for page in sites[0].pages:
        taken: list[list[float]] = [[], [], []]
        for number in range(options.times + 1):
            took = [*(one(site, page, number) for site in sites), ask(sites[1], EMPTIEST, "")]
            for times, last in zip(taken, took):
                times += [last] if number else []
        middle = [statistics.median(times) for times in taken]
        growth, in_empty = middle[1] / middle[0], middle[1] / middle[2]
        most = REPORT_IN_EMPTY_VIEWS if "report" in page else IN_EMPTY_VIEWS
        word = " too slow" if growth > GROWTH or in_empty > most else ""
        is_too_slow |= bool(word)
        figures = "".join(f"{statistics.median(times):>8.1f}{p95(times):>8.1f} " for times in taken[:2])
        print(f"{page:<24}{figures}{growth:>6.1f}{in_empty:>9.1f}{word}", flush=True)
    return int(is_too_slow)


def one(site: Site, page: str, number: int) -> float:
    """Ask for one of the addresses of a page; a search is sent before, and is the session's until the next one."""
    given = site.pages[page][number % len(site.pages[page])]
    who = "admin" if page.startswith("audit") else "pathologist"
    if not page.startswith("search"):
        return ask(site, given, site.cookies[who])
    listed = site.pages["list of cases"][0]
    ask(site, listed, site.cookies[who], {"search": given})
    took = ask(site, listed, site.cookies[who])
    ask(site, listed, site.cookies[who], {"search": ""})
    return took


def ask(site: Site, path: str, cookie: str, form: dict[str, str] | None = None) -> float:
    """Ask for an address, or send a form to it; return the ms until the answer with status 200 was read."""
    headers = {"Cookie": f"{cookie}; csrftoken={TOKEN}", "X-CSRFToken": TOKEN}
    body = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(site.address + path, body, headers)  # noqa: S310  our own server
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        answer.read()
        if answer.url != site.address + path:
            raise SystemExit(f"{path} sent us on to {answer.url}: not measured.")
    return 1000 * (time.perf_counter() - begun)


def p95(times: list[float]) -> float:
    """Return the time that 95 of 100 do not exceed."""
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    sys.exit(main())
