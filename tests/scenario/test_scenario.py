"""Scenarios: what is valid comes back as it was, and what is not is refused in one line that names the key and the mend."""

import errno
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedtap.algorithms.registry import algorithms, make
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, TaskSettings, apply_override, build_scenario, load_scenario

TASK = {"name": "digits", "type": "classification", "modality": "image", "domain": "numbers", "source": "digits"}


def raw(**changes: Any) -> dict[str, Any]:
    """Return a small valid scenario as plain values."""
    return {"name": "small", "clients": [{"id": "a", "tasks": [dict(TASK)]}], **changes}


def build(given_values: dict[str, Any]) -> Scenario:
    return build_scenario(given_values, place="s.yaml", folder=Path())


def refusal(given_values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        build(given_values)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("s.yaml: ")
    return said.removeprefix("s.yaml: ")


def written(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return path


IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
RATES = st.floats(1e-6, 10)
SHARES = st.tuples(st.integers(1, 90), st.integers(1, 9)).map(lambda p: (p[0] / 100, p[1] / 100, 1 - sum(p) / 100))


@st.composite
def tasks(draw: st.DrawFn, name: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(["classification", "reconstruction", "text_generation"]))
    modality = "image" if kind == "reconstruction" else draw(st.sampled_from(["image", "text", "image+text"]))
    made = {"name": name, "type": kind, "modality": modality, "domain": draw(IDS), "source": draw(st.text())}
    made["head"] = f"{kind}.{modality.replace('+', '_')}.{draw(IDS)}"  # a head serves one thing
    if draw(st.booleans()):
        made["path"], made["columns"] = draw(st.text()), draw(st.dictionaries(st.text(), st.text(), max_size=2))
    if draw(st.booleans()):
        made["train"] = draw(st.integers(1, 500))
    return made


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    clients = []
    for number, client in enumerate(draw(st.lists(IDS, min_size=1, max_size=4, unique_by=str.casefold))):
        names = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
        unseen = number > 0 and draw(st.booleans())
        clients.append({"id": client, "unseen": unseen, "tasks": [draw(tasks(name)) for name in names]})
    heads = draw(st.integers(1, 8))
    return {
        "name": draw(IDS),
        "about": draw(st.text()),
        "rounds": draw(st.integers(1, 500)),
        "batch_size": draw(st.integers(1, 64)),
        "network": {"dim": heads * draw(st.integers(1, 32)), "heads": heads, "fusion": "paths"},
        "training": {"lr": draw(RATES), "weight_decay": draw(st.floats(0, 1)), "clip": draw(RATES)},
        "data": {"split": draw(SHARES), "dirichlet": draw(RATES), "quantity": draw(st.floats(0, 2))},
        "method": {"name": "fedavg", "anything": draw(st.one_of(st.integers(), st.booleans(), st.text()))},
        "clients": clients,
    }


@given(scenarios())
def test_a_valid_scenario_survives_being_resolved(values: dict[str, Any]) -> None:
    scenario = build(values)
    again = build(scenario.resolved())
    assert again == scenario
    assert again.resolved() == scenario.resolved()
    assert yaml.safe_load(yaml.safe_dump(scenario.resolved())) == scenario.resolved()
    assert len(scenario.participants) + len(scenario.unseen) == len(values["clients"])


def test_a_count_of_clients_is_spelt_out_and_survives() -> None:
    scenario = build(raw(clients=[{"id": "a", "count": 12, "tasks": [TASK]}, {"id": "b", "tasks": [TASK]}]))
    assert [client.id for client in scenario.clients] == [*(f"a-{i:03d}" for i in range(12)), "b"]
    assert all(client.count == 1 and client.pairs == scenario.clients[-1].pairs for client in scenario.clients)
    assert build(scenario.resolved()) == scenario


def test_a_thousand_and_one_clients_sort_as_they_count() -> None:
    ids = [client.id for client in build(raw(clients=[{"id": "a", "count": 1001, "tasks": [TASK]}])).clients]
    assert ids == sorted(ids)
    assert ids[-1] == "a-1000"


def test_the_pair_of_a_task() -> None:
    pair = build(raw()).client("a").pairs[0]
    assert (pair.task, pair.head, pair.family) == ("digits", "digits", "image_classification")
    named = build(raw(clients=[{"id": "a", "tasks": [{**TASK, "head": "ten"}]}]))
    assert named.client("a").pairs[0].head == "ten"


def test_a_client_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"client 'b': the scenario has none; known: a"):
        build(raw()).client("b")


def test_a_copy_with_other_clients_knows_those_and_no_others() -> None:
    one = build(raw(clients=[{"id": "a", "count": 3, "tasks": [TASK]}]))
    assert [one.client(f"a-00{number}") is client for number, client in enumerate(one.clients)] == [True] * 3
    fewer = one.model_copy(update={"clients": one.clients[:1]})
    assert list(fewer.by_id) == ["a-000"]
    with pytest.raises(UserError, match="client 'a-002': the scenario has none"):
        fewer.client("a-002")
    assert one == build(raw(clients=[{"id": "a", "count": 3, "tasks": [TASK]}]))  # what was looked up is no setting
    assert "by_id" not in one.resolved()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"roundz": 3}, "unknown key 'roundz'; did you mean 'rounds'?"),
        ({"backbone": {"visoin": "x"}}, "unknown key 'backbone.visoin'; did you mean 'vision'?"),
        ({"network": {"dims": 3}}, "unknown key 'network.dims'; did you mean 'dim'?"),
        ({"network": {"reconstruction": {"haed": 3}}}, "'network.reconstruction.haed'; did you mean 'head'?"),
        ({"training": {"lrr": 3}}, "unknown key 'training.lrr'; did you mean 'lr'?"),
        ({"data": {"dirichlett": 3}}, "unknown key 'data.dirichlett'; did you mean 'dirichlet'?"),
        ({"evaluation": {"saves": 3}}, "unknown key 'evaluation.saves'; did you mean 'save'?"),
        ({"clients": [{"id": "a", "tasks": [TASK], "cuont": 3}]}, "'clients.0.cuont'; did you mean 'count'?"),
        (
            {"clients": [{"id": "a", "tasks": [{**TASK, "soruce": 3}]}]},
            "'clients.0.tasks.0.soruce'; did you mean 'source'",
        ),
        ({"qqq": 3}, "unknown key 'qqq'; known: about, backbone, batch_size, clients,"),
        ({"two\nlines": 3}, "unknown key 'two lines'; known: "),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(raw(**change))


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        (
            {"text_metrics": ["meteor", "bretscore"]},
            "'evaluation.text_metrics': unknown metric 'bretscore'; did you mean 'bertscore'?",
        ),
        ({"text_metrics": "metoer"}, "'evaluation.text_metrics': unknown metric 'metoer'; did you mean 'meteor'?"),
        ({"text_metrics": ["bleu"]}, "unknown metric 'bleu'; known: bertscore, meteor"),
        ({"text_metrics": ["meteor", "meteor"]}, "'evaluation.text_metrics': 'meteor' stands twice; name it once"),
        ({"text_metrics": 3}, "'evaluation.text_metrics'"),
        ({"class_metrics": "auc"}, "'evaluation.class_metrics': unknown metric 'auc'; did you mean 'auroc'?"),
        ({"class_metrics": ["auroc", "auroc"]}, "'evaluation.class_metrics': 'auroc' stands twice; name it once"),
        ({"bertscore_encoder": ""}, "'evaluation.bertscore_encoder'"),
    ],
)
def test_a_wrong_metric_is_refused_with_the_nearest(evaluation: dict[str, Any], expected: str) -> None:
    assert expected in refusal(raw(evaluation=evaluation))


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            {"class_weights": "balancd"},
            "'clients.0.tasks.0.class_weights': must be balanced, or a weight for each class",
        ),
        ({"class_weights": {True: 2}}, "a class is read as true, not as text; put quotes around it"),
        ({"class_weights": {"a": 0}}, "the weight of class 'a' must be a number above 0"),
        ({"class_weights": {"a": float("nan")}}, "the weight of class 'a' must be a number above 0"),
        (
            {"class_weights": "balanced", "type": "text_generation"},
            "'class_weights' is for classification, not for text_",
        ),
    ],
)
def test_wrong_weights_of_classes_are_refused(task: dict[str, Any], expected: str) -> None:
    assert expected in refusal(raw(clients=[{"id": "a", "tasks": [{**TASK, **task}]}]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"local_epochs": 0}, "'local_epochs'"),
        ({"local_epochs": 1, "theory": True}, "local_epochs and theory do not go together"),
        (
            {"local_epochs": 1, "privacy": {"local": {"noise": 1.0, "clip": 1.0}}},
            "local_epochs and privacy.local do not go together",
        ),
    ],
)
def test_epochs_that_cannot_be_counted_are_refused(change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(raw(**change))


def test_metrics_of_text_by_name() -> None:
    assert build(raw()).evaluation.text_metrics == ()
    assert build(raw(evaluation={"text_metrics": "meteor"})).evaluation.text_metrics == ("meteor",)
    both = build(raw(evaluation={"text_metrics": ["meteor", "bertscore"]}))
    assert both.evaluation.text_metrics == ("meteor", "bertscore")
    assert build(both.resolved()) == both


def sections(model: Any, place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return the sections of a scenario that can be given as mappings, at every level."""
    found = [(place, model)]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            found += sections(field.annotation, (*place, name))
    return found


@pytest.mark.parametrize(("place", "model"), sections(Scenario))
def test_every_key_is_found_again_from_a_slip(place: tuple[str, ...], model: Any) -> None:
    for name in model.model_fields:
        if name == "folder":
            continue
        values = raw()
        here = values
        for section in place:
            here = here.setdefault(section, {})
        here[f"{name}q"] = 1
        assert refusal(values).endswith(f"unknown key '{'.'.join((*place, name))}q'; did you mean '{name}'?")


def test_of_several_faults_the_unknown_key_is_told() -> None:
    values = {"name": "small", "rounds": -1, "cleints": []}
    assert refusal(values) == "unknown key 'cleints'; did you mean 'clients'? (and 1 more: 'rounds')"
    values |= {"lines": 1, "data": {"tran": 3}, "training": {"lr": 0, "clip": 0}}
    assert refusal(values) == (
        "unknown key 'data.tran'; did you mean 'train'? (and 5 more: 'rounds', 'training.lr', 'training.clip', …)"
    )


def test_further_faults_are_named_where_a_key_is_missing_and_cut_where_they_are_long() -> None:
    values = {"clients": [{"id": "a"}], "rounds": 0}
    assert refusal(values) == "'name' is missing; add it (and 2 more: 'rounds', 'clients.0.tasks')"
    told = refusal(values | {"name": "n", "y": 1, "x" * 200: 1})
    assert told.startswith("unknown key 'y'; known: ")
    assert told.endswith(f"(and 2 more: 'rounds', '{'x' * 63}…')")


def test_the_scenarios_folder_is_no_key(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(raw(folder="elsewhere")))
    with pytest.raises(UserError, match="unknown key 'folder'"):
        load_scenario(path)
    assert "folder" not in refusal(raw(qqq=1)).split("known:")[1]


def with_task(**changes: Any) -> dict[str, Any]:
    return {"clients": [{"id": "a", "tasks": [{**TASK, **changes}]}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rounds": 0}, "'rounds': Input should be greater than 0 (given: 0)"),
        ({"rounds": "many"}, "'rounds': Input should be a valid integer, unable to parse string as an integer"),
        ({"rounds": True}, "'rounds': must be a number, not on or off (given: True)"),
        (
            {"rounds": -1, "batch_size": -1, "local_steps": 0},
            "'rounds': Input should be greater than 0 (given: -1) (and 2 more: 'local_steps', 'batch_size')",
        ),
        ({"training": {"lr": float("nan")}}, "'training.lr': Input should be a finite number (given: nan)"),
        ({"training": {"lr": float("inf")}}, "'training.lr': Input should be a finite number"),
        ({"training": {"lr": True}}, "'training.lr': must be a number, not on or off"),
        ({"training": {"lr": 0}}, "'training.lr': Input should be greater than 0"),
        ({"training": {"weight_decay": float("inf")}}, "'training.weight_decay': Input should be a finite number"),
        ({"training": {"final_ratio": float("nan")}}, "'training.final_ratio': Input should be a finite number"),
        ({"training": {"clip": float("inf")}}, "'training.clip': Input should be a finite number"),
        ({"data": {"dirichlet": float("inf")}}, "'data.dirichlet': Input should be a finite number"),
        ({"data": {"quantity": float("nan")}}, "'data.quantity': Input should be a finite number"),
        ({"data": {"split": [0.5, 0.2, 0.2]}}, "'data.split': the three shares must be positive and sum to 1"),
        ({"data": {"split": [0.5, 0.5, 0]}}, "'data.split': the three shares must be positive and sum to 1"),
        ({"data": {"split": [0.5, 0.5]}}, "'data.split"),
        ({"network": {"dim": 10, "heads": 3}}, "'network': heads=3 must divide dim=10"),
        (
            {"network": {"dim": 12, "heads": 3, "head_dim": 6}},
            "'network': head_dim=6 must be a multiple of dim / heads = 4",
        ),
        ({"method": "fedavg"}, "'method': Input should be a valid dictionary (given: 'fedavg')"),
        ({"network": None}, "'network': Input should be a valid dictionary"),
        ({"name": ""}, "'name': must be one line without '/'"),
        ({"name": "../up"}, "'name': must be one line without '/'"),
        ({"clients": []}, "'clients': no client takes part in training"),
        ({"clients": [{"id": "a", "tasks": []}]}, "'clients.0.tasks': a client needs at least one task"),
        ({"clients": [{"id": "a", "tasks": [TASK, TASK]}]}, "'clients.0.tasks': task 'digits' is listed twice"),
        ({"clients": [{"id": "a/b", "tasks": [TASK]}]}, "'clients.0.id': 'a/b' must be letters, digits"),
        ({"clients": [{"id": "a\n", "tasks": [TASK]}]}, "'clients.0.id': 'a ' must be letters, digits"),
        ({"clients": [{"id": "..", "tasks": [TASK]}]}, "'clients.0.id': '..' must be letters, digits"),
        ({"clients": [{"id": "a", "tasks": [TASK]}] * 2}, "'clients': client id 'a' is used twice"),
        (
            {"clients": [{"id": "ward", "tasks": [TASK]}, {"id": "Ward", "tasks": [TASK]}]},
            "'clients': client ids 'ward' and 'Ward' differ in case or Unicode form alone",
        ),
        (
            {"clients": [{"id": "a", "count": 2, "tasks": [TASK]}, {"id": "A-001", "tasks": [TASK]}]},
            "'clients': client ids 'a-001' and 'A-001' differ in case or Unicode form alone",
        ),
        ({"clients": [{"id": "a", "count": 0, "tasks": [TASK]}]}, "'clients.0.count': Input should be greater than 0"),
        (
            {"clients": [{"id": "a" * 62, "count": 2, "tasks": [TASK]}]},
            "is too long for an id with a number; at most 60",
        ),
        (
            {"clients": [{"id": "a", "count": 2, "tasks": [TASK]}, {"id": "a-001", "tasks": [TASK]}]},
            "client id 'a-001' is used twice",
        ),
        ({"clients": [{"id": "a", "unseen": True, "tasks": [TASK]}]}, "at least one must not be unseen"),
        ({"clients": [{"tasks": [TASK]}]}, "'clients.0.id' is missing; add it"),
        (with_task(name="x" * 65), "'clients.0.tasks.0.name': "),
        (with_task(domain="a b"), "'clients.0.tasks.0.domain': 'a b' must be letters"),
        (with_task(type="clasification"), "'clients.0.tasks.0.type': Input should be 'classification', "),
        (with_task(type="reconstruction", modality="text"), "reconstruction needs modality 'image', not 'text'"),
        (with_task(classes=-1), "'clients.0.tasks.0.classes': Input should be a valid tuple (given: -1)"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(raw(**change))


def test_the_longest_id_with_a_number_is_taken() -> None:
    scenario = build(raw(clients=[{"id": "a" * 60, "count": 2, "tasks": [TASK]}]))
    assert build(scenario.resolved()) == scenario
    assert len(scenario.clients[0].id) == 64


@pytest.mark.parametrize(
    "other",
    [
        {"type": "text_generation"},
        {"classes": 3},
        {"modality": "text"},
        {"name": "redraw", "type": "reconstruction", "head": "digits"},
    ],
)
def test_one_head_for_two_things_is_refused(other: dict[str, Any]) -> None:
    clients = [{"id": "a", "tasks": [TASK]}, {"id": "b", "tasks": [{**TASK, **other}]}]
    said = refusal(raw(clients=clients))
    assert "client 'b', task '" in said
    assert "head 'digits' is ('classification', " in said
    clients[1]["tasks"][0]["head"] = "own"
    assert len(build(raw(clients=clients)).clients) == 2


def test_a_method_section_without_a_name_is_that_of_the_default() -> None:
    assert make(build(raw(method={"gate": "paired"})).method).name == "tap"
    assert make(build(raw()).method).name == "tap"


def test_a_scenario_is_named_after_its_file_and_knows_its_folder(tmp_path: Path) -> None:
    values = raw()
    del values["name"]
    scenario = load_scenario(written(tmp_path, yaml.safe_dump(values)))
    assert (scenario.name, scenario.folder) == ("s", tmp_path.resolve())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rounds: 3\nclients: [\n", "s.yaml: line 3 not valid YAML ("),
        ("rounds: 3\n\tclients: 4\n", "s.yaml: line 2 not valid YAML (found character '\\t'"),
        ("name: a\nrounds: 3\nname: b\n", "s.yaml: line 3 not valid YAML (key 'name' is given twice); mend that line"),
        ("training:\n  lr: 1\n  lr: 2\n", "s.yaml: line 3 not valid YAML (key 'lr' is given twice)"),
        ("about: \0", "s.yaml: not valid YAML (unacceptable character #x0000"),
        ("about: 2024-13-45", "s.yaml: not valid YAML (month must be in 1..12)"),
        ("a: " + "[" * 5000, "s.yaml: not valid YAML ("),
        ("a: !!python/object/apply:os.getcwd []", "s.yaml: line 1 not valid YAML (could not determine a constructor"),
        ("", "a scenario is a mapping of keys such as 'rounds' and 'clients'"),
        ("- a", "a scenario is a mapping of keys such as 'rounds' and 'clients'"),
        ("rounds: 3", "'clients' is missing; add it"),
        ("1: 2\nclients: []", "s.yaml:2: '"),
    ],
)
def test_a_file_that_is_no_scenario(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_yaml_may_merge_a_mapping_and_override_one_of_its_keys(tmp_path: Path) -> None:
    task = "{name: t, type: classification, modality: image, domain: d, source: digits}"
    text = f"clients:\n - {{id: a, tasks: [&t {task}]}}\n - {{id: b, tasks: [{{<<: *t, domain: e}}]}}\n"
    scenario = load_scenario(written(tmp_path, text))
    assert [client.pairs[0].domain for client in scenario.clients] == ["d", "e"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such scenario; mend the path; `fedtap scenario list`"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_scenario(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("about: é".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: cannot be read .*give a YAML file in UTF-8"):
        load_scenario(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("network.dim", 10**6), ("network.layers", 10**9), ("network.decoder_layers", 2_000), ("network.head_dim", 10**6),
     ("network.lora_rank", 10**6), ("network.expert_lora_rank", 10**6), ("network.expert_dim", 10**9),
     ("network.domain_dim", 10**9), ("network.heads", 10**6), ("backbone.image_size", 10**5), ("backbone.lora.rank", 10**6),
     ("backbone.lora.layers", 10**6)],
)  # fmt: skip
def test_a_size_without_bounds_is_refused_before_anything_is_made(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(UserError, match=key.rpartition(".")[2]):
        load_scenario(written(tmp_path, yaml.safe_dump(raw())), [f"{key}={value}"])


def test_no_more_of_a_file_is_read_than_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # a hole: it has the length, and takes no room
    with pytest.raises(UserError, match=r"huge\.yaml: not valid YAML \(it is longer than 4000000 bytes\)"):
        load_scenario(path)
    with pytest.raises(UserError, match="longer than 4000000 bytes"):
        load_scenario(Path("/dev/zero"))


def test_a_file_that_the_disk_fails_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    path = written(tmp_path, "rounds: 3")
    monkeypatch.setattr("fedtap.scenario.plain_yaml.read_bounded", fail)
    with pytest.raises(UserError, match=r"cannot be read .*input/output error"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("rounds=3", ("rounds",), 3),
        ("training.lr=1e-2", ("training", "lr"), 0.01),
        (" batch_size =8", ("batch_size",), 8),
        ("network.reconstruction.head=pooled", ("network", "reconstruction", "head"), "pooled"),
        ("data.split=[0.5, 0.25, 0.25]", ("data", "split"), [0.5, 0.25, 0.25]),
        ("method.distil=off", ("method", "distil"), False),
        ("gate=paired", ("method", "gate"), "paired"),
        ("about=a = b", ("about",), "a = b"),
        ("backbone.path=", ("backbone", "path"), None),
    ],
)
def test_an_override_is_set(tmp_path: Path, override: str, place: tuple[str, ...], value: Any) -> None:
    scenario = load_scenario(written(tmp_path, yaml.safe_dump(raw())), [override])
    here: Any = scenario.resolved()
    for name in place:
        here = here[name]
    assert here == value


def test_the_last_override_wins(tmp_path: Path) -> None:
    assert load_scenario(written(tmp_path, yaml.safe_dump(raw())), ["rounds=3", "rounds=5"]).rounds == 5


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rounds", "--set rounds: give key=value, for example --set rounds=3"),
        ("=3", "--set =3: give key=value"),
        ("roundz=3", "--set roundz=3: unknown key 'roundz'; did you mean 'rounds'?"),
        ("batchsize=3", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("local-steps=3", "unknown key 'local-steps'; did you mean 'local_steps'?"),
        ("client=3", "unknown key 'client'; did you mean 'clients'?"),
        ("training.lrr=3", "unknown key 'training.lrr'; did you mean 'lr'?"),
        ("rounds.x=3", "--set rounds.x=3: 'rounds' has no keys below it; set it as a whole"),
        ("clients.0.id=b", "--set clients.0.id=b: 'clients' has no keys below it; set it as a whole"),
        ("rounds=[", "--set rounds=[: the value is not valid YAML; put quotes around it"),
        ("rounds=2024-13-45", "the value is not valid YAML; put quotes around it"),
        ("about={a: 1,\na: 2}", "--set about={a: 1, a: 2}: the value is not valid YAML"),
        ("rounds=three", "--set rounds: 'rounds': Input should be a valid integer"),
    ],
)
def test_an_override_that_is_refused(tmp_path: Path, override: str, expected: str) -> None:
    path = written(tmp_path, yaml.safe_dump(raw(rounds=1)))
    with pytest.raises(UserError) as caught:
        load_scenario(path, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_parameter_of_every_method_has_its_short_form() -> None:
    parameters = {name for method in algorithms().values() for name in method.Params.model_fields}
    assert "gate" in parameters
    for name in parameters:
        values: dict[str, Any] = {}
        apply_override(values, f"{name}=1")
        assert values == {"method": {name: 1}}, f"'{name}' is too near a key of the scenario"


@pytest.mark.parametrize("key", ["backbone.path", "backbone.text", "evaluation.bertscore_encoder"])
def test_a_folder_on_the_command_line_is_one_where_the_command_runs(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {}
    for written, taken in (("models/mine", str(tmp_path / "models" / "mine")), ("models/another", "models/another")):
        apply_override(values, f"{key}={written}")
        section, name = key.split(".")
        assert values[section] == {name: taken}


@pytest.mark.parametrize("override", ["population=1000000000", "rounds=1000000000000"])
def test_what_would_fill_the_memory_is_refused_in_one_line(override: str) -> None:
    raw = {
        "name": "n",
        "clients": [
            {
                "id": "a",
                "tasks": [
                    {"name": "t", "type": "classification", "modality": "image", "domain": "d", "source": "digits"}
                ],
            }
        ],
    }
    apply_override(raw, override)
    with pytest.raises(UserError, match="less than or equal to"):
        build_scenario(raw, place="here", folder=Path())


@pytest.mark.parametrize(("key", "value"), [("count", 10**9), ("classes", 10**9)])
def test_a_number_of_clients_or_classes_has_a_bound(key: str, value: int) -> None:
    task = {"name": "t", "type": "classification", "modality": "image", "domain": "d", "source": "folder", "path": "p"}
    client = {"id": "a", "tasks": [task | ({"classes": value} if key == "classes" else {"classes": 2})]}
    raw = {"name": "n", "clients": [client | ({"count": value} if key == "count" else {})]}
    with pytest.raises(UserError, match="less than or equal to"):
        build_scenario(raw, place="here", folder=Path())


IN_YAML = """rounds: 2
clients:
  - id: first
    tasks: [{name: t, type: classification, modality: image, domain: d, source: digits}]
  - id: ward
    tasks:
      - name: scans
        type: classification
        modality: image
        domain: d
        source: folder
        path: scans
        classes:
          - "a"
          - "b"
"""


@pytest.mark.parametrize("word", ["yes", "no", "on", "Off", "1", "0.5", "true", "2024-01-02", "null", "~"])
@pytest.mark.parametrize(
    ("old", "line", "key"),
    [('          - "b"', 15, "classes"), ("domain: d\n        source", 10, "domain"), ("path: scans", 12, "path")],
)
def test_what_yaml_makes_of_a_word_is_told_with_client_and_line(
    tmp_path: Path, word: str, old: str, line: int, key: str
) -> None:
    if key == "path" and word in ("null", "~"):
        return
    new = {"classes": f"          - {word}", "domain": f"domain: {word}\n        source", "path": f"path: {word}"}[key]
    with pytest.raises(UserError) as caught:
        load_scenario(written(tmp_path, IN_YAML.replace(old, new)))
    told = str(caught.value)
    assert f"s.yaml:{line}: client 'ward', task 'scans', 'clients.1.tasks.0.{key}'" in told
    assert (key == "domain" and word in ("null", "~")) or "put quotes around it" in told


def test_a_class_in_one_line_with_the_others_has_that_line(tmp_path: Path) -> None:
    text = IN_YAML.replace('        classes:\n          - "a"\n          - "b"', "        classes: [no, yes]")
    with pytest.raises(
        UserError, match=r"s\.yaml:13: client 'ward', .*read as false, not as text; put quotes around it"
    ):
        load_scenario(written(tmp_path, text))


def test_what_the_command_line_gives_is_named_as_it_gives_it_and_not_by_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--set rounds: 'rounds': must be a number"):
        load_scenario(written(tmp_path, IN_YAML), ["rounds=no"])
    with pytest.raises(UserError, match=r"^--set training\.lr: 'training\.lr'"):
        load_scenario(written(tmp_path, IN_YAML), ["training.lr=fast"])


def test_a_key_that_only_begins_like_a_setting_is_the_files(tmp_path: Path) -> None:
    text = IN_YAML.replace("rounds:", "round_timeout: soon\nrounds:", 1)
    assert text != IN_YAML
    with pytest.raises(UserError, match=r"s\.yaml:\d+: 'round_timeout'"):
        load_scenario(written(tmp_path, text), ["rounds=3"])


PATHS = {"train": "data/a.csv", "val": "data/b.csv", "test": "data/more/c.csv"}


def test_a_path_of_three_places_is_a_folder_and_its_parts() -> None:
    task = TASK | {"source": "csv", "classes": ["a", "b"]}
    found = TaskSettings.model_validate(task | {"path": PATHS})
    assert (found.path, found.parts) == ("data", {"train": "a.csv", "validation": "b.csv", "test": "more/c.csv"})
    assert TaskSettings.model_validate(found.model_dump()) == found
    apart = TaskSettings.model_validate(task | {"path": {"train": "a.csv", "test": "b.csv"}})
    assert (apart.path, apart.parts) == (".", {"train": "a.csv", "test": "b.csv"})


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ({"train": "a.csv"}, "a test part is missing"),
        ({"test": "a.csv", "val": "b.csv"}, "a train part is missing"),
        ({"train": "a.csv", "test": "b.csv", "tset": "c.csv"}, "unknown key 'tset'; did you mean 'test'?"),
        ({"train": "a.csv", "test": "b.csv", "val": "c.csv", "dev": "d.csv"}, "names the validation part twice"),
        ({"train": "a.csv", "test": "a.csv"}, "lies in the"),
        ({"train": "data", "test": "data/test"}, "lies in the"),
        ({"train": "a.csv", "test": 3}, "no place under 'test'"),
        ({"train": "/data/a.csv", "test": "b.csv"}, "must all be absolute, or all relative"),
        ({}, "names no place"),
    ],
)
def test_places_that_cannot_be_three_splits_are_refused(path: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault.replace("?", r"\?")):
        TaskSettings.model_validate(TASK | {"source": "csv", "classes": ["a", "b"], "path": path})


@pytest.mark.parametrize("part", ["../b.csv", "/b.csv", "~/b.csv", " "])
def test_parts_lie_below_their_path(part: str) -> None:
    with pytest.raises(ValidationError, match="must lie below 'path'"):
        TaskSettings.model_validate(TASK | {"source": "csv", "path": "x", "parts": {"train": "a.csv", "test": part}})
