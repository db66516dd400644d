"""A small numpy renderer for the parametric face, with an orthographic z-buffer and Lambert shading.

All frames of a clip are drawn together at twice the requested size and then averaged down.
"""

import numpy as np

from .dynamics import ClipFactors, head_pose, unit_weights
from .mesh import Identity, Traits, draw_traits, load_mesh, make_identity

SUPERSAMPLING = 2
FRAMES_AT_ONCE = 2
# In an aligned crop the eyes lie at 37 % of the height, and eyes and mouth are 40 % of the height apart.
EYE_HEIGHT, EYE_TO_MOUTH = 0.37, 0.40
# Streams of the generators that belong to a clip's identity and to its pixels.
IDENTITY_STREAM, PIXEL_STREAM = 3, 4


def animate(identity: Identity, weights: dict[str, np.ndarray], num_frames: int) -> np.ndarray:
    """Vertices of a face whose units follow `weights` (each `(F,)`): `(3, F, N)` float32.

    Coordinates come first here and below, so that every array operation works on contiguous memory.
    """
    mesh = load_mesh()
    # (N, 3, F): frames last, so that a unit's offsets spread over contiguous memory.
    vertices = np.repeat(identity.vertices[:, :, None], num_frames, axis=2).astype(np.float32)
    for name, course in weights.items():
        moved, offsets = mesh.units[name]
        vertices[moved] += offsets[:, :, None] * course.astype(np.float32)
    return np.ascontiguousarray(vertices.transpose(1, 2, 0))


def rotation_matrices(angles: np.ndarray) -> np.ndarray:
    """Rotations `(F, 3, 3)` of yaw, pitch and roll in degrees, `(F, 3)`."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians(angles)).T, np.sin(np.radians(angles)).T
    one, zero = np.ones_like(cy), np.zeros_like(cy)
    about_y = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], axis=1).reshape(-1, 3, 3)
    about_x = np.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], axis=1).reshape(-1, 3, 3)
    about_z = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    return np.einsum("fij,fjk,fkl->fil", about_z, about_x, about_y)


def project(
    identity: Identity, vertices: np.ndarray, angles: np.ndarray, shifts: np.ndarray, zoom: float, size: int
) -> np.ndarray:
    """Turn the head and frame it like an aligned face crop.

    Args:
        identity: the person, whose eyes and mouth at rest place the frame.
        vertices: `(3, F, N)`.
        angles: `(F, 3)` head rotation in degrees.
        shifts: `(F, 2)` head translation in mesh units.
        zoom: factor on the size of the face.
        size: edge of the image in pixels.

    Returns:
        `(3, F, N)` float32: column and row in pixels (row grows downwards), and height towards the viewer in pixels.
    """
    pivot = np.array([0.0, 0.5 * (identity.eye_line[1] + identity.mouth[1]), identity.eye_line[2] - 0.6], np.float32)
    rotation = rotation_matrices(angles).astype(np.float32)
    centred = vertices - pivot[:, None, None]
    # No matrix product, because the order of its sums may depend on the number of threads.
    turned = [sum(rotation[:, i, j, None] * centred[j] for j in range(3)) for i in range(3)]
    scale = np.float32(zoom * size * EYE_TO_MOUTH / (identity.eye_line[1] - identity.mouth[1]))
    eye_row = np.float32(EYE_HEIGHT * size)
    shift_x, shift_y = np.split(shifts.astype(np.float32), 2, axis=1)
    x = np.float32(0.5 * size) + scale * (turned[0] + shift_x)
    y = eye_row - scale * (turned[1] + shift_y + (pivot[1] - identity.eye_line[1]))
    return np.stack([x, y, scale * turned[2]])


def _normals(first: np.ndarray, second: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which triangles face the viewer, `(F, T)`, and vertex normals `(3, F, N)`: right, up, towards the viewer."""
    (ax, ay, az), (bx, by, bz) = first, second
    faces = np.zeros((3, first.shape[1], first.shape[2] + 1), np.float32)  # the last entry pads `neighbours`
    # Rows grow downwards, which mirrors the cross product.
    faces[0, :, :-1] = az * by - ay * bz
    faces[1, :, :-1] = az * bx - ax * bz
    faces[2, :, :-1] = ay * bx - ax * by
    normals = faces.take(neighbours[:, 0], axis=2)
    for slot in range(1, neighbours.shape[1]):
        normals += faces.take(neighbours[:, slot], axis=2)
    normals /= np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2) + np.float32(1e-9)
    return faces[2, :, :-1] > 1e-6, normals


def _shade(normals: np.ndarray, light: float, brightness: float) -> np.ndarray:
    """Lambert shading: light that reaches each vertex, `(F, N)`."""
    azimuth, elevation = np.radians(light), np.radians(30.0)
    direction = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    cosine = sum(np.float32(part) * normal for part, normal in zip(direction, normals, strict=True))
    return np.float32(brightness) * (np.float32(0.42) + np.float32(0.62) * np.maximum(cosine, 0.0))


def _candidates(box: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel whose centre lies in a triangle's bounding box.

    Args:
        box: left, top, right and bottom of each triangle, each `(K,)`.
        size: edge of the image in pixels.

    Returns:
        The boxes that hold a pixel centre `(K',)`, and per candidate the index into them, its column and its row.
    """
    left, top = (np.maximum(np.ceil(low - 0.5), 0).astype(np.int32) for low in box[:2])
    right, bottom = (np.minimum(np.floor(high - 0.5), size - 1).astype(np.int32) for high in box[2:])
    hit = np.flatnonzero((right >= left) & (bottom >= top))
    width, cells = (right - left + 1)[hit], ((right - left + 1) * (bottom - top + 1))[hit]
    left, top = left[hit], top[hit]
    owner = np.repeat(np.arange(len(hit)), cells)
    start = (np.cumsum(cells) - cells).astype(np.int32)
    offset = np.arange(len(owner), dtype=np.int32) - start.take(owner)
    stride = width.take(owner)
    row = offset // stride
    column = offset - row * stride + left.take(owner)
    return hit, owner, column, row + top.take(owner)


def _fragments(
    corner: np.ndarray, first: np.ndarray, second: np.ndarray, facing: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel centre inside every triangle that faces the viewer.

    Returns:
        Per fragment: the triangle (flat index into `F * T`), the pixel (flat index into `F * size * size`), the
        barycentric weights of the triangle's second and third corner, and the height towards the viewer.
    """
    seen = np.flatnonzero(facing)
    origin, a, b = (values.reshape(3, -1).take(seen, axis=1) for values in (corner, first, second))
    low = origin[:2] + np.minimum(np.minimum(a[:2], b[:2]), 0.0)
    high = origin[:2] + np.maximum(np.maximum(a[:2], b[:2]), 0.0)
    hit, owner, column, row = _candidates([*low, *high], size)
    seen, (x, y, z), (ax, ay, az), (bx, by, bz) = (values.take(hit, axis=-1) for values in (seen, origin, a, b))
    inverse = np.float32(1.0) / (ax * by - ay * bx)
    dx = column.astype(np.float32) - (x - np.float32(0.5)).take(owner)
    dy = row.astype(np.float32) - (y - np.float32(0.5)).take(owner)
    u = (by * inverse).take(owner) * dx - (bx * inverse).take(owner) * dy
    v = (ax * inverse).take(owner) * dy - (ay * inverse).take(owner) * dx
    # A small tolerance closes the seams between neighbouring triangles.
    inside = np.flatnonzero((np.minimum(u, v) >= np.float32(-1e-3)) & (u + v <= np.float32(1.001)))
    owner, u, v, column, row = (values.take(inside) for values in (owner, u, v, column, row))
    triangle = seen.take(owner)
    pixel = triangle // facing.shape[1] * (size * size) + row * size + column
    return triangle, pixel, u, v, z.take(owner) + u * az.take(owner) + v * bz.take(owner)


def rasterize(points: np.ndarray, albedo: np.ndarray, light: float, brightness: float, size: int) -> np.ndarray:
    """Draw the face with a z-buffer and shading interpolated between vertices.

    Args:
        points: `(3, F, N)` as `project` returns it.
        albedo: `(N, 3)` vertex colours in [0, 1].
        light: direction of the light in degrees.
        brightness: factor on the light.
        size: edge of the image in pixels.

    Returns:
        `(4, F, size, size)` float32: colour, 0 where nothing is drawn, and coverage (0 or 1).
    """
    mesh = load_mesh()
    num_frames, num_vertices = points.shape[1:]
    corner, first, second = (points.take(mesh.triangles[:, i], axis=2) for i in range(3))
    first -= corner
    second -= corner
    facing, normals = _normals(first, second, mesh.neighbours)
    triangle, pixel, u, v, height = _fragments(corner, first, second, facing, size)

    # The nearest fragment of a pixel wins. Upper 32 bits: height; lower 32 bits: number of the fragment.
    key = ((height + np.float32(4.0 * size)) * np.float32(256.0)).astype(np.int64) << 32
    key |= np.arange(len(key))
    nearest = np.full(num_frames * size * size, -1, np.int64)
    np.maximum.at(nearest, pixel, key)
    drawn = np.flatnonzero(nearest >= 0)
    winner = nearest.take(drawn) & 0xFFFFFFFF

    frame, triangle = np.divmod(triangle.take(winner), len(mesh.triangles))
    u, v = u.take(winner), v.take(winner)
    lit = albedo.T[:, None] * _shade(normals, light, brightness)  # (3, F, N)
    first_vertex = frame * num_vertices
    colour = np.zeros((4, len(drawn)), np.float32)
    for corner, weight in enumerate((1.0 - u - v, u, v)):
        vertex = mesh.triangles[:, corner].take(triangle) + first_vertex
        colour[:3] += lit.reshape(3, -1).take(vertex, axis=1) * weight
    colour[3] = 1.0
    image = np.zeros((4, num_frames * size * size), np.float32)
    image[:, drawn] = colour
    return image.reshape(4, num_frames, size, size)


def draw(points: np.ndarray, albedo: np.ndarray, light: float, brightness: float, size: int) -> np.ndarray:
    """Antialiased `rasterize`, `(4, F, size, size)`.

    The `points` are in pixels of an image `SUPERSAMPLING` times as big.
    """
    num_frames = points.shape[1]
    image = np.empty((4, num_frames, size, size), np.float32)
    # A few frames at a time stay in the processor's cache.
    for start in range(0, num_frames, FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        fine = rasterize(points[:, part], albedo, light, brightness, size * SUPERSAMPLING)
        image[:, part] = sum(
            fine[..., i::SUPERSAMPLING, j::SUPERSAMPLING] for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)
        )
    return image / np.float32(SUPERSAMPLING**2)


def make_background(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """A still backdrop `(size, size, 3)` float32 in [0, 1]: mid-grey, one colour, a gradient, blobs or stripes."""
    if kind == "grey":
        return np.full((size, size, 3), 0.5, np.float32)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    # Muted: a grey level with a little colour.
    colours = rng.uniform(0.15, 0.75, size=(4, 1)) + rng.uniform(-0.15, 0.15, size=(4, 3))
    image = np.broadcast_to(colours[0], (size, size, 3)).copy()
    if kind == "gradient":
        angle = rng.uniform(0.0, 2.0 * np.pi)
        ramp = 0.5 + 0.7 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
        image += ramp[..., None] * (colours[1] - image)
    elif kind == "blobs":
        for colour in colours[1:]:
            centre, radius = rng.uniform(0.0, 1.0, size=2), rng.uniform(0.1, 0.3)
            blob = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2.0 * radius**2))
            image += blob[..., None] * (colour - image)
    elif kind == "stripes":
        angle, width, phase = rng.uniform(0.0, np.pi), rng.uniform(0.08, 0.2), rng.uniform(0.0, 2.0 * np.pi)
        across = x * np.cos(angle) + y * np.sin(angle)
        image += (0.5 + 0.5 * np.sin(np.pi * across / width + phase))[..., None] * (colours[1] - image)
    return image.astype(np.float32)


def _person(seed: int, identity: int) -> np.random.Generator:
    return np.random.default_rng([seed, IDENTITY_STREAM, identity])


def person_traits(seed: int, identity: int) -> Traits:
    """The traits of the person whom [`render_clip`] draws with the same `seed` for the number `identity`."""
    return draw_traits(_person(seed, identity))


def render_clip(
    factors: ClipFactors, image_size: int = 64, seed: int = 0, clip_seed: tuple[int, ...] = (0,)
) -> np.ndarray:
    """Render one clip, before compression.

    The identity is a function of `(seed, factors.identity)`; blinks, speech, head motion, background and noise are
    functions of `(seed, *clip_seed)` and the factors.

    Args:
        factors: what the clip shows.
        image_size: edge of the square frames in pixels.
        seed: non-negative seed of the data set.
        clip_seed: non-negative numbers that tell apart clips with equal factors.

    Returns:
        `(F, image_size, image_size, 3)` uint8 RGB, `F = factors.num_frames`.

    Example:

    ```python
    >>> from modeling_hdf.data import ClipFactors, render_clip
    >>> render_clip(ClipFactors(label="surprise", identity=7), image_size=112).shape
    (19, 112, 112, 3)
    ```
    """
    rng = np.random.default_rng([seed, PIXEL_STREAM, *clip_seed])
    identity = make_identity(_person(seed, factors.identity), factors.skin)
    vertices = animate(identity, unit_weights(factors, rng), factors.num_frames)
    angles, shifts = head_pose(factors, rng)
    points = project(identity, vertices, angles, shifts, factors.zoom, image_size * SUPERSAMPLING)
    image = draw(points, identity.colours, factors.light, factors.brightness, image_size)  # (4, F, H, W)
    background = make_background(factors.background, image_size, rng)
    frames = 255.0 * (image[:3] + (1.0 - image[3]) * background.transpose(2, 0, 1)[:, None])  # (3, F, H, W)
    if factors.noise:
        frames += np.float32(factors.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
    frames = np.clip(np.rint(frames), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(frames.transpose(1, 2, 3, 0))
