"""The camera against Bullet itself: ray tests (exact shapes) and its TinyRenderer (meshes)."""

import numpy as np
import pybullet
import pybullet_data
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from pilotage.envs.camera import Cameras, look_at, render
from pilotage.envs.camera.panda import PANDA_PRIMITIVES
from pilotage.envs.camera.pybullet_adapter import (
    LinkShape,
    empty_primitives,
    primitives_from_pybullet,
)

SIZE, FOV, NEAR, FAR = 96, 45.0, 0.05, 8.0
EYES = [(0.9, 0.4, 0.8), (-0.6, 0.9, 0.7), (0.2, -1.0, 0.5)]
TARGET = (0.0, 0.0, 0.15)
SHAPES = {  # name: (type, size, position, roll pitch yaw)
    "box": (pybullet.GEOM_BOX, {"halfExtents": [0.1, 0.06, 0.15]}, (0.1, 0.2, 0.2), (0.3, 0.5, 1)),
    "sphere": (pybullet.GEOM_SPHERE, {"radius": 0.12}, (-0.2, 0.2, 0.15), (0, 0, 0)),
    "cylinder": (
        pybullet.GEOM_CYLINDER,
        {"radius": 0.08, "length": 0.3},
        (0.2, -0.2, 0.2),
        (0.8, 0.4, 0),
    ),
    "capsule": (
        pybullet.GEOM_CAPSULE,
        {"radius": 0.07, "length": 0.25},
        (-0.2, -0.2, 0.25),
        (1.1, 0.3, 0),
    ),
}


@pytest.fixture
def client():
    number = pybullet.connect(pybullet.DIRECT)
    pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=number)
    yield number
    pybullet.disconnect(number)


@pytest.fixture
def shapes_world(client):
    """One body of each shape, inertial frames off the shapes' centres, on a plane."""
    bodies = [_body(client, *SHAPES[name]) for name in SHAPES]
    ground = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
    visual = pybullet.createVisualShape(pybullet.GEOM_PLANE, physicsClientId=client)
    bodies.append(pybullet.createMultiBody(0, ground, visual, physicsClientId=client))
    return client, bodies


def _body(client, geometry, size, position, euler):
    visual = pybullet.createVisualShape(geometry, **size, physicsClientId=client)
    names = {"length": "height"}
    solid = {names.get(name, name): value for name, value in size.items()}
    collision = pybullet.createCollisionShape(geometry, **solid, physicsClientId=client)
    return pybullet.createMultiBody(
        0.1,
        collision,
        visual,
        position,
        pybullet.getQuaternionFromEuler(euler),
        baseInertialFramePosition=[0.03, 0.01, -0.02],
        baseInertialFrameOrientation=pybullet.getQuaternionFromEuler([0.3, 0.2, 0.1]),
        physicsClientId=client,
    )


def _shoot(shapes, eye, target=TARGET, size=SIZE):
    prims = empty_primitives(1, len(shapes) + 2)
    shapes.write(prims, 0)
    shapes.update_poses(prims, 0)
    cameras = Cameras(np.array([eye], np.float32), look_at(eye, target)[None], FOV, NEAR, FAR)
    frames = render(prims, cameras, height=size, width=size)
    return frames.segment[0], frames.depth_m[0], frames.rgb[0]


def _ray_test(client, bodies, eye, target=TARGET):
    """Segment (index into `bodies`) and z-depth by Bullet's ray casts through the pixel centres."""
    rotation = look_at(eye, target).astype(np.float64)
    slope = ((np.arange(SIZE) + 0.5) * 2 / SIZE - 1) * np.tan(np.radians(FOV / 2))
    rays = np.ones((SIZE, SIZE, 3))
    rays[..., 0], rays[..., 1] = slope[None], slope[:, None]
    ends = eye + FAR * rays.reshape(-1, 3) @ rotation.T
    hits = []
    for start in range(0, len(ends), 4096):
        part = ends[start : start + 4096]
        origins = np.tile(eye, (len(part), 1))
        hits += pybullet.rayTestBatch(origins.tolist(), part.tolist(), physicsClientId=client)
    index = {body: i for i, body in enumerate(bodies)} | {-1: -1}
    segment = np.array([index[hit[0]] for hit in hits]).reshape(SIZE, SIZE)
    depth = np.array([hit[2] * FAR for hit in hits]).reshape(SIZE, SIZE)
    return segment, depth


def _assert_depth(depth, distance, where):
    """Bullet's ray casts iterate and stop up to some millimetres early, so: most within 0.3 mm."""
    error = np.abs(depth - distance)[where]
    assert np.median(error) < 3e-4
    assert np.quantile(error, 0.95) < 2e-3
    assert error.max() < 8e-3


def _tiny_renderer(client, eye, target=TARGET, size=SIZE, flags=0):
    """Segment (body id) and z-depth by TinyRenderer.

    It samples a pixel at its lower left corner instead of its centre, so the projection is moved by
    half a pixel.
    """
    view = pybullet.computeViewMatrix(eye, target, [0, 0, 1])
    projection = list(pybullet.computeProjectionMatrixFOV(FOV, 1, NEAR, FAR))
    projection[8] += 1 / size
    projection[9] += 1 / size
    _, _, _, buffer, segment = pybullet.getCameraImage(
        size,
        size,
        view,
        projection,
        renderer=pybullet.ER_TINY_RENDERER,
        flags=flags,
        physicsClientId=client,
    )
    depth = FAR * NEAR / (FAR - (FAR - NEAR) * np.reshape(buffer, (size, size)))
    return np.reshape(segment, (size, size)), depth


def _inner(*segments):
    """Pixels whose 3 x 3 neighbourhood has one segment, in all of the pictures."""
    same = np.ones(segments[0].shape, bool)
    for segment in segments:
        same &= maximum_filter(segment, 3) == minimum_filter(segment, 3)
    return same


@pytest.mark.parametrize("eye", EYES)
def test_ray_tests_of_bullet(shapes_world, eye):
    """Away from edges every pixel has the same body, with depth as `_assert_depth` says."""
    client, bodies = shapes_world
    segment, depth, _ = _shoot(primitives_from_pybullet(client, bodies), eye)
    expected, distance = _ray_test(client, bodies, eye)
    inner = _inner(segment, expected)
    assert inner.mean() > 0.8
    assert set(np.unique(segment[inner])) >= {0, 1, 2, 3, 4}
    assert (segment == expected).mean() > 0.995
    assert (segment == expected)[inner].all()
    _assert_depth(depth, distance, inner & (segment >= 0))


@pytest.mark.parametrize("eye", EYES)
def test_tiny_renderer_of_bullet(shapes_world, eye):
    """Box and plane are exact meshes there (1e-4 of the depth); the round ones are coarse: the
    silhouettes overlap by more than 0.85 and half of the pixels are within 2.5 cm."""
    client, bodies = shapes_world
    segment, depth, _ = _shoot(primitives_from_pybullet(client, bodies), eye)
    other, distance = _tiny_renderer(client, eye)
    inner = _inner(segment, other)
    for index, (name, body) in enumerate(zip([*SHAPES, "plane"], bodies, strict=True)):
        mine, theirs = segment == index, other == body
        both = mine & theirs & inner
        assert both.sum() > 100, name
        overlap = (mine & theirs).sum() / (mine | theirs).sum()
        assert overlap > (0.98 if name in ("box", "plane") else 0.85), name
        if name in ("box", "plane"):
            np.testing.assert_allclose(depth[both], distance[both], rtol=1e-4)
        else:
            assert np.median(np.abs(depth - distance)[both]) < 0.025, name


def test_links_of_a_moving_robot(client):
    """r2d2 (boxes, cylinders, spheres on links; its grippers are meshes) with turned joints."""
    robot = pybullet.loadURDF("r2d2.urdf", [0, 0, 0.5], physicsClientId=client)
    with pytest.raises(ValueError, match="link 9 has a shape of PyBullet type 5"):
        primitives_from_pybullet(client, [robot])
    rng = np.random.default_rng(0)
    own = _shapes_without_meshes(client, robot)
    shapes = primitives_from_pybullet(client, [robot], shapes={robot: own})
    for joint in range(pybullet.getNumJoints(robot, physicsClientId=client)):
        pybullet.resetJointState(robot, joint, rng.uniform(-0.3, 0.3), physicsClientId=client)
    pybullet.resetBasePositionAndOrientation(
        robot, [0.1, 0.2, 0.5], [0.1, 0.2, 0.3, 0.9273618495], physicsClientId=client
    )
    eye, target = (1.4, 1.0, 1.2), (0.1, 0.2, 0.4)
    segment, _, _ = _shoot(shapes, eye, target)
    other, _ = _tiny_renderer(client, eye, target)
    mine, theirs = segment >= 0, other >= 0
    assert (mine & theirs).sum() / (mine | theirs).sum() > 0.95


def _shapes_without_meshes(client, robot):
    from pilotage.envs.camera.pybullet_adapter import _KINDS, _shape

    return [
        _shape(robot, data[1], data[2], data[3], data[5], data[6], data[7][:3])
        for data in pybullet.getVisualShapeData(robot, physicsClientId=client)
        if data[2] in _KINDS
    ]


def test_collision_shapes_stand_in_for_a_mesh(client):
    """plane.urdf shows a mesh and collides with a box 10 m thick whose top is z = 0."""
    ground = pybullet.loadURDF("plane.urdf", physicsClientId=client)
    segment, depth, rgb = _shoot(
        primitives_from_pybullet(client, [ground], colors={ground: (0.2, 0.4, 0.6)}), EYES[0]
    )
    _, expected = _ray_test(client, [ground], EYES[0])
    assert (segment == 0).all()
    np.testing.assert_allclose(depth, expected, rtol=1e-4)
    np.testing.assert_allclose(rgb[48, 48] / rgb[48, 48, 2], [1 / 3, 2 / 3, 1], atol=0.02)


def test_collision_shapes_with_a_turned_inertial_frame(client):
    """PyBullet gives collision shapes in the inertial frame; a mesh visual makes us use them."""
    mesh = pybullet.createVisualShape(
        pybullet.GEOM_MESH,
        vertices=[[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]],
        indices=[0, 1, 2],
        physicsClientId=client,
    )
    solid = pybullet.createCollisionShape(
        pybullet.GEOM_BOX,
        halfExtents=[0.1, 0.06, 0.2],
        collisionFramePosition=[0.05, 0, 0.1],
        physicsClientId=client,
    )
    body = pybullet.createMultiBody(
        0.1,
        solid,
        mesh,
        [0, 0, 0.2],
        pybullet.getQuaternionFromEuler([0.2, 0.5, 0.3]),
        baseInertialFramePosition=[0.03, 0.01, -0.02],
        baseInertialFrameOrientation=pybullet.getQuaternionFromEuler([0.3, 0.2, 0.1]),
        physicsClientId=client,
    )
    segment, depth, _ = _shoot(primitives_from_pybullet(client, [body]), EYES[0])
    expected, distance = _ray_test(client, [body], EYES[0])
    inner = _inner(segment, expected)
    assert (segment == 0).sum() > 300
    assert (segment == expected)[inner].all()
    _assert_depth(depth, distance, inner & (segment == 0))


def test_invisible_shapes_are_left_out(client):
    visual = pybullet.createVisualShape(
        pybullet.GEOM_SPHERE, radius=0.1, rgbaColor=[1, 0, 0, 0], physicsClientId=client
    )
    body = pybullet.createMultiBody(0, -1, visual, physicsClientId=client)
    shapes = primitives_from_pybullet(client, [body])
    assert len(shapes) == 0
    assert (_shoot(shapes, EYES[0])[0] == -1).all()


def test_too_few_slots(client):
    body = _body(client, *SHAPES["box"])
    shapes = primitives_from_pybullet(client, [body, body])
    with pytest.raises(ValueError, match="world 0 needs 2 primitives but the arrays have 1"):
        shapes.write(empty_primitives(1, 1), 0)


def test_segment_ids_and_own_shapes(client):
    body = _body(client, *SHAPES["box"])
    ball = LinkShape(-1, 3, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), (0.2, 0.0, 0.0), (1.0, 0.0, 0.0))
    shapes = primitives_from_pybullet(client, [body], segment_ids={body: 17}, shapes={body: [ball]})
    segment, depth, _ = _shoot(shapes, EYES[0], SHAPES["box"][2])
    middle = np.linalg.norm(np.subtract(EYES[0], SHAPES["box"][2])) - 0.2
    assert set(np.unique(segment)) == {-1, 17}
    assert depth.min() == pytest.approx(middle, abs=1e-3)


PANDA_POSES = [
    (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785),
    (0.4, 0.3, -0.2, -1.6, 0.1, 1.9, 0.3),
    (-0.8, 0.5, 0.6, -2.2, 0.9, 2.4, -0.5),
]


@pytest.mark.parametrize("pose", PANDA_POSES)
def test_panda_silhouette(client, pose):
    """Against TinyRenderer's meshes, from three sides: silhouettes overlap (IoU) above 0.89, and
    more than 94 % of the pixels in both show the same link."""
    robot = pybullet.loadURDF("franka_panda/panda.urdf", useFixedBase=True, physicsClientId=client)
    for joint, angle in [*enumerate(pose), (9, 0.03), (10, 0.03)]:
        pybullet.resetJointState(robot, joint, angle, physicsClientId=client)
    shapes = primitives_from_pybullet(client, [robot], shapes={robot: PANDA_PRIMITIVES})
    shapes.segment_id[:] = [shape.link + 1 for shape in PANDA_PRIMITIVES]
    for eye in [(1.3, 0.8, 0.9), (1.5, 0.0, 0.5), (0.3, -1.4, 0.7)]:
        mine = _shoot(shapes, eye, (0.25, 0.0, 0.35), 128)[0]
        coded = _tiny_renderer(
            client,
            eye,
            (0.25, 0.0, 0.35),
            128,
            flags=pybullet.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX,
        )[0]
        theirs = np.where(coded >= 0, coded >> 24, -1)  # body + (link + 1) << 24
        both = (mine >= 0) & (theirs >= 0)
        overlap = both.sum() / ((mine >= 0) | (theirs >= 0)).sum()
        same = (mine == theirs)[both].mean()
        assert overlap > 0.89
        assert same > 0.94


def test_panda_fingers_open_and_close(client):
    """Each finger's gap follows its joint: the inner faces are at the joint's opening."""
    robot = pybullet.loadURDF("franka_panda/panda.urdf", useFixedBase=True, physicsClientId=client)
    shapes = primitives_from_pybullet(client, [robot], shapes={robot: PANDA_PRIMITIVES})
    prims = empty_primitives(1, len(shapes))
    shapes.write(prims, 0)
    gaps = []
    for opening in (0.0, 0.04):
        for joint in (9, 10):
            pybullet.resetJointState(robot, joint, opening, physicsClientId=client)
        shapes.update_poses(prims, 0)
        left, right = (prims.position[0, -4], prims.position[0, -2])
        gaps.append(np.linalg.norm(left - right))
    assert gaps[1] - gaps[0] == pytest.approx(0.08, abs=1e-5)
