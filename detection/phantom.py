"""Draw smear fields with known truth, for demonstrations and tests where no real image may be used.
Cells look roughly right: how good a detector is on real blood cannot be told with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from detection.cell_types import BY_CODE

GLASS = (250, 226, 199)  # sRGB of an empty Wright-stained field under a yellowish lamp
RED_CELL_DENSITY = np.array([0.33, 0.50, 0.34], np.float32)  # optical density of the rim in R, G, B
PLATELET = (158, 118, 165)
RED_CELL_SPACING_UM = 9.0


@dataclass(frozen=True)
class Looks:
    """How a leukocyte is drawn: sizes in um, colours sRGB, `lobes` a name understood by `_lobes`."""

    diameter_um: float
    lobes: str
    nucleus_um: float
    nucleus: tuple
    cytoplasm: tuple
    granules: tuple | None = None
    granule_um: float = 0.3
    granules_per_um2: float = 0.0
    ruffled: float = 0.03


DARK, FINE, DENSE = (104, 66, 142), (128, 88, 158), (80, 45, 120)
PINK, BLUE, GREY = (222, 190, 190), (152, 150, 196), (172, 165, 190)
LOOKS = {
    "BAS": Looks(12, "two", 7.5, (96, 66, 140), (200, 175, 195), (58, 30, 92), 0.5, 2.2),
    "EBO": Looks(9, "round", 5.6, (70, 38, 104), (196, 158, 180)),
    "EOS": Looks(13.5, "two", 10, DARK, (228, 192, 184), (214, 146, 134), 0.4, 2.6),
    "KSC": Looks(14, "smudge", 13.5, (140, 100, 160), GLASS, ruffled=0.14),
    "LYA": Looks(15, "oval", 10.5, (112, 76, 150), (142, 148, 200), ruffled=0.09),
    "LYT": Looks(9.8, "round", 8.6, DENSE, (168, 172, 212)),
    "MMZ": Looks(14, "kidney", 9.5, DARK, (214, 182, 194), (172, 124, 164), 0.18, 1.0),
    "MOB": Looks(17, "folded", 13, FINE, (160, 156, 196), ruffled=0.05),
    "MON": Looks(17, "kidney", 12.5, (118, 84, 150), GREY, ruffled=0.06),
    "MYB": Looks(15, "oval", 9.5, DARK, (206, 178, 196), (160, 108, 160), 0.22, 1.3),
    "MYO": Looks(14.5, "round", 12, FINE, BLUE),
    "NGB": Looks(13.2, "band", 9.5, DARK, PINK, (196, 150, 170), 0.18, 1.2),
    "NGS": Looks(13.2, "segments", 9.5, (90, 56, 132), PINK, (196, 150, 170), 0.18, 1.2),
    "PMB": Looks(16.5, "two", 12, FINE, (170, 140, 190), (120, 60, 130), 0.32, 1.8),
    "PMO": Looks(17, "round", 12, FINE, (164, 146, 194), (128, 66, 140), 0.3, 1.6),
}


@dataclass(frozen=True)
class Phantom:
    """A drawn field: `image` (H, W, 3) uint8 RGB and its leukocytes as (code, (x1, y1, x2, y2)) in px."""

    image: np.ndarray
    cells: list


def draw_field(width_px: int, height_px: int, *, um_per_px: float, seed: int, leukocytes: Mapping[str, int]) -> Phantom:
    """Draw a smear field with red cells, platelets and the wanted leukocytes.

    Parameters
    ----------
    width_px, height_px : int
    um_per_px : float
    seed : int
        The same arguments draw the same pixels.
    leukocytes : dict of str to int
        How many of each type code; no two of them overlap.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        For a code that is none of the 15, or where the leukocytes do not fit.
    """
    random = np.random.default_rng(seed)
    brush = Brush(width_px, height_px, um_per_px, random)
    unknown = leukocytes.keys() - BY_CODE.keys()
    if unknown:
        raise ValueError(f"unknown cell types: {', '.join(sorted(unknown))}")
    wanted = [code for code, count in leukocytes.items() for _ in range(count)]
    places = _places(wanted, brush)
    _draw_red_cells(brush, places)
    for _ in range(int(brush.width_um * brush.height_um / 900)):
        _draw_platelet(brush, random.uniform(0, brush.width_um), random.uniform(0, brush.height_um))
    cells = [(code, _draw_leukocyte(brush, LOOKS[code], x, y, radius)) for code, (x, y, radius) in zip(wanted, places)]
    return Phantom(brush.photograph(), cells)


class Brush:
    """A canvas of light, float32 (H, W, 3) from 0 to 255, and shapes given in um."""

    def __init__(self, width_px: int, height_px: int, um_per_px: float, random: np.random.Generator) -> None:
        self.um_per_px, self.random = um_per_px, random
        self.width_um, self.height_um = width_px * um_per_px, height_px * um_per_px
        self.light = np.empty((height_px, width_px, 3), np.float32)
        self.light[:] = GLASS
        # One sheet of noise for all chromatin: coarse clumps and a finer grain.
        coarse, fine = (self._noise(size_um) for size_um in (0.75, 0.3))
        self.texture = 0.7 * coarse + 0.5 * fine

    def _noise(self, size_um: float) -> np.ndarray:
        white = self.random.standard_normal((512, 512)).astype(np.float32)
        around = np.pad(white, 64, mode="wrap")  # so that the sheet can be laid edge to edge
        sheet = cv2.GaussianBlur(around, (0, 0), size_um / self.um_per_px)[64:-64, 64:-64]
        return (sheet - sheet.mean()) / max(sheet.std(), 1e-6)

    def patch(self, x_um: float, y_um: float, reach_um: float) -> Any:
        """Return the slice of the canvas around a point, and um coordinates of its pixels from that point."""
        height_px, width_px = self.light.shape[:2]
        x1, y1 = (max(0, int((at - reach_um) / self.um_per_px)) for at in (x_um, y_um))
        x2 = min(width_px, int((x_um + reach_um) / self.um_per_px) + 2)
        y2 = min(height_px, int((y_um + reach_um) / self.um_per_px) + 2)
        x = (np.arange(x1, x2, dtype=np.float32) + 0.5) * self.um_per_px - x_um
        y = (np.arange(y1, y2, dtype=np.float32) + 0.5) * self.um_per_px - y_um
        return self.light[y1:y2, x1:x2], x[None, :], y[:, None]

    def edge(self, distance_um: np.ndarray, soft_um: float = 0.22) -> np.ndarray:
        """Return coverage 0..1 of a signed distance (negative inside), with the blur of the optics."""
        soft_um = max(soft_um, self.um_per_px)
        return np.clip(0.5 - distance_um / (2 * soft_um), 0, 1)

    def grain(self, shape: Any) -> np.ndarray:
        """Return a piece of the noise sheet; tiled where the patch is larger."""
        top, left = self.random.integers(0, 512, 2)
        rows, columns = (np.arange(start, start + length) % 512 for start, length in zip((top, left), shape))
        return self.texture[np.ix_(rows, columns)]

    def photograph(self) -> np.ndarray:
        """Return uint8 after lamp, lens and camera: uneven light, a little blur and noise."""
        height_px, width_px = self.light.shape[:2]
        small = self.random.normal(1, 0.012, (3, 3)).astype(np.float32)
        lamp = cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        image = cv2.GaussianBlur(self.light, (0, 0), max(0.09 / self.um_per_px, 0.35)) * lamp[..., None]
        grain = np.frombuffer(self.random.bytes(image.size), np.uint8).reshape(image.shape).astype(np.float32)
        return np.clip(image + (grain - 127.5) * (4 / 255), 0, 255).astype(np.uint8)


def _places(wanted: Sequence[str], brush: "Brush") -> list[tuple[float, float, float]]:
    """Return (x, y, radius) in um for each leukocyte, none overlapping another, most of them whole in the field."""
    random = brush.random
    places: list[tuple[float, float, float]] = []
    for code in wanted:
        radius = LOOKS[code].diameter_um / 2 * random.uniform(0.92, 1.08)
        room_x, room_y = max(radius, brush.width_um - radius), max(radius, brush.height_um - radius)
        for _ in range(400):
            x, y = random.uniform(radius, room_x), random.uniform(radius, room_y)
            if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + 0.4) ** 2 for a, b, r in places):
                places.append((x, y, radius))
                break
        else:
            raise ValueError(
                f"{len(wanted)} leukocytes do not fit into {brush.width_um:.0f} x {brush.height_um:.0f} um"
            )
    return places


def _draw_red_cells(brush: "Brush", places: Any) -> None:
    """Draw red cells on a jittered lattice, thinner in places, none under a leukocyte."""
    random = brush.random
    leukocytes = np.array(places).reshape(-1, 3)
    for row, y0 in enumerate(np.arange(0, brush.height_um + 8, RED_CELL_SPACING_UM * 0.87)):
        for x0 in np.arange(0, brush.width_um + 8, RED_CELL_SPACING_UM) + (row % 2) * RED_CELL_SPACING_UM / 2:
            x, y = random.normal((x0, y0), 1.5)
            radius = random.normal(3.75, 0.22)
            apart = np.hypot(leukocytes[:, 0] - x, leukocytes[:, 1] - y) - leukocytes[:, 2]
            if random.random() > 0.72 or (apart < radius - 0.3).any():
                continue
            light, dx, dy = brush.patch(x, y, radius * 1.3)
            if not light.size:
                continue
            angle, stretch = random.uniform(0, np.pi), random.uniform(1, 1.13)
            along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
            distance = np.hypot(along / stretch, across * stretch)
            pallor = random.uniform(0.15, 0.6) * np.exp(-((distance / (radius * random.uniform(0.3, 0.48))) ** 2))
            rim = 0.14 * np.exp(-(((distance - radius + 0.5) / 0.45) ** 2))
            thickness = brush.edge(distance - radius) * (0.8 + rim - pallor) * random.uniform(0.8, 1.1)
            light *= np.exp(-thickness[..., None] * RED_CELL_DENSITY)


def _draw_platelet(brush: "Brush", x: float, y: float) -> None:
    radius = brush.random.uniform(0.8, 1.5)
    light, dx, dy = brush.patch(x, y, radius * 2)
    if light.size:
        distance = np.hypot(dx, dy) * (1 + 0.12 * np.sin(2 * np.arctan2(dy, dx) + brush.random.uniform(0, 6)))
        distance += 0.15 * brush.grain(distance.shape)
        cover = brush.edge(distance - radius, 0.35) * np.clip(0.8 + 0.25 * brush.grain(distance.shape), 0, 1)
        light += cover[..., None] * (np.array(PLATELET, np.float32) - light)


def _draw_leukocyte(brush: "Brush", looks: Any, x: float, y: float, radius: float) -> Any:
    """Draw one leukocyte and return its box xyxy in px."""
    random = brush.random
    light, dx, dy = brush.patch(x, y, radius * 1.5)
    angles = np.arctan2(dy, dx)
    outline = radius * (1 + sum(
        looks.ruffled * random.normal(0, 0.5) * np.cos(k * angles + random.uniform(0, 6)) for k in (2, 3, 4, 5)
    ))  # fmt: skip
    distance = np.hypot(dx, dy) - outline
    cell = brush.edge(distance, 0.25)
    grain = brush.grain(distance.shape)
    tint = np.array([random.normal(1, 0.02), random.normal(1, 0.02), 1], np.float32)
    cytoplasm = np.array(looks.cytoplasm, np.float32) * tint + 3.5 * grain[..., None]
    # The rim is a little darker, as in a cell that is thickest there.
    cytoplasm *= (1 - 0.1 * np.exp(-((distance / 0.5) ** 2)))[..., None]
    if looks.lobes != "smudge":
        light += cell[..., None] * (cytoplasm - light)
    nucleus, nuclear_distance = _nucleus(brush, looks, dx, dy, radius * 2 / looks.diameter_um, distance)
    if looks.granules:
        _draw_granules(brush, looks, light, dx, dy, distance)
    colour = np.array(looks.nucleus, np.float32) * tint
    contrast = 9 if looks.nucleus == FINE else 15
    inside = colour + contrast * grain[..., None] - 16 * np.exp(-((nuclear_distance / 0.45) ** 2))[..., None]
    light += nucleus[..., None] * (inside - light)
    if looks.granules and looks.granule_um >= 0.3:  # some are over the nucleus
        _draw_granules(brush, looks, light, dx, dy, distance, share=0.12)
    return _box(brush, nucleus if looks.lobes == "smudge" else cell, x, y, dx, dy)


def _box(brush: "Brush", cover: np.ndarray, x: float, y: float, dx: np.ndarray, dy: np.ndarray) -> Any:
    columns, rows = np.flatnonzero((cover > 0.5).any(0)), np.flatnonzero((cover > 0.5).any(1))
    half = brush.um_per_px / 2
    edges = (
        x + dx[0, columns[0]] - half,
        y + dy[rows[0], 0] - half,
        x + dx[0, columns[-1]] + half,
        y + dy[rows[-1], 0] + half,
    )
    return tuple(round(float(edge / brush.um_per_px), 1) for edge in edges)


def _nucleus(
    brush: "Brush", looks: Any, dx: np.ndarray, dy: np.ndarray, growth: float, cell_distance: np.ndarray
) -> Any:
    """Return coverage and signed distance (um) of the nucleus: discs run together, some bitten by another disc."""
    random = brush.random
    turn = random.uniform(0, 2 * np.pi)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    size = looks.nucleus_um / 2 * growth * random.uniform(0.95, 1.05)
    discs, bite, softness = _lobes(looks.lobes, size, random)
    wobble = 0.04 * size * np.sin(3 * np.arctan2(v, u) + turn)
    # A soft minimum joins discs with the threads that real lobes hang by.
    distance = -softness * np.log(sum(np.exp(-(np.hypot(u - a, v - b) - r) / softness) for a, b, r in discs)) + wobble
    if bite:
        a, b, r = bite
        notch = r - np.hypot(u - a, v - b)
        distance = 0.5 * np.logaddexp(distance / 0.5, notch / 0.5)  # a soft maximum: the notch has no corners
    if looks.lobes == "smudge":
        frayed = 0.5 * brush.grain(distance.shape)
        return brush.edge(distance + frayed, 1.2) * 0.92, distance
    distance = np.maximum(distance, cell_distance + 0.35)
    return brush.edge(distance, 0.2), distance


def _lobes(kind: str, size: float, random: np.random.Generator) -> Any:
    """Return discs (u, v, radius) in um, one biting disc or None, and how softly the discs join."""
    if kind == "segments":
        count = random.integers(3, 6)
        spread = np.linspace(0, random.uniform(3.6, 4.6), count)
        radius = size * (0.50 if count == 3 else 0.42)
        ring = size * 0.66
        return [(ring * np.cos(t), ring * np.sin(t), radius * random.uniform(0.9, 1.1)) for t in spread], None, 0.16
    if kind == "band":
        return (
            [(size * 0.68 * np.cos(t), size * 0.68 * np.sin(t), size * 0.33) for t in np.linspace(0, 3.9, 14)],
            None,
            0.2,
        )
    if kind == "two":
        return [(-size * 0.55, 0, size * 0.55), (size * 0.55, 0, size * 0.52)], None, 0.3
    if kind == "kidney":
        return [(0, 0, size)], (0, size * 1.12, size * random.uniform(0.55, 0.75)), 0.3
    if kind == "folded":
        return [(0, 0, size)], (size * 0.2, size * 1.2, size * 0.45), 0.3
    shift = size * random.uniform(0, 0.1)
    if kind == "oval":
        return [(-size * 0.15, shift, size * 0.88), (size * 0.2, shift, size * 0.85)], None, 0.4
    if kind == "smudge":
        return [(random.normal(0, size * 0.3), random.normal(0, size * 0.3), size * 0.7) for _ in range(4)], None, 0.6
    return [(shift, 0, size)], None, 0.3


def _draw_granules(
    brush: "Brush",
    looks: Any,
    light: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    cell_distance: np.ndarray,
    share: float = 1.0,
) -> None:
    random = brush.random
    reach = looks.diameter_um / 2
    count = int(np.pi * reach**2 * looks.granules_per_um2 * share)
    cover = np.zeros(cell_distance.shape, np.float32)
    scale = 1 / brush.um_per_px
    for radius, angle in zip(reach * np.sqrt(random.random(count)), random.uniform(0, 2 * np.pi, count)):
        at = ((radius * np.cos(angle) - dx[0, 0]) * scale, (radius * np.sin(angle) - dy[0, 0]) * scale)
        size = max(0.5, looks.granule_um * random.uniform(0.7, 1.2) * scale)
        centre, radius_px = tuple(int(v * 16) for v in at), int(size * 16)
        cv2.circle(cover, centre, radius_px, float(random.uniform(0.5, 0.95)), cv2.FILLED, cv2.LINE_AA, 4)
    cover = cv2.GaussianBlur(cover, (0, 0), max(0.4, 0.06 * scale)) * brush.edge(cell_distance + 0.3)
    light += cover[..., None] * (np.array(looks.granules, np.float32) - light)
