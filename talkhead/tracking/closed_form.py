"""Closed-form matting: find the share of the foreground in the pixels along an edge.

In a small window, the colours of foreground and background each lie near a line, so the share is
a linear function of the colour. Requiring this of all overlapping windows gives a quadratic cost,
whose minimum under known pixels is the solution of a sparse linear system. Source: Levin,
Lischinski and Weiss, "A closed-form solution to natural image matting", 2008.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import sparse
from scipy.ndimage import binary_dilation
from scipy.sparse.linalg import LinearOperator, cg

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

EPSILON = 1e-5
"""Variance below which a window counts as flat; colours are from 0 to 1."""
EXPECTED = 0.005
"""Weight of an expectation, against 1 for a window."""
TOLERANCE = 1e-3
MAX_STEPS = 300
"""Steps of the solver; by then strands of hair are found, and what is left does not show."""
_WINDOW = 9  # pixels


def solve_alpha(
    picture: Floats, start: Floats, unknown: Mask, expected: Mask | None = None
) -> Floats:
    """Find the alpha of the unknown pixels.

    Args:
        picture: (H, W, 3) in [0, 1].
        start: (H, W) in [0, 1]; its values are kept where known, and guesses elsewhere.
        unknown: (H, W).
        expected: (H, W), unknown pixels that are foreground unless the colours speak against it.

    Returns:
        (H, W) in [0, 1].
    """
    alpha = start.astype(np.float64)
    if not unknown.any():
        return start
    laplacian = matting_laplacian(picture.astype(np.float64), unknown)
    inside = np.flatnonzero(unknown)
    rows = laplacian[inside]
    pull = np.zeros(len(inside)) if expected is None else EXPECTED * expected.ravel()[inside]
    known = alpha.ravel().copy()
    known[inside] = 0
    matrix = (rows[:, inside] + sparse.diags_array(pull)).tocsr()
    diagonal = np.maximum(matrix.diagonal(), 1e-9)
    scaled = LinearOperator(matrix.shape, lambda vector: vector / diagonal)
    solution, _ = cg(
        matrix,
        pull - rows @ known,
        alpha.ravel()[inside],
        rtol=TOLERANCE,
        maxiter=MAX_STEPS,
        M=scaled,
    )
    alpha.ravel()[inside] = solution.clip(0, 1)
    return alpha.astype(np.float32)


def matting_laplacian(picture: npt.NDArray[np.float64], unknown: Mask) -> sparse.csr_array:
    """Return the matrix of the quadratic cost, (H W, H W), of windows that touch unknown pixels.

    Args:
        picture: (H, W, 3) in [0, 1].
        unknown: (H, W).
    """
    height, width = unknown.shape
    touched = binary_dilation(unknown, np.ones((3, 3)))[1:-1, 1:-1]
    windows = sliding_window_view(picture, (3, 3, 3))[:, :, 0][touched]
    colours = windows.reshape(-1, _WINDOW, 3)
    numbers = np.arange(height * width).reshape(height, width)
    indices = sliding_window_view(numbers, (3, 3))[touched].reshape(-1, _WINDOW)
    centred = colours - colours.mean(1, keepdims=True)
    covariance = centred.transpose(0, 2, 1) @ centred / _WINDOW
    inverse = np.linalg.inv(covariance + EPSILON / _WINDOW * np.eye(3))
    affinity = (1 + centred @ inverse @ centred.transpose(0, 2, 1)) / _WINDOW
    values = np.eye(_WINDOW) - affinity
    rows = np.repeat(indices, _WINDOW, 1).ravel()
    columns = np.tile(indices, _WINDOW).ravel()
    matrix = sparse.coo_array(
        (values.ravel(), (rows, columns)), shape=(height * width, height * width)
    )
    return matrix.tocsr()
