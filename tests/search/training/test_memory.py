"""Out of memory: under a real limit of the system's, and by torch's own errors; the batch that is named does fit."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from factories.tasks import NETWORK, PLAIN, made_task
from rigs import with_tests

from search.training import training
from search.training.memory import is_out_of_memory, within_memory
from search.training.training import judge, train
from space.errors import HarnessError
from space.networks import Network, build_network

pytestmark = pytest.mark.training

# A kernel is compiled when a shape is first met. Where memory for its code is refused, oneDNN (of torch 2.13) calls the kernel
# that it does not have, in dnnl::impl::cpu::x64::brgemm_kernel_execute, and the process ends by signal 11: no error can then be
# read, and no batch named. So all shapes are met before the limit, and what is refused then is memory for tensors.
CODE = """
import dataclasses, re, resource
import torch
torch.set_num_threads(1)
from factories.tasks import NETWORK, PLAIN, made_task
from harness.errors import HarnessError
from search.training.training import train

def images_of(batch, task):
    return train(NETWORK, task, dataclasses.replace(PLAIN, epochs=1, batch=batch)).history[0].train.images

task, batches = made_task(train=2048), [2**power for power in range(5, 12)]
for batch in batches:
    images_of(batch, made_task(train=batch))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for room_mib in range(40, 0, -5):  # until half of the batch does not fit: that it does would be a guess's luck
    resource.setrlimit(resource.RLIMIT_AS, (used + room_mib * 2**20, resource.RLIM_INFINITY))
    try:
        images_of(1024, task)
    except HarnessError:
        break
try:
    images_of(2048, task)
except HarnessError as e:
    print(e)
    batch = int(re.search("a batch of ([0-9]+) fits", str(e))[1])
print(batch, images_of(batch, task))
"""


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits a process's memory so")
def test_under_a_real_limit_the_named_batch_trains(tmp_path: Path) -> None:
    # Each tensor has a mapping of its own, given back when it is freed: glibc would keep more of them run by run.
    settings = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    environment = with_tests(PYTHONFAULTHANDLER="1", **settings)
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode >= 0, (
        f"signal {-done.returncode} ended the process, so that no batch was named nor tried:\n{done.stderr}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    message, trained = done.stdout.splitlines()
    assert message.startswith("epoch 1, training at rate 0.05: out of memory with a batch of 2048 images")
    assert "give the recipe batch" in message
    batch, images = map(int, trained.split())
    assert 2 <= batch < 1024 and images == 2048


class Small(torch.nn.Module):
    """A network on a device that holds the activations of so many images."""

    def __init__(self, network: Network, most: int, error: Exception) -> None:
        super().__init__()
        self.network, self.most, self.error = network, most, error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise self.error
        y: torch.Tensor = self.network(images)
        return y


ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:9] or "python's")
def test_the_batch_and_one_that_fits_are_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = training.fresh_network
    once = dataclasses.replace(PLAIN, epochs=1, batch=40)
    monkeypatch.setattr(training, "fresh_network", lambda *of: Small(real(*of), 11, error))
    with pytest.raises(
        HarnessError, match=r"^epoch 1, .* with a batch of 40 images \(.*\); a batch of 10 fits, as a trial"
    ) as caught:
        train(NETWORK, made_task(), once)
    assert "More" not in str(caught.value)


def test_where_no_batch_fits_that_is_said() -> None:
    network = Small(build_network(NETWORK), 1, ERRORS[0])
    task = made_task()
    with pytest.raises(
        HarnessError, match=r"judging: out of memory with a batch of 40 .* not even a batch of 2"
    ):
        judge(network, task.test, task)


def test_memory_that_fails_before_the_first_batch_is_not_blamed_on_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ERRORS[1]

    monkeypatch.setattr(training, "Split", fail)
    with pytest.raises(
        HarnessError, match=r"out of memory before the first batch: .* and 80 images do not fit"
    ):
        train(NETWORK, made_task(), PLAIN)


def test_other_errors_pass_as_they_are() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
    for error in (RuntimeError("shapes differ"), ValueError("out of memory")):

        def work(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            within_memory(work, lambda images: None, 8, "work")
    tried: list[int] = []

    def step(images: int) -> None:
        tried.append(images)
        raise RuntimeError("shapes differ" if images == 2 else "out of memory")

    def starve() -> None:
        raise ERRORS[0]

    with pytest.raises(RuntimeError, match="shapes differ"):
        within_memory(starve, step, 8, "work")
    assert tried == [4, 2]


def test_what_the_failed_step_held_is_free_when_a_smaller_one_is_tried() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work() -> None:
        large = torch.zeros(100)
        held.append(weakref.ref(large))
        raise MemoryError

    def step(images: int) -> None:
        assert held[0]() is None

    with pytest.raises(HarnessError, match="a batch of 4 fits"):
        within_memory(work, step, 8, "work")
