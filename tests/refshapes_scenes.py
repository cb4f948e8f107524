"""Scenes put together by hand, for tests of what is said about them."""

from plvl.data.refshapes.backgrounds import Background
from plvl.data.refshapes.scene import Light, Scene
from plvl.data.refshapes.shapes import COLOURS, SIZES, Shape


def a_shape(name, colour, center, size="small", texture="plain"):
    return Shape(name, colour, size, texture, center, SIZES[size][0], 0.0, COLOURS[colour])


def a_scene(*shapes):
    light = Light(direction=(0.0, -1.0), brightness=1.0, warmth=0.0, falloff=0.0, shadow=0.0, blur=0.0, grain=0.0)
    return Scene(320, 240, Background("flat", ((200, 200, 190), (200, 200, 190)), 0), light, shapes)
