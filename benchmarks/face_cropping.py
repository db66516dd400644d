"""Face cropping against the simple method, detection in every frame at full size, as ratios in one process.

    python benchmarks/face_cropping.py --rounds 3
    python benchmarks/face_cropping.py single_face.mp4 other.mp4

Both methods read a file, find the face and return the same number of crops of 224 pixels. Without files the clips are
rendered, so that the truth is known: a face that moves, tilts and talks in frames of 640x360 and 1280x720. Each round
times both methods, and the result is the median of the rounds' ratios. Accuracy of both methods:

- `iou`: overlap with the boxes of the detector in every frame at full size, mean and 5th percentile;
- `missed`: share of the frames in which that detector sees the face but the method has no box;
- `centre_error`, `side_error`: spread of the box around the true position and size, in shares of the face's size
  (only rendered clips);
- `tilt_error`: root mean square error of the eye line in degrees (only rendered clips).
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.data import ClipFactors, encode_mp4, render_clip
from modeling_hdf.faces.cropping import crop_face
from modeling_hdf.faces.detection import FaceDetector, cut_square
from modeling_hdf.faces.tracking import box_iou, crop_squares, eye_angles

FPS, SECONDS, MARGIN, SIZE = 25, 4.0, 0.1, 224


def rendered_clip(file: Path, height: int) -> dict[str, np.ndarray]:
    """Write a clip of a moving, talking, tilting face; returns its true centre (F, 2), size (F,) and tilt (F,)."""
    edge, num_frames = height // 3, round(SECONDS * FPS)
    phase = np.arange(num_frames) / FPS
    factors = ClipFactors(
        label="happiness", background="grey", talking=0.5, blinks=2, duration=SECONDS, fps=FPS, speed=1.0
    )
    face = render_clip(factors, edge)
    # A similarity transform per frame scales, turns and moves the picture of the face.
    scale = 1.0 + 0.2 * np.sin(0.9 * phase)
    tilt = np.radians(12.0 * np.sin(1.3 * phase))
    centre = np.column_stack(
        [height * (0.89 + 0.5 * np.sin(0.8 * phase)), height * (0.5 + 0.15 * np.sin(1.1 * phase + 1.0))]
    )
    frames = np.empty((num_frames, height, height * 16 // 9, 3), np.uint8)
    for index, picture in enumerate(face):
        turn = scale[index] * np.array(
            [[np.cos(tilt[index]), -np.sin(tilt[index])], [np.sin(tilt[index]), np.cos(tilt[index])]]
        )
        matrix = np.column_stack([turn, centre[index] - turn @ np.full(2, edge / 2)])
        frames[index] = cv2.warpAffine(
            picture, matrix, frames.shape[2:0:-1], borderMode=cv2.BORDER_CONSTANT, borderValue=(127, 127, 127)
        )
    file.write_bytes(encode_mp4(frames, FPS))
    return {"centre": centre, "size": scale * edge, "tilt": tilt}


def every_frame_at_full_size(file: str, detector: FaceDetector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The simple method: indices of the frames that show a face, its detections `(n, 15)`, and crops."""
    indices, faces, crops = [], [], []
    for index, frame in enumerate(open_clip(file).stream()):
        picture = frame.rgb()
        found = detector(picture)
        if len(found):
            face = found[np.argmax(found[:, 2] * found[:, 3])]
            left, top, width, height = face[:4]
            square = [
                left + width / 2,
                top + height / 2,
                max(width, height) * (1 + 2 * MARGIN),
                eye_angles(face[None])[0],
            ]
            indices.append(index)
            faces.append(face)
            crops.append(cut_square(picture, np.array(square), SIZE))
    return np.array(indices), np.array(faces), np.stack(crops)


def against_truth(boxes: np.ndarray, tilts: np.ndarray, indices: np.ndarray, truth: dict[str, np.ndarray]) -> dict:
    """Errors of boxes `(n, 4)` and tilts `(n,)`. A box's offset from the face is a convention: the spread counts."""
    size, tilt = truth["size"][indices], truth["tilt"][indices]
    away = (boxes[:, :2] + boxes[:, 2:] / 2 - truth["centre"][indices]) / size[:, None]
    cosine, sine = np.cos(tilt), np.sin(tilt)
    away = np.column_stack([cosine * away[:, 0] + sine * away[:, 1], cosine * away[:, 1] - sine * away[:, 0]])
    return {
        "centre_error": round(float(np.linalg.norm(away.std(axis=0))), 4),
        "side_error": round(float((boxes[:, 2:].max(axis=1) / size).std()), 4),
        "tilt_error": round(float(np.degrees(np.sqrt(np.mean((tilts - tilt) ** 2)))), 2),
    }


def compare(file: str, rounds: int, truth: dict[str, np.ndarray] | None) -> dict:
    full, ours = FaceDetector(max_side=None), FaceDetector()
    ratios, rates = [], []
    for index in range(rounds + 1):  # the first round warms up
        calls = [lambda: every_frame_at_full_size(file, full), lambda: crop_face(file, SIZE, MARGIN, detector=ours)]
        seconds, results = [0.0, 0.0], [None, None]
        for which in (0, 1) if index % 2 else (1, 0):
            start = time.perf_counter()
            results[which] = calls[which]()
            seconds[which] = time.perf_counter() - start
        if index:
            ratios.append(seconds[0] / seconds[1])
            rates.append([results[1].faces.num_frames / each for each in seconds])
    (indices, faces, _), clip = results
    track = clip.track
    common = np.intersect1d(indices, track.frames)
    place = common - track.frames[0]
    overlap = box_iou(faces[np.isin(indices, common), :4], track.boxes[place]).diagonal()
    result = {
        "frames": clip.faces.num_frames,
        "looked_at": clip.faces.looked_at,
        "speed_ratio": round(statistics.median(ratios), 2),
        "speed_ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "frames_per_second": [round(rate) for rate in np.median(rates, axis=0)],
        "iou": [round(float(overlap.mean()), 3), round(float(np.quantile(overlap, 0.05)), 3)],
        "missed": round(1.0 - len(common) / len(indices), 4),
    }
    if truth is not None:
        result["full_size"] = against_truth(faces[:, :4], eye_angles(faces), indices, truth)
        result["ours"] = against_truth(track.boxes, crop_squares(track, MARGIN)[:, 3], track.frames, truth)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", help="video files; rendered clips by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.videos:
            result = {video: compare(video, arguments.rounds, None) for video in arguments.videos}
        for height in () if arguments.videos else (360, 720):
            file = Path(folder) / f"{height}.mp4"
            truth = rendered_clip(file, height)
            result[f"rendered {height * 16 // 9}x{height}"] = compare(str(file), arguments.rounds, truth)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
