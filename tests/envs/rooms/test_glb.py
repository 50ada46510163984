"""Houses written as glTF, read back by trimesh."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pilotage.envs.rooms import make_house
from pilotage.envs.rooms.catalogue import Part
from pilotage.envs.rooms.glb import part_mesh, write_glb
from pilotage.envs.rooms.palette import ROOM_COLORS

trimesh = pytest.importorskip("trimesh", reason="pip install pilotage[dev]")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    house = make_house(1)
    path = tmp_path_factory.mktemp("glb") / "house.glb"
    house.to_glb(path)
    assert [p.name for p in path.parent.iterdir()] == ["house.glb"]
    scene = trimesh.load(path)
    return house, {name: scene.geometry[scene.graph[name][1]] for name in _bodies(house)}, scene


def _bodies(house):
    return {body.name: body for body in house.bodies}


def _in_house_axes(points):
    """The inverse of the file's axis mapping, written out: glTF (X, Y, Z) is house (X, -Z, Y)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def test_one_node_per_body_in_its_place(loaded):
    house, _, scene = loaded
    assert set(scene.graph.nodes_geometry) == set(_bodies(house))
    assert len(_bodies(house)) == len(house.bodies)
    for name, body in _bodies(house).items():
        transform, geometry = scene.graph[name]
        mesh = scene.geometry[geometry]
        points = trimesh.transform_points(mesh.vertices, transform)
        points = _in_house_axes(points)
        half = np.array(body.part.size)
        if body.part.shape == "cylinder":
            half = np.array([half[0], half[0], half[1]])
        elif body.part.shape == "sphere":
            half = np.full(3, half[0])
        center = np.array(body.part.center)
        assert points.min(axis=0) == pytest.approx(center - half, abs=1e-4)
        assert points.max(axis=0) == pytest.approx(center + half, abs=1e-4)


def test_bounds_of_the_whole(loaded):
    house, _, scene = loaded
    low, high = scene.bounds
    assert low == pytest.approx([0.0, -0.1, -house.size[1]], abs=1e-5)
    assert high == pytest.approx([house.size[0], 2.6, 0.0], abs=1e-5)


def test_meshes_are_closed_and_have_the_right_volume(loaded):
    house, meshes, _ = loaded
    n, rings = 24, 12
    for name, body in _bodies(house).items():
        mesh = meshes[name].copy()
        mesh.merge_vertices(merge_norm=True, merge_tex=True)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        a, b, c = body.part.size
        exact = {
            "box": 8 * a * b * c,
            "cylinder": math.pi * a * a * 2 * b,
            "sphere": 4 / 3 * math.pi * a**3,
        }[body.part.shape]
        loss = {"box": 0.0, "cylinder": 7 / n**2, "sphere": 7 / n**2 + 4 / rings**2}
        assert exact * (1 - loss[body.part.shape]) - 1e-6 <= mesh.volume <= exact + 1e-5


def test_normals_point_outward():
    for part in (
        Part("box", (0, 0, 0), (1, 2, 3), (1, 1, 1)),
        Part("cylinder", (0, 0, 0), (1, 2, 0), (1, 1, 1)),
        Part("sphere", (0, 0, 0), (1, 0, 0), (1, 1, 1)),
    ):
        positions, normals, faces = part_mesh(part)
        assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0)
        assert (np.einsum("ij,ij->i", positions, normals) > 0).all()
        a, b, c = (positions[faces[:, k]] for k in range(3))
        flat = np.cross(b - a, c - a)
        assert (np.einsum("ij,ij->i", flat, a + b + c) > 0).all()
        assert (np.einsum("ij,ij->i", flat, normals[faces[:, 0]]) > 0).all()
    with pytest.raises(ValueError, match="cone"):
        part_mesh(Part("cone", (0, 0, 0), (1, 0, 0), (1, 1, 1)))


def _hits(a, b, triangles):
    """How many triangles [t, 3, 3] the segment from a to b goes through, by signed volumes."""

    def side(p, q, r, s):
        return np.einsum("ij,ij->i", np.cross(q - p, r - p), s - p)

    t0, t1, t2 = (triangles[:, k] for k in range(3))
    p, q = (np.broadcast_to(v, t0.shape) for v in (a, b))
    crossed = side(t0, t1, t2, p) * side(t0, t1, t2, q) < 0
    turns = np.sign([side(p, q, t0, t1), side(p, q, t1, t2), side(p, q, t2, t0)])
    return int((crossed & (abs(turns.sum(axis=0)) == 3)).sum())


def test_doors_are_open_and_walls_are_not(loaded):
    """Rays at hip height through every door meet nothing; beside the door they meet both walls."""
    house, _, scene = loaded
    triangles = scene.to_mesh().triangles
    for door in house.doors:
        for aside, hits in ((0.0, False), (door.width / 2 + 0.15, True)):
            start, end = list(door.center), list(door.center)
            start[door.axis] -= 0.4
            end[door.axis] += 0.4
            for spot in (start, end):
                spot[1 - door.axis] += aside
            a, b = (np.array([s[0], 0.9, -s[1]]) for s in (start, end))
            assert bool(_hits(a, b, triangles)) == hits


def test_colours_are_kept(loaded):
    house, meshes, _ = loaded
    floor = next(b for b in house.bodies if b.group == "floor")
    linear = meshes[floor.name].visual.material.baseColorFactor[:3] / 255.0
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert srgb == pytest.approx(floor.part.color, abs=0.02)
    assert srgb == pytest.approx(ROOM_COLORS[house.rooms[0].type][0], abs=0.07)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="absent"):
        write_glb(make_house(1), tmp_path / "absent" / "house.glb")
