"""A house as a binary glTF 2.0 file (.glb), written with numpy alone.

glTF is y-up and right-handed (Khronos glTF 2.0 specification, 3.4): house (x, y, z) becomes
(x, z, -y), so the file's -z axis is the house's +y. One node with one mesh per body, named after
it; one material per colour. Boxes have 12 triangles; round bodies are inscribed in the true shape.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.rooms.catalogue import Part
from pilotage.envs.rooms.house import House

_MAGIC, _JSON_CHUNK, _BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT16 = 5126, 5123
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
_SEGMENTS, _RINGS = 24, 12

Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]  # positions [v, 3], normals [v, 3], faces [f, 3]


def to_gltf_axes(points: np.ndarray) -> np.ndarray:
    """House coordinates `[..., 3]` (z up) to glTF's (y up)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def part_mesh(part: Part) -> Mesh:
    """Triangles of a primitive around its centre, house axes, counter-clockwise from outside."""
    if part.shape == "box":
        return _box(np.array(part.size))
    if part.shape == "cylinder":
        return _cylinder(part.size[0], part.size[1])
    if part.shape == "sphere":
        return _sphere(part.size[0])
    raise ValueError(f"part of shape {part.shape!r}: only box, cylinder and sphere have a mesh")


def _box(half: np.ndarray) -> Mesh:
    positions: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    faces: list[int] = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1.0, 1.0):
            first = len(positions)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner, normal = np.zeros(3), np.zeros(3)
                corner[axis], corner[u], corner[v] = sign, a, b
                normal[axis] = sign
                positions.append(corner * half)
                normals.append(normal)
            order = (0, 1, 2, 0, 2, 3) if sign > 0 else (0, 2, 1, 0, 3, 2)
            faces += [first + k for k in order]
    return np.array(positions), np.array(normals), np.array(faces).reshape(-1, 3)


def _cylinder(radius: float, half: float) -> Mesh:
    angles = 2 * math.pi * np.arange(_SEGMENTS) / _SEGMENTS
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(_SEGMENTS)], axis=1)
    up = np.array([0.0, 0.0, 1.0])
    low, high = radius * ring - half * up, radius * ring + half * up
    caps = [np.broadcast_to(-up, ring.shape), np.broadcast_to(up, ring.shape)]
    positions = np.concatenate([low, high, low, high])
    normals = np.concatenate([ring, ring, *caps])
    n, faces = _SEGMENTS, []
    for k in range(n):
        j = (k + 1) % n
        faces += [(k, j, n + j), (k, n + j, n + k)]
    for k in range(1, n - 1):
        faces += [(2 * n, 2 * n + k + 1, 2 * n + k), (3 * n, 3 * n + k, 3 * n + k + 1)]
    return positions, normals, np.array(faces)


def _sphere(radius: float) -> Mesh:
    polar = math.pi * np.arange(_RINGS + 1) / _RINGS
    angles = 2 * math.pi * np.arange(_SEGMENTS) / _SEGMENTS
    s, c = np.sin(polar)[:, None], np.cos(polar)[:, None]
    s[0] = s[-1] = 0.0
    normals = np.stack([s * np.cos(angles), s * np.sin(angles), c + 0 * angles], axis=-1)
    normals = normals.reshape(-1, 3)
    faces = []
    for i in range(_RINGS):
        for k in range(_SEGMENTS):
            a, b = i * _SEGMENTS + k, i * _SEGMENTS + (k + 1) % _SEGMENTS
            c_, d = a + _SEGMENTS, b + _SEGMENTS
            if i + 1 < _RINGS:
                faces.append((a, c_, d))
            if i > 0:
                faces.append((a, d, b))
    return radius * normals, normals, np.array(faces)


class _Buffer:
    """The binary chunk and its accessors, grown one array at a time."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, *, indices: bool = False) -> int:
        """Append positions, normals (float32 VEC3) or indices (uint16); the accessor's number."""
        values = np.ascontiguousarray(array, dtype="<u2" if indices else "<f4")
        self.data.extend(b"\0" * (-len(self.data) % 4))
        view = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": values.nbytes,
            "target": _ELEMENT_BUFFER if indices else _ARRAY_BUFFER,
        }
        self.data.extend(values.tobytes())
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _UINT16 if indices else _FLOAT,
            "count": values.size if indices else len(values),
            "type": "SCALAR" if indices else "VEC3",
        }
        if not indices:
            accessor["min"] = values.min(axis=0).tolist()
            accessor["max"] = values.max(axis=0).tolist()
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def write_glb(house: House, path: str | Path) -> None:
    """Write every body of `house` to `path`. The file is complete or absent, never half written."""
    document, binary = _document(house)
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    with open(draft, "wb") as file:
        file.write(struct.pack("<III", _MAGIC, 2, total))
        file.write(struct.pack("<II", len(text), _JSON_CHUNK) + text)
        file.write(struct.pack("<II", len(binary), _BIN_CHUNK) + binary)
    draft.replace(target)


def _document(house: House) -> tuple[dict[str, Any], bytes]:
    buffer = _Buffer()
    nodes, meshes = [], []
    materials: dict[tuple[float, ...], int] = {}
    for body in house.bodies:
        positions, normals, faces = part_mesh(body.part)
        material = materials.setdefault(tuple(body.part.color), len(materials))
        primitive = {
            "attributes": {
                "POSITION": buffer.add(to_gltf_axes(positions)),
                "NORMAL": buffer.add(to_gltf_axes(normals)),
            },
            "indices": buffer.add(faces.ravel(), indices=True),
            "material": material,
        }
        meshes.append({"name": body.name, "primitives": [primitive]})
        center = to_gltf_axes(np.array(body.part.center))
        nodes.append({"name": body.name, "mesh": len(meshes) - 1, "translation": center.tolist()})
    document = {
        "asset": {"version": "2.0", "generator": "pilotage rooms"},
        "scene": 0,
        "scenes": [{"name": f"house_{house.seed}", "nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": [_material(color) for color in materials],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data) + -len(buffer.data) % 4}],
    }
    return document, bytes(buffer.data)


def _material(color: tuple[float, ...]) -> dict[str, Any]:
    """A matt material; glTF's base colour is linear, ours is sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return {
        "name": "rgb({:.3f}, {:.3f}, {:.3f})".format(*color),
        "pbrMetallicRoughness": {
            "baseColorFactor": [*(round(v, 6) for v in linear), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
    }
