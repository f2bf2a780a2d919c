"""Calls that may take for ever: given up in time, without holding up anything else."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from models.trials import NoPlaceError, Trials


@pytest.mark.anyio
async def test_trial_returns_or_raises_what_it_calls() -> None:
    trials = Trials(1, limit_s=10)
    assert await trials.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await trials.run(lambda: 1 // 0)
    assert await trials.run(lambda: 8) == 8


@pytest.mark.anyio
async def test_trial_is_given_up_in_time_and_leaves_the_loop_alone() -> None:
    done, gaps = threading.Event(), []
    trial = asyncio.create_task(Trials(1, limit_s=0.3).run(lambda: done.wait(30)))
    last = time.perf_counter()
    while not trial.done():
        await asyncio.sleep(0.01)
        gaps.append(time.perf_counter() - last)
        last = time.perf_counter()
    done.set()
    with pytest.raises(TimeoutError):
        await trial
    assert len(gaps) > 5


@pytest.mark.anyio
async def test_trial_that_was_given_up_keeps_its_place_until_it_is_through() -> None:
    done, trials = threading.Event(), Trials(1, limit_s=0.05)
    with pytest.raises(TimeoutError):
        await trials.run(lambda: done.wait(30))
    with pytest.raises(NoPlaceError):
        await trials.run(lambda: 7)
    done.set()
    async with asyncio.timeout(10):
        while True:
            with suppress(NoPlaceError):
                assert await trials.run(lambda: 7) == 7
                break


@pytest.mark.anyio
async def test_trial_whose_caller_goes_keeps_its_place_too() -> None:
    done, trials = threading.Event(), Trials(1, limit_s=0.05)
    trial = asyncio.create_task(trials.run(lambda: done.wait(30)))
    await asyncio.sleep(0)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    with pytest.raises(NoPlaceError):
        await trials.run(lambda: 7)
    done.set()


@pytest.mark.anyio
async def test_trials_run_side_by_side_up_to_their_places() -> None:
    meeting = threading.Barrier(3)
    trials = Trials(3, limit_s=10)
    await asyncio.gather(*(trials.run(meeting.wait) for _ in range(3)))
