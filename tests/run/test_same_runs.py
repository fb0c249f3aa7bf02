"""Runs that must end alike: stopped and resumed, over more devices, members in other ways, from a stream, after damage."""

import pytest

import players as small
import same
import tiny
from kdgan.run import interrupt, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Workdir of a run that was not stopped, its members in turn on one device."""
    workdir = tmp_path_factory.mktemp("whole")
    train.train(tiny.config(), workdir)
    return workdir


def differ_by(a, b):
    """The largest difference of two runs' last states."""
    return small.largest_difference(same.last_state(a, "distill"), same.last_state(b, "distill"))


def test_a_run_stopped_at_every_step_ends_as_the_uninterrupted_one(whole, tmp_path, monkeypatch):
    class After(interrupt.Interrupt):
        """Asks to stop when it is asked the second time: after one step, in whichever stage that is."""

        def __init__(self):
            super().__init__()
            self.asked = 0

        def __call__(self):
            self.asked += 1
            return self.asked >= 2

    monkeypatch.setattr(train, "Interrupt", After)
    stops = 0
    while True:
        try:
            train.train(tiny.config(), tmp_path)
            break
        except interrupt.Stopped:
            stops += 1
    assert stops >= 4
    same.assert_same_run(whole, tmp_path)


def test_a_stop_while_a_stage_s_second_program_trains_loses_no_line_of_the_first(tmp_path, monkeypatch):
    config = tiny.config(steps=4, seeds=1)
    config.log.every = config.evaluate.every = 2
    train.train(config, tmp_path / "whole")
    told = []
    advance = train.Population.advance

    def telling(population, *args, **kwargs):
        told.extend(["now"] * ("kd" in population.program.arms))
        return advance(population, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(train.Population, "advance", telling)
        patch.setattr(train.Interrupt, "__call__", lambda self: bool(told))
        with pytest.raises(interrupt.Stopped):
            train.train(config, tmp_path / "stopped")
    train.train(config, tmp_path / "stopped")
    same.assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("members", ["unrolled", "vmap", "devices"])
def test_every_way_of_running_members_ends_in_the_same_parameters(whole, members, tmp_path):
    config = tiny.config()
    config.parallel.members = members
    train.train(config, tmp_path)
    assert differ_by(whole, tmp_path) < 1e-5


def test_a_batch_over_devices_with_several_steps_per_call_ends_in_the_same_parameters(whole, tmp_path):
    config = tiny.config()
    config.parallel.devices, config.parallel.steps_per_call, config.parallel.members = 4, 2, "vmap"
    config.log.every = 2
    train.train(config, tmp_path)
    assert differ_by(whole, tmp_path) < 1e-5


def test_a_streamed_data_set_gives_the_same_run(whole, tmp_path):
    config = tiny.config()
    config.data.memory_mb = 0
    train.train(config, tmp_path)
    assert differ_by(whole, tmp_path) < 1e-6


def test_a_run_goes_on_on_another_number_of_devices(whole, tmp_path):
    config = tiny.config()
    config.parallel.devices = 4
    tiny.train_until(config, tmp_path, "teacher", 2)
    train.train(tiny.config(), tmp_path)
    assert differ_by(whole, tmp_path) < 1e-5


def test_a_run_goes_on_with_another_number_of_steps_per_call(whole, tmp_path):
    tiny.train_until(tiny.config(), tmp_path, "teacher", 1)  # one step per call; stopped at an odd step
    config = tiny.config()
    config.parallel.steps_per_call, config.log.every = 4, 4
    train.train(config, tmp_path)
    assert differ_by(whole, tmp_path) < 1e-6


def test_a_damaged_last_checkpoint_is_skipped_with_a_warning(whole, tmp_path):
    tiny.train_until(tiny.config(), tmp_path, "teacher", 3)
    folder = max((tmp_path / "checkpoints" / "teacher").iterdir())
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    train.train(tiny.config(), tmp_path)
    same.assert_same_run(whole, tmp_path)
