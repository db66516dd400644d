"""
Faces in raw videos: find them, follow them over time, and cut them out upright and steady. Needs the extra `face`.

- [`crop_face`]: the main face of one clip; [`track_faces`]: all faces of a clip, as [`FaceTrack`]s.
- [`FaceDetector`]: YuNet on single frames.
- [`crop_folder`] with [`CropSettings`]: a folder of videos, frame folders and images, in several processes;
  `hdf data faces` runs it.
"""

from .cropping import FaceClip, NoFaceError, TrackedFaces, crop_face, iterate_crops, track_faces
from .detection import FaceDetector
from .folder_run import crop_folder
from .settings import CropSettings
from .tracking import FaceTrack

__all__ = [
    "CropSettings",
    "FaceClip",
    "FaceDetector",
    "FaceTrack",
    "NoFaceError",
    "TrackedFaces",
    "crop_face",
    "crop_folder",
    "iterate_crops",
    "track_faces",
]
