import torch

from agent.training import flushed_denormals


def test_denormals_count_as_zero_within_and_are_themselves_again_after():
    tiny = torch.full((4,), 1e-30)
    with flushed_denormals():
        assert (tiny * 1e-10 == 0).all()
    assert (tiny * 1e-10 > 0).all()
