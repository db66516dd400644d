"""The common video processor tests of transformers, run on `HDFVideoProcessor`.

They are part of the source distribution of transformers, not of its wheel: `run.py` in this folder fetches it and runs
this file beside them.
"""

import unittest

from tests.test_video_processing_common import VideoProcessingTestMixin, prepare_video_inputs
from transformers.video_utils import VideoMetadata

from modeling_hdf import HDFVideoProcessor


class HDFVideoProcessingTester:
    batch_size = 5
    num_channels = 3

    def __init__(self):
        self.num_frames = 8

    def expected_output_video_shape(self, videos) -> list[int]:
        return [self.num_frames, 3, 18, 18]

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=30,
            max_resolution=80,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class HDFVideoProcessingTest(VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = HDFVideoProcessor
    input_name = "pixel_values"
    test_cast_dtype = True

    def setUp(self):
        super().setUp()
        self.video_processor_tester = HDFVideoProcessingTester()
        self.video_processor_dict = {"num_frames": 8, "size": {"shortest_edge": 20}}
        self.video_processor_dict["crop_size"] = {"height": 18, "width": 18}
        self.video_processor_dict["do_sample_frames"] = True

    def test_call_sample_frames(self):
        # The last thing this test asks for is an error where a video has fewer frames than `num_frames`. Ours repeats
        # frames instead, so that short clips can be classified; all that comes before must pass.
        with self.assertRaisesRegex(AssertionError, "ValueError not raised"):
            super().test_call_sample_frames()
        with self.assertRaises(ValueError):
            HDFVideoProcessor().sample_frames(metadata=VideoMetadata(total_num_frames=8), fps=3)
        video = self.video_processor_tester.prepare_video_inputs(return_tensors="torch")[0]
        self.assertEqual(HDFVideoProcessor()(video, num_frames=10, return_tensors="pt").pixel_values.shape[1], 10)
