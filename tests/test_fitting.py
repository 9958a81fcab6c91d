"""A small network learns lessons; an interrupted run goes on as if it had not been."""

import pytest
import torch
from torch import nn

from lav2.documents import fitting
from lav2.documents.fitting import Fit
from lav2.errors import LAV2Error


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def lessons():
    return [torch.tensor([float(at), 1.0]) for at in range(7)]


def weights(net):
    return torch.cat([one.flatten() for one in net.parameters()])


class Lost(Exception):
    pass


def loss_of(net, met, lost_at=None):
    def loss(some, rng):
        if lost_at is not None and len(met) >= lost_at * len(some):
            raise Lost
        met.extend(int(one[0]) for one in some)
        return (net(torch.stack(some)) - rng.random()).square().mean()

    return loss


def test_each_lesson_is_met_once_in_an_epoch():
    met = []
    Fit("one", 2, 1e-2, 2.0, 0)((net := network()), lessons(), loss_of(net, met))
    assert sorted(met[:7]) == sorted(met[7:14]) == list(range(7)) and met[:7] != met[7:14]


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "SAVE_EVERY", 3)
    fit = Fit("one", 2, 1e-2, 3.0, 5, tmp_path)
    whole, again = network(), network()
    fit._replace(folder=None)(whole, lessons(), loss_of(whole, []))
    with pytest.raises(Lost):
        fit(again, lessons(), loss_of(again, [], lost_at=7))
    again, met = network(), []
    fit(again, lessons(), loss_of(again, met))
    assert len(met) == 2 * (10 - 6)  # of ten steps six were saved
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)
    done, none = network(), []
    fit(done, lessons(), loss_of(done, none))
    assert none == [] and torch.equal(weights(done), weights(whole))


def test_a_saved_run_with_other_settings_is_told(tmp_path):
    net = network()
    fit = Fit("one", 2, 1e-2, 1.0, 0, tmp_path)
    fit(net, lessons(), loss_of(net, []))
    with pytest.raises(LAV2Error, match="other settings"):
        fit._replace(epochs=2.0)(net, lessons(), loss_of(net, []))
