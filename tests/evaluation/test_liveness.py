"""Liveness of gates against numpy, on models whose gates are known to act or not."""

import numpy as np
import pytest
import torch
from tiny_models import move_dam_weights, tiny_config

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.evaluation import gate_liveness, recorded_gates
from modeling_hdf.evaluation.liveness import spread_text


def answering_model(**fields) -> HDFForVideoClassification:
    """A classifier whose answers differ between clips."""
    model = move_dam_weights(HDFForVideoClassification(tiny_config(**fields))).eval()
    torch.nn.init.normal_(model.classifier.weight)
    return model


def test_a_spread_is_told_with_two_digits_or_as_a_whole_number():
    spreads = (0.00021, 0.0123, 0.25, 0.994, 0.996, 1.384)
    assert [spread_text(each) for each in spreads] == ["0.021 %", "1.2 %", "25 %", "99 %", "100 %", "138 %"]


@pytest.mark.parametrize("switches", [{}, {"dam_temporal": False}, {"dam_frequency": False}], ids=str)
def test_spreads_and_flips_are_those_of_a_loop(switches):
    model = answering_model(dam_variant="normalized", **switches)
    with torch.no_grad():  # a wild frequency gate, so that some answer flips
        for parameter in model.hdf.dam.parameters():
            parameter.mul_(6)
    clips = torch.randn(30, 4, 3, 16, 24)
    found = gate_liveness(model, clips.split(7))
    with torch.no_grad(), recorded_gates(model) as gates:
        answers = model(clips).logits.argmax(-1)
    assert found["num_clips"] == 30 and list(found["layers"]) == ["1", "2"]
    for number, recorded in gates.items():
        for name in ("temporal", "frequency"):
            gate = getattr(recorded, name)
            if gate is None:
                assert name not in found["layers"][str(number)]
                continue
            values = gate.double().numpy().reshape(30, -1)
            expected = np.mean([values[:, place].std() for place in range(values.shape[1])]) / values.mean()
            assert found["layers"][str(number)][name] == pytest.approx(expected, rel=1e-4)
    # The same with the gates of each DAM computed by hand: its output is the map times the mean factor.
    means = {number: recorded for number, recorded in gates.items()}

    def fixed(dam, number):
        recorded = means[number]

        def hook(_, inputs, output):
            terms = []
            if recorded.temporal is not None:
                terms.append(dam.temporal_weight * (1 + recorded.temporal.mean(0))[None, :, None, None, None])
            if recorded.frequency is not None:
                terms.append(dam.frequency_weight * (1 + recorded.frequency.mean(0))[None, None, :, :, None])
            return inputs[0] * sum(terms) / len(terms)

        return hook

    for number, dam in model.hdf.dam.items():
        dam.register_forward_hook(fixed(dam, int(number)))
    with torch.no_grad():
        flipped = (model(clips).logits.argmax(-1) != answers).float().mean().item()
    assert found["flipped"] == pytest.approx(flipped) and flipped > 0


def test_static_gates_are_dead(clips):
    found = gate_liveness(answering_model(dam_variant="static"), [clips])
    assert found["flipped"] == 0
    assert all(spread < 1e-6 for layer in found["layers"].values() for spread in layer.values())


def test_the_model_is_measured_in_evaluation_mode_and_left_as_it_was(clips):
    model = answering_model(classifier_dropout=0.9).train()
    first = gate_liveness(model, [clips])
    assert model.training and gate_liveness(model, [clips]) == first
    assert all(not branch._forward_hooks for dam in model.hdf.dam.values() for branch in dam.children())


def test_a_model_without_dam_has_no_gates_to_measure(clips):
    assert gate_liveness(answering_model(dam_layers=[]), [clips]) == {"num_clips": 3, "layers": {}, "flipped": None}


def test_no_clip_is_an_error():
    with pytest.raises(ValueError, match="no clip"):
        gate_liveness(answering_model(), [])
