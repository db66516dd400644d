"""Makes names of files printable, and finds the files that a list names."""

import os
import unicodedata

# What `hdf data faces` tells of its crops and writes beside them. No lists of clips.
CROP_RECORDS = ("faces.jsonl", "faces.rejected.jsonl")


def is_text(name: str) -> bool:
    """Whether a name from disk is UTF-8, so that it can be printed and written into a table."""
    return name.isprintable() or not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    r"""A name from disk with `\xe9` in place of each byte that is not UTF-8."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


class ListedPaths:
    """
    Finds the files and folders that a list names.

    Args:
        root (`str`): folder to which paths are relative.
    """

    def __init__(self, root: str):
        self.root = root
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, written: str) -> str:
        r"""
        The path that a list means, which may not exist.

        An existing path is returned unchanged. Otherwise backslashes become slashes, and composed and decomposed
        accents match each other, because macOS and Linux write them differently.
        """
        exact = os.path.join(self.root, written)
        if os.path.exists(exact):
            return exact
        slashed = written.replace("\\", "/")
        path = os.path.join(self.root, slashed)
        if os.path.exists(path):
            return path
        here = os.path.join(self.root, "/") if slashed.startswith("/") else self.root
        for part in slashed.split("/"):
            here = os.path.join(here, self._alike(here, part)) if part else here
        return here if os.path.exists(here) else path

    def _alike(self, folder: str, name: str) -> str:
        """The entry `name` of a folder, or the only entry that spells `name` with other code points."""
        if os.path.lexists(os.path.join(folder, name)) or name.isascii():
            return name
        if folder not in self._names:
            self._names[folder] = {}
            for entry in os.listdir(folder) if os.path.isdir(folder) else []:
                self._names[folder].setdefault(unicodedata.normalize("NFC", entry), []).append(entry)
        alike = self._names[folder].get(unicodedata.normalize("NFC", name), [])
        return alike[0] if len(alike) == 1 else name


__all__ = ["CROP_RECORDS", "ListedPaths", "is_text", "printable"]
