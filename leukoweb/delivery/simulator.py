"""Play the systems around a laboratory: a hospital system that orders and receives results, and an analyser.

It speaks to the ports of a running `leukoweb listen` as any other system does, without access to its database. All
patients are invented.
"""

import asyncio
import random
from asyncio import IncompleteReadError
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hl7.mllp import start_hl7_server

from leukoweb.accounts.models import User
from leukoweb.delivery import astm_link, mllp
from leukoweb.delivery.hl7 import Hl7, MessageRefused, acknowledgement, field, read, segment, stamp
from leukoweb.delivery.models import Interface, new_control_id
from leukoweb.delivery.network import ANSWER_LIMIT_S

Say = Callable[[str], None]
FAMILIES = ("Ash", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Juniper", "Larch", "Maple", "Rowan")
WARDS = ("ICU", "Haematology", "Emergency", "Ward 4", "Outpatients")


@dataclass(frozen=True)
class Patient:
    """Somebody invented, with one specimen."""

    number: str
    family: str
    given: str
    birth_date: str
    sex: str
    accession: str
    ward: str


@dataclass(frozen=True)
class Places:
    """Where the laboratory listens, and where this hospital system does; 0: not played."""

    host: str = "127.0.0.1"
    orders: int = 2575
    counts: int = 2576
    results: int = 2577


def patients(count: int, *, seed: int, at: datetime) -> list[Patient]:
    """Invent patients; the same seed and time give the same ones."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    return [
        Patient(
            number=f"SIM{seed}{place:04d}", family=rng.choice(FAMILIES), given=f"Sample {place}",
            birth_date=f"{rng.randint(1930, 2020)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}",
            sex=rng.choice("FM"), accession=f"SIM-{at:%y%m%d%H%M%S}-{place}", ward=rng.choice(WARDS),
        )
        for place in range(1, count + 1)
    ]  # fmt: skip


def order_of(patient: Patient, *, at: datetime, code: str = "FILM") -> bytes:
    """Write OML^O21: a new order of a blood film."""
    requester, placer = field("1234", "Test", "Requester"), f"P{patient.accession}"
    lines = [
        segment("MSH", {1: "^~\\&", 2: "SIMULATOR", 3: "HOSPITAL", 4: "LEUKOWEB", 5: "LAB", 6: stamp(at),
                        8: "OML^O21^OML_O21", 9: new_control_id(), 10: "P", 11: "2.5.1", 17: "UNICODE UTF-8"}),
        segment("PID", {1: "1", 3: field(patient.number), 5: field(patient.family, patient.given),
                        7: patient.birth_date, 8: patient.sex}),
        segment("PV1", {1: "1", 2: "I", 3: field(patient.ward)}),
        segment("ORC", {1: "NW", 2: placer, 3: patient.accession, 9: stamp(at), 12: requester}),
        segment("OBR", {1: "1", 2: placer, 3: patient.accession, 4: field(code, "Blood film", "99SIM"),
                        7: stamp(at - timedelta(hours=1)), 16: requester}),
    ]  # fmt: skip
    return ("\r".join(lines) + "\r").encode()


def count_of(patient: Patient, *, at: datetime, seed: int) -> bytes:
    """Write the records of a blood count whose red cell indices follow from their definition."""
    rng = random.Random(f"{seed}{patient.accession}")  # noqa: S311
    rbc, mcv, mchc = rng.uniform(3.5, 5.5), rng.uniform(78, 100), rng.uniform(31, 36)
    hct = rbc * mcv / 10
    values = [
        ("WBC", f"{rng.uniform(2, 30):.2f}", "10^3/uL"), ("RBC", f"{rbc:.2f}", "10^6/uL"),
        ("HGB", f"{hct * mchc / 100:.1f}", "g/dL"), ("HCT", f"{hct:.1f}", "%"), ("MCV", f"{mcv:.1f}", "fL"),
        ("MCHC", f"{mchc:.1f}", "g/dL"), ("PLT", f"{rng.uniform(20, 450):.0f}", "10^3/uL"),
    ]  # fmt: skip
    time = f"{at:%Y%m%d%H%M%S}"
    lines = [
        f"H|\\^&|||Simulator^CBC-1^V1|||||||P|LIS2-A2|{time}",
        f"P|1||||{patient.family}^{patient.given}||{patient.birth_date}|{patient.sex}",
        f"O|1|{patient.accession}||^^^CBC",
        *(f"R|{n}|^^^{code}|{value}|{unit}||||F||||{time}" for n, (code, value, unit) in enumerate(values, 1)),
        "L|1|N",
    ]
    return ("\r".join(lines) + "\r").encode()


def shown(message: Hl7) -> list[str]:
    """Return a result as it is printed: what it is of, and a line for each observation."""
    obr = message.first("OBR")
    status = {"F": "final", "C": "corrected", "X": "cancelled"}.get(obr.get(25), obr.get(25))
    lines = [f"result {message.control_id} of {obr.get(3)}, {status}:"]
    for note in message.all("NTE"):
        lines.append(f"  note: {note.get(3)}")
    for obx in message.all("OBX"):
        value = "(PDF)" if obx.get(2) == "ED" else f"{obx.get(5)} {obx.get(6)}".strip()
        call = obx.get(8) if obx.get(8) != "N" else ""
        lines.append(f"  {obx.get(3, 2) or obx.get(3)}: {value or '(no value)'} {call}".rstrip())
    return lines


class Hospital:
    """The hospital system's ear: it acknowledges every result and prints it with the acknowledgement."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.got: list[Hl7] = []
        self.heard = asyncio.Event()

    async def take(self, raw: bytes, is_whole: bool = True) -> bytes:
        """Return the acknowledgement of one message."""
        at = datetime.now().astimezone()
        try:
            message = read(raw)
        except MessageRefused as refused:
            self.say(f"refused a message: {refused.sentence}")
            return acknowledgement(None, at=at, control_id=new_control_id(), refused=refused)
        for line in shown(message):
            self.say(line)
        self.got.append(message)
        self.say(f"  acknowledged AA {message.control_id}")
        self.heard.set()
        return acknowledgement(message, at=at, control_id=new_control_id())

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen for results."""

        async def converse(reader: User, writer: Any) -> None:
            try:
                await mllp.converse(reader, writer, self.take, idle_s=3600)
            except (ConnectionError, IncompleteReadError, TimeoutError):
                pass
            finally:
                writer.close()

        return await start_hl7_server(converse, host, port, encoding="latin-1")


async def play(places: Places, *, count: int, results: int, seed: int, say: Say) -> list[Hl7]:
    """Order films, send their blood counts, then receive results until there are `results`; return them.

    Raises
    ------
    NotDelivered
        When the laboratory does not listen or refuses.
    """
    at = datetime.now().astimezone().replace(microsecond=0)
    hospital = Hospital(say)
    server = await hospital.serve(places.host, places.results) if places.results else None
    try:
        for patient in patients(count, seed=seed, at=at):
            if places.orders:
                to = Interface(host=places.host, port=places.orders)
                answer = read(await mllp.exchange(to, order_of(patient, at=at), patience_s=ANSWER_LIMIT_S))
                msa, error = answer.first("MSA"), answer.first("ERR").get(8)
                say(f"ordered {patient.accession}: {msa.get(1)} {msa.get(2)} {error}".rstrip())
            if places.counts:
                sent = await astm_link.send(places.host, places.counts, count_of(patient, at=at, seed=seed))
                say(f"blood count of {patient.accession}: {sent} frames acknowledged")
        while server and len(hospital.got) < results:
            hospital.heard.clear()
            await hospital.heard.wait()
    finally:
        if server:
            server.close()
    return hospital.got
