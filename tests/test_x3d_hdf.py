"""X3D: equal to PyTorch's 3-D layers, for clips and for single frames, and its statistics."""

import numpy as np
import pytest
import torch
from pytorchvideo_x3d import SMALL, X3DReference, randomize_layers
from tiny_models import randomize, tiny_x3d_config, tiny_x3d_hdf_config
from torch.nn import functional as F

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.conversion import ConversionOptions, x3d
from modeling_hdf.x3d_hdf import X3DBackbone, X3DConfig, X3DForVideoClassification, X3DModel
from modeling_hdf.x3d_layers_hdf import TemporalConvolution


def buffers(model) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def reference_and_ours():
    """The network with 3-D layers and ours, with the same weights and with statistics of their own in each norm."""
    reference = randomize_layers(X3DReference(**SMALL)).eval()
    options = ConversionOptions(num_frames=6, image_size=32)
    return reference, x3d.build_converted(reference.state_dict(), options).eval()


@pytest.mark.parametrize("frames", [1, 2, 6])
@pytest.mark.parametrize("training", [False, True])
def test_equals_three_dimensional_layers(frames, training):
    reference, ours = reference_and_ours()
    reference.train(training)
    ours.train(training)
    clips = torch.randn(3, 3, frames, 32, 32)
    expected, actual = reference(clips), ours(clips.transpose(1, 2)).logits
    assert expected.std(0).max() > 1e-3  # clips differ
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)

    (expected.square().sum() + expected[0, 0]).backward()
    (actual.square().sum() + actual[0, 0]).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in reference.named_parameters():
        gradient = gradients[x3d.converted_name(name, 2)].reshape(parameter.shape)
        assert (gradient - parameter.grad).norm() <= 1e-3 * parameter.grad.norm() + 1e-6, name
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(ours.get_buffer(x3d.converted_name(name, 2)), buffer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_the_two_dimensional_path_of_a_single_frame_is_the_same_function(training):
    """In float64, where rounding hides nothing on any processor: 1e-9 of the largest value, far below 1e-6."""
    reference, ours = (model.double().train(training) for model in reference_and_ours())
    stills = torch.randn(3, 3, 1, 32, 32, dtype=torch.float64)
    expected, actual = reference(stills), ours(stills.transpose(1, 2)).logits
    assert expected.std(0).max() > 1e-3  # stills differ
    assert (actual - expected).abs().max() <= 1e-9 * expected.abs().max()

    expected.square().sum().backward()
    actual.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in reference.named_parameters():
        gradient = gradients[x3d.converted_name(name, 2)].reshape(parameter.shape)
        assert (gradient - parameter.grad).norm() <= 1e-9 * (parameter.grad.norm() + 1), name


def summed(x: torch.Tensor, weight: torch.Tensor, stride: int) -> np.ndarray:
    """A channel-wise convolution over frames and space of `(B, T, C, h, w)`, in float64, term by term."""
    pixels, kernel = x.double().numpy(), weight.detach().double().numpy()[:, 0]  # (C, K, k, k)
    reach = [size // 2 for size in kernel.shape[1:]]
    padded = np.pad(pixels, [(0, 0), (reach[0],) * 2, (0, 0), (reach[1],) * 2, (reach[2],) * 2])
    total = np.zeros_like(pixels[..., ::stride, ::stride])
    steps, (height, width) = x.shape[1], x.shape[3:]
    for t, i, j in np.ndindex(kernel.shape[1:]):
        shifted = padded[:, t : t + steps, :, i : i + height : stride, j : j + width : stride]
        total += shifted * kernel[:, t, i, j, None, None]
    return total


@pytest.mark.parametrize("kernel", [(1, 3), (3, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
@pytest.mark.parametrize("gradients", [True, False])
def test_temporal_convolution_is_the_sum_over_frames_and_space(kernel, stride, frames, gradients):
    layer = TemporalConvolution(4, kernel, stride)
    x = torch.randn(2, frames, 4, 7, 6)
    expected = summed(x, layer.weight, stride)
    for pixels in (x, x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)):
        with torch.set_grad_enabled(gradients):
            y = layer(pixels)
        assert np.abs(y.detach().numpy() - expected).max() <= 1e-6 * np.abs(expected).max()
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)  # as the layers after it are fast

    low = layer.to(torch.bfloat16)
    with torch.set_grad_enabled(gradients):
        y = low(x.to(torch.bfloat16))
    expected = summed(x.to(torch.bfloat16), low.weight, stride)
    assert y.dtype == torch.bfloat16
    np.testing.assert_allclose(y.detach().float().numpy(), expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kernel", "frames", "dtype", "gradients", "expected"),
    [
        ((3, 3), 4, torch.float32, False, 1),
        ((3, 3), 4, torch.float32, True, 0),
        ((3, 3), 1, torch.float32, False, 0),
        ((5, 1), 4, torch.float32, False, 0),
        ((3, 3), 4, torch.bfloat16, False, 0),
    ],
)
def test_inference_takes_one_convolution_where_it_is_faster(monkeypatch, kernel, frames, dtype, gradients, expected):
    calls = []
    convolve = F.conv3d
    monkeypatch.setattr(F, "conv3d", lambda *args, **kwargs: calls.append(1) or convolve(*args, **kwargs))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = TemporalConvolution(4, kernel).to(dtype)
    with torch.set_grad_enabled(gradients):
        layer(torch.randn(2, frames, 4, 7, 6, dtype=dtype))
    assert len(calls) == expected
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with torch.no_grad():
        layer(torch.randn(2, frames, 4, 7, 6, dtype=dtype))
    assert len(calls) == expected


def test_an_export_is_the_sum_also_without_gradients():
    with torch.no_grad():
        program = torch.export.export(TemporalConvolution(4, (3, 3)), (torch.randn(2, 4, 4, 7, 6),))
    called = [str(node.target) for node in program.graph.nodes]
    assert called.count("aten.conv2d.default") == 3 and "aten.conv3d.default" not in called


def test_inference_gives_what_the_gradient_path_gives_and_leaves_its_input():
    _, ours = reference_and_ours()
    clips = torch.randn(3, 6, 3, 32, 32)
    before, statistics = clips.clone(), buffers(ours)
    expected = ours(clips).logits.detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            actual = ours(clips).logits
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert clips.equal(before)
    assert all(value.equal(statistics[name]) for name, value in ours.named_buffers())


def test_strides_in_bfloat16_have_the_gradients_of_float32():
    layer = TemporalConvolution(4, (3, 3), 2).to(torch.bfloat16)
    exact = TemporalConvolution(4, (3, 3), 2)
    exact.load_state_dict(layer.state_dict())
    found = []
    x = torch.randn(2, 3, 4, 9, 7, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    for each in (layer, exact):
        pixels = x.to(each.weight.dtype, copy=True).requires_grad_()
        y = each(pixels)
        assert y.dtype == each.weight.dtype
        y.square().sum().backward()
        found.append([y.detach().float(), pixels.grad.float(), each.weight.grad.float()])
    for rounded, expected in zip(*found, strict=True):
        torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


def test_a_single_frame_costs_no_tap_in_time(monkeypatch):
    calls = []
    convolve = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args, **kwargs: calls.append(1) or convolve(*args, **kwargs))
    TemporalConvolution(4, (5, 3))(torch.randn(2, 1, 4, 7, 6))
    assert len(calls) == 1


@pytest.mark.parametrize("size", [[16, 24], [17, 23], 20])
def test_feature_maps_have_the_sizes_that_the_backbone_says(size):
    config = tiny_x3d_config(image_size=size, stem_stride=2)
    model = X3DModel(config)
    height, width = (size, size) if isinstance(size, int) else size
    x = X3DBackbone.embed(model, torch.randn(2, 4, 3, height, width))
    for stage, expected in zip(X3DBackbone.layers(model), X3DBackbone.feature_map_sizes(config), strict=True):
        x = stage(x)
        assert X3DBackbone.feature_map(config, x).shape == (2, *expected)


def test_starts_as_the_authors_train_it():
    torch.manual_seed(0)
    model = X3DForVideoClassification(X3DConfig(image_size=32, num_labels=400))
    block = model.x3d.stages[3].blocks[0]
    for weight in (
        model.x3d.stem.spatial.weight,
        block.expand.weight,
        block.channelwise.weight,
        block.squeeze_excitation.reduce.weight,
        model.fc_norm.linear.weight,
    ):
        fan_out = len(weight) * weight[0, 0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not block.project_norm.weight.any() and (block.expand_norm.weight == 1).all()

    # The pooling of HDF too.
    model = HDFForVideoClassification(tiny_x3d_hdf_config(backbone_config={"model_type": "hdf_x3d"}))
    assert model.fc_norm.linear.weight.std().item() == pytest.approx((2 / 2048) ** 0.5, rel=0.1)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_takes_the_statistics_once(use_reentrant):
    clips, labels = torch.randn(3, 4, 3, 16, 24), torch.tensor([0, 1, 2])
    model = randomize(HDFForVideoClassification(tiny_x3d_hdf_config()), std=0.1).train()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    runs = []
    for stage in model.hdf.backbone.stages:
        stage.blocks[0].expand.register_forward_hook(lambda *_: runs.append(1))

    def step():
        runs.clear()
        model.load_state_dict(start)
        model.zero_grad()
        model(clips.clone().requires_grad_(), labels=labels).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}, buffers(model)

    gradients, statistics = step()
    assert len(runs) == 2
    assert all(gradient.any() for name, gradient in gradients.items() if not name.endswith("key_bias"))
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    checkpointed_gradients, checkpointed_statistics = step()
    assert len(runs) == 4
    for name, gradient in gradients.items():
        torch.testing.assert_close(checkpointed_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    for name, value in statistics.items():
        torch.testing.assert_close(checkpointed_statistics[name], value, rtol=0, atol=1e-7, msg=name)
