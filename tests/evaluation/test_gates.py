import numpy as np
import pytest
import torch
from tiny_models import move_dam_weights, tiny_config

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.evaluation.gates import recorded_gates


@pytest.mark.parametrize("switches", [{}, {"dam_temporal": False}, {"dam_frequency": False}], ids=str)
def test_recorded_gates_and_weights_turn_the_input_of_each_dam_into_its_output(switches, clips):
    model = move_dam_weights(HDFForVideoClassification(tiny_config(**switches))).eval()
    maps = {}
    for number, dam in model.hdf.dam.items():
        dam.register_forward_hook(
            lambda _, inputs, output, number=int(number): maps.update({number: (inputs[0], output)})
        )
    with torch.no_grad(), recorded_gates(model) as gates:
        model(clips)
    assert list(gates) == [1, 2] == list(maps)
    for number, (before, after) in maps.items():
        layer = gates[number]
        expected = np.empty_like(before.numpy())
        for b, t, i, j in np.ndindex(*before.shape[:4]):
            terms = []
            if layer.temporal is not None:
                terms.append(layer.temporal_weight * (1 + layer.temporal[b, t].item()))
            if layer.frequency is not None:
                terms.append(layer.frequency_weight * (1 + layer.frequency[b, i, j].item()))
            expected[b, t, i, j] = before[b, t, i, j].numpy() * np.mean(terms)
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-5, atol=1e-6)
        off = {"dam_temporal": layer.temporal, "dam_frequency": layer.frequency}
        assert {name for name, gate in off.items() if gate is None} == set(switches)


def test_recording_changes_no_output_and_leaves_nothing_behind(model, clips):
    expected = model(clips).logits
    branches = [branch for dam in model.hdf.dam.values() for branch in (dam.temporal, dam.frequency)]
    with pytest.raises(ValueError, match="pixel_values"), recorded_gates(model) as gates:
        torch.testing.assert_close(model(clips).logits, expected)
        assert not gates[1].temporal.requires_grad
        model(clips[:, :1])
    assert all(len(branch._forward_hooks) == 0 for branch in branches)


def test_a_model_without_dam_has_no_gates(clips):
    model = HDFForVideoClassification(tiny_config(dam_layers=[])).eval()
    with recorded_gates(model) as gates:
        model(clips)
    assert gates == {}
