"""Ctrl-C at once, and at the end of a step that must be whole."""

import signal

import pytest

from modeling_hdf.faces.interruption import Interruption


def test_ctrl_c_strikes_at_once_or_after_the_step():
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with Interruption():
            signal.raise_signal(signal.SIGINT)
            steps.append("not reached")
    with pytest.raises(KeyboardInterrupt):
        with Interruption() as interruption, interruption.whole_step():
            signal.raise_signal(signal.SIGINT)
            steps.append("end of the step")
    with Interruption() as interruption:
        interruption.hold()
        signal.raise_signal(signal.SIGINT)
        steps.append("held")
    assert steps == ["end of the step", "held"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
