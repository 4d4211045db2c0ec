"""Measure the overlap of boxes, once for the product and the bench; what is in the boxes is left to others."""

import numpy as np


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every box of one set with every box of another.

    Parameters
    ----------
    a, b : ndarray, shape (n, 4) and (m, 4)
        xyxy in px of the same image.

    Returns
    -------
    ndarray, shape (n, m)
        0 where two boxes do not touch, 1 where they are the same; empty where a set is empty.
    """
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)
