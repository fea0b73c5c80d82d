"""A drawn face, so that the positions of its parts are known; mediapipe detects it as a face."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

# Centres in fractions of the picture's side.
RIGHT_EYE = (0.41, 0.44)  # the person's right: left in the picture
LEFT_EYE = (0.59, 0.44)
MOUTH = (0.5, 0.655)
BACKGROUND = (120, 140, 160)


def draw_face(side_px: int = 256, opening: float = 0.0) -> npt.NDArray[np.uint8]:
    """Draw a frontal face.

    Args:
        side_px: side of the picture.
        opening: height of the open mouth as a fraction of the side, 0 to 0.1.

    Returns:
        uint8 (side_px, side_px, 3), RGB; the face covers about half of it.
    """
    unit = 2 * side_px  # drawn at twice the size, then averaged down
    image = Image.new("RGB", (unit, unit), BACKGROUND)
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        draw.ellipse([(v * unit) for v in (x - rx, y - ry, x + rx, y + ry)], fill=colour)

    draw.rectangle([0.4 * unit, 0.7 * unit, 0.6 * unit, unit], fill=(200, 155, 125))
    ellipse(0.5, 0.45, 0.27, 0.34, (60, 40, 25))
    ellipse(0.5, 0.5, 0.22, 0.29, (224, 180, 150))
    ellipse(0.5, 0.56, 0.19, 0.22, (230, 188, 160))
    for x, y in (RIGHT_EYE, LEFT_EYE):
        ellipse(x, y - 0.005, 0.055, 0.035, (190, 145, 120))
        ellipse(x, y, 0.04, 0.018, (250, 250, 250))
        ellipse(x, y, 0.017, 0.018, (70, 50, 30))
        ellipse(x, y, 0.008, 0.009, (0, 0, 0))
        brow = [(v * unit) for v in (x - 0.055, y - 0.065, x + 0.055, y - 0.01)]
        draw.arc(brow, 200, 340, fill=(50, 30, 20), width=round(0.012 * unit))
    nose = [(0.5, 0.44), (0.465, 0.565), (0.535, 0.565)]
    draw.polygon([(x * unit, y * unit) for x, y in nose], fill=(212, 165, 135))
    for x in (0.478, 0.522):
        ellipse(x, 0.565, 0.012, 0.008, (120, 70, 55))
    ellipse(*MOUTH, 0.075, 0.018 + opening / 2, (180, 80, 80))
    ellipse(*MOUTH, 0.06, 0.002 + opening / 2, (70, 20, 20))
    image = image.filter(ImageFilter.GaussianBlur(unit / 200))
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BOX))
