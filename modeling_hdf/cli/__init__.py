"""The `hdf` command: one module for each of its commands."""
