"""FedAvg, FedProx and Ditto on a convex problem against NumPy: logistic regression on the digits of scikit-learn.

The reference below shares nothing with the package but the indices of the batches drawn: features, gradients, local steps, rates,
pulls and averages are written out here, in float64. The package computes in float32, through its server, messages, clients and
their store on disk.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from fedtap.algorithms.base import ServerState
from fedtap.algorithms.registry import make
from fedtap.backbones.base import BackboneSpec
from fedtap.batch import Batch
from fedtap.components import ComponentState
from fedtap.data.loader import ClientData, TaskExamples
from fedtap.engines.inprocess import InProcessTransport
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import ClientCard
from fedtap.federation.rounds import run_round
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.network.architecture import Blueprint, HeadInfo
from fedtap.network.network import Network
from fedtap.network.probe import Probe
from fedtap.pairs import ComponentKey
from fedtap.scenario.scenario import NetworkSettings
from tiny import DIGITS, scenario_of

Array = NDArray[np.float64]
Model = tuple[Array, Array]
"""Weight ``(10, 64)`` and bias ``(10,)``."""

SIZES = {"a": 200, "b": 90, "c": 45, "d": 12}  # d has fewer examples than a batch
SCHEDULE = (("a", "b", "d"), ("b", "c"), ("a", "c", "d"))  # three rounds, nobody in all of them
STEPS, BATCH = 7, 20
RATES = (0.5, 0.3, 0.1)  # of the rounds: along the cosine from 0.5 to its fifth, halfway at three fifths
KEY = ComponentKey("probe", ("image", "digits"))
TOLERANCE = 1e-5


class Shares(NamedTuple):
    """Each client's pictures ``(n, 64)``, from 0 to 1, and labels ``(n,)``; client by client other digits are common."""

    pixels: Mapping[str, NDArray[np.float64]]
    labels: Mapping[str, NDArray[np.int64]]


@pytest.fixture(scope="module")
def shares() -> Shares:
    pixels, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    held: dict[str, NDArray[np.int64]] = {}
    left = np.arange(len(labels))
    for number, (client, size) in enumerate(SIZES.items()):
        liking = np.where(labels[left] % 4 == number, 5.0, 1.0)
        held[client] = draw.choice(left, size, replace=False, p=liking / liking.sum())
        left = np.setdiff1d(left, held[client])
    return Shares({c: pixels[held[c]] / 16 for c in SIZES}, {c: labels[held[c]] for c in SIZES})


# --- the package ---------------------------------------------------------------------------------------------------------


class Watched(ClientData):
    """A client's data that note which training examples each batch was made of."""

    drawn: list[list[int]]

    def collate(self, places: Sequence[tuple[str, int]]) -> Batch:
        self.drawn.append([index for _, index in places])
        return super().collate(places)


class Datasets:
    """Where the clients' data are."""

    def __init__(self, shares: Shares) -> None:
        self.held: dict[str, Watched] = {}
        for client in SIZES:
            # sixteenths are exact in half precision, in which features are kept; a picture is one token of 64 features
            image = [row[None].astype(np.float16) for row in shares.pixels[client]]
            examples = TaskExamples(DIGITS, image, None, torch.from_numpy(shares.labels[client]))
            data = Watched({"digits": dict.fromkeys(("train", "validation", "test"), examples)})
            object.__setattr__(data, "drawn", [])
            self.held[client] = data

    def client_data(self, client: str) -> ClientData:
        return self.held[client]


class Ran(NamedTuple):
    """What three rounds made: the server's model, each client's own, and the batches drawn by (round, client)."""

    federated: Model
    personal: Mapping[str, Model]
    drawn: Mapping[tuple[int, str], Sequence[Sequence[int]]]


def model_of(state: ComponentState) -> Model:
    return state[KEY]["weight"].double().numpy(), state[KEY]["bias"].double().numpy()


def run(shares: Shares, folder: Path, **method: Any) -> Ran:
    """Run three rounds of a method through everything that a run has but its data and its towers."""
    scenario = scenario_of(
        dict.fromkeys(SIZES, (DIGITS,)),
        rounds=len(SCHEDULE),
        local_steps=STEPS,
        batch_size=BATCH,
        network={"name": "probe"},
        training={
            "optimizer": "sgd",
            "lr": RATES[0],
            "warmup_rounds": 1,
            "final_ratio": 0.2,
            "weight_decay": 0.0,
            "clip": 1e9,
        },
    )
    spec = BackboneSpec(
        "pixels", vision_dim=64, vision_tokens=1, text_dim=1, text_tokens=1, vocabulary=1, embedding_dim=1
    )
    architecture = Probe(
        Blueprint(spec, NetworkSettings(name="probe"), {"digits": HeadInfo("classification", "image", 10)})
    )
    algorithm, dataset, store = make(method), Datasets(shares), ClientStore(folder)
    network = Network(architecture, architecture.plan([DIGITS]), seed=0)
    cards = [ClientCard(client, (DIGITS,), {"digits": size}) for client, size in SIZES.items()]
    site = ClientSite(algorithm=algorithm, network=network, scenario=scenario, seed=0, data=dataset, store=store)
    state = ServerState(network.initial_state())
    server = Server(algorithm=algorithm, architecture=architecture, state=state, cards=cards)
    events: list[dict[str, Any]] = []
    drawn: dict[tuple[int, str], list[list[int]]] = {}
    for number, clients in enumerate(SCHEDULE, start=1):
        run_round(server, InProcessTransport(site, cards), clients, number, events.append)
        for client in clients:
            drawn[number, client] = dataset.held[client].drawn.copy()
            dataset.held[client].drawn.clear()
    assert not [event for event in events if event["event"] in ("failed", "rejected")]
    states = {client: store.load(client, before=len(SCHEDULE) + 1) for client in SIZES}
    personal = {
        c: model_of(s.models["personal"]) for c, s in states.items() if s is not None and "personal" in s.models
    }
    return Ran(model_of(server.components), personal, drawn)


# --- the reference -------------------------------------------------------------------------------------------------------


def features(pixels: Array) -> Array:
    """Return each picture less its mean, over its standard deviation."""
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)


def descend(model: Model, x: Array, y: NDArray[np.int64], rate: float, pull: float, anchor: Model) -> Model:
    """Take one step along the gradient of the mean cross-entropy plus ``pull / 2`` times the squared distance to ``anchor``."""
    w, b = model
    scores = x @ w.T + b
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1.0
    gw = error.T @ x / len(y) + pull * (w - anchor[0])
    gb = error.sum(axis=0) / len(y) + pull * (b - anchor[1])
    return w - rate * gw, b - rate * gb


Turn = Callable[[str, Model, Sequence[Sequence[int]], float], Model]


def averaged(turn: Turn, drawn: Mapping[tuple[int, str], Sequence[Sequence[int]]]) -> Model:
    """Return the model after three rounds in which clients take turns and are averaged by their examples."""
    model: Model = (np.zeros((10, 64)), np.zeros(10))
    for number, (clients, rate) in enumerate(zip(SCHEDULE, RATES, strict=True), start=1):
        made = [turn(client, model, drawn[number, client], rate) for client in clients]
        share = np.array([SIZES[client] for client in clients]) / sum(SIZES[client] for client in clients)
        w = sum(part * each[0] for part, each in zip(share, made, strict=True))
        b = sum(part * each[1] for part, each in zip(share, made, strict=True))
        model = (np.asarray(w), np.asarray(b))
    return model


def descended(
    shares: Shares, client: str, model: Model, batches: Sequence[Sequence[int]], rate: float, pull: float, anchor: Model
) -> Model:
    x, y = features(shares.pixels[client]), shares.labels[client]
    for batch in batches:
        model = descend(model, x[list(batch)], y[list(batch)], rate, pull, anchor)
    return model


def fedprox(shares: Shares, drawn: Mapping[tuple[int, str], Sequence[Sequence[int]]], mu: float) -> Model:
    """Return what FedProx makes; without a pull it is FedAvg."""

    def turn(client: str, received: Model, batches: Sequence[Sequence[int]], rate: float) -> Model:
        assert len(batches) == STEPS
        return descended(shares, client, received, batches, rate, mu, received)

    return averaged(turn, drawn)


def ditto(
    shares: Shares, drawn: Mapping[tuple[int, str], Sequence[Sequence[int]]], lam: float, steps: tuple[int, int]
) -> tuple[Model, Mapping[str, Model]]:
    """Return what Ditto makes: the model of all, and each client's own."""
    personal: dict[str, Model] = defaultdict(lambda: (np.zeros((10, 64)), np.zeros(10)))

    def turn(client: str, received: Model, batches: Sequence[Sequence[int]], rate: float) -> Model:
        assert len(batches) == sum(steps)
        mine, own = batches[: steps[0]], batches[steps[0] :]
        personal[client] = descended(shares, client, personal[client], own, rate, lam, received)
        return descended(shares, client, received, mine, rate, 0.0, received)

    federated = averaged(turn, drawn)
    return federated, dict(personal)


# --- the comparison ------------------------------------------------------------------------------------------------------


def distance(left: Model, right: Model) -> float:
    """Return the greatest difference of any two numbers."""
    return max(float(np.abs(one - two).max()) for one, two in zip(left, right, strict=True))


def accuracy(model: Model, shares: Shares) -> float:
    """Return the accuracy over all clients' pictures."""
    x = features(np.concatenate(list(shares.pixels.values())))
    y = np.concatenate(list(shares.labels.values()))
    return float(((x @ model[0].T + model[1]).argmax(axis=1) == y).mean())


def test_fedavg(shares: Shares, tmp_path: Path) -> None:
    ran = run(shares, tmp_path, name="fedavg")
    expected = fedprox(shares, ran.drawn, mu=0.0)
    assert distance(ran.federated, expected) < TOLERANCE
    assert accuracy(ran.federated, shares) > 0.8  # three rounds of it learn something


@pytest.mark.parametrize("mu", [0.01, 1.0])
def test_fedprox(mu: float, shares: Shares, tmp_path: Path) -> None:
    ran = run(shares, tmp_path, name="fedprox", mu=mu)
    assert distance(ran.federated, fedprox(shares, ran.drawn, mu)) < TOLERANCE
    # and the pull is no matter of rounding, nor is it half or twice as strong
    for other in (0.0, mu / 2, mu * 2):
        assert distance(ran.federated, fedprox(shares, ran.drawn, other)) > 10 * TOLERANCE


@pytest.mark.parametrize(("compute", "steps"), [("equal", (4, 3)), ("paper", (7, 7))])
def test_ditto(compute: str, steps: tuple[int, int], shares: Shares, tmp_path: Path) -> None:
    ran = run(shares, tmp_path, name="ditto", lam=0.5, compute=compute)
    federated, personal = ditto(shares, ran.drawn, 0.5, steps)
    assert distance(ran.federated, federated) < TOLERANCE
    assert ran.personal.keys() == personal.keys() == set(SIZES)
    for client, model in personal.items():
        assert distance(ran.personal[client], model) < TOLERANCE
        assert distance(model, federated) > 100 * TOLERANCE
    for other in (0.0, 0.25, 1.0):
        _, strayed = ditto(shares, ran.drawn, other, steps)
        assert max(distance(ran.personal[client], strayed[client]) for client in SIZES) > 10 * TOLERANCE
