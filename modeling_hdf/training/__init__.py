"""
Training: the losses of the method, and the Trainer that applies them.

- [`DSM`], [`robust_contrastive_loss`], [`information_bottleneck`]: the training loss of HDF and its parts.
- [`SAMPerturbation`]: sharpness-aware minimisation.
- [`DSMTrainer`] with [`HDFTrainingArguments`]: the Trainer of transformers with these losses. A killed run resumes
  where it stopped. [`modeling_hdf.HDFTrainer`] adds pushes to the Hub.
- [`PretrainingTrainer`]: masked autoencoding of clips without labels.
"""

from .arguments import HDFTrainingArguments
from .checkpointing import CheckpointError, check_checkpoint, last_checkpoint
from .dsm import DSM, DSMOutput, adaptive_weights, information_bottleneck, robust_contrastive_loss
from .pretraining import PretrainingArguments, PretrainingTrainer
from .sam import SAMPerturbation
from .trainer import DSMTrainer

__all__ = [
    "DSM",
    "CheckpointError",
    "DSMOutput",
    "DSMTrainer",
    "HDFTrainingArguments",
    "PretrainingArguments",
    "PretrainingTrainer",
    "SAMPerturbation",
    "adaptive_weights",
    "check_checkpoint",
    "information_bottleneck",
    "last_checkpoint",
    "robust_contrastive_loss",
]
