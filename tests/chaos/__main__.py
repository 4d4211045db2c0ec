"""`python -m tests.chaos --seed 1 --faults 200`: random faults against real processes, and what came of them.

The same seed gives the same plan. Exit code 1 where anything was lost, done twice, left without a row or not recovered.
"""

import argparse
import os
import platform
import shutil
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
SIGNED = 10


def main():
    """Read the command line, play the plan, print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--slides", type=int, default=50)
    parser.add_argument("--real", action="store_true", help="parts of real fields of ../shared/data, not drawn ones")
    parser.add_argument("--keep", action="store_true", help="leave the folder with its logs")
    options = parser.parse_args()
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
    pictures = list(fields(options.slides + SIGNED, are_real=options.real))
    lab = Laboratory(rig, pictures[SIGNED:], **prepare(rig, pictures=pictures[:SIGNED]))
    say(
        f"seed {options.seed}, {options.faults} faults, {options.slides} slides of "
        f"{'real' if options.real else 'drawn'} fields, the detector itself; {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{'a disk of its own' if rig.has_own_disk else 'no disk of its own: disk-full faults are left out'}"
    )
    rig.start()
    lab.thread.start()
    recoveries, not_recovered = defaultdict(list), []
    for fault in plan(options.seed, options.faults):
        lab.allowed = 2 + (fault.number + 1) * options.slides // options.faults
        time.sleep(fault.after_s)
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
    return verdict(rig, lab, recoveries, not_recovered)


def suffer(fault, rig, lab):
    """Inject a fault and wait until the system works again; the seconds that took, None where it did not."""
    from tests.chaos.faults import inject

    held = rig.rows("SELECT id FROM analysis_run WHERE state = 'running'") or []
    since = inject(fault, rig, lab)
    deadline = time.monotonic() + RECOVERY_LIMIT_S
    while time.monotonic() < deadline:
        if rig.answers() and works_again(rig, {run for (run,) in held}, since):
            return max((datetime.now(UTC) - since).total_seconds(), 0)
        time.sleep(0.2)
    return None


def works_again(rig, held, since):
    """Whether what was at work is at work again or ended, or has its message anew; and somebody works at all."""
    rows = rig.rows("SELECT id, state, seen_at, sent_at FROM analysis_run WHERE state IN ('queued', 'running')")
    if rows is None:
        return False
    at_work = [run for run, state, seen_at, _ in rows if state == "running" and seen_at > since]
    sent = [run for run, state, _, sent_at in rows if state == "queued" and sent_at > since]
    is_idle = not any(state == "queued" for _, state, *_ in rows)
    open_runs = {run for run, *_ in rows}
    return (bool(at_work) or is_idle) and all(run in at_work or run in sent for run in held & open_runs)


def verdict(rig, lab, recoveries, not_recovered):
    """Print what was lost, what is there twice and how long recoveries took; the exit code."""
    from tests.chaos.verdict import checked, lost, settle, twice

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
