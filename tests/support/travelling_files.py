"""The source files that a saved model carries."""

TRAVELLING_FILES = {
    "configuration_hdf.py",
    "dam_hdf.py",
    "modeling_hdf.py",
    "requirements_hdf.py",
    "video_processing_hdf.py",
    "video_reading_hdf.py",
    "videomae_hdf.py",
}
