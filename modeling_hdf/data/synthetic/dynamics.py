"""The factors of a clip, and the motion of a face: expression, talking, blinks and head motion.

An expression rises from the neutral face to its apex and falls back. Its weights are combinations of facial action
units after EMFACS; see `PROTOTYPES`. All other factors of a clip are independent of its label.
"""

from dataclasses import dataclass

import numpy as np

BACKGROUNDS = ("grey", "colour", "gradient", "blobs")

# Weights of the face units at the apex; a name that ends in `*` stands for its left and right unit.
PROTOTYPES: dict[str, dict[str, float]] = {
    "happiness": {
        "mouthSmile*": 1.0, "cheekSquint*": 0.9, "eyeSquint*": 0.4, "mouthUpperUp*": 0.3, "jawOpen": 0.12,
    },
    "sadness": {
        "browInnerUp": 1.0, "browDown*": 0.35, "mouthFrown*": 1.0, "mouthShrugLower": 0.6, "eyeLookDown*": 0.35,
        "eyeBlink*": 0.28,
    },
    "neutral": {},
    "anger": {
        "browDown*": 1.25, "eyeSquint*": 0.25, "eyeWide*": 0.25, "noseSneer*": 0.8, "mouthPress*": 0.7,
        "mouthRollUpper": 0.3, "mouthRollLower": 0.3, "jawForward": 0.3,
    },
    "surprise": {
        "browInnerUp": 0.9, "browOuterUp*": 1.0, "eyeWide*": 1.0, "jawOpen": 0.6, "mouthFunnel": 0.25,
    },
    "disgust": {
        "noseSneer*": 1.0, "mouthUpperUp*": 0.9, "browDown*": 0.5, "eyeSquint*": 0.7, "cheekSquint*": 0.7,
        "mouthFrown*": 0.35, "mouthShrugLower": 0.35,
    },
    "fear": {
        "browInnerUp": 1.1, "browOuterUp*": 0.4, "browDown*": 0.45, "eyeWide*": 1.0, "mouthStretch*": 0.75,
        "mouthFrown*": 0.55, "jawOpen": 0.3, "mouthLowerDown*": 0.35,
    },
}  # fmt: skip


@dataclass(frozen=True)
class ClipFactors:
    """The factors of one clip. The defaults describe a clip without nuisance.

    Attributes:
        label: one of `EMOTIONS`.
        identity: number of the person.
        duration: length in seconds; above `onset` + 1 / `speed`, or the face never leaves the neutral one.
        onset: time of the first departure from the neutral face, in seconds.
        speed: how fast the expression rises, in apexes per second (1 / rise time).
        intensity: height of the apex, as a factor on the prototype; drawn from 0.8 to 1.2.
        asymmetry: -1 to 1; a positive value weakens the left side of the face, a negative value the right side.
        yaw, pitch, roll: mean head pose in degrees; positive yaw turns the face to the viewer's right, positive pitch
            lowers it, positive roll tilts it to the viewer's left.
        head_motion: amplitude of the head's sway in degrees.
        zoom: size of the face in the frame, 1 = aligned crop.
        light: horizontal direction of the light in degrees, 0 = from the camera, positive from the viewer's right.
        brightness: factor on the light.
        background: one of `BACKGROUNDS`.
        skin: skin tone, 0 (light) to 1 (dark).
        blinks: number of blinks.
        talking: strength of mouth motion by speech, 0 (silent) to 1.
        noise: standard deviation of the sensor noise, in 8-bit levels.
        compression: constant rate factor of the H.264 encoder.
        fps: frames per second.
    """

    label: str = "neutral"
    identity: int = 0
    duration: float = 1.6
    onset: float = 0.3
    speed: float = 2.5
    intensity: float = 1.0
    asymmetry: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    head_motion: float = 0.0
    zoom: float = 1.0
    light: float = 0.0
    brightness: float = 1.0
    background: str = "grey"
    skin: float = 0.4
    blinks: int = 0
    talking: float = 0.0
    noise: float = 0.0
    compression: float = 18.0
    fps: int = 12

    @property
    def num_frames(self) -> int:
        """Number of frames: duration times frame rate, rounded."""
        return max(2, round(self.duration * self.fps))

    @property
    def times(self) -> np.ndarray:
        """Presentation time of each frame in seconds, `(F,)`."""
        return np.arange(self.num_frames) / self.fps


def sample_factors(
    rng: np.random.Generator, label: str, identity: int, skin: float, difficulty: float = 1.0, duration: float = 1.6
) -> ClipFactors:
    """Draw the factors of a clip; `label`, `identity` and `skin` are copied and do not affect other factors.

    Args:
        rng: the generator that decides the factors.
        label: one of `EMOTIONS`.
        identity: number of the person.
        skin: unscaled skin tone of the person, 0 to 1; the difficulty decides how far it leaves the medium tone 0.4.
        difficulty: factor on the range of each nuisance, 0 = none.
        duration: mean length of a clip in seconds.
    """

    def spread(amount: float) -> float:
        return float(difficulty * amount * rng.uniform(-1.0, 1.0))

    length = duration * rng.uniform(0.9, 1.1)
    return ClipFactors(
        label=label,
        identity=identity,
        duration=float(length),
        onset=float(length * rng.uniform(0.10, 0.28)),
        speed=float(rng.uniform(3.0, 6.0) / length),
        intensity=float(rng.uniform(0.8, 1.2)),
        asymmetry=float(rng.uniform(-0.3, 0.3)),
        yaw=spread(10.0),
        pitch=spread(6.0),
        roll=spread(4.0),
        head_motion=float(difficulty * rng.uniform(0.5, 2.5)),
        zoom=1.0 + spread(0.04),
        light=spread(40.0),
        brightness=float(np.exp2(spread(0.35))),
        background=str(rng.choice(BACKGROUNDS)) if difficulty > 0 else "grey",
        skin=float(np.clip(0.4 + min(difficulty, 1.0) * (skin - 0.4), 0.0, 1.0)),
        blinks=int(rng.binomial(2, min(0.25 * difficulty, 1.0))),
        talking=float(min(difficulty * rng.uniform(0.15, 0.45), 1.0) * (rng.random() < 0.4)),
        noise=float(difficulty * rng.uniform(1.0, 5.0)),
        compression=float(min(18.0 + difficulty * rng.uniform(0.0, 8.0), 51.0)),
        fps=int(rng.integers(max(4, round(11 - 4 * difficulty)), round(11 + 5 * difficulty) + 1)),
    )


def expression_envelope(factors: ClipFactors) -> np.ndarray:
    """Share of the apex reached in each frame, `(F,)` in [0, 1]; exactly 0 until the onset.

    The face rises in `1 / speed` seconds, holds the apex, and falls back over the last part of the clip.
    """
    rise = 1.0 / factors.speed
    apex = factors.onset + rise
    release = apex + 0.35 * (factors.duration - apex)
    up = _ease((factors.times - factors.onset) / rise)
    down = _ease((factors.times - release) / (factors.duration - release))
    return up * (1.0 - down)


def _ease(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _add(weights: dict[str, np.ndarray], name: str, course: np.ndarray, asymmetry: float = 0.0) -> None:
    """Add a time course to one unit, or to its left and right unit if `name` ends in `*`."""
    sides = {"": 1.0}
    if name.endswith("*"):
        name, sides = name[:-1], {"Left": 1.0 - max(asymmetry, 0.0), "Right": 1.0 - max(-asymmetry, 0.0)}
    for side, share in sides.items():
        weights[name + side] = weights.get(name + side, 0.0) + share * course


def expression_weights(factors: ClipFactors, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights `(F,)` of the units that carry the expression; each unit of the prototype varies by up to 15 %."""
    course = factors.intensity * expression_envelope(factors)
    weights: dict[str, np.ndarray] = {}
    for name, apex in PROTOTYPES[factors.label].items():
        _add(weights, name, apex * rng.uniform(0.85, 1.15) * course, factors.asymmetry)
    return weights


def nuisance_weights(factors: ClipFactors, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights `(F,)` of the units moved by blinks and speech; they do not depend on the label."""
    weights: dict[str, np.ndarray] = {}
    times = factors.times
    for _ in range(factors.blinks):
        centre, half = rng.uniform(0.0, factors.duration), rng.uniform(0.10, 0.16)
        _add(weights, "eyeBlink*", np.clip(1.4 * (1.0 - np.abs(times - centre) / half), 0.0, 1.0))
    if factors.talking:
        # Syllables at 3 to 5 Hz, with pauses, that open, round and spread the mouth.
        for name, share, rate in (("jawOpen", 0.55, 1.0), ("mouthFunnel", 0.7, 0.5), ("mouthStretch*", 0.35, 0.4)):
            beat = 2.0 * np.pi * (rng.uniform(3.0, 5.0) * rate * times + rng.uniform())
            pause = 2.0 * np.pi * (rng.uniform(0.3, 0.7) * times + rng.uniform())
            course = np.clip(np.sin(beat), 0.0, 1.0) * np.clip(0.8 + np.sin(pause), 0.0, 1.0)
            _add(weights, name, factors.talking * share * course)
    return weights


def unit_weights(factors: ClipFactors, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights `(F,)` of every face unit that moves in the clip."""
    weights = nuisance_weights(factors, rng)
    for name, course in expression_weights(factors, rng).items():
        _add(weights, name, course)
    for side in ("Left", "Right"):
        blink = f"eyeBlink{side}"
        if blink in weights:
            # A closed lid cannot close further, and a blink ends widened eyes.
            weights[blink] = np.minimum(weights[blink], 1.0)
            for lid in (f"eyeWide{side}", f"eyeSquint{side}"):
                if lid in weights:
                    weights[lid] = weights[lid] * (1.0 - weights[blink])
    return weights


def head_pose(factors: ClipFactors, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Head rotation and translation in each frame.

    Returns:
        Angles `(F, 3)` in degrees (yaw, pitch, roll), and shifts `(F, 2)` in mesh units (right, up).
    """
    times = factors.times[:, None]
    rate = rng.uniform(0.3, 0.9, size=(2, 5))
    phase = rng.uniform(0.0, 1.0, size=(2, 5))
    sway = sum(np.sin(2.0 * np.pi * (rate[i] * times + phase[i])) / (i + 1) for i in range(2))  # (F, 5)
    mean = np.array([factors.yaw, factors.pitch, factors.roll])
    angles = mean + factors.head_motion * sway[:, :3] * np.array([1.0, 0.7, 0.5])
    shifts = 0.008 * factors.head_motion * sway[:, 3:]
    return angles, shifts
