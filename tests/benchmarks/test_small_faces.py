import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import randomize

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.batch_norm_hdf import GlobalBatchNorm
from modeling_hdf.configuration import configuration_path
from modeling_hdf.x3d_layers_hdf import TemporalConvolution

COMMAND = Path(__file__).parents[2] / "benchmarks/small_faces/train.py"


def pictures(seed: int, *shape: int, edge: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, edge, edge), dtype=torch.uint8, generator=generator)


def data_of(edge: int) -> dict[str, torch.Tensor]:
    found = {"stills": pictures(0, 28, edge=edge), "validation_stills": pictures(1, 14, edge=edge)}
    found |= {"clips": pictures(2, 14, 8, edge=edge), "validation_clips": pictures(3, 7, 8, edge=edge)}
    return found | {f"{name}.labels": torch.arange(len(tensor)) % 7 for name, tensor in found.items()}


@pytest.fixture(scope="module")
def data() -> dict[str, torch.Tensor]:
    return data_of(48)


def save_data(folder: Path) -> None:
    folder.mkdir()
    for edge in (48, 64):
        answers = torch.eye(7)[torch.arange(28) % 7]
        save_file(data_of(edge) | {"stills.answers": answers}, folder / f"data_{edge}.safetensors")


def train(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(COMMAND), "--output", str(folder), "--device", "cpu", "--divide", "128"]
    return subprocess.run(
        [*command, "--steps", "3", "1", "1", "1", "1", *options], capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def training():
    sys.path.insert(0, str(COMMAND.parent))
    import training

    yield training
    sys.path.remove(str(COMMAND.parent))


class Fixed(torch.nn.Module):
    """Answers with the same logits to every clip."""

    def __init__(self, logits: list[float]):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, clips: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits.expand(len(clips), -1))


def test_the_teacher_answers_to_stills_alone(training):
    model, teacher = Fixed([0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]), Fixed([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    targets = torch.eye(7)[[1, 1, 4]]
    shares = torch.tensor([[1.0], [0.0], [0.25]])  # a still, a rendered clip, and a mixture of both
    part = training.Part(torch.zeros(3, 1, 3, 8, 8), targets, shares)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = training.take_step(model, optimizer, [part], teacher, taught=0.6)

    guess, answers = (np.exp(each) / np.exp(each).sum() for each in ([3.0, *[0] * 6], [0.0, 1.0, 2.0, *[0] * 4]))
    expected = 0.0
    for target, share in zip(np.eye(7)[[1, 1, 4]], (0.6, 0.0, 0.15), strict=True):
        expected -= ((1 - share) * target + share * guess) @ np.log(answers) / 3
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    assert teacher.logits.grad is None


def test_batches_know_which_clips_show_stills(training, data):
    stage = training.Stage("clips", 1, 1e-3, stills=4, moving=3, clips=2, mixed=0.0)
    config = HDFConfig.from_pretrained(configuration_path("model", "x3d_faces"))
    single, clips = next(iter(training.Batches(data, stage, config, torch.device("cpu"))))
    assert single.clips.shape == (4, 1, 3, 48, 48)
    assert single.stills.flatten().tolist() == [1.0] * 4
    assert clips.clips.shape == (5, 8, 3, 48, 48)
    assert clips.stills.flatten().tolist() == [1.0] * 3 + [0.0] * 2
    mixed = replace(stage, mixed=1.0, stills=2, moving=8, clips=8, smoothing=0.0)
    _, clips = next(iter(training.Batches(data, mixed, config, torch.device("cpu"))))
    assert ((clips.stills > 0) & (clips.stills < 1)).any()
    torch.testing.assert_close(clips.targets.sum(1), torch.ones(16))


def test_remembered_answers_stand_beside_the_labels_of_stills(training, data):
    answers = torch.softmax(torch.randn(28, 7, generator=torch.Generator().manual_seed(4)), 1)
    held = data | {"stills.answers": answers, "stills": torch.arange(28, dtype=torch.uint8)[:, None, None]}
    stage = training.Stage("", 1, 1e-3, remembered=0.4, smoothing=0.1)
    batches = training.Batches(held, stage, SimpleNamespace(num_frames=8), torch.device("cpu"))
    views, targets = batches._views("stills", 9)
    for view, target in zip(views, targets, strict=True):
        index = round(255 * view.item())  # each still has a level of its own
        expected = 0.6 * (0.9 * np.eye(7)[index % 7] + 0.1 / 7) + 0.4 * answers[index].numpy()
        np.testing.assert_allclose(target.numpy(), expected, rtol=1e-5)
    targets = batches._views("clips", 3)[1]
    assert sorted(set(np.round(targets.flatten().tolist(), 4))) == pytest.approx([0.0143, 0.9143])


def test_statistics_taken_anew_are_means_over_batches_of_stills(training):
    torch.manual_seed(0)
    model = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")))
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    norms = [module for module in model.modules() if isinstance(module, GlobalBatchNorm)]
    seen = [[] for _ in norms]
    for norm, inputs in zip(norms, seen, strict=True):
        norm.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].double().numpy()))
    stage = training.Stage("", 1, 1e-3, stills=9, moving=3, clips=3)
    training.take_statistics(model, data_of(64), stage, batches=4)
    for norm, inputs in zip(norms, seen, strict=True):
        assert len(inputs) == 4 and all(len(frames) == 9 for frames in inputs)
        for statistic, expected in (
            (norm.running_mean, [frames.mean((0, 2, 3)) for frames in inputs]),
            (norm.running_var, [frames.var((0, 2, 3), ddof=1) for frames in inputs]),
        ):
            np.testing.assert_allclose(statistic.numpy(), np.mean(expected, 0), rtol=1e-3, atol=1e-5)
        assert norm.momentum == 0.1
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=0)


def test_balanced_neighbours_see_changes_alone(training):
    torch.manual_seed(0)
    model = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")))
    training.balance_neighbours(model)
    layers = [each for each in model.modules() if isinstance(each, TemporalConvolution)]
    assert len(layers) == 10
    for layer in layers:
        frame = torch.randn(1, 1, len(layer.weight), 6, 6)
        still, moving = frame.expand(-1, 7, -1, -1, -1), torch.cat([frame * number for number in range(7)], 1)
        with torch.no_grad():
            seen = layer(still)[:, 3], layer(moving)[:, 3]  # far from both ends
            torch.testing.assert_close(seen[0], layer(frame)[:, 0], rtol=1e-4, atol=1e-5)
            assert (seen[1] - 3 * seen[0]).abs().max() > 1e-3  # frame 3 between a weaker and a stronger one


@pytest.mark.parametrize("balanced", [True, False])
def test_a_balanced_stage_keeps_the_sums_of_weights_on_neighbours_at_zero(training, tmp_path, balanced):
    torch.manual_seed(0)
    model = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")))
    layers = [each for each in model.modules() if isinstance(each, TemporalConvolution)]
    before = [layer.weight.detach().clone() for layer in layers]
    batch = {"stills": 2, "moving": 2, "clips": 2}
    stage = training.Stage("s", 2, 1e-2, warmup=1, balanced=balanced, **batch)
    training.train_stage(model, data_of(64), stage, tmp_path)
    for layer, weight in zip(layers, before, strict=True):
        assert not torch.equal(layer.weight, weight)
        weight, centre = layer.weight.detach().double(), layer.weight.shape[2] // 2
        sums = weight.sum(2) - weight[:, :, centre]
        assert (sums.abs().max() < 1e-5) == balanced


def test_the_learning_rate_ends_where_its_decay_does(training):
    rates = [training._rate(step, training.Stage("", 100, 1.0, decay=200, warmup=50)) for step in (24, 50, 125, 200)]
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.5, 0.0], atol=1e-9)
    assert training._rate(99, training.Stage("", 100, 1.0, warmup=50)) < 0.01


def test_blended_weights_keep_a_share_of_those_before(training):
    from train import blend

    model, before = torch.nn.Linear(2, 1), {"weight": torch.tensor([[4.0, -8.0]])}
    after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    blend(model, before, 0.75)
    torch.testing.assert_close(model.weight, 0.75 * after["weight"] + torch.tensor([[1.0, -2.0]]))
    torch.testing.assert_close(model.bias, after["bias"])  # new in the stage


@pytest.mark.parametrize("right", [True, False])
def test_the_checkpoint_is_calibrated_on_the_held_out_stills_if_they_allow_it(training, tmp_path, capsys, right):
    from train import finish

    torch.manual_seed(0)
    model = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")))
    randomize(model)
    training.fold_colours(model)  # a second time it changes nothing
    stills = pictures(1, 20, edge=64)
    with torch.no_grad():
        repeated = training.as_pixels(stills[:, None, None].float() / 255).expand(-1, 8, -1, -1, -1)
        scale = model.eval()(repeated).logits.std()
        for parameter in model.classifier.parameters():
            parameter /= scale
        logits = model(repeated).logits
    order = logits.argsort(1, descending=right)
    labels = order[torch.arange(20), torch.arange(20) % 3 // 2]  # two in three are right, or as wrong as can be
    held_out = {"validation_stills": stills, "validation_stills.labels": labels}
    if not right:
        with pytest.raises(ValueError, match="No temperature fits"):
            finish(model, held_out, tmp_path)
    finish(model, held_out, tmp_path, is_trial=True)

    found = HDFConfig.from_pretrained(tmp_path).calibration_temperature
    candidates = np.geomspace(0.01, 100, 4001)
    losses = [torch.nn.functional.cross_entropy(logits / each, labels).item() for each in candidates]
    assert found == pytest.approx(candidates[np.argmin(losses)] if right else 1.0, rel=0.01)
    assert capsys.readouterr().out.count("Not calibrated. No temperature fits") == (not right)


def test_the_same_weights_come_out_of_a_straight_and_of_an_interrupted_run(tmp_path, data):
    straight, interrupted = tmp_path / "straight", tmp_path / "interrupted"
    for folder in (straight, interrupted):
        save_data(folder)
    finished = train(straight)
    assert finished.returncode == 0, finished.stderr
    stopped = 0
    while (run := train(interrupted, "--minutes", "0", "--save-every", "2")).returncode:
        assert "run the command again to go on" in run.stderr, run.stderr
        stopped += 1
    assert stopped == 1  # in the first stage; the others end at their first save
    weights = [load_file(folder / "checkpoint" / "model.safetensors") for folder in (straight, interrupted)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=0, atol=0, msg=name)

    # What ships lies halfway between the weights before and after the last stage.
    name = "classifier.weight"
    ends = [load_file(straight / f"{stage}.safetensors")[name] for stage in ("larger", "balanced")]
    assert not torch.equal(*ends)
    torch.testing.assert_close(weights[0][name], sum(ends) / 2)

    # The teacher counts: with other weights of its, the same run ends elsewhere.
    other = tmp_path / "other"
    save_data(other)
    teacher = load_file(straight / "teacher.safetensors")
    save_file(teacher | {"network.fc.bias": torch.arange(7.0)}, other / "teacher.safetensors")
    assert train(other).returncode == 0
    taught = [load_file(folder / "stills.safetensors")[name] for folder in (other, straight)]
    assert not torch.equal(*taught)

    model = HDFForVideoClassification.from_pretrained(straight / "checkpoint")
    assert len(model.hdf.dam) == 4
    steps = [(entry["stage"], entry["step"]) for entry in json.loads((straight / "curve.json").read_text())]
    assert steps == [("teacher", 3), ("stills", 1), ("clips", 1), ("larger", 1), ("balanced", 1)]

    # A grey picture and its colours of the same luminance get the same answer.
    processor = HDFVideoProcessor.from_pretrained(straight / "checkpoint")
    colours = torch.rand(2, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    luminance = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    with torch.no_grad():
        answers = [
            model(**processor(list(clips), return_tensors="pt")).logits
            for clips in (colours, luminance.expand(-1, -1, 3, -1, -1))
        ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)
