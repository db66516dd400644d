"""Training on stills as single frames, each at the cost of one frame instead of a whole clip."""

import torch

from ..modeling_hdf import HDFForVideoClassification


@torch.no_grad()
def prepare_for_single_frames(model: HDFForVideoClassification, is_fresh: bool) -> None:
    """
    Prepares a model for a training on clips of one frame. In a fresh model, no frame looks at its neighbours: those
    weights are set to 0, and single frames leave them there. The trained model then answers to a clip of one repeated
    frame, which evaluation shows, as to the frame. A later training on clips learns to look at neighbours.

    Args:
        model ([`HDFForVideoClassification`]): the model.
        is_fresh (`bool`): whether it has start values, not the weights of a checkpoint.

    Raises:
        ValueError: if the backbone takes whole clips alone, or if a checkpoint has learned to look at neighbours.
    """
    kind = model.hdf.backbone_kind
    if not kind.takes_single_frames:
        raise ValueError(
            f"`stills` is 'single', but {kind.title} takes whole clips alone: show stills as clips that move "
            "(`--stills motion`), or train an X3D (`--preset x3d_faces`)."
        )
    for weights in kind.weights_on_neighbours(model.hdf.backbone):
        if is_fresh:
            weights.zero_()
        elif weights.any():
            raise ValueError(
                "`stills` is 'single', but the checkpoint has learned to look at neighbouring frames, which single "
                "frames do not have: show stills as clips that move (`--stills motion`)."
            )


__all__ = ["prepare_for_single_frames"]
