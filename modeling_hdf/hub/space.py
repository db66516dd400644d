"""A Hugging Face Space that shows the page of `hdf demo` for a model."""

from importlib.metadata import version

from huggingface_hub import CommitInfo

from .client import check_repository, push_files
from .gate import Files

_APP = '''"""The page of `hdf demo`, as a Hugging Face Space."""

import threading

from modeling_hdf.demo import serve

if __name__ == "__main__":
    with serve("{model}", host="0.0.0.0"):
        threading.Event().wait()
'''

_CARD = """---
title: Expressions over time
emoji: 🎬
colorFrom: blue
colorTo: green
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
pinned: false
license: apache-2.0
{models}short_description: Facial expressions in a video, moment by moment
---

# Expressions over time

Upload a video with faces, record one, or press an example: each face is followed, and the page shows how its
expression may look to others, from moment to moment. The model is `{model}`, of
[HDF](https://arxiv.org/abs/2507.15765).

The labels say how a face may look to others, not what a person feels. The model errs often. Do not use it to decide
about people. An upload is deleted as soon as its answer is ready, and nothing is kept.

The licence of this Space is that of the page. The weights of `{model}` come with terms of their own.
"""


def space_files(model: str) -> Files:
    """
    The files of a Space: `app.py`, `requirements.txt` and the card.

    `requirements.txt` names this version of the package, which must be on the package index when the Space is built.

    Args:
        model (`str`): Hub repository of the model, or the name of a checkpoint that ships.
    """
    from gradio import __version__ as gradio_version

    models = f"models:\n  - {model}\n" if "/" in model else ""
    texts = {
        "app.py": _APP.format(model=model),
        "requirements.txt": f"hdf-dfer[demo,face]=={version('hdf-dfer')}\n",
        "README.md": _CARD.format(model=model, models=models, gradio=gradio_version),
    }
    return {name: text.encode() for name, text in texts.items()}


def space_needs(model: str, *, private: bool) -> list[str]:
    """
    What must be there before the Space can start, one line each.

    Args:
        model (`str`): see [`space_files`].
        private (`bool`): whether the repository of the model is pushed as a private one.
    """
    lines = [f"the Space starts if hdf-dfer {version('hdf-dfer')} is on the package index, as requirements.txt asks"]
    if "/" in model:
        when = "as" if private else "if"
        lines.append(
            f"{when} {model} is private, the Space needs a secret HF_TOKEN that may read it: set it in the Space's "
            "settings, under Variables and secrets"
        )
    return lines


def push_space(model: str, repo_id: str, *, private: bool = False, token: str | None = None) -> CommitInfo:
    """Pushes the Space in one commit; see [`space_files`] and [`push_files`]."""
    check_repository(repo_id)
    return push_files(
        space_files(model),
        repo_id,
        replaces=r"app\.py|requirements\.txt",
        message="Show the model",
        repo_type="space",
        private=private,
        token=token,
    )


__all__ = ["push_space", "space_files", "space_needs"]
