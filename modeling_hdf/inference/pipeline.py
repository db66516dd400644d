"""The video-classification pipeline of transformers, with batches of videos."""

import os

from transformers import VideoClassificationPipeline


class BatchedVideoClassificationPipeline(VideoClassificationPipeline):
    """
    [`~transformers.VideoClassificationPipeline`] that also accepts `batch_size`, and saves the video processor, for
    every model with one.

    The stock pipeline raises an error for batches without an image processor. It only reads from the image processor
    how to pad, and clips of one model all have the same shape, so the video processor serves as well.
    `import modeling_hdf` registers this class instead of the stock class.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import modeling_hdf
    >>> classify = pipeline("video-classification", model=modeling_hdf.TINY_SYNTHETIC)
    >>> classify(["a.mp4", "b.mp4", "c.mp4"], batch_size=2)
    ```
    """

    def get_iterator(self, *arguments, **options):
        """As the stock pipeline, which asks for an image processor while it puts a batch together."""
        given = self.image_processor
        self.image_processor = given if given is not None else self.video_processor
        try:
            return super().get_iterator(*arguments, **options)
        finally:
            self.image_processor = given

    def save_pretrained(self, save_directory: str | os.PathLike, **options) -> None:
        """As the stock pipeline, which leaves the video processor out and could not be loaded again."""
        super().save_pretrained(save_directory, **options)
        if self.video_processor is not None:
            self.video_processor.save_pretrained(save_directory, **options)


__all__ = ["BatchedVideoClassificationPipeline"]
