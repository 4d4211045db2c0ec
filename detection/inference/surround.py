"""Take the surround of a picture out, black or of one colour: a phone on the eyepiece, a round field, a frame.

What the rest of the picture shows is left to `scale`, `nuclei` and `detector`.
"""

import cv2
import numpy as np

WORKING_PX = 640
BLACK = 32  # brightest channel of the surround; of a nucleus the blue channel is above 80
SHADOW, SHADOW_SHARE = 110, 0.05  # the soft rim about it: how bright, and how wide as a share of the longer edge
LEAST_SHARE = 0.01  # of the picture; less is a mark, a nucleus or dirt at its edge
MOST_SHARE = 0.98  # more leaves no picture
FLAT = 10  # grey levels within which a surround of one colour stays
COLOURED = 80  # grey levels between the channels: no glass has so much colour, and it misleads the search for nuclei
UNLIKE_GLASS = 12  # grey levels; paint of nearly the glass's colour changes nothing
MOST_HOLLOW = 0.1  # of the surround's area: glass among cells reaches into them, about a field a surround does not
LEAST_FIELD = 0.3  # of the picture; less is one cell on glass


def without_surround(pixels: np.ndarray, *, bright: bool = False) -> np.ndarray:
    """Return a picture whose surround is painted in the colour of its glass.

    Parameters
    ----------
    pixels : ndarray or memmap, shape (H, W, 3), uint8, RGB
    bright : bool
        Whether a bright grey or white surround is painted too: it misleads the measure of red cells, but no detector.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        `pixels` itself where there is no surround, else a painted copy: scale, stain and detector see glass there.
    """
    step = max(1, -(-max(pixels.shape[:2]) // WORKING_PX))
    small = np.ascontiguousarray(pixels[::step, ::step])
    mask = surround_mask(small)
    if not mask.any():
        mask = flat_mask(small, bright=bright)
    if not mask.any():
        return pixels
    painted = np.array(pixels)
    height_px, width_px = pixels.shape[:2]
    whole = cv2.resize(mask, (mask.shape[1] * step, mask.shape[0] * step), interpolation=cv2.INTER_NEAREST)
    painted[whole[:height_px, :width_px] > 0] = _glass(small[mask == 0])
    return painted


def _glass(seen: np.ndarray) -> np.ndarray:
    """Return the colour of the glass among pixels, shape (n, 3)."""
    return np.median(seen[seen[:, 1] >= np.quantile(seen[:, 1], 0.8)], axis=0).astype(np.uint8)


def flat_mask(picture: np.ndarray, *, bright: bool) -> np.ndarray:
    """Return where a picture (H, W, 3) uint8 is a surround of one colour about a convex field, as `surround_mask` does.

    `bright=False` leaves surrounds that are as bright and as pale as glass may be.
    """
    height, width = picture.shape[:2]
    smooth = cv2.medianBlur(picture, 5)
    mask = np.zeros((height, width), bool)
    for y, x in ((0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)):
        is_like_glass = smooth[y, x].max() >= SHADOW and np.ptp(smooth[y, x]) < COLOURED
        if mask[y, x] or (is_like_glass and not bright):
            continue
        alike = np.abs(smooth.astype(np.int16) - smooth[y, x]).max(2) <= FLAT
        _, labels = cv2.connectedComponents(alike.astype(np.uint8))
        outlines, _ = cv2.findContours(
            (labels != labels[y, x]).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        field = max(outlines, key=cv2.contourArea, default=None)
        if field is None:
            continue
        about = cv2.drawContours(np.zeros((height, width), np.uint8), [field], -1, 1, cv2.FILLED) == 0
        hollow = cv2.contourArea(cv2.convexHull(field)) - cv2.contourArea(field)
        if hollow <= MOST_HOLLOW * about.sum() and about.mean() <= 1 - LEAST_FIELD:
            mask |= about
    none = np.zeros((height, width), np.uint8)
    if not LEAST_SHARE <= mask.mean() <= MOST_SHARE:
        return none
    away = np.abs(np.median(picture[mask], axis=0) - _glass(picture[~mask])).max()
    wider = np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)))
    return wider if away > UNLIKE_GLASS and wider.mean() <= MOST_SHARE else none


def surround_mask(picture: np.ndarray) -> np.ndarray:
    """Return where a picture (H, W, 3) uint8 is black surround with its soft rim, shape (H, W), uint8, 0 or 1."""
    brightest = picture.max(2)
    parts, labels = cv2.connectedComponents((brightest < BLACK).astype(np.uint8))
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    areas = np.bincount(labels.ravel(), minlength=parts)
    kept = np.zeros(parts, bool)
    kept[np.unique(edge)] = True
    kept[0] = False  # what is not black
    kept &= areas >= LEAST_SHARE * brightest.size
    black = kept[labels].astype(np.uint8)
    share = black.mean()
    if not 0 < share <= MOST_SHARE:
        return np.zeros_like(black)
    reach = max(1, round(SHADOW_SHARE * max(picture.shape[:2])))
    near = cv2.dilate(black, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    mask = black | (near & (brightest < SHADOW).astype(np.uint8))
    mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    return mask if mask.mean() <= MOST_SHARE else np.zeros_like(mask)
