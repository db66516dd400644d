"""The CC0 parametric face: mesh, expression units, and the shape and colours of one identity.

The mesh and its offsets come from `assets/face_pack.npz` (see `assets/NOTICE.md`). Lengths are in the mesh's own unit
(1 = 10 cm), y up, z towards the viewer.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

ASSET_FILE = Path(__file__).parent / "assets" / "face_pack.npz"

# Landmarks of the rest mesh that place the face in the frame: centres of the eyeballs and the middle of the lips.
EYE_CENTRES = np.array([[0.30777, 7.28414, 1.24535], [-0.30777, 7.28414, 1.24535]], np.float32)
MOUTH_CENTRE = np.array([0.0, 6.60, 1.55], np.float32)

SKIN, EYES, TEETH, TONGUE, LASHES = 0, 1, 2, 3, 5
MAX_NEIGHBOURS = 8

LIGHT_SKIN = np.array([0.98, 0.82, 0.72], np.float32)
MEDIUM_SKIN = np.array([0.82, 0.61, 0.47], np.float32)
DARK_SKIN = np.array([0.50, 0.34, 0.26], np.float32)
HAIR_COLOURS = np.array([[0.08, 0.06, 0.05], [0.22, 0.13, 0.08], [0.36, 0.23, 0.12], [0.45, 0.44, 0.43]], np.float32)
IRIS_COLOURS = np.array([[0.26, 0.15, 0.08], [0.38, 0.26, 0.14], [0.28, 0.42, 0.54], [0.34, 0.42, 0.30]], np.float32)


@dataclass(frozen=True)
class FaceMesh:
    """The drawable part of the mesh, without triangles that a viewer in front never sees.

    Attributes:
        rest: `(N, 3)` rest vertices.
        triangles: `(T, 3)` vertex indices, counter-clockwise seen from outside.
        neighbours: `(N, 8)` triangles around each vertex; `T` where there are fewer than 8.
        units: the expression units, each as `(vertex indices (n,), offsets (n, 3))`.
        masks: `(N,)` weights in [0, 1] by name: `lips`, `mouth`, `brows`, `hair`, `eyes`, `teeth`, `tongue`, `lashes`,
            `iris`, `pupil`.
    """

    rest: np.ndarray
    triangles: np.ndarray
    neighbours: np.ndarray
    units: dict[str, tuple[np.ndarray, np.ndarray]]
    masks: dict[str, np.ndarray]
    kept: np.ndarray


@dataclass(frozen=True)
class Identity:
    """One person: neutral `vertices` `(N, 3)`, `colours` `(N, 3)` in [0, 1], and the landmarks that frame the face."""

    vertices: np.ndarray
    colours: np.ndarray
    eye_line: np.ndarray
    mouth: np.ndarray


@lru_cache(maxsize=1)
def _pack() -> dict[str, np.ndarray]:
    with np.load(ASSET_FILE, allow_pickle=False) as pack:
        return {name: pack[name] for name in pack.files}


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    x = np.clip((x - low) / (high - low), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _uv_mask(name: str) -> np.ndarray:
    """Value of a UV-space mask at every vertex, `(N_all,)` in [0, 1]."""
    pack = _pack()
    vertex_uv = np.zeros((len(pack["base"]), 2), np.float32)
    vertex_uv[pack["tv"].ravel()] = pack["uv"][pack["tt"].ravel()]
    mask = pack[f"mask_{name}"]
    size = len(mask)
    row = np.clip(((1.0 - vertex_uv[:, 1]) * size).astype(int), 0, size - 1)
    column = np.clip((vertex_uv[:, 0] * size).astype(int), 0, size - 1)
    return mask[row, column].astype(np.float32) / 255.0


def _visible_triangles(mouth: np.ndarray) -> np.ndarray:
    """Indices of triangles to draw: not the hair helper, the back of head and neck, or the hidden side of an eye."""
    pack = _pack()
    base, triangles, part = pack["base"], pack["tv"].astype(np.int64), pack["tp"]
    corners = base[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    centre = corners.mean(axis=1)
    inside = mouth[triangles].max(axis=1) > 0.5
    front = (normal[:, 2] > -0.4) & (centre[:, 2] > 0.1) & (centre[:, 1] > 5.9)
    deep_mouth = inside & (centre[:, 2] < 0.9)
    skin = (part == SKIN) & (front | inside) & ~deep_mouth
    eyes = (part == EYES) & (normal[:, 2] > -0.3)
    others = np.isin(part, (TEETH, TONGUE)) & (centre[:, 2] > 0.9)
    return np.flatnonzero(skin | eyes | others | (part == LASHES))


def _vertex_masks(base: np.ndarray, part: np.ndarray, lips: np.ndarray, mouth: np.ndarray) -> dict[str, np.ndarray]:
    """Colour weights of every vertex, from the UV masks and from where a vertex sits on the rest mesh."""
    x, y, z = np.abs(base[:, 0]), base[:, 1], base[:, 2]
    skin = part == SKIN
    # A brow is a band around a line that rises from the nose to its peak and falls towards the temple.
    line = np.interp(x, [0.10, 0.36, 0.58], [7.475, 7.545, 7.46])
    along = _smoothstep(x, 0.06, 0.14) * (1.0 - _smoothstep(x, 0.50, 0.60))
    brows = np.exp(-(((y - line) / 0.05) ** 2)) * along * (skin & (z > 0.9))
    hair = _smoothstep((y - 7.98) - 0.85 * (z - 1.15), -0.03, 0.05) * (skin & (y > 6.9))
    to_eye = base[:, None, :] - EYE_CENTRES[None]
    eye_direction = to_eye / (np.linalg.norm(to_eye, axis=2, keepdims=True) + 1e-12)
    # Angle between a vertex of the eyeball and the gaze at rest, in degrees.
    gaze = np.degrees(np.arccos(np.clip(eye_direction[:, :, 2].max(axis=1), -1.0, 1.0)))
    masks = {
        "lips": lips * skin,
        "mouth": mouth * skin,
        "brows": brows,
        "hair": hair,
        "iris": (part == EYES) * (1.0 - _smoothstep(gaze, 20.0, 27.0)),
        "pupil": (part == EYES) * (1.0 - _smoothstep(gaze, 7.0, 13.0)),
    }
    for name, number in (("eyes", EYES), ("teeth", TEETH), ("tongue", TONGUE), ("lashes", LASHES)):
        masks[name] = part == number
    return {name: mask.astype(np.float32) for name, mask in masks.items()}


def _neighbours(triangles: np.ndarray, num_vertices: int) -> np.ndarray:
    """For each vertex up to 8 triangles that share it, padded with `len(triangles)`: `(N, 8)`."""
    vertex = triangles.ravel()
    order = np.argsort(vertex, kind="stable")
    sorted_vertex = vertex[order]
    slot = np.arange(len(order)) - np.searchsorted(sorted_vertex, sorted_vertex)
    table = np.full((num_vertices, MAX_NEIGHBOURS), len(triangles), np.int64)
    fits = slot < MAX_NEIGHBOURS
    table[sorted_vertex[fits], slot[fits]] = order[fits] // 3
    return table


@lru_cache(maxsize=1)
def load_mesh() -> FaceMesh:
    """Load the drawable mesh once per process."""
    pack = _pack()
    base = pack["base"]
    mouth = _uv_mask("inside_mouth")
    chosen = _visible_triangles(mouth)
    triangles = pack["tv"][chosen].astype(np.int64)
    kept, compact = np.unique(triangles, return_inverse=True)
    triangles = compact.reshape(-1, 3)
    part = np.zeros(len(base), np.int64)
    part[pack["tv"].ravel()] = np.repeat(pack["tp"], 3)
    masks = _vertex_masks(base, part, _uv_mask("lips"), mouth)
    units = {}
    for name, offsets in zip(pack["unit_names"], pack["units"], strict=True):
        offsets = offsets[kept].astype(np.float32) / 1000.0
        moved = np.flatnonzero(np.abs(offsets).max(axis=1) > 0.001)
        units[str(name)] = (moved, offsets[moved])
    return FaceMesh(
        rest=base[kept],
        triangles=triangles,
        neighbours=_neighbours(triangles, len(kept)),
        units=units,
        masks={name: mask[kept] for name, mask in masks.items()},
        kept=kept,
    )


@lru_cache(maxsize=1)
def _detail_groups() -> list[np.ndarray]:
    """Local identity shapes that vary together: a left and a right shape of one name form a group."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(_pack()["detail_names"]):
        name = str(name)
        if name.startswith(("asymm-", "neck-", "measure-")):
            continue
        groups.setdefault(name[2:] if name[:2] in ("l-", "r-") else name, []).append(index)
    return [np.array(indices) for indices in groups.values()]


@dataclass(frozen=True)
class Traits:
    """What a person's shape is blended from.

    Attributes:
        ancestry: convex weights of the shapes `african`, `asian` and `caucasian`.
        gender: how the shape presents: 0 = masculine, 1 = feminine.
        age: share of the old shape in the blend with the young adult one, 0 to 0.6.
    """

    ancestry: dict[str, float]
    gender: float
    age: float


def draw_traits(rng: np.random.Generator) -> Traits:
    """Draw the traits of one person; the first that a generator of [`make_identity`] draws."""
    ancestry = dict(zip(("african", "asian", "caucasian"), rng.dirichlet((0.7, 0.7, 0.7)).tolist(), strict=True))
    return Traits(ancestry, gender=float(rng.uniform(0.0, 1.0)), age=float(1.0 - rng.uniform(0.4, 1.0)))


def _macro_weights(rng: np.random.Generator) -> np.ndarray:
    """Convex weights of the identity macros, `(48,)`: ancestry x gender x age, then gender x age x muscle x weight."""
    traits = draw_traits(rng)
    muscle, weight = rng.dirichlet((1.5, 2.0, 1.5)), rng.dirichlet((1.0, 2.5, 1.0))
    build = {
        f"{m}muscle-{w}weight": muscle[i] * weight[j]
        for i, m in enumerate(("min", "average", "max"))
        for j, w in enumerate(("min", "average", "max"))
    }
    weights = []
    for name in _pack()["macro_names"]:
        first, gender, age, *rest = str(name).split("-")
        share = traits.gender if gender == "female" else 1.0 - traits.gender
        share *= 1.0 - traits.age if age == "young" else traits.age
        weights.append(share * (build["-".join(rest)] if first == "universal" else traits.ancestry[first]))
    return np.array(weights, np.float32)


def _skin_colour(tone: float) -> np.ndarray:
    if tone < 0.5:
        return LIGHT_SKIN + (MEDIUM_SKIN - LIGHT_SKIN) * (2.0 * tone)
    return MEDIUM_SKIN + (DARK_SKIN - MEDIUM_SKIN) * (2.0 * tone - 1.0)


def _vertex_colours(mesh: FaceMesh, skin_tone: float, rng: np.random.Generator) -> np.ndarray:
    """Albedo of every vertex, `(N, 3)` in [0, 1]."""
    skin = _skin_colour(skin_tone).astype(np.float32)
    hair = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))]
    iris = IRIS_COLOURS[rng.integers(len(IRIS_COLOURS))]
    # Brows are always darker than the skin, whatever the hair colour, so that their motion is visible.
    brow = np.minimum(hair, 0.45 * skin)
    layers = (
        ("lips", skin * np.array([0.86, 0.48, 0.48], np.float32), 0.9),
        ("brows", brow, rng.uniform(0.75, 0.95)),
        ("hair", hair, 1.0),
        ("mouth", np.array([0.22, 0.06, 0.06], np.float32), 1.0),
        ("eyes", np.array([0.96, 0.95, 0.93], np.float32), 1.0),
        ("iris", iris, 1.0),
        ("pupil", np.array([0.03, 0.03, 0.03], np.float32), 1.0),
        ("teeth", np.array([0.97, 0.95, 0.90], np.float32), 1.0),
        ("tongue", np.array([0.45, 0.16, 0.16], np.float32), 1.0),
        ("lashes", np.array([0.06, 0.05, 0.05], np.float32), 1.0),
    )
    colours = np.repeat(skin[None], len(mesh.rest), axis=0)
    for name, colour, strength in layers:
        weight = (strength * mesh.masks[name])[:, None]
        colours += weight * (colour - colours)
    return colours.astype(np.float32)


def make_identity(rng: np.random.Generator, skin_tone: float = 0.4) -> Identity:
    """Draw the shape and the colours of one person.

    Args:
        rng: the generator that alone decides the person.
        skin_tone: 0 (light) to 1 (dark).

    Returns:
        `Identity` with the neutral vertices `(N, 3)` and their albedo `(N, 3)`.
    """
    mesh, pack = load_mesh(), _pack()
    everyone = np.zeros_like(mesh.rest)
    for weight, offsets in zip(_macro_weights(rng), pack["macro"], strict=True):
        everyone += weight / 1000.0 * offsets[mesh.kept]
    groups = _detail_groups()
    for group in rng.choice(len(groups), size=16, replace=False):
        weight = np.float32(rng.uniform(0.0, 0.4) / 1000.0)
        for index in groups[group]:
            everyone += weight * pack["detail"][index][mesh.kept]
    vertices = mesh.rest + everyone
    eyes = vertices[mesh.masks["eyes"] > 0.5]
    shift = everyone[mesh.masks["lips"] > 0.5].mean(axis=0)
    return Identity(
        vertices=vertices,
        colours=_vertex_colours(mesh, skin_tone, rng),
        eye_line=eyes.mean(axis=0),
        mouth=MOUTH_CENTRE + shift,
    )
