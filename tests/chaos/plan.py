"""The plan of faults: the same seed gives the same faults in the same order; nothing here touches a process."""

import random
from dataclasses import dataclass

# Kind to its weight: what holds the system for a minute comes seldom.
KINDS = {
    "worker killed (SIGKILL)": 4,
    "worker's process killed (SIGKILL)": 3,
    "worker ended (SIGTERM)": 2,
    "worker stopped past the limits (SIGSTOP)": 1,
    "broker killed (SIGKILL)": 2,
    "broker emptied": 2,
    "broker killed, its files removed": 2,
    "broker hangs (SIGSTOP)": 1,
    "database stopped in mid-store (SIGINT)": 2,
    "database crashed in mid-store (SIGQUIT)": 2,
    "disk full": 2,
    "web killed in mid-upload (SIGKILL)": 3,
    "web ended (SIGTERM)": 1,
    "web killed while it signs (SIGKILL)": 1,
    "listener killed in mid-order (SIGKILL)": 2,
    "picture that kills the worker (SIGSEGV)": 1,
    "order sent twice at once, tasks enqueued twice": 3,
    "picture sent six times at once, its case rejected": 2,
}


@dataclass(frozen=True)
class Fault:
    """One fault: when after the one before, what, on which of several, for how long."""

    number: int
    kind: str
    after_s: float
    which: int
    hold_s: float


def plan(seed: int, faults: int) -> list[Fault]:
    """Return the faults of a seed; the first ones go once through all kinds, in an order of their own."""
    rng = random.Random(seed)
    first = rng.sample(list(KINDS), len(KINDS))
    kinds = (first + rng.choices(list(KINDS), list(KINDS.values()), k=faults))[:faults]
    return [
        Fault(number, kind, rng.uniform(0, 2), rng.randrange(2), rng.uniform(1, 8)) for number, kind in enumerate(kinds)
    ]
