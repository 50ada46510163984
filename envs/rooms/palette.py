"""Names and colours: what the rooms and the furniture of a house may look like."""

from __future__ import annotations

Color = tuple[float, float, float]

COLORS: dict[str, Color] = {
    "red": (0.80, 0.08, 0.08),
    "blue": (0.10, 0.22, 0.80),
    "green": (0.10, 0.55, 0.18),
    "yellow": (0.95, 0.82, 0.10),
    "orange": (0.95, 0.48, 0.08),
    "purple": (0.50, 0.14, 0.60),
    "pink": (0.95, 0.50, 0.70),
    "white": (0.94, 0.94, 0.94),
    "black": (0.07, 0.07, 0.08),
    "brown": (0.42, 0.25, 0.12),
}

# room type -> (floor colour, wall colour); a house jitters both a little
ROOM_COLORS: dict[str, tuple[Color, Color]] = {
    "kitchen": ((0.86, 0.84, 0.76), (0.96, 0.90, 0.55)),
    "bedroom": ((0.55, 0.38, 0.24), (0.74, 0.66, 0.88)),
    "bathroom": ((0.55, 0.75, 0.80), (0.62, 0.90, 0.92)),
    "living room": ((0.72, 0.55, 0.36), (0.95, 0.76, 0.58)),
    "dining room": ((0.45, 0.16, 0.16), (0.93, 0.66, 0.66)),
    "office": ((0.38, 0.42, 0.50), (0.58, 0.72, 0.92)),
    "library": ((0.20, 0.34, 0.24), (0.64, 0.80, 0.62)),
    "laundry room": ((0.66, 0.60, 0.70), (0.80, 0.80, 0.70)),
    "hallway": ((0.44, 0.43, 0.42), (0.90, 0.90, 0.90)),
}

ROOM_TYPES = tuple(t for t in ROOM_COLORS if t != "hallway")
REPEATABLE_TYPES = ("bedroom", "bathroom")  # a house may have two of these, never two of the others
SMALL_TYPES = ("bathroom", "laundry room", "office", "library", "kitchen")
DOOR_FRAME_COLOR: Color = (0.30, 0.16, 0.07)
CEILING_COLOR: Color = (0.97, 0.97, 0.95)

# category -> colour words it comes in; the empty tuple means its colour is never named
FURNITURE_COLORS: dict[str, tuple[str, ...]] = {
    "sofa": ("red", "blue", "green", "yellow", "purple"),
    "armchair": ("red", "blue", "green", "yellow", "orange"),
    "bed": ("red", "blue", "green", "pink", "white"),
    "table": ("brown", "white", "black", "orange"),
    "chair": ("brown", "white", "red", "blue"),
    "desk": ("brown", "white", "black"),
    "cabinet": ("brown", "white", "blue", "red"),
    "shelf": ("brown", "white", "black"),
    "fridge": ("white", "black", "red"),
    "lamp": ("yellow", "white", "red", "blue"),
    "rug": ("red", "blue", "green", "purple", "orange"),
    "ball": ("red", "blue", "yellow", "orange", "purple"),
    "crate": ("red", "blue", "green", "yellow", "purple"),
    "plant": (),
    "stove": (),
    "sink": (),
    "toilet": (),
    "bath": (),
    "television": (),
    "washer": (),
}
CATEGORIES = tuple(FURNITURE_COLORS)

# room type -> (items always wanted, extras to draw from)
ROOM_FURNITURE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kitchen": (("fridge", "stove", "sink"), ("table", "plant", "crate", "cabinet")),
    "bedroom": (("bed",), ("cabinet", "lamp", "rug", "plant", "ball", "armchair", "desk")),
    "bathroom": (("toilet", "sink"), ("bath", "crate", "cabinet", "plant")),
    "living room": (("sofa", "television"), ("armchair", "plant", "lamp", "rug", "shelf", "ball")),
    "dining room": (("table",), ("cabinet", "plant", "lamp", "shelf")),
    "office": (("desk",), ("shelf", "plant", "lamp", "cabinet", "rug")),
    "library": (("shelf", "shelf"), ("armchair", "lamp", "table", "rug", "plant")),
    "laundry room": (("washer",), ("sink", "crate", "shelf", "ball", "cabinet")),
    "hallway": ((), ("plant", "lamp", "crate", "ball", "rug", "cabinet")),
}
