"""Take the black surround of a picture out: a phone on the eyepiece, a round field of view, the frame of a scanner.

What the rest of the picture shows is left to `scale`, `nuclei` and `detector`.
"""

import cv2
import numpy as np

WORKING_PX = 640
BLACK = 32  # brightest channel of the surround; of a nucleus the blue channel is above 80
SHADOW, SHADOW_SHARE = 110, 0.05  # the soft rim about it: how bright, and how wide as a share of the longer edge
LEAST_SHARE = 0.01  # of the picture; less is a mark, a nucleus or dirt at its edge
MOST_SHARE = 0.98  # more leaves no picture


def without_surround(pixels: np.ndarray) -> np.ndarray:
    """Return a picture whose black surround is painted in the colour of its glass.

    Parameters
    ----------
    pixels : ndarray or memmap, shape (H, W, 3), uint8, RGB

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
        `pixels` itself where there is no surround, else a painted copy: scale, stain and detector see glass there.
    """
    step = max(1, -(-max(pixels.shape[:2]) // WORKING_PX))
    small = np.ascontiguousarray(pixels[::step, ::step])
    mask = surround_mask(small)
    if not mask.any():
        return pixels
    seen = small[mask == 0]
    bright = seen[seen[:, 1] >= np.quantile(seen[:, 1], 0.8)]
    painted = np.array(pixels)
    height_px, width_px = pixels.shape[:2]
    whole = cv2.resize(mask, (mask.shape[1] * step, mask.shape[0] * step), interpolation=cv2.INTER_NEAREST)
    painted[whole[:height_px, :width_px] > 0] = np.median(bright, axis=0).astype(np.uint8)
    return painted


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
