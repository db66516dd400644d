"""Where the folders of a dataset are looked for."""

from modeling_hdf.data.builders.clip_folders import find_folders


def test_of_more_than_200_folders_only_those_that_match_are_entered(tmp_path):
    clips = [tmp_path / f"{number:05d}_aligned" for number in range(199)]
    for clip in clips:
        (clip / "original").mkdir(parents=True)
    (tmp_path / "original").mkdir()
    within = [str(clip / "original") for clip in clips]
    assert find_folders(tmp_path, {"clips": "original"}) == {"clips": [str(tmp_path / "original"), *within]}
    (tmp_path / "00199_aligned").mkdir()
    assert find_folders(tmp_path, {"clips": "original"}) == {"clips": [str(tmp_path / "original")]}
