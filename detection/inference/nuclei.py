"""Find dark nuclei by their stain alone, as an independent check of the detector, and tell which of them no box covers.
Telling one type of cell from another is left to the detector.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from skimage.measure import label, regionprops
from skimage.morphology import h_maxima, remove_small_holes
from skimage.segmentation import watershed

WORKING_UM_PER_PX = 0.3
# `nuclear_stain`: red cells 0 to 0.2, blue cytoplasm 0.3 to 0.6, nuclei from 0.65; where all stain is pale from 0.45.
LEAST_NUCLEAR_STAIN = (0.42, 0.72)
FAINTEST_NUCLEUS = 0.3
ERYTHROBLAST_SHARE = 0.85  # of the stain where nuclei begin on the same image: theirs are dense
LEAST_AREA_UM2 = 16.0  # platelets have 3 to 8, the nucleus of a small lymphocyte 33
LEAST_RADIUS_UM = 1.5  # of the largest circle inside: threads of precipitate have less
ONE_NUCLEUS_UM2 = 115.0  # a blast's nucleus of 12 um; larger patches are several nuclei that touch
PALE_STAIN = 0.5  # bare nuclei and loose chromatin; cytoplasm this dark belongs to a nucleus that is darker still
PALE_AREA_UM2 = 60.0  # what is pale must at least be as large as a nucleus and as round
PALE_RADIUS_UM = 2.5
THREAD_UM = 0.9  # lobes of one nucleus hang together over gaps up to here


def find_nuclei(image: np.ndarray, um_per_px: float) -> np.ndarray:
    """Find the nuclei of leukocytes and erythroblasts by their colour.

    Parameters
    ----------
    image : ndarray or memmap, shape (H, W, 3), uint8, RGB
    um_per_px : float

    Returns
    -------
    ndarray, shape (n, 4), float
        Boxes xyxy in pixels of `image` around each nucleus; (0, 4) where none is found.

    Notes
    -----
    Worked out at 0.3 um per px. Each pixel gets its nuclear stain (see `nuclear_stain`); dark patches are closed over
    the threads between lobes, and patches larger than one nucleus are split at the necks of their distance map. Round
    patches of paler stain beside them are nuclei too: bare ones, and those of loose chromatin.
    Bare smudges and clumps of stain count as well; two nuclei that overlap broadly count as one.
    """
    if _is_empty(image):  # its empty copies at the working scale took gigabytes
        return np.empty((0, 4))
    height_px, width_px = image.shape[:2]
    small = _at_working_scale(image, um_per_px)
    um = um_per_px * width_px / small.shape[1]  # what the rounding of the size made of the working scale
    stain = nuclear_stain(small)
    threshold = _threshold(stain)
    stain = cv2.GaussianBlur(stain, (0, 0), 0.25 / um)
    dark: np.ndarray = (stain > threshold).astype(np.uint8)
    dark = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, _disc(0.6 / um)))
    joined = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, _disc(THREAD_UM / um))
    boxes = [
        box
        for patch in regionprops(cv2.connectedComponents(joined)[1])
        if patch.area_filled * um**2 >= LEAST_AREA_UM2
        for box in _nuclei_of_patch(patch, dark, um)
    ]
    boxes += _pale_nuclei(stain, boxes, um)
    scale = np.array([width_px / small.shape[1], height_px / small.shape[0]] * 2)
    return np.array(boxes, float).reshape(-1, 4) * scale


def _is_empty(image: np.ndarray) -> bool:
    """Tell whether nothing is stained like even the faintest nucleus, as `detector.Tiles.is_empty` does of a tile."""
    glass = glass_of(image)
    strips = (image[y : y + 1024 : 2, ::2] for y in range(0, image.shape[0], 1024))
    return all(nuclear_stain(np.ascontiguousarray(strip), glass).max() < FAINTEST_NUCLEUS for strip in strips)


def uncovered_nuclei(nuclei: np.ndarray, boxes: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return the nuclei that no box covers.

    Parameters
    ----------
    nuclei : ndarray, shape (n, 4), float
        xyxy, as `find_nuclei` gives them.
    boxes : array_like, shape (m, 4), float
        xyxy of found cells in the same pixels; may be empty.

    Returns
    -------
    ndarray, shape (k, 4), float
        Those of which no single box covers half.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    if not len(nuclei) or not len(boxes):
        return nuclei
    covered = np.zeros(len(nuclei), bool)
    for start in range(0, len(boxes), 500):
        some = boxes[start : start + 500]
        overlap = np.minimum(nuclei[:, None, 2:], some[None, :, 2:]) - np.maximum(
            nuclei[:, None, :2], some[None, :, :2]
        )
        common = overlap.clip(0).prod(2)  # (n, 500)
        covered |= common.max(1) >= 0.5 * (nuclei[:, 2:] - nuclei[:, :2]).prod(1)
    return nuclei[~covered]


def without_nucleus(image: np.ndarray, boxes: np.ndarray, least: float | np.ndarray = FAINTEST_NUCLEUS) -> np.ndarray:
    """Tell which boxes hold nothing that is stained like a nucleus: red cells taken for leukocytes.

    Parameters
    ----------
    image : ndarray or memmap, shape (H, W, 3), uint8, RGB
    boxes : array_like, shape (n, 4), float
        xyxy in pixels of `image`.
    least : float or array_like, shape (n,)
        Stain that a nucleus in each box must have.

    Returns
    -------
    ndarray of bool, shape (n,)

    Notes
    -----
    A twentieth of the box must reach that stain. On pale foreign stains nuclei reach 0.42 and more, red cells that
    overlap 0.25; an erythroblast whose nucleus is no darker in red than its haemoglobin would be lost.
    """
    glass = glass_of(image)
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    least = np.broadcast_to(least, len(boxes))
    bare = np.zeros(len(boxes), bool)
    for index, (x1, y1, x2, y2) in enumerate(boxes.round().astype(int)):
        inside = image[max(0, y1) : max(y2, y1 + 1), max(0, x1) : max(x2, x1 + 1)]
        bare[index] = inside.size and np.quantile(nuclear_stain(inside, glass), 0.95) < least[index]
    return bare


def least_erythroblast_stain(image: np.ndarray) -> float:
    """Return the stain that the nucleus of an erythroblast has at least, measured on its own image.

    Notes
    -----
    Of 179 labelled erythroblasts none was below 0.61; red cells with a dent or a fold reach 0.56.
    """
    some = image[:: max(1, image.shape[0] // 800), :: max(1, image.shape[1] // 800)]
    return ERYTHROBLAST_SHARE * _threshold(nuclear_stain(np.ascontiguousarray(some)))


def nuclear_stain(image: np.ndarray, glass: np.ndarray | None = None) -> np.ndarray:
    """Return how much each pixel is stained like a nucleus, shape (H, W), float32; background near 0.

    Notes
    -----
    Nuclei of Romanowsky stains absorb red and leave blue; haemoglobin and eosin absorb blue and green more than red. So
    the measure is the optical density of red over that of blue, plus half of the density of red itself, both against
    the glass (of the image itself unless given as red and blue): that takes out the lamp and most of a lab's tint.
    """
    density = -np.log(np.maximum(np.arange(256, dtype=np.float32), 4))
    red, blue = density[image[..., 0]], density[image[..., 2]]
    red_of_glass, blue_of_glass = glass_of(image) if glass is None else glass
    red -= density[red_of_glass]
    blue -= density[blue_of_glass]
    return 1.5 * red - blue


def glass_of(image: np.ndarray) -> np.ndarray:
    """Return red and blue of the glass: the median of the brightest fifth by green, which all cells absorb."""
    some = image[:: max(1, image.shape[0] // 400), :: max(1, image.shape[1] // 400)].reshape(-1, 3)
    bright = some[some[:, 1] >= np.quantile(some[:, 1], 0.8)]
    return np.median(bright[:, [0, 2]], axis=0).astype(np.uint8)


def _threshold(stain: np.ndarray) -> float:
    """Return where nuclei begin: Otsu's cut between cytoplasm and nuclei, kept inside what four laboratories showed."""
    stained = stain[(stain > 0.3) & (stain < 1.5)]
    low, high = LEAST_NUCLEAR_STAIN
    if len(stained) < 500:
        return high
    levels = ((stained - 0.3) * (255 / 1.2)).astype(np.uint8)
    cut, _ = cv2.threshold(levels[:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(np.clip(0.3 + cut * 1.2 / 255, low, high))


def _at_working_scale(image: np.ndarray, um_per_px: float) -> np.ndarray:
    """Return the image at 0.3 um per px, in bands so that a memory-mapped slide is never in memory whole."""
    factor = um_per_px / WORKING_UM_PER_PX
    height_px, width_px = (max(8, round(edge * factor)) for edge in image.shape[:2])
    rows = 2048
    if image.shape[0] <= rows:
        return cv2.resize(np.ascontiguousarray(image), (width_px, height_px), interpolation=cv2.INTER_AREA)
    small = np.empty((height_px, width_px, 3), np.uint8)
    edges = np.linspace(0, image.shape[0], image.shape[0] // rows + 2).astype(int)
    for start, end in zip(edges, edges[1:]):
        first, last = (round(edge * height_px / image.shape[0]) for edge in (start, end))
        band = np.ascontiguousarray(image[start:end])
        small[first:last] = cv2.resize(band, (width_px, last - first), interpolation=cv2.INTER_AREA)
    return small


def _disc(radius_px: float) -> np.ndarray:
    radius_px = max(1, round(radius_px))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))


def _pale_nuclei(stain: np.ndarray, boxes: Sequence[Sequence[float]], um: float) -> list[tuple[int, int, int, int]]:
    """Return the boxes xyxy (working px) of pale nuclei: round patches of PALE_STAIN beside all that was found."""
    pale = (stain > PALE_STAIN).astype(np.uint8)
    for left, top, right, bottom in boxes:
        pale[top:bottom, left:right] = 0
    # The opening takes away the rims of cytoplasm that the found nuclei leave, and threads.
    joined = cv2.morphologyEx(pale, cv2.MORPH_CLOSE, _disc(THREAD_UM / um))
    patches = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _disc(PALE_RADIUS_UM / um))
    return [
        (left, top, right, bottom)
        for patch in regionprops(cv2.connectedComponents(patches)[1])
        for top, left, bottom, right in [patch.bbox]
        if patch.area * um**2 >= PALE_AREA_UM2
    ]


def _nuclei_of_patch(patch: Any, dark: np.ndarray, um: float) -> list[tuple[int, int, int, int]]:
    """Return the boxes xyxy (working px) of the nuclei in one patch; `dark` has the seams that joining closed."""
    top, left, bottom, right = patch.bbox
    whole = cv2.distanceTransform(np.pad(patch.image_filled.astype(np.uint8), 1), cv2.DIST_L2, 5)  # px to the edge
    if whole.max() * um < LEAST_RADIUS_UM:
        return []
    if patch.area_filled * um**2 <= ONE_NUCLEUS_UM2:
        return [(left, top, right, bottom)]
    # Gaps in the chromatin are filled, the light seams between cells that touch are not.
    inside = np.pad(patch.image_filled & (dark[top:bottom, left:right] > 0), 1)
    inside = remove_small_holes(inside, max_size=round(2.5 / um**2))
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    depth = cv2.GaussianBlur(depth, (0, 0), 0.4 / um)
    # A neck at least 0.4 um thinner in radius than the smaller of its two sides parts two nuclei.
    seeds = label(h_maxima(depth, 0.4 / um) & (depth * um > 0.8 * LEAST_RADIUS_UM))
    boxes = []
    for part in regionprops(watershed(-depth, seeds, mask=inside)):
        if part.area * um**2 >= LEAST_AREA_UM2:
            y1, x1, y2, x2 = part.bbox
            boxes.append((left + x1 - 1, top + y1 - 1, left + x2 - 1, top + y2 - 1))
    return boxes or [(left, top, right, bottom)]
