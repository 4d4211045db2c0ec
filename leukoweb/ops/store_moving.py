"""Copy the store from a folder to the bucket and back: for a move, a backup, and a restore.

Every original is read back where it came to and compared with its SHA-256; a copy that was broken off goes on where it
stopped. Nothing is removed where it came from.
"""

from dataclasses import dataclass, field
from pathlib import Path

from leukoweb.cases.copies import bring_original, unpack_from
from leukoweb.cases.store import bucket, hash_of, pack_into
from leukoweb.refusals import Refused

DERIVED = ("pyramid", "crops", "slide", "image-*/pyramid", "image-*/crops")


@dataclass
class Copied:
    """What is now on the other side: originals that were read back, and archives of what was made of them."""

    originals: int = 0
    archives: int = 0
    problems: list[str] = field(default_factory=list)


def copy_in(source: Path) -> Copied:
    """Copy a store from a folder into the bucket."""
    held, copied = bucket(), Copied()
    assert held is not None  # asked by the callers
    sizes = {one.key: one.size_bytes for one in held.listed("originals/")}
    for path in sorted((source / "originals").glob("??/*")):
        key, sha256 = path.relative_to(source).as_posix(), path.name
        if path.suffix == ".part":
            continue
        if sizes.get(key) == path.stat().st_size and held.hash_of(key) == sha256:
            copied.originals += 1
        elif hash_of(path) != sha256:
            copied.problems.append(f"{path} has another SHA-256 than its name")
        else:
            held.put(path, key)
            copied.originals += held.hash_of(key) == sha256
    known = {one.key for one in held.listed("derived/")}
    for folder in sorted(folder for kind in DERIVED for folder in (source / "derived").glob(f"??/*/{kind}")):
        key = f"{folder.relative_to(source).as_posix()}.zip"
        if key not in known:
            pack_into(held, folder, key)
        copied.archives += 1
    return copied


def copy_out(target: Path) -> Copied:
    """Copy the store from the bucket into a folder."""
    held, copied = bucket(), Copied()
    assert held is not None
    for one in held.listed("originals/"):
        path = target / one.key
        try:
            if not path.is_file() or hash_of(path) != path.name:
                bring_original(held, path.name, path)
            copied.originals += 1
        except (Refused, FileNotFoundError):
            copied.problems.append(f"{one.key} has another SHA-256 than its name, or is gone")
    for one in held.listed("derived/"):
        folder = target / one.key.removesuffix(".zip")
        if not folder.is_dir():
            unpack_from(held, one.key, folder)
        copied.archives += 1
    return copied
