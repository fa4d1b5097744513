"""Cells that share GPUs."""

from hypothesis import given
from hypothesis import strategies as st

from sweeps.launch.gpus import HELD_TWICE, MEMORY_SHARE, PROCESS_BYTES, Places, Sharing
from sweeps.launch.need import Need
from sweeps.launch.packing import plan_slots

MEMORY = 80 * 10**9


def test_a_cell_takes_its_share_of_time_or_of_memory() -> None:
    sharing = Sharing.of(1, 16, None, MEMORY)
    assert sharing.capacity == 16
    assert sharing.units(Need(1, 1, busy=0.15)) == 3  # 2.4 places
    half = int((MEMORY_SHARE * MEMORY / 2 - PROCESS_BYTES) / HELD_TWICE)
    assert sharing.units(Need(1, 1, held=half, busy=0.15)) == 8
    assert sharing.units(Need(1, 1, held=100 * MEMORY, busy=0.15)) == 16
    assert sharing.units(Need(1, 1)) == 16, "not measured: a GPU of its own"


def test_without_a_probe_each_cell_has_a_gpu() -> None:
    sharing = Sharing.of(2, 16, None, None)
    assert (sharing.capacity, sharing.units(Need(1, 1))) == (2, 1)


def test_slots_say_how_many_cells_run_at_once() -> None:
    works = [Need(10, 1)] * 6
    assert plan_slots(works, 16, sharing=Sharing.of(1, 16, 3, None), slots=3).seconds == 20
    assert plan_slots(works, 16, sharing=Sharing.of(2, 16, 3, None), slots=3).seconds == 20
    assert plan_slots(works, 16, sharing=Sharing.of(2, 16, 1, None), slots=1).seconds == 60


def test_a_cell_on_several_gpus_takes_all_places_of_them() -> None:
    sharing = Sharing.of(2, 16, None, MEMORY)
    both = Need(10, 1, devices=2, busy=0.1)
    assert sharing.units(both) == sharing.capacity == 16
    plan = plan_slots([both, Need(4, 1, busy=0.1), Need(4, 1, busy=0.1)], 16, sharing=sharing)
    assert (plan.units, plan.seconds) == ((16, 1, 1), 14)
    fixed = Sharing.of(2, 16, 3, None)
    assert plan_slots([both, Need(4, 1)], 16, sharing=fixed, slots=3).units == (4, 1)


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(1, 3))
def test_no_gpu_is_given_more_than_it_has(units: list[int], gpus: int) -> None:
    places = Places([str(number) for number in range(gpus)], 8)
    used = dict.fromkeys(map(str, range(gpus)), 0)
    given_out = []
    for unit in units:
        taken = places.take(unit)
        if taken is None:
            assert all(busy + unit > 8 for busy in used.values())
            continue
        assert len(taken) == 1
        used[taken[0]] += unit
        given_out.append((taken, unit))
    assert all(busy <= 8 for busy in used.values())
    for taken, unit in given_out:
        places.give_back(taken, unit)
    assert places.take(8 * gpus) is not None


def test_the_emptiest_gpu_is_taken() -> None:
    places = Places(["a", "b"], 4)
    assert [places.take(1) for _ in range(3)] == [["a"], ["b"], ["a"]]
    assert places.take(4) is None
    assert places.take(3) == ["b"]
