"""DAM in half precision against float64."""

import copy

import pytest
import torch
from tiny_models import randomize

from modeling_hdf import DAM

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
def test_result_keeps_the_dtype_of_the_map(dtype):
    x = torch.randn(2, 4, 6, 5, 16).to(dtype)
    assert randomize(DAM(4)).to(dtype)(x).dtype == dtype
    assert randomize(DAM(4))(x.float()).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert DAM(4)(x).dtype == dtype


def test_a_bf16_map_meets_a_float32_dam():
    dam = DAM(4, init="paper")
    x = torch.randn(2, 4, 5, 3, 8)
    output = dam(x.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), dam(x.bfloat16().float()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("case", ["half parameters", "float32 parameters", "autocast"])
@pytest.mark.parametrize("options", [{}, {"variant": "release"}, {"reduction": 7}], ids=str)
def test_gates_of_large_activations_are_those_of_float64(dtype, case, options):
    dam = randomize(DAM(4, init="paper", **options), std=0.1)
    dam = dam.to(dtype) if case == "half parameters" else dam
    scales = torch.tensor([100.0, 30.0, 5.0, 60.0])[:, None, None, None]  # per frame
    x = (scales * (torch.randn(2, 4, 6, 5, 768) + 0.6)).to(dtype)  # sums over channels leave the range of float16
    exact = copy.deepcopy(dam).double()
    with torch.autocast("cpu", dtype, enabled=case == "autocast"):
        gates, output = dam.gates(x), dam(x)
    for gate, expected in zip(gates, exact.gates(x.double()), strict=True):
        assert gate.dtype == torch.float32 and expected.std() > 1e-4
        torch.testing.assert_close(gate.double(), expected, rtol=0, atol=1e-5)
    assert output.dtype == dtype and output.isfinite().all()
    torch.testing.assert_close(output.double(), exact(x.double()), rtol=2e-2, atol=1e-3)
