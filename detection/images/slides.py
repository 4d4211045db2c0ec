"""Read regions and viewer tiles of whole slides through a limited child process; the parent sees pixels only.

What is read of a slide, and why, is left to those who call.
"""

import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from detection.images import ENVIRONMENT, ImageRefused, Limits
from detection.images.archive import picture_of

UNREADABLE_REGION = (
    "A part of the whole slide could not be read: copy it again from the scanner and upload it once more."
)


REGION_LIMITS, TILE_LIMITS = Limits(wall_s=60), Limits(wall_s=30, cpu_s=30)


class Regions:
    """The regions of one slide, read by one child process; close it, or use it in a `with`."""

    def __init__(self, path: str | Path, *, limits: Limits = REGION_LIMITS) -> None:
        self.limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="leukoweb-slide-")
        self._child = subprocess.Popen(
            [*_COMMAND, "regions", json.dumps(asdict(limits)), str(Path(path).resolve())],
            cwd=self._folder.name,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Regions":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        self._child.kill()
        self._child.communicate()
        self._folder.cleanup()

    def read(self, x: int, y: int, width_px: int, height_px: int, times: int = 1) -> np.ndarray:
        """Read a region.

        Parameters
        ----------
        x, y : int
            Its corner in px of the finest level; what is beside the slide is white.
        width_px, height_px : int
            Size of what is returned.
        times : int
            How many times coarser than the finest level it is.

        Returns
        -------
        ndarray, shape (height_px, width_px, 3), uint8, RGB

        Raises
        ------
        ImageRefused
            If the region cannot be read, or not within `limits.wall_s`; the child has ended then.
        """
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None  # both are pipes
        assert stdout is not None
        wanted, got, deadline = width_px * height_px * 3, bytearray(), time.monotonic() + self.limits.wall_s
        try:
            stdin.write(json.dumps([x, y, width_px, height_px, times]).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise ImageRefused(UNREADABLE_REGION) from error
        ready = select.poll()
        ready.register(stdout, select.POLLIN)
        while len(got) < wanted:
            if not ready.poll(1000 * max(deadline - time.monotonic(), 0)):
                self._child.kill()
                raise ImageRefused(UNREADABLE_REGION)
            piece = os.read(stdout.fileno(), wanted - len(got))
            if not piece:
                raise ImageRefused(UNREADABLE_REGION)
            got += piece
        return np.frombuffer(got, np.uint8).reshape(height_px, width_px, 3)


def write_tiles(
    path: str | Path,
    folder: Path,
    level: int,
    corner: tuple[int, int],
    size: tuple[int, int],
    *,
    limits: Limits = TILE_LIMITS,
) -> None:
    """Write Deep Zoom tiles of one level of a slide into a folder as `COLUMN_ROW.jpg`.

    Parameters
    ----------
    path : str or Path
    folder : Path
        It exists.
    level : int
        Deep Zoom level, 0 is one pixel.
    corner, size : tuple of int
        First column and row, and how many of each; what is beside the slide is left out.
    limits : Limits

    Raises
    ------
    ImageRefused
        If the child exceeded a limit or could not read the slide.
    """
    numbers = [str(number) for number in (level, *corner, *size)]
    command = [*_COMMAND, "tiles", json.dumps(asdict(limits)), str(Path(path).resolve()), str(folder.resolve())]
    with tempfile.TemporaryDirectory(prefix="leukoweb-slide-") as empty_folder:
        try:
            done = subprocess.run(
                [*command, *numbers],
                cwd=empty_folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=limits.wall_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ImageRefused(UNREADABLE_REGION) from error
    if done.returncode:
        raise ImageRefused(UNREADABLE_REGION)


def slide_file(original: Path, unpacked: Path) -> Path:
    """Return the file of a slide that is opened: the original, or in the folder that its archive was unpacked to.

    Raises
    ------
    FileNotFoundError
        If the archive was not unpacked.
    """
    if not unpacked.is_dir():
        return original
    opened = picture_of(file for file in unpacked.rglob("*") if file.is_file())
    if opened is None:
        raise FileNotFoundError(unpacked)
    return opened


def fine_enough(um_per_px: float, wanted_um_per_px: float) -> int:
    """Return how many times coarser than its finest level a slide may be read without going beyond a scale."""
    return 1 << max(0, math.floor(math.log2(wanted_um_per_px / um_per_px * 1.02)))


_COMMAND = [sys.executable, "-sP", "-m", "detection.images.whole_slide"]
