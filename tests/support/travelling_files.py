"""The source files that a saved model carries."""

TRAVELLING_FILES = {
    "backbone_hdf.py",
    "batch_norm_hdf.py",
    "clip_reading_hdf.py",
    "configuration_hdf.py",
    "dam_frequency_hdf.py",
    "dam_hdf.py",
    "dam_normalized_hdf.py",
    "display_hdf.py",
    "downloading_hdf.py",
    "file_kinds_hdf.py",
    "frame_reading_hdf.py",
    "limits_hdf.py",
    "modeling_hdf.py",
    "mp4_index_hdf.py",
    "requirements_hdf.py",
    "video_processing_hdf.py",
    "video_reading_hdf.py",
    "videomae_hdf.py",
    "x3d_hdf.py",
    "x3d_layers_hdf.py",
}
