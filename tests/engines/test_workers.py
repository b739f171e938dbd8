"""The pool: answers in order whoever was faster, workers that die, and nothing that outlives who started it.

With workers that only echo (``echo_worker.py``); whole runs over real ones: ``e2e/test_pooled_runs.py``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.faulty import Faults, FaultyTransport
from fedtap.engines.worker_process import Processes
from fedtap.engines.workers import PoolTransport, WorkerPool
from fedtap.federation.messages import EvaluateReply, Failure, Kind, Reply, Request
from fedtap.runtime.errors import RunError, UserError
from fedtap.runtime.watchdog import living

HERE = Path(__file__).parent
SENT = ComponentState({ComponentKey("shared"): {"w": torch.tensor([1.0, -0.0]), "v": torch.tensor([[2.5]])}})

THOROUGH = [pytest.mark.slow, pytest.mark.thorough]


def request(client: str, number: int = 1, kind: Kind = "train") -> Request:
    return Request(client, number, kind, SENT, "words")


def pid(answer: Any) -> int:
    assert isinstance(answer, Reply)
    return int(answer.update.losses["pid"])


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


Start = Callable[..., tuple[WorkerPool, PoolTransport, list[dict[str, Any]]]]


@pytest.fixture
def start(path: None, tmp_path: Path) -> Iterator[Start]:
    """Return a function that opens a pool; it is closed after the test, and nothing may be left of it."""
    pools: list[WorkerPool] = []

    def opened(number: int = 2, **job: Any) -> tuple[WorkerPool, PoolTransport, list[dict[str, Any]]]:
        told: list[dict[str, Any]] = []
        jobs = [{"number": at, **job} for at in range(number)]
        pools.append(WorkerPool(Processes("echo_worker", tmp_path), jobs, told.append))
        pools[-1].open()
        return pools[-1], PoolTransport(pools[-1], ()), told

    yield opened
    for pool in pools:
        pool.close()
    assert not living(tmp_path)


def answers(transport: PoolTransport, requests: Sequence[Request]) -> list[Reply | Failure]:
    return list(transport.exchange(requests))


def test_answers_come_in_the_order_of_the_clients_and_bit_by_bit(start: Start, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    pool, transport, told = start(meeting=str(meeting))
    found = answers(transport, [request(name) for name in ("b", "raises-c", "meets-e", "a", "meets-d")])
    assert [answer.client for answer in found] == ["a", "b", "meets-d", "meets-e", "raises-c"]
    reply, _, one, other, failure = found
    assert failure == Failure("raises-c", 1, "ValueError: out of order")
    assert isinstance(reply, Reply)
    assert reply.update.components.equal(SENT)
    assert torch.signbit(reply.update.components[ComponentKey("shared")]["w"]).tolist() == [False, True]
    assert (reply.round, reply.seconds, reply.steps, reply.secure) == (1, 1.0, 2, "words")
    assert {pid(one), pid(other)} == set(pool.pids)  # side by side: each waited for the other
    assert pool.peak_rss_bytes == 2000
    encoding = [(event["done"], event["total"]) for event in told]
    assert encoding[-1] == (6, 6)
    assert all(done < total for done, total in encoding[:-1])  # it is said once that all is done


def test_a_worker_that_dies_is_one_failed_client_and_another_takes_its_place(start: Start) -> None:
    pool, transport, _ = start()
    before = set(pool.pids)
    dead, *others = answers(transport, [request("dies-a"), *(request(f"slow-{i}") for i in range(4))])
    assert isinstance(dead, Failure)
    assert dead.why == (
        "its worker process ended with signal 9 (SIGKILL): a warning of a library; another takes its place"
    )
    assert all(isinstance(answer, Reply) for answer in others)
    answers(transport, [request(f"slow-{i}", 2) for i in range(4)])
    assert len(set(pool.pids) & before) == 1
    assert len(set(pool.pids) - before) == 1


def test_a_worker_that_dies_between_rounds_fails_nobody(start: Start) -> None:
    pool, transport, _ = start()
    answers(transport, [request("a")])
    for number in pool.pids:
        os.kill(number, signal.SIGKILL)
    for number in list(pool.pids):
        psutil.wait_procs([psutil.Process(number)], timeout=10) if psutil.pid_exists(number) else None
    assert all(isinstance(answer, Reply) for answer in answers(transport, [request("a", 2), request("b", 2)]))


def test_a_worker_that_does_not_come_back_ends_the_run(start: Start) -> None:
    _, transport, _ = start(1, broken=True)  # the first one is well, what takes its place is not
    with pytest.raises(RunError, match=r"could not be started: .* code 1: the ceiling came down; mend that"):
        answers(transport, [request("dies"), request("next")])


def test_a_worker_that_cannot_start_ends_the_run(start: Start) -> None:
    with pytest.raises(RunError, match=r"could not be started: .* code 1: the ceiling came down; mend that"):
        start(2, broken=True)


@pytest.mark.parametrize(("client", "kind"), [("user", UserError), ("run", RunError), ("memory", MemoryError)])
def test_what_would_hit_every_client_ends_the_run(client: str, kind: type[Exception], start: Start) -> None:
    _, transport, _ = start(1)
    with pytest.raises(kind, match="all is lost"):
        answers(transport, [request(client)])


def test_a_worker_is_told_of_the_newest_state_that_any_worker_has_kept(start: Start) -> None:
    _, transport, _ = start(1)
    assert isinstance(transport, PoolTransport)
    found = [answers(transport, [request("a", number, kind)])[0] for number, kind in ((3, "train"), (4, "keys"))]
    found += answers(transport, [request("a", 5)])
    newest = [int(answer.update.personal_losses["newest"]) for answer in found if isinstance(answer, Reply)]
    assert newest == [0, 3, 3]  # what is said of secrets leaves no state


@pytest.mark.parametrize(("personalises", "after"), [(True, 4), (False, 3)])
def test_where_nothing_is_personalised_the_last_round_left_the_newest_state(
    personalises: bool, after: int, start: Start
) -> None:
    pool, _, _ = start(1)
    transport = PoolTransport(pool, (), personalises=personalises)
    for number, kind in ((3, "train"), (4, "personalise")):
        answers(transport, [request("a", number, kind)])
    (answer,) = answers(transport, [request("a", 5)])
    assert isinstance(answer, Reply)
    assert int(answer.update.personal_losses["newest"]) == after


def test_what_comes_next_is_begun_and_handed_on_in_order(start: Start) -> None:
    _, transport, _ = start()
    coming = [request(name, 4, "personalise") for name in ("slow-1", "raises", "c", "b", "a", "slow-0")]
    taken: list[str] = []

    def requests() -> Iterator[Request]:
        for each in coming:
            taken.append(each.client)
            yield each

    transport.prefetch(requests())
    assert taken == ["slow-1", "raises", "c", "b"]  # two for each worker, and not all at once
    for each in coming:
        (answer,) = answers(transport, [each])
        assert answer.client == each.client
        assert isinstance(answer, Failure) == (each.client == "raises")
    assert taken == [each.client for each in coming]


def test_tests_come_in_the_order_in_which_they_are_asked_for(start: Start) -> None:
    _, transport, _ = start()
    names = ["slow-b", "a", "dies", "d", "raises", "c"]
    found = list(transport.evaluate(request(name, 4, "evaluate") for name in names))
    assert [answer.client for answer in found] == names
    assert [type(answer) for answer in found] == [
        Failure if name in ("dies", "raises") else EvaluateReply for name in names
    ]


def test_faults_on_purpose_go_over_a_pool_too(start: Start) -> None:
    _, transport, _ = start(2)
    names = [f"client-{place:02}" for place in range(12)]
    faulty = FaultyTransport(transport, Faults(drop=0.5), seed=3)
    found = list(faulty.exchange([request(name) for name in names]))
    assert [answer.client for answer in found] == names
    assert {type(answer) for answer in found} == {Reply, Failure}
    assert {answer.why for answer in found if isinstance(answer, Failure)} == {"the reply was lost"}


def test_those_that_took_longest_begin_first(start: Start) -> None:
    """A long one that begins last leaves a worker waiting; answers come in the order of the clients all the same."""
    _, transport, _ = start(1)
    transport._seconds.update(a=1.0, b=3.0, c=2.0)
    sent: list[str] = []
    submit = transport._submit
    transport._submit = lambda each: (sent.append(each.client), submit(each))[1]  # type: ignore[method-assign]
    found = answers(transport, [request(name) for name in "abcd"])
    assert sent == ["d", "b", "c", "a"]  # of "d" nothing is known yet
    assert [answer.client for answer in found] == list("abcd")


def test_what_libraries_write_is_told_once(path: None, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    pool = WorkerPool(Processes("echo_worker", tmp_path), [{"number": 0}, {"number": 1}], told.append)
    pool.open()
    pool.close()
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert notes == ["a worker wrote: a warning of a library"]


STARTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_workers import PoolTransport, Processes, WorkerPool, request
pool = WorkerPool(Processes("echo_worker", Path(sys.argv[1])), [{"number": 0}, {"number": 1}], lambda event: None)
try:
    pool.open()
    print(*pool.pids, flush=True)
    list(PoolTransport(pool, ()).exchange([request(f"slow-{i}") for i in range(1000)]))
finally:
    pool.close()
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(
            pytest.param(each, marks=[pytest.mark.slow, pytest.mark.thorough])
            for each in (signal.SIGTERM, signal.SIGINT)
        ),
    ],
)
def test_nothing_outlives_the_process_that_started_it(number: signal.Signals, path: None, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parents[1] / "src")))}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path), str(HERE)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    process.send_signal(number)
    process.wait(20)
    until = time.monotonic() + 20
    while living(tmp_path) or any(psutil.pid_exists(each) for each in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_all_that_workers_tell_while_they_encode_is_heard_before_the_sum(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two is heard first: that all is prepared, or what was told on the way there."""
    real = WorkerPool._wait
    monkeypatch.setattr(WorkerPool, "_wait", lambda pool, future: future.result())  # it listens to nobody
    pool, _, told = start()
    monkeypatch.setattr(WorkerPool, "_wait", real)
    encoding = [(event["done"], event["total"]) for event in told]
    assert encoding[-1] == (6, 6)
    assert encoding.count((6, 6)) == 1
    assert len(pool.pids) == 2
