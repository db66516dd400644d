"""Colours of the classes in pictures, told apart by colour-blind readers."""

from matplotlib.colors import to_rgb

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), without yellow, which is hard to see on white. Classes
# beyond them repeat the colours, and differ by the style of their line and by their written name.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":")


def class_color(number: int) -> str:
    """Colour of a class by its position."""
    return COLORS[number % len(COLORS)]


def class_line(number: int) -> str:
    """Style of the line of a class by its position."""
    return LINES[number // len(COLORS) % len(LINES)]


def text_color(background: str) -> str:
    """`"black"` or `"white"`, whichever is easier to read on a colour."""
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in to_rgb(background)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # of the WCAG contrast ratio
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


__all__ = ["class_color", "class_line", "text_color"]
