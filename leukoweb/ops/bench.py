"""`python -m leukoweb.ops.bench`: what each main page costs against the emptiest view, and what the web process weighs.

It fills a throw-away installation with invented cases and asks a real web server; figures of one run are compared only
with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from leukoweb.ops.scratch import free_port
from leukoweb.places import ROOT

if TYPE_CHECKING:
    from leukoweb.accounts.models import User
    from leukoweb.cases.models import Slide

EMPTIEST = "/health/web/"
CELLS = {"NGS": 550, "LYT": 275, "MON": 75, "EOS": 38, "MYO": 30, "EBO": 20, "LYA": 12}  # 1,000
WEB_LIMIT_MB = 250


def main() -> int:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m leukoweb.ops.bench", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=15, help="how often each page is asked for; the median counts")
    options = parser.parse_args()
    with installation(options.cases) as (address, pid, cookies, pages):
        return measure(address, pid, cookies, pages, options)


@contextmanager
def installation(
    number: int, thousands: tuple[int, ...] = (1,)
) -> Iterator[tuple[str, int, dict[str, str], dict[str, tuple[str, str]]]]:
    """Serve a throw-away installation with `number` cases: its address, its process, and what `fill` returns."""
    with tempfile.TemporaryDirectory(prefix="leukoweb-bench-") as folder:
        os.environ |= settings_over(folder)
        for name in ("DATABASE_URL", "BROKER_URL"):
            os.environ.pop(name, None)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("collectstatic", interactive=False, verbosity=0)
        cookies, pages = fill(number, thousands)
        with web(dict(os.environ)) as (address, pid):
            yield address, pid, cookies, pages


def settings_over(folder: str) -> dict[str, str]:
    """Return the environment of a throw-away installation in a folder."""
    return {
        "LEUKOWEB_DATA_DIR": folder,
        "LEUKOWEB_ENV_FILE": "",
        "LEUKOWEB_STATICFILES_BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
        "LEUKOWEB_LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "leukoweb.settings",
    }


@contextmanager
def web(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Serve an installation: its address, and the process whose child answers."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "leukoweb.wsgi", "--worker-class", "gthread", "--threads", "4",
         "--bind", f"127.0.0.1:{port}", "--no-control-socket", "--log-level", "error"],
        cwd=ROOT, env=environment,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait()


def fill(number: int, thousands: tuple[int, ...]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Make cases, the first with so many `thousands` of cells; return who -> cookie, and page -> (who, address)."""
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client
    from django.urls import reverse
    from django.utils import timezone

    from leukoweb.accounts.models import Laboratory, User
    from leukoweb.cases.models import Case, Patient
    from leukoweb.review.urgency import work_out_flags

    call_command("migrate", verbosity=0)
    laboratory = Laboratory.objects.create(name="Bench")
    people = {}
    for role in ("pathologist", "admin"):
        person = User(username=role, role=role, laboratory=laboratory, statement_accepted_at=timezone.now())
        person.set_unusable_password()
        person.save()
        client = Client()
        client.force_login(person)
        people[role] = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    reader = User.objects.get(role="pathologist")
    patients = Patient.objects.bulk_create(
        Patient(laboratory=laboratory, mrn=f"M{n}", name=f"Invented {n}") for n in range(max(number // 4, 1))
    )
    now = timezone.now()
    Case.objects.bulk_create(
        (
            Case(laboratory=laboratory, patient=patients[n % len(patients)], accession_number=f"B-{n}",
                 registered_by=reader, received_at=now - timedelta(minutes=n))
            for n in range(number)
        ),
        batch_size=1000,
    )  # fmt: skip
    slides = [fill_slide(f"B-{place}", reader, scale) for place, scale in enumerate(thousands)]
    work_out_flags(most=number)  # as the worker does within seconds
    case = slides[0].case
    pages = {
        "worklist": ("pathologist", reverse("worklist")),
        "list of cases": ("pathologist", reverse("case_list")),
        "case": ("pathologist", reverse("case_detail", args=[case.pk])),
        "report and signature": ("pathologist", reverse("case_sign", args=[case.pk])),
        "accounts": ("admin", reverse("user_list")),
        "audit log": ("admin", reverse("audit_log")),
    }
    for scale, each in zip(thousands, slides, strict=True):
        pages[f"workbench of {scale},000 cells"] = ("pathologist", reverse("workbench", args=[each.case_id]))
        pages[f"slide of {scale},000 cells"] = ("pathologist", reverse("slide_detail", args=[each.pk]))
        pages[f"data of {scale},000 cells"] = ("pathologist", reverse("case_cells", args=[each.case_id]))
    return people, pages


def fill_slide(accession: str, reader: User, thousands: int) -> Slide:
    """Give a case one image on which the detector found so many thousands of cells."""
    from leukoweb.analysis.detectors import active_detector
    from leukoweb.analysis.models import Cell, ImageResult, Run
    from leukoweb.cases.models import Case, Slide, SlideImage

    codes = [code for code, count in CELLS.items() for _ in range(count * thousands)]
    columns = round(len(codes) ** 0.5 * 1.25)
    side = {"width_px": columns * 70, "height_px": -(-len(codes) // columns) * 70}
    slide = Slide.objects.create(case=Case.objects.get(accession_number=accession), uploaded_by=reader)
    image = SlideImage.objects.create(
        slide=slide, position=0, name="f.png", sha256=f"{thousands:064x}", format="PNG", size_bytes=1, **side
    )
    run = Run.objects.create(slide=slide, state=Run.State.DONE, detector=active_detector())
    ImageResult.objects.create(run=run, image=image, um_per_px=0.2, scale_method="uploader")
    Cell.objects.bulk_create(
        Cell(run=run, image=image, detector_code=code, score=0.9, x1=n % columns * 70, y1=n // columns * 70,
             x2=n % columns * 70 + 50, y2=n // columns * 70 + 50)
        for n, code in enumerate(codes)
    )  # fmt: skip
    return slide


def measure(
    address: str, pid: int, cookies: dict[str, str], pages: dict[str, tuple[str, str]], options: Namespace
) -> int:
    """Ask for each page, print medians, ratios and memory; 1 when the web process is too heavy."""
    empty_s = median_s(address + EMPTIEST, "", options.times * 2)
    print(f"{options.cases} cases, one of them with {sum(CELLS.values())} cells; the emptiest view is {EMPTIEST}")
    print(f"{'page':<26}{'ms':>8}{'x empty':>10}")
    print(f"{'(emptiest view)':<26}{1000 * empty_s:>8.1f}{1:>10.1f}")
    for name, (who, path) in pages.items():
        page_s = median_s(address + path, cookies[who], options.times)
        print(f"{name:<26}{1000 * page_s:>8.1f}{page_s / empty_s:>10.1f}")
    decision_s = median_of_decisions_s(address, cookies["pathologist"], options.times)
    print(f"{'a cell is relabelled':<26}{1000 * decision_s:>8.1f}{decision_s / empty_s:>10.1f}")
    [worker] = [p for p in Path("/proc").glob("[0-9]*") if f"\nPPid:\t{pid}\n" in status_of(p)]
    weight_mb = int(status_of(worker).split("VmHWM:")[1].split()[0]) / 1024
    print(f"web process, most memory: {weight_mb:.0f} MB (limit {WEB_LIMIT_MB})")
    has_torch = "libtorch" in (worker / "maps").read_text()
    print(f"torch in the web process: {'yes' if has_torch else 'no'}")
    return int(weight_mb > WEB_LIMIT_MB or has_torch)


def median_s(address: str, cookie: str, times: int) -> float:
    """The median time of an answer with status 200, the first two left out."""
    taken = []
    for _ in range(times + 2):
        request = urllib.request.Request(address, headers={"Cookie": cookie})  # noqa: S310
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            answer.read()
            if answer.url != address:
                raise SystemExit(f"{address} sent us on to {answer.url}: not measured.")
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def median_of_decisions_s(address: str, cookie: str, times: int) -> float:
    """The median time in which the answer to a decision is there, with all figures of the case counted anew."""
    from django.urls import reverse

    from leukoweb.analysis.models import Cell

    token = "b" * 32
    headers = {"Cookie": f"{cookie}; csrftoken={token}", "X-CSRFToken": token, "Content-Type": "application/json"}
    taken = []
    cells = Cell.objects.filter(detector_code="NGS").select_related("run__slide").order_by("-id")
    for cell in cells[: times + 2]:
        decision = {"key": str(uuid.uuid4()), "act": "label", "cells": {cell.pk: 0}, "code": "NGB"}
        asked = json.dumps({"decisions": [decision]}).encode()
        page = reverse("case_decisions", args=[cell.run.slide.case_id])
        request = urllib.request.Request(address + page, asked, headers)  # noqa: S310
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            answer.read()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def wait_for(address: str) -> None:
    """Wait until the web server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address + EMPTIEST, timeout=5).close()  # noqa: S310
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The web server did not start.")


def status_of(process: Path) -> str:
    """What Linux says of a process; empty when it has gone."""
    try:
        return (process / "status").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
