"""
Data: builders of Hugging Face `datasets`, and the code that turns their rows into training batches.

- Builders: [`DFEW`], [`FERV39k`], [`MAFW`], [`RAVDESS`], [`CREMAD`], [`FER2013`], [`VideoFolder`] (your own
  videos), [`UnlabelledClips`] and [`SyntheticFaces`]. Rows have a `clip`, a `clip_id` and, except for
  [`UnlabelledClips`], a `label`.
- [`load_clip`]: the frames of a row.
- [`TemporalSampling`], [`build_augmentation`], [`ClipMixing`]: sampling, augmentation and mixing of clips.
- [`animate_stills`]: stills shown as clips with smooth random motion.
- [`corrupt`]: clips corrupted for a test, in five severities.
- [`ClipDataset`], [`ClipCollator`]: torch dataset and collator.
- [`MixedClips`]: several datasets in one training.
- [`BalancedSampler`], [`PerClassSampler`]: the order of training clips.
"""

from .arguments import DataArguments, class_count_lines
from .builders.base import ExpressionBuilder, ExpressionConfig
from .builders.checks import DatasetCheck, class_counts
from .builders.cremad import CREMAD, CREMADConfig
from .builders.dfew import DFEW, DFEWConfig
from .builders.fer2013 import FER2013, FER2013Config
from .builders.ferv39k import FERV39k, FERV39kConfig
from .builders.folder import VideoFolder, VideoFolderConfig
from .builders.labels import EXPRESSIONS, MAFW_EXPRESSIONS
from .builders.mafw import MAFW, MAFWConfig
from .builders.ravdess import RAVDESS, RAVDESSConfig
from .builders.unlabelled import UnlabelledClips, UnlabelledClipsConfig
from .clip_io import load_clip
from .clip_samplers import BalancedSampler, PerClassSampler
from .clips import ClipCollator, ClipDataset
from .corruptions import corrupt
from .frame_sampling import TemporalSampling
from .mixing import ClipMixing
from .mixtures import MixedClips, united_classes
from .still_motion import animate_stills
from .synthetic.builder import SyntheticFaces, SyntheticFacesConfig
from .synthetic.dynamics import ClipFactors
from .synthetic.renderer import render_clip
from .synthetic.shifted import ShiftedFacesConfig, ShiftedSyntheticFaces
from .transforms import build_augmentation
from .video_encoding import encode_mp4
from .votes import vote_targets

__all__ = [
    "BalancedSampler",
    "CREMAD",
    "CREMADConfig",
    "ClipCollator",
    "ClipDataset",
    "ClipFactors",
    "ClipMixing",
    "DatasetCheck",
    "DFEW",
    "DataArguments",
    "DFEWConfig",
    "ExpressionBuilder",
    "ExpressionConfig",
    "EXPRESSIONS",
    "FER2013",
    "FER2013Config",
    "FERV39k",
    "FERV39kConfig",
    "MAFW",
    "MAFW_EXPRESSIONS",
    "MAFWConfig",
    "MixedClips",
    "PerClassSampler",
    "RAVDESS",
    "RAVDESSConfig",
    "ShiftedFacesConfig",
    "ShiftedSyntheticFaces",
    "SyntheticFaces",
    "SyntheticFacesConfig",
    "TemporalSampling",
    "UnlabelledClips",
    "UnlabelledClipsConfig",
    "VideoFolder",
    "VideoFolderConfig",
    "animate_stills",
    "class_count_lines",
    "build_augmentation",
    "class_counts",
    "corrupt",
    "encode_mp4",
    "load_clip",
    "render_clip",
    "united_classes",
    "vote_targets",
]
