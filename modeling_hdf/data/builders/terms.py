"""Under which terms the authors of the datasets hand out their clips."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """The terms of a dataset. `license` or `refusal` is set.

    Attributes:
        notice: who made it and under which terms, for cards of models and datasets.
        license: identifier that the Hub has for the licence under which clips may be passed on.
        refusal: why clips may not be passed on; follows the name of the dataset.
    """

    notice: str
    license: str | None = None
    refusal: str | None = None


def gated(dataset: str) -> Terms:
    """The terms of a dataset that its authors hand out on a signed agreement."""
    return Terms(
        notice=f"{dataset} is licence-gated: its authors hand it out on a signed agreement, for academic research "
        "only, and no clip of it may be handed on. Apply to its authors for a copy of your own.",
        refusal="is licence-gated: its authors hand out copies on a signed agreement that forbids handing them on, "
        "and the people in it have not agreed to more.",
    )


FER2013_TERMS = Terms(
    notice="FER2013 (Goodfellow et al., 2013, https://arxiv.org/abs/1307.0414) holds pictures from web searches. Its "
    "authors state no licence: take what is trained on it for research and evaluation alone.",
    refusal="holds pictures from web searches, and its authors state no licence: nobody has given the right to hand "
    "them on.",
)
RAVDESS_TERMS = Terms(
    notice="RAVDESS, Livingstone and Russo (2018), https://doi.org/10.5281/zenodo.1188976, CC BY-NC-SA 4.0: not for "
    "commercial use; name the authors, and share what is made of it under the same licence.",
    license="cc-by-nc-sa-4.0",
)
CREMAD_TERMS = Terms(
    notice="CREMA-D, Cao et al. (2014), https://doi.org/10.1109/TAFFC.2014.2336244, Open Database License 1.0, its "
    "contents under the Database Contents License 1.0: name the source, and share a database made of it under the "
    "same licence.",
    license="odbl",
)

__all__ = ["CREMAD_TERMS", "FER2013_TERMS", "RAVDESS_TERMS", "Terms", "gated"]
