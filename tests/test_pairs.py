"""Plans and paths: enumerated by hand where it matters, and laws that hold for any client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.pairs import MODALITIES, ComponentKey, Pair, exclusive, path, plan

NAMES = st.text("abcxyz019_.-", min_size=1, max_size=6)
FUSIONS = st.sampled_from(["joint", "paths"])


@st.composite
def clients(draw: st.DrawFn) -> list[Pair]:
    """Draw one to four pairs with distinct tasks."""
    tasks = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    pairs = []
    for task in tasks:
        kind = draw(st.sampled_from(["classification", "reconstruction", "text_generation"]))
        modality = "image" if kind == "reconstruction" else draw(st.sampled_from(MODALITIES))
        pairs.append(Pair(task, kind, modality, draw(NAMES), draw(st.sampled_from(["", "common"]))))
    return pairs


def keys(text: str) -> set[ComponentKey]:
    return {ComponentKey.parse(word) for word in text.split()}


ALWAYS = "shared attention/mote/shared attention/mome/shared expert/mote/shared/shared expert/mome/shared/shared "


def by_hand(m: str, o: str) -> str:
    """Return the table of algorithm.md, section 5, for modality ``m`` and family ``o``, row by row."""
    return (
        ALWAYS
        + f"attention/mote/{m} expert/mote/shared/{o} attention/mome/{o} expert/mome/{o}/shared "  # shared-task
        + f"expert/mote/{m}/{o} expert/mome/{o}/{m} "  # modality-task
        + f"expert/mote/{m}/shared expert/mome/shared/{m} "  # modality-shared
    )


@pytest.mark.parametrize(
    ("pair", "fusion", "expected"),
    [
        (
            Pair("digits", "classification", "image", "mnist"),
            "joint",
            "encoder/image shared domain/mnist head/digits "
            "attention/mote/shared attention/mote/image attention/mome/shared attention/mome/image_classification "
            "expert/mote/shared/shared expert/mote/shared/image_classification "
            "expert/mote/image/image_classification expert/mote/image/shared "
            "expert/mome/shared/shared expert/mome/image_classification/shared "
            "expert/mome/image_classification/image expert/mome/shared/image",
        ),
        (
            Pair("mood", "classification", "text", "news", head="feeling"),
            "joint",
            "encoder/text domain/news head/feeling " + by_hand("text", "text_classification"),
        ),
        (
            Pair("memes", "classification", "image+text", "memes"),
            "joint",
            "encoder/image encoder/text domain/memes head/memes " + by_hand("image+text", "image_text_classification"),
        ),
        (
            Pair("memes", "classification", "image+text", "memes"),
            "paths",
            "encoder/image encoder/text domain/memes head/memes "
            + by_hand("image", "image_text_classification")
            + by_hand("text", "image_text_classification"),
        ),
        (
            Pair("redraw", "reconstruction", "image", "shapes"),
            "paths",
            "encoder/image domain/shapes head/redraw " + by_hand("image", "image_generation"),
        ),
        (
            Pair("law", "text_generation", "text", "law"),
            "joint",
            "encoder/text domain/law head/law " + by_hand("text", "text_generation"),
        ),
        (
            Pair("caption", "text_generation", "image", "shapes"),
            "joint",
            "encoder/image domain/shapes head/caption " + by_hand("image", "text_generation"),
        ),
        (
            Pair("vqa", "text_generation", "image+text", "shapes"),
            "joint",
            "encoder/image encoder/text domain/shapes head/vqa " + by_hand("image+text", "text_generation"),
        ),
        (
            Pair("vqa", "text_generation", "image+text", "shapes"),
            "paths",
            "encoder/image encoder/text domain/shapes head/vqa "
            + by_hand("image", "text_generation")
            + by_hand("text", "text_generation"),
        ),
    ],
    ids=lambda value: f"{value.task}-{value.modality}" if isinstance(value, Pair) else "",
)
def test_the_components_of_a_pair_enumerated(pair: Pair, fusion: str, expected: str) -> None:
    assert path([pair], pair.task, fusion) == keys(expected)


@pytest.mark.parametrize("modality", MODALITIES)
def test_classification_has_its_family_experts_in_both_stacks(modality: str) -> None:
    family = f"{modality.replace('+', '_')}_classification"
    held = plan([Pair("any name", "classification", modality, "d")])
    assert {key for key in held if key.kind == "expert" and family in key.names} == keys(
        f"expert/mote/shared/{family} expert/mote/{modality}/{family} "
        f"expert/mome/{family}/shared expert/mome/{family}/{modality}"
    )


def test_clients_of_one_family_share_its_experts_but_neither_head_nor_domain() -> None:
    one = plan([Pair("digits", "classification", "image", "mnist")])
    two = plan([Pair("shapes", "classification", "image", "drawn")])
    assert one ^ two == keys("head/digits domain/mnist head/shapes domain/drawn")


@given(clients(), FUSIONS)
def test_the_plan_is_the_union_of_the_paths(pairs: list[Pair], fusion: str) -> None:
    paths = [path(pairs, pair.task, fusion) for pair in pairs]
    assert all(one <= plan(pairs, fusion) for one in paths)
    assert plan(pairs, fusion) == frozenset().union(*paths)


@given(clients(), FUSIONS)
def test_each_component_is_exclusive_to_one_task_or_used_by_several(pairs: list[Pair], fusion: str) -> None:
    users = {key: {pair.task for pair in pairs if key in path(pairs, pair.task, fusion)} for key in plan(pairs, fusion)}
    for pair in pairs:
        own = exclusive(pairs, pair.task, fusion)
        assert own == {key for key, tasks in users.items() if tasks == {pair.task}}
    parts = [exclusive(pairs, pair.task, fusion) for pair in pairs]
    assert sum(map(len, parts)) == len(frozenset().union(*parts))


@given(clients())
def test_a_plan_does_not_depend_on_the_order_of_the_pairs(pairs: list[Pair]) -> None:
    assert plan(pairs) == plan(reversed(pairs))


def test_a_client_without_pairs_holds_nothing() -> None:
    assert plan([]) == frozenset()


def test_a_task_that_no_pair_has_is_an_error() -> None:
    with pytest.raises(KeyError, match="mood"):
        path([Pair("digits", "classification", "image", "d")], "mood")


@given(clients(), FUSIONS)
def test_a_key_is_read_back_from_its_text(pairs: list[Pair], fusion: str) -> None:
    held = plan(pairs, fusion)
    assert {ComponentKey.parse(str(key)) for key in held} == held
    assert len({str(key) for key in held}) == len(held)


def test_a_pair_has_the_streams_of_its_fusion() -> None:
    pair = Pair("vqa", "text_generation", "image+text", "shapes")
    assert pair.streams("joint") == ("image+text",)
    assert pair.streams("paths") == pair.parts == ("image", "text")
    assert Pair("law", "text_generation", "text", "law").streams("paths") == ("text",)
