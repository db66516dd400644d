"""Data sets: builders of Hugging Face `datasets`."""

from modeling_hdf.data.clips import ClipCollator, ClipDataset
from modeling_hdf.data.face_dynamics import ClipFactors
from modeling_hdf.data.face_renderer import render_clip
from modeling_hdf.data.synthetic import SyntheticFaces, SyntheticFacesConfig
from modeling_hdf.data.video_encoding import encode_mp4

__all__ = [
    "ClipCollator",
    "ClipDataset",
    "ClipFactors",
    "SyntheticFaces",
    "SyntheticFacesConfig",
    "encode_mp4",
    "render_clip",
]
