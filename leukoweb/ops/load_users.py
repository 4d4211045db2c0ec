"""Who asks what in `make load`, as users of locust: technologists, pathologists, open worklists, an LIS.

`bench_load` starts the product and this; the environment says who signs in and which cases wait.
"""

import io
import json
import os
import random
import uuid
from itertools import count
from typing import Any

from locust import HttpUser, between, constant, events, task
from PIL import Image

from detection.phantom import draw_field
from leukoweb.ops.bench import EMPTIEST

SITE: dict[str, Any] = json.loads(os.environ["LEUKOWEB_LOAD_SITE"])
NUMBERS = count(1)
TOKEN = "b" * 32
AT_ONCE = 25  # decisions that the workspace sends together


def _field() -> bytes:
    """Draw a small field of a smear and return it as a PNG; each is another file."""
    drawn = draw_field(450, 450, um_per_px=0.2, seed=next(NUMBERS), leukocytes={"NGS": 3, "LYT": 2})
    written = io.BytesIO()
    Image.fromarray(drawn.image).save(written, "PNG")
    return written.getvalue()


class Person(HttpUser):
    """Somebody who is signed in; each request that is not answered as it should be is an error."""

    abstract = True
    role = ""

    def on_start(self) -> None:
        """Take the next account of the role."""
        cookie = f"{SITE['cookies'][self.role].pop()}; csrftoken={TOKEN}"
        self.client.headers.update({"Cookie": cookie, "X-CSRFToken": TOKEN})


class Technologist(Person):
    """Registers a case, uploads its slide as the page does, and looks until the detector has read it."""

    role = "technologist"
    fixed_count = SITE["technologists"]
    wait_time = between(10, 20)

    @task
    def upload(self) -> None:
        """Register, upload, and follow the progress for a while."""
        number = f"L{os.getpid()}-{next(NUMBERS)}"
        case = self.client.post(
            "/api/v1/cases/", name="register a case",
            json={"accession_number": number, "patient": {"mrn": number, "name": "Load Person", "sex": "U"}},
        ).json()["id"]  # fmt: skip
        picture = _field()
        made = self.client.post(
            "/uploads/", name="begin an upload",
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(len(picture)),
                     "Upload-Metadata": "filename ZmllbGQucG5n"},
        )  # fmt: skip
        place = made.headers["Location"]
        self.client.patch(
            place, picture, name="send a file",
            headers={"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        )  # fmt: skip
        form = {"label": "1", "um_per_px": "0.2", "uploads": place.rstrip("/").rpartition("/")[2]}
        self.client.post(f"/cases/{case}/slides/new/", form, name="store the slide")
        for _ in range(3):
            self.client.get(f"/cases/{case}/live/", name="follow a case")
            self.wait()


class Pathologist(Person):
    """Opens a case of 300 cells, confirms all of them in batches, and looks at its report."""

    role = "pathologist"
    fixed_count = SITE["pathologists"]
    wait_time = between(1, 3)

    @task
    def review(self) -> None:
        """Review one case."""
        if not SITE["cases"]:
            return
        case = SITE["cases"].pop()
        self.client.get("/worklist/", name="worklist")
        self.client.get(f"/cases/{case}/", name="case")
        self.client.get(f"/cases/{case}/review/", name="workspace")
        cells = self.client.get(f"/cases/{case}/cells.json", name="cells of the workspace").json()["cells"]
        for start in range(0, len(cells), AT_ONCE):
            self.wait()
            decisions = [
                {"key": str(uuid.uuid4()), "act": "label", "cells": {cell["id"]: cell["seen"]},
                 "code": cell["code"]}
                for cell in cells[start : start + AT_ONCE]
            ]  # fmt: skip
            self.client.post(f"/cases/{case}/decisions/", json={"decisions": decisions}, name="confirm 25 cells")
        self.client.get(f"/cases/{case}/sign/", name="report and signature")


class OpenWorklist(Person):
    """A screen on which the worklist stays open."""

    role = "poller"
    fixed_count = SITE["pollers"]
    wait_time = constant(5)

    @task
    def poll(self) -> None:
        """Ask for the live part."""
        self.client.get("/worklist/live/", name="worklist, live part")


class Lis(Person):
    """A program that asks for cases and their reports."""

    role = "lis"
    fixed_count = 1
    wait_time = constant(2)

    @task
    def ask(self) -> None:
        """Ask as a program without a page does, and for the empty view that all times are compared with."""
        listed = self.client.get("/api/v1/cases/?state=signed", name="API, signed cases").json()["results"]
        case = random.choice(listed)["id"]  # noqa: S311  no secret
        self.client.get(f"/api/v1/cases/id/{case}/report/", name="API, report")
        self.client.get(EMPTIEST, name="(empty view)")


@events.quitting.add_listener
def write(environment: Any, **_: Any) -> None:
    """Write what was measured where bench_load finds it."""
    stats = environment.stats
    rows = {
        one.name: [one.num_requests, one.num_failures, one.median_response_time, one.get_response_time_percentile(0.95)]
        for one in stats.entries.values()
    }
    errors = [f"{error.method} {error.name}: {error.error} ({error.occurrences})" for error in stats.errors.values()]
    with open(os.environ["LEUKOWEB_LOAD_RESULT"], "w") as result:
        json.dump({"rows": rows, "errors": errors}, result)
