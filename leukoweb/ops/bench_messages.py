"""`python -m leukoweb.ops.bench_messages`: how many messages a second one machine takes in and sends out.

It fills a throw-away installation: orders go over MLLP to a real listener and are acknowledged one by one; then every
specimen is rejected, and the result of each goes over MLLP to a simulated hospital system.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from leukoweb.ops.bench import free_port
from leukoweb.places import ROOT

START_LIMIT_S = 120


def main() -> int:
    """Fill, send, print."""
    parser = argparse.ArgumentParser(prog="python -m leukoweb.ops.bench_messages", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leukoweb-bench-") as folder:
        os.environ |= {
            "LEUKOWEB_DATA_DIR": folder, "LEUKOWEB_ENV_FILE": "", "LEUKOWEB_LOG_LEVEL": "ERROR",
            "DJANGO_SETTINGS_MODULE": "leukoweb.settings",
        }  # fmt: skip
        for name in ("DATABASE_URL", "BROKER_URL"):
            os.environ.pop(name, None)
        import django

        django.setup()
        (Path(folder) / "static").mkdir()
        return _measure(options.messages)


def _measure(number: int) -> int:
    orders, results = _interfaces()
    listener = subprocess.Popen([sys.executable, "manage.py", "listen"], cwd=ROOT)
    try:
        asyncio.run(_wait_for(orders.port))
        seconds = asyncio.run(_order(orders.port, number))
        print(f"orders in:   {number} acknowledged in {seconds:.1f} s, {number / seconds:.1f} a second")
    finally:
        listener.terminate()
        listener.wait()
    sent, seconds = _send(results)
    print(f"results out: {sent} acknowledged in {seconds:.1f} s, {sent / seconds:.1f} a second")
    return 0 if sent == number else 1


def _interfaces() -> tuple:
    from django.core.management import call_command

    from leukoweb.accounts.models import Laboratory, User
    from leukoweb.delivery.models import Interface
    from leukoweb.delivery.services import save_interface

    call_command("migrate", verbosity=0)
    laboratory = Laboratory.objects.create(name="Bench")
    admin = User.objects.create_user("bench", role="admin", laboratory=laboratory)
    return tuple(
        save_interface(
            Interface(laboratory=laboratory, name=kind, direction=kind, port=free_port(), is_active=True,
                      codes={"FILM": "film"}),
            by=admin,
        )
        for kind in ("orders_in", "results_out")
    )  # fmt: skip


async def _wait_for(port: int) -> None:
    async with asyncio.timeout(START_LIMIT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


async def _order(port: int, number: int) -> float:
    """Place orders one after the other over one connection; return the seconds until the last acknowledgement."""
    from hl7.mllp import open_hl7_connection

    from leukoweb.delivery.hl7 import read
    from leukoweb.delivery.simulator import order_of, patients

    at = datetime.now().astimezone()
    messages = [order_of(patient, at=at) for patient in patients(number, seed=1, at=at)]
    reader, writer = await open_hl7_connection("127.0.0.1", port)
    begun = time.perf_counter()
    for message in messages:
        writer.writeblock(message)
        await writer.drain()
        if (code := read(bytes(await reader.readblock())).first("MSA").get(1)) != "AA":
            raise SystemExit(f"An order was answered with {code}.")
    seconds = time.perf_counter() - begun
    writer.close()
    return seconds


def _send(interface: Any) -> tuple[int, float]:
    """Reject every specimen and send what is owed; return how many were acknowledged, and the seconds of that."""
    from leukoweb.cases.models import Case
    from leukoweb.cases.services import reject_case
    from leukoweb.delivery.outbox import collect, send_due
    from leukoweb.delivery.simulator import Hospital

    loop = asyncio.new_event_loop()
    loop.run_until_complete(Hospital(lambda line: None).serve("127.0.0.1", interface.port))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    for case in Case.objects.all():
        reject_case(case, by=interface.acts_as, reason="bench")
    begun, sent = time.perf_counter(), 0
    while collect(interface):
        while more := send_due(interface):
            sent += more
    return sent, time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
