"""`python -m tests.chaos --seed 1 --faults 200`: random faults against real processes, and what came of them.

The same seed gives the same plan. Exit code 1 where anything was lost, done twice, left without a row or not recovered.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.plan import plan
from tests.chaos.rig import Rig
from tests.services import ROOT

RECOVERY_LIMIT_S = 180


def main():
    """Read the command line, play the plan, print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--slides", type=int, default=50)
    parser.add_argument("--signatures", type=int, default=10, help="cases that are signed meanwhile")
    parser.add_argument("--real", action="store_true", help="parts of real fields of ../shared/data, not drawn ones")
    parser.add_argument("--minutes", type=float, default=600, help="after so long no further fault, and the verdict")
    parser.add_argument("--keep", action="store_true", help="leave the folder with its logs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # ends what was started
    folder = Path(tempfile.mkdtemp(prefix="lw-chaos-", dir="/tmp"))
    rig = Rig(folder)
    try:
        os.environ |= rig.environment
        import django

        django.setup()
        return play(rig, options)
    finally:
        rig.stop()
        if options.keep:
            print(f"Logs: {rig.logs}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def play(rig, options):
    """Play the plan over a prepared installation; the exit code."""
    from tests import conftest
    from tests.chaos.first_day import prepare
    from tests.chaos.laboratory import Laboratory, fields

    shutil.rmtree(conftest.TEST_FOLDER, ignore_errors=True)
    os.environ.update(rig.environment)
    pictures = list(fields(options.slides + options.signatures, are_real=options.real))
    lab = Laboratory(rig, pictures[options.signatures :], **prepare(rig, pictures=pictures[: options.signatures]))
    say(
        f"seed {options.seed}, {options.faults} faults, {options.slides} slides of "
        f"{'real' if options.real else 'drawn'} fields, the detector itself; {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{'a disk of its own' if rig.has_own_disk else 'no disk of its own: disk-full faults are left out'}"
    )
    rig.start()
    lab.thread.start()
    recoveries, not_recovered, until = defaultdict(list), [], time.monotonic() + 60 * options.minutes
    for fault in plan(options.seed, options.faults):
        lab.allowed = 2 + (fault.number + 1) * options.slides // options.faults
        time.sleep(fault.after_s)
        if time.monotonic() > until:
            say(f"The time is over: {options.faults - fault.number} faults of the plan were left out.")
            break
        if fault.kind == "disk full" and not rig.has_own_disk:
            continue
        seconds = suffer(fault, rig, lab)
        if seconds is None:
            not_recovered.append(f"fault {fault.number}, {fault.kind}")
        else:
            recoveries[fault.kind].append(seconds)
        say(f"{fault.number + 1:4d} {fault.kind}: {'NOT recovered' if seconds is None else f'{seconds:.1f} s'}")
        if lab.failure:
            raise lab.failure
    lab.allowed = options.slides
    lab.thread.join(RECOVERY_LIMIT_S)
    if lab.failure or lab.thread.is_alive():
        raise lab.failure or RuntimeError("the uploads did not end")
    return verdict(rig, lab, recoveries, not_recovered)


def suffer(fault, rig, lab):
    """Inject a fault and wait until the system works again; the seconds that took, None where it did not."""
    from tests.chaos.faults import inject

    since = inject(fault, rig, lab)
    deadline = time.monotonic() + RECOVERY_LIMIT_S
    while time.monotonic() < deadline:
        if rig.answers() and works_again(rig, since):
            return max((datetime.now(UTC) - since).total_seconds(), 0)
        time.sleep(0.2)
    return None


def works_again(rig, since):
    """Whether every run that says it is at work shows a sign of life since then, and one does where runs wait."""
    rows = rig.rows("SELECT state, seen_at > %s FROM analysis_run WHERE state IN ('queued', 'running')", since)
    if rows is None:
        return False
    at_work = [is_alive for state, is_alive in rows if state == "running"]
    return all(at_work) and (bool(at_work) or not rows)


def verdict(rig, lab, recoveries, not_recovered):
    """Print what was lost, what is there twice and how long recoveries took; the exit code."""
    from django.db import connection

    from tests.chaos.verdict import checked, lost, settle, twice

    connection.close()  # ours is from before the database was stopped
    while lab.to_sign:
        lab.sign_next()
    lab.is_over.set()
    again = settle(lab)
    problems = {"lost": list(lost(lab)), "twice": list(twice(lab))}
    checks = {name: checked(*name.split()) for name in ("check_store", "verify_audit", "verify_report --all")}
    print("\nrecovery in s                                  faults    p50    max")
    for kind, seconds in sorted(recoveries.items()):
        print(f"{kind:45s} {len(seconds):7d} {statistics.median(seconds):6.1f} {max(seconds):6.1f}")
    every = [s for seconds in recoveries.values() for s in seconds]
    print(f"{'all':45s} {len(every):7d} {statistics.median(every):6.1f} {max(every):6.1f}")
    print(
        f"\n{len(lab.stored)} slides, {len(lab.ordered)} orders and {len(lab.signed)} signatures were confirmed; "
        f"{len(lab.poison)} pictures killed their worker and were given up with a sentence; "
        f"{again} analyses had to be tried again by a person"
    )
    for name, found in problems.items():
        print(f"{name}: {len(found)}", *found, sep="\n  ")
    for name, (is_content, said) in checks.items():
        print(f"{name}: {'' if is_content else 'FAILED, '}{said}")
    print(f"answers of 500: {lab.statuses[500]}; not recovered within {RECOVERY_LIMIT_S} s: {not_recovered or 0}")
    wrong = any(problems.values()) or not all(ok for ok, _ in checks.values()) or not_recovered or lab.statuses[500]
    return int(bool(wrong))


def say(words):
    """Print at once."""
    print(words, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
