"""DSM where nothing before the classifier is trained, against the same step written by hand."""

import logging

import pytest
import torch
from hand_written_training import (
    DSM_OPTIONS,
    SCALINGS,
    build_model,
    build_rows,
    build_trainer,
    collate,
    smoothed_cross_entropy,
    step_logs,
    weights,
)

from modeling_hdf.training.dsm import adaptive_weights, information_bottleneck, robust_contrastive_loss

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


def frozen_model():
    model = build_model()
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    return model


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_classifier_trains_on_the_scaled_cross_entropy(tmp_path, scaling, rho, bf16):
    rows = build_rows(4)
    model, reference = frozen_model(), frozen_model()
    options = {"dsm_scaling": scaling, "sam_rho": rho, "bf16": bf16, "max_grad_norm": 0.0, **DSM_OPTIONS}
    trainer = build_trainer(tmp_path, rows, model=model, **options)
    trainer.train()

    batch = collate(rows)
    features = reference(batch["pixel_values"]).features.requires_grad_()
    classifier = reference.classifier

    def losses():
        loss_ce = smoothed_cross_entropy(classifier(features), batch["labels"], 0.0)
        loss_sc = robust_contrastive_loss(features, batch["labels"], temperature=0.5, eta=0.6)
        return loss_ce, loss_sc - 0.4 * information_bottleneck(features)

    def gradients():
        loss_ce, loss_sc = losses()
        g = torch.autograd.grad(loss_ce + loss_sc, features, retain_graph=True)[0].norm().item()
        g = g if scaling == "features" else 1.0
        lambda_ce, _ = (3.0, 0.7) if scaling == "fixed" else adaptive_weights(g, alpha=3.0, beta=0.7)
        return g, torch.autograd.grad(lambda_ce * loss_ce, list(classifier.parameters()))

    start = weights(classifier)
    g, found = gradients()
    norm = torch.sqrt(sum(gradient.square().sum() for gradient in found))
    with torch.no_grad():
        for parameter, gradient in zip(classifier.parameters(), found, strict=True):
            parameter += rho * gradient / norm
    _, found = gradients()
    tolerance = 2e-2 if bf16 else 1e-5
    assert step_logs(trainer)[0]["g"] == pytest.approx(g, rel=tolerance)
    for (name, parameter), gradient in zip(model.classifier.named_parameters(), found, strict=True):
        moved = parameter.detach() - start[name]
        assert (moved + 0.05 * gradient).norm() <= tolerance * (0.05 * gradient).norm() + 1e-7, name
    for name, value in weights(frozen_model()).items():
        if not name.startswith("classifier."):
            assert model.get_parameter(name).equal(value), name


def test_the_log_says_once_that_the_contrastive_loss_trains_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="modeling_hdf"):
        build_trainer(tmp_path, build_rows(12), model=frozen_model()).train()
        assert caplog.text.count("the contrastive loss of DSM trains nothing") == 1
        caplog.clear()
        build_trainer(tmp_path, build_rows(12)).train()
        model = build_model()
        model.hdf.requires_grad_(False)  # the norm of the pooling is trained
        build_trainer(tmp_path, build_rows(12), model=model).train()
        assert "trains nothing" not in caplog.text
