"""`examples/predict.py --face`: from a raw video to the same classes as from its crop."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from face_clips import FPS, hidden, place_faces, straight
from tiny_models import move_dam_weights, tiny_backbone_config, tiny_config
from video_files import write_video

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.faces.cropping import crop_face

SCRIPT = Path(__file__).parents[2] / "examples" / "predict.py"
EDGE = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = tiny_config(backbone_config=tiny_backbone_config(image_size=EDGE).to_dict())
    move_dam_weights(HDFForVideoClassification(config)).save_pretrained(folder)
    HDFVideoProcessor(
        num_frames=config.num_frames, size={"shortest_edge": EDGE}, crop_size={"height": EDGE, "width": EDGE}
    ).save_pretrained(folder)
    return folder


def test_the_main_face_is_cropped_and_classified(checkpoint, tmp_path):
    paths = {0: hidden(straight((40, 40), (90, 60), 30), 0, 9), 1: hidden(straight((300, 40), (300, 60), 30), 16, 29)}
    two, wall = tmp_path / "two.mp4", tmp_path / "wall.mp4"
    write_video(two, list(place_faces(paths, 30)), rate=FPS)
    write_video(wall, list(place_faces({}, 5)), rate=FPS)
    command = [sys.executable, SCRIPT, checkpoint, two, wall, "--face", "--json"]
    output = subprocess.run(command, capture_output=True, text=True)
    assert output.returncode == 1
    lines = [line for line in output.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert lines[0] == (
        f"{two}: face in 20 of 30 frames (10 without it); 2 faces, the main one (largest, longest) is taken"
    )
    assert lines[1].startswith(f"{two}: ") and f"{wall}: not classified: {wall}: no face was found" in lines[2]

    crops = crop_face(two, EDGE).frames  # all of them, sampled afterwards
    processor = HDFVideoProcessor.from_pretrained(checkpoint)
    model = HDFForVideoClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        expected = model(**processor(np.stack(crops), return_tensors="pt")).logits.softmax(-1)[0]
    predicted = json.loads(output.stdout)["predictions"][str(two)]
    assert [predicted[model.config.id2label[index]] for index in range(len(expected))] == pytest.approx(
        expected.tolist(), abs=1e-3
    )


def test_without_the_extra_the_option_says_what_to_install(checkpoint):
    code = (
        "import runpy, sys\n"
        "sys.modules['cv2'] = None\n"
        f"sys.argv = ['predict.py', {str(checkpoint)!r}, 'clip.mp4', '--face']\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.returncode == 1 and 'pip install "hdf-dfer[face]"' in output.stderr
