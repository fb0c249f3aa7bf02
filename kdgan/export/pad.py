"""What a drawing must be like to look as training images do: its ground, its size, its place and its brightness."""

from typing import Any

import numpy as np

INK = 0.25  # from which share of full ink a pixel belongs to what is drawn


def pad_of(images: np.ndarray) -> dict[str, Any] | None:
    """How a drawing becomes such an image; None where these are none that one draws: of colour, or without even ground.

    Args:
      images: uint8 [n, h, w, c] of the data.

    Returns:
      {"dark": whether the ground is dark, "extent": the longer side of what is drawn as a share of the image's longer side,
      "centre": (x, y) of the ink's centre of mass as shares of width and height, "peak": the brightest ink in [0, 1]};
      medians over the images.
    """
    if images.ndim != 4 or images.shape[-1] != 1 or not len(images) or min(images.shape[1:3]) < 4:
        return None
    values = images[..., 0].astype(np.float32) / 255
    border = np.concatenate(
        [values[:, 0].ravel(), values[:, -1].ravel(), values[:, :, 0].ravel(), values[:, :, -1].ravel()]
    )
    dark = bool(np.median(border) < 0.5)
    ink = values if dark else 1 - values
    if abs(float(np.median(border)) - (0 if dark else 1)) > 0.1 or ink.mean() > 0.5:
        return None
    height, width = ink.shape[1:]
    extents, centres, peaks = [], [], []
    for image in ink:
        rows, columns = np.nonzero(image > INK)
        if not len(rows):
            continue
        extents.append(max(np.ptp(rows) + 1, np.ptp(columns) + 1) / max(height, width))
        mass = image.sum()
        centres.append(
            [
                (image.sum(0) * (np.arange(width) + 0.5)).sum() / mass / width,
                (image.sum(1) * (np.arange(height) + 0.5)).sum() / mass / height,
            ]
        )
        peaks.append(image.max())
    if not extents:
        return None
    return {
        "dark": dark,
        "extent": round(float(np.median(extents)), 4),
        "centre": [round(float(value), 4) for value in np.median(centres, axis=0)],
        "peak": round(float(np.median(peaks)), 4),
    }
