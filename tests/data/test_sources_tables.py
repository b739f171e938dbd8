import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from fedtap.data.example import Example
from fedtap.data.sources import source
from fedtap.data.sources.intake import DataError, Intake
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings


def task(file: str, **more: Any) -> TaskSettings:
    known = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "path": file}
    known |= {"source": file.rpartition(".")[2], "classes": ["cat", "dog"]} | more
    return TaskSettings.model_validate({key: value for key, value in known.items() if value is not None})


def read(folder: Path, file: str, content: str | bytes, **more: Any) -> tuple[Example, ...]:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = task(file, **more)
    source(settings.source).check(settings)
    return tuple(source(settings.source).examples(settings, folder))


GENERATION: dict[str, Any] = {"type": "text_generation", "classes": None}


def test_a_csv_table_row_by_row(tmp_path: Path) -> None:
    content = '\ufefftext,id,label\r\n"it purrs, softly",1,cat\r\n\r\nit barks,2, dog \r\n"two\nlines",3,cat\r\n'
    examples = read(tmp_path, "a.csv", content)
    assert [(e.text, e.target, e.stratum) for e in examples] == [
        ("it purrs, softly", 0, 0),
        ("it barks", 1, 1),
        ("two\nlines", 0, 0),
    ]
    assert all(e.image is None and e.split is None for e in examples)


def test_the_same_table_in_json_lines(tmp_path: Path) -> None:
    rows = [{"text": "it purrs, softly", "label": "cat"}, {"text": "it barks", "label": "dog", "more": None}]
    as_json = read(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n")
    assert as_json == read(tmp_path, "a.csv", 'text,label\n"it purrs, softly",cat\nit barks,dog\n')


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    named = {"text": "question", "target": "best answer"}
    examples = read(tmp_path, "a.csv", "question,text,best answer\nWhy?,wrong,Because.\n", columns=named, **GENERATION)
    assert [(e.text, e.target) for e in examples] == [("Why?", "Because.")]


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    assert [e.target for e in read(tmp_path, "a.csv", "text,label\na,2\nb,0\n", classes=3)] == [2, 0]
    assert [
        e.target for e in read(tmp_path, "a.jsonl", '{"text":"a","label":2}\n{"text":"b","label":"0"}', classes=3)
    ] == [2, 0]


def test_rows_that_repeat_are_kept_once_and_rows_that_contradict_are_not_lost(tmp_path: Path) -> None:
    examples = read(tmp_path, "a.csv", "text,label\na,cat\na,cat\na,dog\n")
    assert [e.target for e in examples] == [0, 1]
    assert examples[0].key == examples[1].key


def test_images_are_found_beside_the_table_and_known_by_content(tmp_path: Path) -> None:
    (tmp_path / "below/pictures").mkdir(parents=True)
    for name, compression in (("a", 0), ("b", 9)):
        Image.new("RGB", (4, 3), (9, 8, 7)).save(tmp_path / f"below/pictures/{name}.png", compress_level=compression)
    content = "image,text,target\npictures/a.png,What?,red\npictures/b.png,Where?,above\npictures/a.png,Who?,red\n"
    examples = read(tmp_path, "below/a.csv", content, modality="image+text", **GENERATION)
    assert [(e.text, e.target, e.stratum) for e in examples] == [
        ("What?", "red", 1),
        ("Where?", "above", 0),
        ("Who?", "red", 1),
    ]
    assert len({e.key for e in examples}) == 1
    pictures = read(tmp_path, "below/a.csv", content, modality="image", type="reconstruction", classes=None)
    assert [(e.key, e.target) for e in pictures] == [(examples[0].key, None)]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder with a picture beside the table's own, to which a link of the table's folder leads."""
    (tmp_path / "tables" / "below").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "store" / "x.png")
    (tmp_path / "tables" / "link.png").symlink_to(tmp_path / "store" / "x.png")
    (tmp_path / "tables" / "linked").symlink_to(tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize(
    "name",
    [
        "{store}/x.png",
        "../store/x.png",
        "below/../../store/x.png",
        "link.png",
        "linked/x.png",
        "/etc/passwd",
        "/no/file",
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_names_no_picture_outside_of_its_folder(name: str, kind: str, tmp_path: Path, elsewhere: Path) -> None:
    named = name.format(store=elsewhere)
    content = f"image,label\n{named},cat\n" if kind == "csv" else json.dumps({"image": named, "label": "cat"})
    file = f"tables/a.{kind}"
    with pytest.raises(
        UserError, match=rf"a\.{kind}:[12]: image .* lies outside of the table's folder; .*pictures: FOLDER"
    ):
        read(tmp_path, file, content, modality="image")
    for allowed in ("store", str(elsewhere)):
        if named.startswith(("/etc", "/no")):
            with pytest.raises(UserError, match="lies outside"):
                read(tmp_path, file, content, modality="image", pictures=allowed)
        else:
            assert len(read(tmp_path, file, content, modality="image", pictures=allowed)) == 1


def test_a_folder_of_pictures_belongs_to_tables_alone(tmp_path: Path) -> None:
    settings = task("pictures", source="folder", modality="image", pictures="store")
    with pytest.raises(UserError, match="'pictures' means nothing to this source"):
        source("folder").check(settings)


def test_a_deep_line_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl:1: not readable as JSON"):
        read(tmp_path, "a.jsonl", '{"text":' * 100_000)


@pytest.mark.parametrize(
    ("file", "content", "more", "fault"),
    [
        (
            "a.csv",
            "txt,label\na,cat\n",
            {},
            "a.csv:1: no column 'text' (did you mean 'txt'?); mend the header, or map it",
        ),
        ("a.csv", "", {}, "a.csv:1: no column 'text' (the file is empty)"),
        ("a.csv", "text,label,text\na,cat,b\n", {}, "a.csv:1: column 'text' is there twice; rename one"),
        ("a.csv", "text,label\n", {}, "a.csv: no examples in it; add rows"),
        ("a.csv", "text,label\na,cat\nb,c,dog\n", {}, "a.csv:3: not 2 fields as in the header; mend the commas"),
        ("a.csv", "text,label\na,cat\nb\n", {}, "a.csv:3: not 2 fields as in the header"),
        ("a.csv", 'text,label\n"a,cat\n', {}, "a.csv:2: not readable as CSV (unexpected end of data); mend that line"),
        (
            "a.csv",
            b"text,label\n\xff\xfe,cat\n",
            {},
            "a.csv: not in UTF-8 (invalid start byte); save it in that encoding",
        ),
        (
            "a.csv",
            "text,label\na,cat\nb,dgo\n",
            {},
            "a.csv:3: unknown label 'dgo' (did you mean 'dog'?); mend it, or add it",
        ),
        ("a.csv", "text,label\na,2\n", {"classes": 2}, "a.csv:2: label '2' is no whole number from 0 to 1; mend it"),
        ("a.csv", "text,label\na,-1\n", {"classes": 2}, "a.csv:2: label '-1' is no whole number from 0 to 1"),
        ("a.csv", "text,label\na,1.0\n", {"classes": 2}, "a.csv:2: label '1.0' is no whole number from 0 to 1"),
        ("a.csv", "text,label\n ,cat\n", {}, "a.csv:2: 'text' is empty; fill it, or remove the row"),
        ("a.csv", "text,target\na,\n", GENERATION, "a.csv:2: 'target' is empty; fill it, or remove the row"),
        (
            "a.csv",
            "image,label\nx.png,cat\n",
            {"modality": "image"},
            "x.png is missing; restore it, or mend the path (relative",
        ),
        ("a.jsonl", "\n", {}, "a.jsonl: no examples in it; add rows"),
        (
            "a.jsonl",
            '{"text": "a", "label": "cat"}\n{"text":\n',
            {},
            "a.jsonl:2: not readable as JSON in UTF-8 (Expecting value",
        ),
        ("a.jsonl", b'{"text": "\xff", "label": "cat"}', {}, "a.jsonl:1: not readable as JSON in UTF-8 ('utf-8' codec"),
        ("a.jsonl", '["a", "cat"]', {}, 'a.jsonl:1: not a JSON object; write {"text": ...}'),
        (
            "a.jsonl",
            '{"txt": "a", "label": "cat"}',
            {},
            "a.jsonl:1: no key 'text' (did you mean 'txt'?); add it, or map it",
        ),
        ("a.jsonl", "{}", {}, "a.jsonl:1: no key 'text' (the object is empty)"),
        ("a.jsonl", '{"text": 3, "label": "cat"}', {}, "a.jsonl:1: 'text' is 3; it must be text in quotes"),
        ("a.jsonl", '{"text": "\\ud800", "label": "cat"}', {}, "a.jsonl:1: 'text' holds half a character"),
        (
            "a.jsonl",
            '{"text": "a", "label": true}',
            {"classes": 2},
            "a.jsonl:1: label 'true' is no whole number from 0 to 1",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_mend(
    tmp_path: Path, file: str, content: str | bytes, more: dict[str, Any], fault: str
) -> None:
    with pytest.raises(UserError, match=re.escape(fault)) as error:
        read(tmp_path, file, content, **more)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["gone.csv", "gone.jsonl", "folder.csv"])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    reason = "Is a directory" if file == "folder.csv" else "No such file or directory"
    settings = task(file)
    with pytest.raises(UserError) as error:
        source(settings.source).examples(settings, tmp_path)
    mend = "create it, or mend 'path'"
    assert str(error.value) == f"{tmp_path / file}: the table cannot be read ({reason}; task 't'); {mend}"


SIGNS = "text,label\nit purrs — très doucement,cat\nit barks,dog\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_as_spreadsheets_write_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    content = SIGNS.replace(",", delimiter).encode(encoding)
    assert [e.text for e in read(tmp_path, "a.csv", content)] == ["it purrs — très doucement", "it barks"]


def test_another_encoding_is_named_and_never_guessed(tmp_path: Path) -> None:
    content = SIGNS.encode("cp1252")
    assert read(tmp_path, "a.csv", content, encoding="cp1252")[0].text == "it purrs — très doucement"
    with pytest.raises(UserError, match=r"a\.csv: not in UTF-8 .*name its own in the task \(encoding: cp1252"):
        read(tmp_path, "a.csv", content)
    with pytest.raises(UserError, match="task 't': no encoding 'latin-eleventy'"):
        read(tmp_path, "a.csv", content, encoding="latin-eleventy")


def test_a_delimiter_that_the_header_does_not_show_is_named(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a.csv", "text^label\nit purrs^cat\n", delimiter="^")) == 1
    with pytest.raises(UserError, match="'delimiter' means nothing to this source"):
        read(tmp_path, "a.jsonl", '{"text": "it purrs", "label": "cat"}\n', delimiter=";")


def test_a_row_that_is_too_long_names_its_own_delimiter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mend the semicolons"):
        read(tmp_path, "a.csv", "text;label\nit purrs; softly;cat\n")


def test_a_field_may_be_long(tmp_path: Path) -> None:
    (example,) = read(tmp_path, "a.csv", f'text,label\n"{"word " * 40_000}",cat\n')
    assert len(example.text or "") == 5 * 40_000 - 1


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_accent_is_the_same_however_it_is_written(tmp_path: Path, written: str, named: str, suffix: str) -> None:
    column, label = (unicodedata.normalize(written, word) for word in ("étiquette", "röd"))
    rows = {"csv": f"text,{column}\na,{label}\n", "jsonl": json.dumps({"text": "a", column: label}) + "\n"}
    classes = [unicodedata.normalize(named, word) for word in ("röd", "blå")]
    columns = {"label": unicodedata.normalize(named, "étiquette")}
    (example,) = read(tmp_path, f"a.{suffix}", rows[suffix], classes=classes, columns=columns)
    assert example.target == 0


def test_a_picture_is_found_however_its_name_is_written(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / unicodedata.normalize("NFD", "röd.png"))
    table = json.dumps({"image": unicodedata.normalize("NFC", "röd.png"), "label": "cat"})
    assert len(read(tmp_path, "a.jsonl", table, modality="image")) == 1


@pytest.mark.parametrize("name", [True, False, 1, 1.5, None])
def test_a_class_that_yaml_has_read_as_something_else_wants_quotes(name: Any) -> None:
    with pytest.raises(ValidationError, match="put quotes around it"):
        task("a.csv", classes=["cat", name])


SPLIT = "text,label,split\na,cat,Train\nb,dog,val\nc,cat,test\nd,dog,training\n"


def test_a_column_of_splits_is_the_users_own(tmp_path: Path) -> None:
    wanted = ["own_train", "own_validation", "test", "own_train"]
    assert [e.split for e in read(tmp_path, "a.csv", SPLIT)] == wanted
    named = SPLIT.replace("split", "fold")
    assert [e.split for e in read(tmp_path, "b.csv", named, columns={"split": "fold"})] == wanted
    assert [e.split for e in read(tmp_path, "c.csv", named)] == [None] * 4


def test_training_rows_without_validation_rows_are_divided(tmp_path: Path) -> None:
    content = "text,label,split\na,cat,train\nb,dog,test\n"
    assert [e.split for e in read(tmp_path, "a.csv", content)] == ["train", "test"]


def test_a_column_that_decides_by_its_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,split,group\na,cat,train,p\nb,dog,test,q\n")
    intake = Intake()
    source("csv").read(task("a.csv"), tmp_path, intake)
    (line,) = intake.remarks
    assert line.startswith(
        f"{tmp_path}/a.csv: its columns 'split' and 'group' decide what is trained and what is tested on"
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            "text,label,split\na,cat,tset\n",
            "a.csv:2: 'split' is 'tset', which is no split; write train, validation or test",
        ),
        ("text,label,split\na,cat,\n", "a.csv:2: 'split' is empty"),
        ("text,label,group\na,cat,\n", "a.csv:2: 'group' is empty"),
        (
            "text,label,split,group\na,cat,train,p\nb,dog,test,p\n",
            "a.csv: group 'p' is in test and in train; put all of it into one",
        ),
    ],
)
def test_a_split_or_group_that_is_none_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(fault)):
        read(tmp_path, "a.csv", content)


def test_a_group_is_named_by_the_task_or_its_columns(tmp_path: Path) -> None:
    content = '{"text": "a", "label": "cat", "patient": 7}\n{"text": "b", "label": "dog", "patient": "é"}\n'
    for more in ({"group": "patient"}, {"columns": {"group": "patient"}}):
        assert [e.group for e in read(tmp_path, "a.jsonl", content, **more)] == ["7", "é"]
    with pytest.raises(UserError, match="no key 'ward'"):
        read(tmp_path, "a.jsonl", content, group="ward")
    with pytest.raises(UserError, match="'group' is 3; give the name of a column"):
        source("csv").check(task("a.csv", group=3))


def test_groups_that_share_a_content_are_one(tmp_path: Path) -> None:
    content = "text,label,group\nsame,cat,q\nsame,cat,p\nmore,dog,q\nelse,dog,r\n"
    assert [e.group for e in read(tmp_path, "a.csv", content)] == ["p", "p", "r"]


BROKEN = {
    "a.csv": "text,label\na,cat\nb\n,dog\nc,dog\n",
    "a.jsonl": '{"text": "a", "label": "cat"}\n{"text":\n{"text": "", "label": "dog"}\n{"text": "c", "label": "dog"}',
}


@pytest.mark.parametrize("file", BROKEN)
def test_broken_rows_are_skipped_and_named_where_that_is_asked_for(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(BROKEN[file])
    intake = Intake(skip=True)
    assert [e.text for e in source(task(file).source).read(task(file), tmp_path, intake)] == ["a", "c"]
    line = 2 if file == "a.jsonl" else 3
    assert [f":{line}: " in intake.skipped[0], f":{line + 1}: " in intake.skipped[1]] == [True, True]
    with pytest.raises(DataError) as error:
        read(tmp_path, file, BROKEN[file])
    assert error.value.number == 2


def test_a_label_that_is_no_class_is_never_skipped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown label 'dgo'"):
        read(tmp_path, "a.csv", "text,label\na,cat\nb,dgo\n", on_unreadable="skip")


def test_a_place_is_named_without_the_way_that_leads_back(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "clinic").mkdir()
    (tmp_path / "clinic" / "a.csv").write_text("text,label\na,cat\nb,dgo\n", encoding="utf-8")
    source("csv").read(task("../clinic/a.csv", source="csv"), tmp_path / "study", intake := Intake())
    with pytest.raises(UserError) as error:
        intake.refuse()
    assert str(error.value).startswith(f"{tmp_path / 'clinic' / 'a.csv'}:3: unknown label")


def test_a_way_back_through_a_link_is_taken_as_it_leads(tmp_path: Path) -> None:
    (tmp_path / "disk" / "study").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "study")
    (tmp_path / "disk" / "a.csv").write_text("text,label\na,cat\nb,dog\n", encoding="utf-8")
    held = source("csv").read(task("link/../a.csv", source="csv"), tmp_path, Intake())
    assert [example.text for example in held] == ["a", "b"]


def test_three_tables_are_the_three_splits(tmp_path: Path) -> None:
    for name, text in (("fit", "a"), ("tune", "b"), ("held", "c")):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{text},cat\n")
    settings = task("a.csv", path={"train": "fit.csv", "valid": "tune.csv", "test": "held.csv"})
    found = source("csv").examples(settings, tmp_path)
    assert {e.text: e.split for e in found} == {"a": "own_train", "b": "own_validation", "c": "test"}


def test_a_spreadsheet_under_another_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv: is a spreadsheet or archive, no CSV; take source: xlsx"):
        read(tmp_path, "a.csv", b"PK\x03\x04rest")


def test_several_right_answers_in_a_list_in_one_cell_and_in_several_columns(tmp_path: Path) -> None:
    rows = [{"text": "Colour?", "target": ["red", "crimson"]}, {"text": "Why?", "target": "Because."}]
    listed = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), **GENERATION)
    assert [(e.target, e.also) for e in listed] == [("red", ("crimson",)), ("Because.", ())]
    cells = "text,target\nColour?, red |crimson|red|\nWhy?,Because.\n"
    assert read(tmp_path, "b.csv", cells, separator="|", **GENERATION) == listed
    columns = "text,target,second,third\nColour?,red,crimson,\nWhy?,Because., ,Because.\n"
    assert read(tmp_path, "c.csv", columns, references=["second", "third"], **GENERATION) == listed
    # without a separator a cell is one answer, whatever is in it
    assert [e.target for e in read(tmp_path, "b.csv", cells, **GENERATION)] == ["red |crimson|red|", "Because."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "target": ["b", ""]}', "a.jsonl:1: 'target' is empty; fill it, or remove the row"),
        ('{"text": "a", "target": []}', "a.jsonl:1: 'target' is empty; fill it, or remove the row"),
        ('{"text": "a", "target": ["b", 3]}', "a.jsonl:1: 'target' is 3; it must be text in quotes"),
        ('{"text": "a", "target": {"b": 1}}', """a.jsonl:1: 'target' is {"b": 1}; it must be text in quotes"""),
    ],
)
def test_a_list_of_answers_that_is_none_is_told(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, "a.jsonl", content, **GENERATION)
    assert str(raised.value).endswith(message)


def test_an_answer_more_makes_another_example_and_none_more_the_same_as_ever() -> None:
    one = Example("k", None, "a", "b")
    assert one.identity == ("k", None, "a", "b")
    assert Example("k", None, "a", "b", also=("c",)).identity == ("k", None, "a", "b", ("c",))


@pytest.mark.parametrize("key", ["separator", "references"])
def test_several_answers_are_for_text_that_is_written(key: str) -> None:
    with pytest.raises(ValidationError, match=f"'{key}' is for text_generation.*, not for classification; remove it"):
        task("a.csv", **{key: ["b"] if key == "references" else ";"})


def test_a_column_of_references_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'secnd'.*did you mean 'second'"):
        read(tmp_path, "a.csv", "text,target,second\na,b,c\n", references=["secnd"], **GENERATION)


MANY: dict[str, Any] = {"type": "multilabel_classification", "classes": ["old", "red", "wet"]}


def test_several_labels_in_lists_and_between_separators(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": ["wet", "old"]}, {"text": "b", "label": "red"}, {"text": "c", "label": []}]
    listed = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), **MANY)
    assert [(e.target, e.labels) for e in listed] == [((0, 2), (0, 2)), ((1,), (1,)), ((), ())]
    assert read(tmp_path, "a.csv", "text,label\na,wet; old;wet\nb,red\nc,\n", separator=";", **MANY) == listed


def test_label_skew_goes_by_the_rarest_label_of_an_example(tmp_path: Path) -> None:
    lists = [["old", "red"], ["old"], ["old", "wet"], [], ["red", "wet"]]  # 3 are old, 2 red, 2 wet
    content = "\n".join(json.dumps({"text": f"t {i}", "label": each}) for i, each in enumerate(lists))
    assert [e.stratum for e in read(tmp_path, "a.jsonl", content, **MANY)] == [1, 0, 2, -1, 1]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["old", "blue"], "unknown label 'blue'"),
        ("old;red", "unknown label 'old;red'"),
        (None, "'label' is null; write [] where no label holds, or remove the row"),
    ],
)
def test_labels_that_are_none_are_told(tmp_path: Path, label: object, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read(tmp_path, "a.jsonl", json.dumps({"text": "a", "label": label}), **MANY)


NUMBER: dict[str, Any] = {"type": "regression", "classes": None, "scale": [0, 100]}


def test_numbers_are_read_as_they_stand(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", "text,target\na, 12.5 \nb,-3\nc,1e2\n", **NUMBER)
    assert [(e.target, e.stratum, e.labels) for e in found] == [(12.5, 0, ()), (-3.0, 0, ()), (100.0, 0, ())]
    rows = [{"text": "a", "target": 12.5}, {"text": "b", "target": -3}, {"text": "c", "target": "1e2"}]
    assert read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), **NUMBER) == found


@pytest.mark.parametrize("given", ["true", "null", '"3,5"', '"nan"', '"1_0"', "NaN", "1e999", "9" * 400, "[1]"])
def test_what_is_no_number_is_told(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match=r"a.jsonl:1: 'target' is .*; it must be a number, as 3 or -0.5"):
        read(tmp_path, "a.jsonl", f'{{"text": "a", "target": {given}}}', **NUMBER)


def test_a_number_far_beyond_its_scale_is_a_slip(tmp_path: Path) -> None:
    settings = task("a.csv", on_unreadable="skip", **NUMBER)
    (tmp_path / "a.csv").write_text("text,target\na,150\nb,9999999\n")
    with pytest.raises(UserError, match=r"'target' is 1e\+07, far beyond scale: \[0, 100\]; mend it, or 'scale'"):
        source("csv").examples(settings, tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({**NUMBER, "scale": None}, "regression needs 'scale'"),
        ({**NUMBER, "scale": [5, 5]}, "must be the lowest value and a higher one"),
        ({"scale": [0, 1]}, "'scale' is for regression, not for classification; remove it"),
        (
            {**MANY, "class_weights": "balanced"},
            "'class_weights' is for classification, not for multilabel_classification",
        ),
    ],
)
def test_keys_that_do_not_go_with_a_type_are_told(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task("a.csv", **more)


def test_what_is_not_said_is_not_written_down() -> None:
    """Descriptions of runs that do without the newer keys are those of before."""
    assert not {"scale", "separator", "references"} & task("a.csv").model_dump(mode="json").keys()
    assert task("a.csv", **NUMBER).model_dump(mode="json")["scale"] == [0, 100]
    assert "sheet" in task("a.csv").model_dump(mode="json")
