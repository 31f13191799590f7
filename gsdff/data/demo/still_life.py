"""The arrangement on the demo table."""

import math

from gsdff.data.demo.crockery import bottle, bowl, clock, cup, lamp, plate, teapot
from gsdff.data.demo.solids import Placement, Solid
from gsdff.data.demo.things import (
    APPLE_HEIGHT,
    ORANGE_RADIUS,
    apple,
    banana,
    book,
    donut,
    orange,
    potted_plant,
    toy_block,
)


def still_life(table_top: float) -> list[Solid]:
    """All objects on the table, whose top is at this height."""

    def at(x: float, y: float, degrees: float = 0.0, lift: float = 0.0) -> Placement:
        return Placement(x, y, table_top + lift, degrees)

    bx, by = -0.18, -0.08
    ring = [(bx + 0.088 * math.cos(a), by + 0.088 * math.sin(a)) for a in (0.4, 1.97, 3.54, 5.11)]
    return [
        bowl("bowl", at(bx, by)),
        apple("apple red", at(*ring[0], 40, 0.086), "#c8342a", "#a01218"),
        orange("orange in bowl", at(*ring[1], 0, 0.085)),
        apple("apple green", at(*ring[2], 200, 0.086), "#86a835", "#b9b345"),
        apple("apple dark", at(*ring[3], 120, 0.086), "#b8342a", "#7d0f1a"),
        orange("orange on top", at(bx + 0.005, by, 0, 0.139)),
        apple("apple on table", at(-0.43, -0.25, 130, APPLE_HEIGHT), "#cf4a2c", "#a5141c"),
        orange("orange on table", at(-0.34, -0.3, 0, ORANGE_RADIUS)),
        banana("banana", at(0.0, -0.3, 190)),
        book("book blue", at(0.31, -0.04, 12), (0.088, 0.125, 0.034), "#2c4a80", "#e3c06a", 0),
        book("book red", at(0.315, -0.035, -9, 0.034), (0.082, 0.115, 0.028), "#9c3a34", "#f0dfb4", 2),
        book("book green", at(0.31, -0.04, 27, 0.062), (0.072, 0.1, 0.022), "#356b4e", "#e6c766", 1),
        cup("cup red", at(0.31, -0.045, 205, 0.084), "#c8352c", "#f4eddc"),
        cup("cup blue", at(-0.45, 0.03, 120), "#e8e2d2", "#2b5fa8", is_dotted=True),
        teapot("teapot", at(0.09, 0.09, 300)),
        bottle("bottle", at(-0.1, 0.24, 250)),
        *potted_plant("potted plant", at(0.18, 0.28)),
        *lamp("lamp", at(0.43, 0.25)),
        clock("clock", at(-0.34, 0.25, 135)),
        plate("plate", at(0.23, -0.29)),
        donut("donut pink", at(0.215, -0.315, 20, 0.0075), "#e58aa5"),
        donut("donut brown", at(0.26, -0.25, 70, 0.03), "#5b3018"),
        toy_block("toy block red", at(0.49, -0.16, 15), "#c43a2f", 0),
        toy_block("toy block blue", at(0.497, -0.093, 35), "#2f6bb0", 1),
        toy_block("toy block yellow", at(0.492, -0.127, -12, 0.058), "#3c8a4c", 2),
    ]
