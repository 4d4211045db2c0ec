"""The people and systems around the installation: over the network they upload, order and sign until it answers.

What was confirmed to them is kept: the verdict holds the installation to it.
"""

import hashlib
import io
import secrets
import socket
import threading
import time
from collections import Counter

import numpy as np
import requests
from PIL import Image

from detection.phantom import draw_field
from tests.conftest import SHARED
from tests.test_hl7 import order as order_message
from tests.test_web_killed import form_of, sign

SIDE_PX = 450
KEPT_OPEN = 2  # so many analyses, so that faults find work
ANSWER_S = 60
DUPLICATE = "already in this case"


def fields(count, *, are_real):
    """Different pictures, as PNG: drawn ones, or parts of a real field."""
    if are_real:
        with Image.open(SHARED / "apl_aml" / "fields" / "AML_08_7f98e65b.jpg") as opened:
            field = np.asarray(opened)
    for number in range(count):
        if are_real:
            down, right = divmod(number * 90, field.shape[1] - SIDE_PX)
            pixels = field[down * 90 : down * 90 + SIDE_PX, right : right + SIDE_PX]
        else:
            pixels = draw_field(SIDE_PX, SIDE_PX, um_per_px=0.2, seed=number, leukocytes={"NGS": 5, "LYT": 3}).image
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        yield buffer.getvalue()


class Laboratory:
    """Uploads at the pace that the plan of faults allows, an ordering system, and a pathologist who signs."""

    def __init__(self, rig, pictures, *, token, technologist, pathologist, to_sign):
        self.rig, self.pictures, self.token = rig, pictures, token
        self.technologist, self.pathologist, self.to_sign = technologist, pathologist, to_sign
        self.stored, self.ordered, self.signed = {}, [], set()  # slide id -> SHA-256 of its picture
        self.poison = set()
        self.statuses = Counter()
        self.allowed = 0  # how many slides may have been uploaded so far
        self.is_over = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    # --- what the thread does

    def _work(self):
        number = 0
        try:
            while number < len(self.pictures):
                if number < self.allowed:
                    self.upload(number)
                    number += 1
                elif self.is_over.wait(0.2):
                    return
                else:
                    self.keep_busy()
        except Exception as error:
            self.failure = error
            raise

    def upload(self, number):
        """Register a case, every second one by an order, and upload its slide by API or in pieces."""
        accession = f"C-{number}"
        if number % 2:
            self.order(number, accession=accession)
            case = self.api("POST", "cases/find/", json={"accession_number": accession}, want={200})["id"]
        else:
            case = self.register(accession)
        picture = self.pictures[number]
        slide = self.upload_in_pieces(case, picture) if number % 3 == 0 else None
        slide = slide or self.upload_by_api(case, picture)
        self.stored[slide] = hashlib.sha256(picture).hexdigest()

    def upload_extra(self, number):
        """Upload one more slide than planned, for a fault that needs one in its way; its id."""
        picture = self._extra_picture(number)
        slide = self.upload_by_api(self.register(f"E-{number}"), picture)
        self.stored[slide] = hashlib.sha256(picture).hexdigest()
        return slide

    def _extra_picture(self, number):
        picture = draw_field(SIDE_PX, SIDE_PX, um_per_px=0.2, seed=10_000 + number, leukocytes={"NGS": 4}).image
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()

    def send_six_times(self, number):
        """Send one picture six times at once, while its case is rejected: whatever wins, each file has its row."""
        picture, case = self._extra_picture(number), self.register(f"R-{number}")

        def send():
            files = {"images": ("field.png", picture, "image/png")}
            answer = self.api("POST", f"cases/id/{case}/slides/", files=files, data={"um_per_px": "0.2"},
                              want={201, 400, 409}, once=True)  # fmt: skip
            if "id" in answer:
                self.stored[answer["id"]] = hashlib.sha256(picture).hexdigest()

        senders = [threading.Thread(target=send) for _ in range(6)]
        for sender in senders:
            sender.start()
        time.sleep(0.2 * (number % 5))
        self.page("POST", f"/cases/{case}/reject/", data={"reason": "Clotted.", "code": "RC"}, once=True)
        for sender in senders:
            sender.join()

    def register(self, accession):
        """Register a case by the API: once, although the answer to the first try may have been lost."""
        case = {"accession_number": accession, "patient": {"mrn": f"M-{accession}", "name": f"Sample {accession}"}}
        answer = self.api("POST", "cases/", json=case, want={201, 400, 409})
        return (
            answer.get("id") or self.api("POST", "cases/find/", json={"accession_number": accession}, want={200})["id"]
        )

    def upload_by_api(self, case, picture):
        """Send a picture until it is stored or known; the id of its slide."""
        while True:
            files = {"images": ("field.png", picture, "image/png")}
            answer = self.api("POST", f"cases/id/{case}/slides/", files=files, data={"um_per_px": "0.2"},
                              want={201, 400, 409})  # fmt: skip
            if "id" in answer:
                return answer["id"]
            said = str(answer)
            if DUPLICATE in said:
                [slide] = self.api("GET", f"cases/id/{case}/", want={200})["slides"]
                return slide["id"]
            assert "no room" in said or "no time" in said, said
            time.sleep(1)

    def upload_in_pieces(self, case, picture):
        """Send a picture by tus, going on where it broke; None where the page did not say that it was taken."""
        tus = {"Tus-Resumable": "1.0.0"}
        made = self.page("POST", "/uploads/", headers=tus | {"Upload-Length": str(len(picture))}, want={201})
        place = made.headers["Location"]
        offset = 0
        while offset < len(picture):
            headers = tus | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            piece = picture[offset : offset + 100_000]
            self.page("PATCH", place, headers=headers, data=piece, want={204, 409, 423, 507})
            offset = int(self.page("HEAD", place, headers=tus, want={200}).headers["Upload-Offset"])
        answer = self.page("POST", f"/cases/{case}/slides/new/", headers={"Accept": "application/json"}, once=True,
                           data={"uploads": place.rstrip("/").rsplit("/", 1)[-1], "um_per_px": "0.2"})  # fmt: skip
        if answer is None or not answer.ok or not answer.json()["slide"]:
            return None
        return int(answer.json()["slide"].strip("/").split("/")[-1])

    def keep_busy(self):
        """Have a slide that was read read again, as a technologist who states its scale, where few runs are open."""
        found = self.rig.rows("SELECT count(*) FROM analysis_run WHERE state IN ('queued', 'running')")
        if found is None or found[0][0] >= KEPT_OPEN:
            return
        slides = [slide for slide in self.stored if slide not in self.poison]
        if slides:
            self.api("POST", f"slides/{secrets.choice(slides)}/scale/", json={"um_per_px": 0.2}, want={200, 409},
                     once=True)  # fmt: skip

    def order(self, number, *, accession=None, is_doubled=False):
        """Send an order until it is answered; doubled: over two connections at once."""
        accession = accession or f"O-{number}"
        raw = order_message(
            MSG034=f"M{accession}", **{"F-77": accession, "ORD300": f"P{accession}", "44556": f"M-{accession}"}
        )
        senders = [threading.Thread(target=self._send, args=(raw,)) for _ in range(1 + is_doubled)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.ordered.append(accession)

    def _send(self, raw):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.rig.orders_port), timeout=5) as peer:
                    peer.settimeout(30)
                    peer.sendall(b"\x0b" + raw + b"\x1c\r")
                    got = b""
                    while not got.endswith(b"\x1c\r"):
                        more = peer.recv(65536)
                        if not more:
                            raise ConnectionError
                        got += more
                    if b"MSA|AA|" in got:
                        return
            except OSError:
                pass
            time.sleep(0.5)

    def sign_next(self, *, meanwhile=lambda: None):
        """Sign the next case on its page until the page says that it is signed; `meanwhile` in the first try."""
        if not self.to_sign:
            return
        case = self.to_sign.pop()
        address = f"{self.rig.url}/cases/{case}/sign/"
        while True:
            try:
                form = form_of(self.pathologist, address)
            except (requests.RequestException, TypeError):  # away, or no form any more: it is signed
                if f"/cases/{case}/" in self._where_signed(case):
                    break
                time.sleep(0.5)
                continue
            timer = threading.Timer(0.3, meanwhile)
            timer.start()
            status = sign(self.pathologist, address, form)
            timer.join()
            meanwhile = lambda: None  # noqa: E731
            if status == 302:
                break
        self.signed.add(case)

    def _where_signed(self, case):
        found = self.rig.rows(f"SELECT 1 FROM review_report WHERE case_id = {int(case)} AND state = 'signed'")
        return f"/cases/{case}/" if found else ""

    # --- requests that are repeated until they are answered

    def api(self, method, path, *, want, once=False, **how):
        """Ask the API, again where it is away or says "later"; the JSON of its answer."""
        headers = {"Authorization": f"Token {self.token}"}
        answer = self._ask(requests, method, f"/api/v1/{path}", want=want, once=once, headers=headers, **how)
        return answer.json() if answer is not None else {}

    def page(self, method, path, *, want=(200,), once=False, headers=None, **how):
        """Ask a page in the technologist's session."""
        headers = {"X-CSRFToken": self.technologist.cookies.get("csrftoken", domain="127.0.0.1")} | (headers or {})
        return self._ask(self.technologist, method, path, want=want, once=once, headers=headers, **how)

    def _ask(self, asked, method, path, *, want, once, **how):
        while True:
            try:
                answer = asked.request(method, self.rig.url + path, timeout=ANSWER_S, **how)
            except requests.RequestException:
                answer = None
            if answer is not None:
                self.statuses[answer.status_code] += 1
                if answer.status_code in want:
                    return answer
                assert once or answer.status_code in (429, 500, 503, 507), (path, answer.status_code, answer.text[:500])
            if once:
                return answer
            time.sleep(0.5)
