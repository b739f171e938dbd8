"""FedProx: where its pull starts, how far it reaches, what is left without it. Its steps by hand are in ``test_convex.py``."""

import pytest

from fedtap.algorithms.base import ClientState, Update
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.runtime.errors import UserError
from tiny import DIGITS, LAW, MOOD, jittered, local_client


def turn(method: dict[str, object], received: ComponentState | None = None, pairs=(DIGITS, MOOD, LAW), **settings):
    """Return a client's update from a slice that is not the common start, and the slice."""
    client = local_client(pairs, **settings)
    received = jittered(client.initial_state(), scale=0.1) if received is None else received
    update, state = make(method).local_round(client, received, ClientState())
    assert state == ClientState()
    return update, received


def moved(update: Update, received: ComponentState) -> float:
    """Return the squared distance from what was received."""
    squares = update.components.zip(lambda a, b: (a - b).square().sum(), received)
    return sum(float(square) for _, _, square in squares.tensors())


def test_without_a_pull_it_is_fedavg_to_the_bit() -> None:
    # batches of two: most reach only some of the three tasks, and weight decay must spare the others in both
    settings = {"batch_size": 2, "training": {"weight_decay": 0.5, "lr": 0.01}}
    (fedprox, _), (fedavg, _) = (
        turn(method, **settings) for method in ({"name": "fedprox", "mu": 0}, {"name": "fedavg"})
    )
    assert fedprox.components.equal(fedavg.components)
    assert fedprox.losses == fedavg.losses
    assert fedprox.counts == fedavg.counts


def test_the_pull_is_zero_at_the_received_slice_and_felt_from_the_second_step_on() -> None:
    for steps, same in ((1, True), (2, False)):
        fedprox, _ = turn({"name": "fedprox", "mu": 5.0}, pairs=(DIGITS,), local_steps=steps)
        fedavg, _ = turn({"name": "fedavg"}, pairs=(DIGITS,), local_steps=steps)
        assert fedprox.components.equal(fedavg.components) == same


def test_the_stronger_the_pull_the_nearer_a_client_stays() -> None:
    # Without clipping, which would cap the pull with the gradient. Under a steady gradient g, eight steps at 0.1 lead 0.8 |g|
    # away, and with a pull of 5 no further than |g| / 5.
    training = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "warmup_rounds": 1, "clip": 1e9}
    distances = [
        moved(*turn({"name": "fedprox", "mu": mu}, local_steps=8, training=training)) for mu in (0.0, 0.1, 1.0, 5.0)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0]


def test_losses_are_those_of_the_data_without_the_pull() -> None:
    training = {"lr": 1e-9}  # nowhere to go: the same losses, however strong the pull
    strong, _ = turn({"name": "fedprox", "mu": 1e3}, training=training)
    none, _ = turn({"name": "fedavg"}, training=training)
    assert strong.losses == pytest.approx(none.losses, rel=1e-5)


@pytest.mark.parametrize("mu", [-0.1, float("inf"), float("nan")])
def test_a_pull_must_be_a_number_from_zero(mu: float) -> None:
    with pytest.raises(UserError, match="method 'fedprox': 'mu'"):
        make({"name": "fedprox", "mu": mu})
