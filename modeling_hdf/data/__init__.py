"""Data sets: builders of Hugging Face `datasets`."""

from modeling_hdf.data.clip_io import load_clip
from modeling_hdf.data.clip_report import ClipReport, class_counts
from modeling_hdf.data.clips import ClipCollator, ClipDataset
from modeling_hdf.data.dfew import DFEW, DFEWConfig
from modeling_hdf.data.expression_builder import ExpressionBuilder, ExpressionConfig
from modeling_hdf.data.face_dynamics import ClipFactors
from modeling_hdf.data.face_renderer import render_clip
from modeling_hdf.data.ferv39k import FERV39k, FERV39kConfig
from modeling_hdf.data.folder import VideoFolder, VideoFolderConfig
from modeling_hdf.data.labels import EXPRESSIONS, MAFW_EXPRESSIONS
from modeling_hdf.data.mafw import MAFW, MAFWConfig
from modeling_hdf.data.mixing import ClipMixing
from modeling_hdf.data.publish import publish_dataset, refuse_gated
from modeling_hdf.data.samplers import BalancedSampler, PerClassSampler
from modeling_hdf.data.sampling import TemporalSampling
from modeling_hdf.data.synthetic import SyntheticFaces, SyntheticFacesConfig
from modeling_hdf.data.synthetic_shifted import ShiftedFacesConfig, ShiftedSyntheticFaces
from modeling_hdf.data.training_data import DataArguments, class_count_lines
from modeling_hdf.data.transforms import build_augmentation
from modeling_hdf.data.unlabelled import UnlabelledClips, UnlabelledClipsConfig
from modeling_hdf.data.video_encoding import encode_mp4
from modeling_hdf.data.views import average_views, predict_views
from modeling_hdf.data.votes import vote_targets

__all__ = [
    "BalancedSampler",
    "ClipCollator",
    "ClipDataset",
    "ClipFactors",
    "ClipMixing",
    "ClipReport",
    "DFEW",
    "DataArguments",
    "DFEWConfig",
    "ExpressionBuilder",
    "ExpressionConfig",
    "EXPRESSIONS",
    "FERV39k",
    "FERV39kConfig",
    "MAFW",
    "MAFW_EXPRESSIONS",
    "MAFWConfig",
    "PerClassSampler",
    "ShiftedFacesConfig",
    "ShiftedSyntheticFaces",
    "SyntheticFaces",
    "SyntheticFacesConfig",
    "TemporalSampling",
    "UnlabelledClips",
    "UnlabelledClipsConfig",
    "VideoFolder",
    "VideoFolderConfig",
    "average_views",
    "class_count_lines",
    "build_augmentation",
    "class_counts",
    "encode_mp4",
    "load_clip",
    "predict_views",
    "publish_dataset",
    "refuse_gated",
    "render_clip",
    "vote_targets",
]
