"""The simulation against what queueing theory knows in closed form."""

import math
import statistics

import pytest

from lav2.cluster.simulation import Load, Site, main, simulate


def erlang_c(servers: int, load: float) -> float:
    """Chance that one has to wait in M/M/c; `load` in servers (Erlang, 1917)."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**n / math.factorial(n) for n in range(servers)) + last)


def test_an_answer_beside_others_takes_as_long_as_processor_sharing_says():
    """M/M/1-PS: mean time is service / (1 - utilisation)."""
    site = Site(slots=10_000, look_seconds=0, prefill_seconds=0, speeds=(100.0,), at=(1,))
    found = simulate(site, Load(rate=1.0, tokens=60.0, questions=40_000))
    assert statistics.mean(found.total) == pytest.approx(0.6 / (1 - 0.6), rel=0.08)
    assert found.model_busy == pytest.approx(0.6, rel=0.05)


@pytest.mark.parametrize("slots", [1, 4])
def test_the_wait_for_a_slot_is_erlangs(slots):
    """A replica whose speed grows with its answers is M/M/c: each slot decodes for itself."""
    site = Site(slots=slots, look_seconds=0, prefill_seconds=0, speeds=tuple(50.0 * n for n in range(1, slots + 1)),
                at=tuple(range(1, slots + 1)))  # fmt: skip
    load, service = 0.7 * slots, 64 / 50
    found = simulate(site, Load(rate=load / service, tokens=64.0, questions=40_000))
    expected = erlang_c(slots, load) * service / (slots - load)
    assert statistics.mean(found.wait) == pytest.approx(expected, rel=0.12)


def test_experts_are_the_bottleneck_where_every_photo_is_new():
    load = Load(rate=0.4, new_photos=1.0, questions=3000)
    one, two = (simulate(Site(replicas=2, expert_replicas=n), load) for n in (1, 2))
    assert one.experts_busy == pytest.approx(0.4 * 2.28, rel=0.1) and two.experts_busy < 0.55
    assert one.quantile("first", 0.95) > 2 * two.quantile("first", 0.95)
    assert one.model_busy < 0.2


def test_the_speed_between_two_measured_ones_is_linear_and_constant_above():
    site = Site(speeds=(100.0, 220.0), at=(1, 4))
    assert [site.speed(n) for n in (1, 2, 4, 8)] == [100, 140, 220, 220]


def test_the_command_prints_quantiles(capsys):
    main(["--rate", "0.2", "--questions", "300"])
    assert "first" in capsys.readouterr().out
