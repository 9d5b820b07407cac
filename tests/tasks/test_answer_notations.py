"""The notations in which models write boxes and labels, each with the value that it means."""

import json

import pytest
import yaml
from grounding_forms import FORMS, GLM_BRACKETS
from hypothesis import given, settings
from hypothesis import strategies as st

from syngrpo.tasks import TASKS, get_task
from syngrpo.tasks.answer_spelling import LONGEST

REC, OVD, ISR = get_task("rec"), get_task("ovd"), get_task("isr")
A, B = (10.0, 20.0, 30.0, 50.0), (1.0, 2.0, 3.0, 4.0)
DOG, CAT = {"label": "dog", "box": A}, {"label": "cat", "box": B}
DOGS = (DOG, {"label": "dog", "box": B})

TWO_DOGS = [
    '{"bbox_2d": [[10, 20, 30, 50], [1, 2, 3, 4]], "label": "dog"}',
    '[{"label": "dog", "bbox_2d": [[10, 20, 30, 50],\n [1, 2, 3, 4]]}]',
    '{"boxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "label": "dog"}',
    '{"bboxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "labels": ["dog", "dog"]}',
    '{"dog": [[10, 20, 30, 50], [1, 2, 3, 4]]}',
    '{"dog": [{"bbox_2d": [10, 20, 30, 50]}, {"bbox_2d": [1, 2, 3, 4]}]}',
    '{"dog": [{"x1": 10, "y1": 20, "x2": 30, "y2": 50}, {"x1": 1, "y1": 2, "x2": 3, "y2": 4}]}',
    '{"label": "dog", "boxes": [{"x1": 10, "y1": 20, "x2": 30, "y2": 50}, '
    '{"x1": 1, "y1": 2, "x2": 3, "y2": 4}]}',
    "dog: [10, 20, 30, 50]; dog: [1, 2, 3, 4]",
    "dog: [10, 20, 30, 50], [1, 2, 3, 4]",
    "dog: [[10, 20, 30, 50], [1, 2, 3, 4]]",
    "1. dog: [10, 20, 30, 50]\n2. dog: [1, 2, 3, 4]",
    "- **dog**: [10, 20, 30, 50] and [1, 2, 3, 4]",
    "<ref>dog</ref><box>[[10, 20, 30, 50], [1, 2, 3, 4]]</box>",
    "<ref>dog</ref><box>(10,20),(30,50)</box><box>(1,2),(3,4)</box>",
    "<ref>dog</ref><box>10 20 30 50</box> <box>1 2 3 4</box>",
    "<|ref|>dog<|/ref|><|det|>[[10, 20, 30, 50], [1, 2, 3, 4]]<|/det|>",
    "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(10,20),(30,50)<|box_end|>"
    "<|box_start|>(1,2),(3,4)<|box_end|>",
    "dog(10,20),(30,50)(1,2),(3,4)",
]


@pytest.mark.parametrize("text", TWO_DOGS)
def test_all_boxes_of_one_label_are_read(text: str) -> None:
    assert OVD.read(text) == DOGS
    assert REC.read(text) == A
    assert ISR.read(text) == "dog"


TWO = [
    '[{"bbox_2d": [10, 20, 30, 50], "name": "dog"}, {"name": "cat", "bbox_2d": [1, 2, 3, 4]}]',
    *(
        f'[{{"{key}": [10, 20, 30, 50], "label": "dog"}}, '
        f'{{"label": "cat", "{key}": [1, 2, 3, 4]}}]'
        for key in ("bbox_2d", "box_2d", "bbox", "box", "coordinates", "bounding_box", "position")
    ),
    '[{"label": "dog", "attributes": {"hue": "red", "name": "Rex"}, "bbox_2d": [10, 20, 30, 50]}, '
    '{"bbox_2d": [1, 2, 3, 4], "attributes": {"pose": {"kind": "sits"}}, "label": "cat"}]',
    '{"bbox_2d": [10, 20, 30, 50], "label": "dog", '
    '"parts": [{"box": [1, 2, 3, 4], "name": "cat"}]}',
    '{"dog": [10, 20, 30, 50], "cat": [1, 2, 3, 4]}',
    '{"dog": [[10, 20, 30, 50]], "cat": [[1, 2, 3, 4]], "bird": []}',
    '{"objects": {"dog": {"bbox_2d": [10, 20, 30, 50], "score": 0.9}, '
    '"cat": {"box": [1, 2, 3, 4]}}}',
    "{'dog': [(10, 20, 30, 50)], 'cat': [(1, 2, 3, 4)]}",
    '[{"bbox_2d": ["10", "20", "30", "50"], "label": "dog"}, '
    '{"bbox_2d": ["1", "2", "3", "4"], "label": "cat"}]',
    '[{"bbox_2d": "[10, 20, 30, 50]", "label": "dog"}, {"bbox_2d": "1, 2, 3, 4", "label": "cat"}]',
    '[{"bbox_2d": "10 20 30 50", "label": "dog"}, {"bbox_2d": [1 2 3 4], "label": "cat"}]',
    '[{"x1": 10, "y1": 20, "x2": 30, "y2": 50, "label": "dog"}, '
    '{"label": "cat", "xmin": "1", "ymin": "2", "xmax": "3", "ymax": "4"}]',
    '[{"label": "dog", "bbox": {"x1": 10, "y1": 20, "x2": 30, "y2": 50}}, '
    '{"label": "cat", "box": {"x": 1, "y": 2, "width": 2, "height": 2}}]',
    '[{"label": "dog", "bbox_2d": [[10, 20], [30, 50]]}, '
    '{"label": "cat", "box": [(1, 2), (3, 4)]}]',
    '[{"bbox_2d": [10, 20, 30, 50, 0.93], "label": "dog"}, '
    '{"bbox_2d": [1, 2, 3, 4, 1.0], "label": "cat"}]',
    "dog: [10, 20, 30, 50, 0.9]\ncat: [1, 2, 3, 4, .5]",
    "dog: [10, 20, 30, 50]; cat: [1, 2, 3, 4]",
    "dog = (10, 20, 30, 50), cat = (1, 2, 3, 4)",
    "dog: (10,20),(30,50)\ncat: (1,2),(3,4)",
    'dog: [10, 20, 30, 50], and "cat": [1, 2, 3, 4].',
    "<box>[10, 20, 30, 50]</box>".join(
        ["<label>dog</label>", "<label>cat</label><box>1,2,3,4</box>"]
    ),
    "~~~\ndog: [10, 20, 30, 50]\ncat: [1, 2, 3, 4]\n~~~",
    '{"bboxes": [[10, 20, 30, 50], [1, 2, 3, 4]], "labels": ["dog", "cat"]}',
    'label: "dog", bbox: [10, 20, 30, 50]\nlabel: "cat", bbox: [1, 2, 3, 4]',
    '[\n  // the first\n  {"bbox_2d": [10, 20, // x1, y1 [0, 0, 9, 9]\n  30, 50], '
    '"label": "dog",},\n'
    '  {"bbox_2d": [1, 2, 3, 4], /* "label": "bird", */ "label": "cat",},\n]',
    '{"detections": [{"bbox_2d": [10, 20, 30, 50], "label": "dog"}, '
    '{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6, 7',
    '[{"x": 10, "y": 10, "width": 9, "height": 9, "bbox_2d": [10, 20, 30, 50], "label": "dog"}, '
    '{"box": [5, 6, 7, 8], "bbox_2d": [1, 2, 3, 4], "label": "cat"}]',
]


OTHER_SPELLINGS = [
    '"[{\\"bbox_2d\\": [10, 20, 30, 50], \\"label\\": \\"dog\\"},\\n'
    ' {\\"label\\": \\"cat\\", \\"bbox_2d\\": [1, 2, 3, 4]}]"',
    '{"answer": "{\\"dog\\": [10, 20, 30, 50], \\"cat\\": [1, 2, 3, 4]}"}',
    '{\\"name\\": \\"dog\\", \\"box\\": [10, 20, 30, 50]}, '
    '{\\"name\\": \\"cat\\", \\"box\\": [1, 2, 3, 4]}, {\\"name\\": \\"bi',
    "[{“bbox_2d”: [10, 20, 30, 50], “label”: “dog”}, {“name”: “cat”, “box”: [1, 2, 3, 4]}]",
    "{‘dog’: [10, 20, 30, 50], ‘cat’: [1, 2, 3, 4]}",
    "[{‘bbox_2d’: [10, 20, 30, 50], ’label’: ’dog’}, {‘name’: ‘cat’, ‘box’: [1, 2, 3, 4]}]",
    "[{„bbox“: [10, 20, 30, 50], „label“: „dog“}, {«bbox»: [1, 2, 3, 4], «label»: «cat»}]",
    '[{"bbox_2d"：［１０，２０，３０，５０］，"label"："dog"}，｛"bbox_2d"：[1，2，3，4]，"label"："cat"｝]',
    "dog：［１０，２０，３０，５０］；cat：［１，２，３，４］。",
    "dog（１０，２０），（３０，５０）、cat: (1, 2), (3, 4)",
    "- label: dog\n  bbox: [10, 20, 30, 50]\n- label: cat\n  bbox: [1, 2, 3, 4]",
    "```yaml\n- bbox_2d: [10, 20, 30, 50]\n  label: 'dog'\n"
    "- bbox_2d: [1, 2, 3, 4]\n  label: cat # left\n```",
    "objects:\n  - name: dog\n    box:\n      - 10\n      - 20\n      - 30\n      - 50\n"
    "  - name: cat\n    box:\n      - 1\n      - 2\n      - 3\n      - 4\n",
    "- label: bird\n  bbox: null\n- label: dog\n  x1: 10\n  y1: 20\n  x2: 30\n  y2: 50\n"
    "- label: cat\n  x: 1\n  y: 2\n  width: 2\n  height: 2",
    "dog:\n  - [10, 20, 30, 50]\ncat:\n  - [1, 2, 3, 4]",
    "dog:\n  bbox: [10, 20, 30, 50]\ncat:\n  bbox: [1, 2, 3, 4]",
    "- label: dog, bbox: [10, 20, 30, 50]\n- label: cat, bbox: [1, 2, 3, 4]",
    "| label | bbox |\n|---|---|\n| dog | [10, 20, 30, 50] |\n| cat | [1, 2, 3, 4] |",
    "I see:\n\n| # | Bounding Box (x1, y1, x2, y2) | Object | Score |\n|:--|--:|:-:|---|\n"
    "| 1 | (10, 20, 30, 50) | **dog** | 0.9 |\n| 2 | (1, 2), (3, 4) | cat | 0.8 |\nThat is all.",
    "Class | x1 | y1 | x2 | y2\n--- | --- | --- | --- | ---\ndog | 10 | 20 | 30 | 50\n"
    "cat | 1 | 2 | 3 | 4",
    '[{"bbox_2d": [10, 20, 30, 50, 93.5], "label": "dog"}, '
    '{"bbox_2d": [1, 2, 3, 4, "87%"], "label": "cat"}]',
    "dog: [10, 20, 30, 50, 93%]\ncat: [1, 2, 3, 4, 100 %]",
    '[["dog", [10, 20, 30, 50]], ["cat", [1, 2, 3, 4]]]',
    '[{"type": "dog", "bbox": [10, 20, 30, 50]}, {"tag": "cat", "bbox": [1, 2, 3, 4]}]',
    '[{"title": "dog", "bbox": [10, 20, 30, 50]}, {"object_type": "cat", "bbox": [1, 2, 3, 4]}]',
    '{"dog": {"type": "pet", "bbox": [10, 20, 30, 50]}, "cat": {"bbox": [1, 2, 3, 4]}}',
    "dog: 10,20,30,50\ncat: 1 2 3 4",
    "- **dog:** 10, 20, 30, 50\n- **cat**: 1, 2, 3, 4",
    "1. dog [10, 20, 30, 50]\n2. cat [1, 2, 3, 4]",
    '[{"label": "dog", "bbox": [{"x": 10, "y": 20}, {"x": 30, "y": 50}]}, '
    '{"label": "cat", "top_left": [1, 2], "bottom_right": [3, 4]}]',
    "label: dog\nbbox: 10, 20, 30, 50\n\nlabel: cat\nbbox: 1, 2, 3, 4",
    '[{"label": "dog", "attributes": {"name": "Rex", "position": [3, 4, 5, 6]}, '
    '"bbox_2d": [10, 20, 30, 50]}, {"attributes": {"name": "Tom", "box": [5, 6, 7, 8]}, '
    '"bbox_2d": [1, 2, 3, 4], "label": "cat"}]',
    '{"image_size": [0, 0, 80, 60], "dog": [10, 20, 30, 50], "cat": [1, 2, 3, 4], '
    '"scores": [0.1, 0.2, 0.3, 0.4]}',
]


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_other_spellings_and_layouts_mean_the_same(text: str) -> None:
    assert OVD.read(text) == (DOG, CAT)
    assert REC.read(text) == A
    assert ISR.read(text) == "dog"


def test_an_apostrophe_does_not_end_a_label_in_single_quotes() -> None:
    text = (
        "[{'label': 'dog's bed', 'bbox': [10, 20, 30, 50]}, {'label': 'cat', 'bbox': [1, 2, 3, 4]}]"
    )
    assert OVD.read(text) == ({"label": "dog's bed", "box": A}, CAT)


def test_a_minus_sign_is_read() -> None:
    assert REC.read("[−1, 2, 30, 40]") == (-1, 2, 30, 40)


@pytest.mark.parametrize(
    "label", ["🐶", "👩‍🦰", "कुर्सी", "เก้าอี้", "狗（大）", "dog’s “big” bowl", "a | b", "a: b"]
)
def test_names_of_every_script_and_pictures_are_read(label: str) -> None:
    expected = ({"label": label, "box": A},)
    assert OVD.read(json.dumps([{"bbox_2d": A, "label": label}], ensure_ascii=False)) == expected
    assert OVD.read(json.dumps({label: A}, ensure_ascii=False)) == expected
    if label[0] not in "da":
        assert OVD.read(f"{label}: [10, 20, 30, 50]") == expected
        if not label.endswith("）"):  # nor does a name end with a plain bracket
            assert OVD.read(f"{label}(10,20),(30,50)") == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"image_size": [0, 0, 80, 60]}',
        '{"input_size": {"x": 0, "y": 0, "width": 80, "height": 60}}',
        "image size: [0, 0, 80, 60]",
        '{"color": [10, 20, 30, 255], "ids": [1, 2, 3, 4], "padding": [0, 0, 1, 1]}',
        "[10, 20, 30, 50, 60]",
        "10, 20, 30, 50, 60",
        "image size: 0, 0, 80, 60",
        "10, 20, 30",
        '[{"x": 10, "y": 20}, {"x": 30, "y": 50}]',
        "[10, 20, 30, 50, 60.0]",
        "[10.5, 20.5, 30.5, 50.5, 60.5]",
        "[10, 20, 30, 50, 60.5, 70.5]",
        '{"bbox_2d": null}',
    ],
)
def test_four_numbers_of_another_kind_and_five_coordinates_are_no_box(text: str) -> None:
    assert REC.read(text) is None
    assert not OVD.read(text)


@pytest.mark.parametrize("key", ["image_size", "size", "scores", "colour", "track_ids"])
def test_a_field_before_the_answer_is_not_taken_for_it(key: str) -> None:
    assert REC.read(f'{{"{key}": [1, 2, 3, 4], "answer": [10, 20, 30, 50]}}') == A


@pytest.mark.parametrize("text", TWO)
def test_every_label_has_its_own_box(text: str) -> None:
    assert OVD.read(text) == (DOG, CAT)
    assert REC.read(text) == A


@pytest.mark.parametrize(
    "text",
    [
        "(10, 20, 30, 50)",
        "(10,20),(30,50)",
        "[[10, 20], [30, 50]]",
        "<box>10, 20, 30, 50</box>",
        "<|box_start|>(10,20),(30,50)<|box_end|>",
        "[10, 20, 30, 50, 0.87]",
        '["10", "20", "30", "50"]',
        "[10. 20. 30. 50.]",
        "array([[10, 20, 30, 50]])",
        '{"x1": 10, "y1": 20, "x2": 30, "y2": 50}',
        '{"left": 10, "top": 20, "right": 30, "bottom": 50}',
        "x1=10, y1=20, x2=30, y2=50",
        'in the [0, 0, 80, 60] picture {"box": [10, 20, 30, 50]}',
        "in the (80, 60) picture at (0, 0, 9, 9) or [10, 20, 30, 50]",
        "10, 20, 30, 50",
        "`10, 20, 30, 50`",
        "**10 20 30 50**.",
        "```json\n10, 20, 30, 50\n```",
        "bbox_2d: 10, 20, 30, 50",
        "bbox: 10 20 30 50",
        "It reaches from (10,20) to (30,50).",
        "top-left (10,20), bottom-right (30,50)",
        "The top-left corner is (10, 20) and the bottom-right corner is (30, 50).",
        "[10px, 20px, 30px, 50px]",
        '{"xtl": 10, "ytl": 20, "xbr": 30, "ybr": 50}',
        '{"thing": {"bbox_2d": [10, 20, 30, 50]}, "boxes": [[1, 2, 3, 4]]}',
        '{"description": "the thing at [10, 20, 30, 50]"}',
        "```xml\n<box>[10, 20, 30, 50]</box>\n```",
        *(form.format("10, 20, 30, 50") for form in GLM_BRACKETS),
    ],
)
def test_one_box_is_read_in_every_notation(text: str) -> None:
    assert REC.read(text) == A


@pytest.mark.parametrize(
    "text",
    [
        "(10, 20)",
        '<points x1="10" y1="20" x2="30" y2="50" alt="dog">dog</points>',
        '<point x="10.5" y="20.5" alt="dog">dog</point>',
        '{"point_2d": [10, 20], "label": "dog"}',
        '{"points": [[10, 20], [30, 50]], "label": "dog"}',
        '{"label": "dog", "x": 10, "y": 20}',
        "(10, 20), (30, 50), (60, 70)",
        "[[1, 2], [3, 4], [5, 6], [7, 8]]",
        '{"polygon": [[1, 2], [3, 4]]}',
        "polygon: 1,2,3,4",
        "polygon: [1, 2, 3, 4]",
        '{"polygon": [1, 2, 3, 4], "label": "dog"}',
        '{"label": "dog", "segmentation": [[1, 2, 3, 4]]}',
        "dog polygon: 1, 2, 3, 4",
        "points = (1, 2, 3, 4)",
        "click(start_box='(10,20)')",
    ],
)
def test_points_are_no_boxes(text: str) -> None:
    assert REC.read(text) is None
    assert OVD.read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "dog: [10%, 20%, 50.5%, 60%]",
        '{"bbox_2d": ["10%", "20%", "50.5%", "60%"], "label": "dog"}',
        '{"label": "dog", "bbox": [10 %, 20 %, 50.5 %, 60 %]}',
        '{"label": "dog", "x1": "10%", "y1": "20%", "x2": "50.5%", "y2": "60%"}',
        "<ref>dog</ref><box>(10%, 20%), (50.5%, 60%)</box>",
        "dog: [10％, 20％, 50.5％, 60％]",
        "dog: from (10%, 20%) to (50.5%, 60%)",
        "dog: top-left (10%, 20%), bottom-right (50.5%, 60%)",
        "dog: 10%, 20%, 50.5%, 60%",
    ],
)
def test_per_cent_are_shares_of_the_image(text: str) -> None:
    box = (0.1, 0.2, 0.505, 0.6)
    assert REC.read(text) == box
    assert OVD.read(text) == ({"label": "dog", "box": box},)


def test_per_cent_may_also_be_a_score() -> None:
    assert REC.read("[10, 20, 30, 50, 90%]") == A
    assert REC.read("scores: [10%, 20%, 50%, 60%]") is None
    assert ISR.read("50%") == "50%"


@pytest.mark.parametrize(
    "text",
    [
        "No objects",
        "No objects of these classes are visible.",
        "There are no dogs in this picture.",
        "There is no dog.",
        "I see no dog or cat here",
        "no such objects found",
        "Nothing.",
        "N/A",
        "The image does not contain any dogs.",
        "I can't see any of them.",
        "There aren't any.",
        "They are not present in the image.",
        "zero instances",
        "No.",
        "no",
        "没有",
        "无。",
        "不存在",
        "图中没有狗。",
        "未检测到任何物体",
        '{"bbox_2d": null}',
        "```json\n[]\n```",
        "```json5\n[ ]\n```",
        "[[]]",
        "[{}]",
        '{"objects": []}',
        '{"dog": [], "cat": null}',
        '{"dog": [], "cat": None,}',
        '[{"bbox_2d": null, "label": "None"}]',
        "<answer>None</answer>",
        "None of the 3 classes is here.",
        "dog: none, cat: 0",
        "empty",
        "Keine",
        "Aucun.",
        "Keine Objekte",
        "Es gibt keine Objekte im Bild.",
        "Kein Hund ist zu sehen.",
        "Nicht vorhanden.",
        "Aucun objet n'est visible dans cette image.",
        "Il n’y a pas de chien.",
        "Pas de chien ici.",
        "No hay perros en la imagen.",
        "Ningún objeto visible",
        "Nessun oggetto trovato.",
        "Não há cães na imagem.",
        "На изображении нет собак.",
        "犬は見つかりません。",
        "該当なし",
        "개가 없습니다.",
    ],
)
def test_nothing_is_said_in_many_ways(text: str) -> None:
    assert OVD.read(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "I have no idea",
        "Ich habe keine Ahnung.",
        "Je n'ai aucune idée.",
        "No sé.",
        "No puedo ver la imagen.",
        "no answer",
        "No?!1",
        "没有问题",
        "无法判断",
        "No, it is a dog.",
        "I cannot see the picture",
        "There are no 3 dogs",
        "dog: 3, cat: 0",
        "1. The dog is at [10, 20, 30, 50]",
        '{"bbox_2d": null, "label": "dog"}',
        '{"dog": [',
        "{",
        "dog",
        "",
    ],
)
def test_what_does_not_say_that_nothing_is_there_is_unreadable(text: str) -> None:
    assert OVD.read(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<|begin_of_box|>kitchen<|end_of_box|>", "kitchen"),
        ("<|begin_of_box|>3<|end_of_box|>", 3),
        ('<|begin_of_box|>{"reason": "a", "answer": 3}<|end_of_box|>', 3),
        ("The answer is $\\boxed{3}$.", 3),
        ("\\boxed{living room}", "living room"),
        ('{"bbox_2d": [10, 20, 30, 50], "label": "kitchen"}', "kitchen"),
        ('{"bbox_2d": [10, 20, 30, 50], "label": "dog", "answer": 3}', 3),
        ("```markdown\n**kitchen**\n```", "kitchen"),
        ("~~~\n3\n~~~", 3),
    ],
)
def test_closed_answers_lose_what_is_around_them(text: str, expected: object) -> None:
    assert ISR.read(text) == expected


WORDS = st.text(st.characters(categories=["Ll", "Lu"], max_codepoint=0x3FF), min_size=1, max_size=8)
LABELS = (
    st.lists(WORDS, min_size=1, max_size=3)
    .map(" ".join)
    .filter(
        lambda label: (
            not any(word in {"and", "or", "the", "all", "no"} for word in label.casefold().split())
        )
    )
)
SIDE = st.tuples(st.integers(0, 999), st.integers(0, 999)).filter(lambda side: side[0] != side[1])
BOXES = st.tuples(SIDE, SIDE).map(
    lambda sides: (min(sides[0]), min(sides[1]), max(sides[0]), max(sides[1]))
)
OBJECTS = st.lists(st.tuples(LABELS, BOXES), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(OBJECTS, st.sampled_from(sorted(FORMS)))
def test_what_a_family_documents_is_read_back_exactly(
    objects: list[tuple[str, tuple[int, int, int, int]]], name: str
) -> None:
    text = FORMS[name](objects)
    assert OVD.read(text) == tuple({"label": label, "box": box} for label, box in objects)
    assert REC.read(text) == objects[0][1]
    assert normal(ISR.read(text)) == normal(objects[0][0])


def normal(label: object) -> str:
    return str(label).casefold().strip()


@settings(max_examples=60, deadline=None)
@given(OBJECTS, st.sampled_from(sorted(FORMS)), st.data())
def test_an_answer_cut_off_keeps_the_objects_before_the_cut(
    objects: list[tuple[str, tuple[int, int, int, int]]], name: str, data: st.DataObject
) -> None:
    whole = FORMS[name](objects)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(FORMS[name](objects[:number])) for number in range(1, len(objects) + 1)]
    complete = sum(end <= cut for end in ends)  # their closing fence or bracket included
    read = OVD.read(whole[:cut]) or ()
    expected = tuple({"label": label, "box": box} for label, box in objects)
    assert read == expected[: len(read)] and len(read) >= complete


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=12), BOXES), max_size=5),
    st.sampled_from(["label", "name", "category_name", "description"]),
)
def test_any_label_survives_json(objects: list[tuple[str, tuple[int, ...]]], key: str) -> None:
    expected = [{"label": label, "box": box} for label, box in objects if label.strip()]
    rows = [{key: label, "attributes": {key: "x"}, "box": box} for label, box in objects]
    assert list(OVD.read(json.dumps(rows)) or ()) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), BOXES), min_size=1, max_size=5), st.booleans())
def test_any_label_survives_json_that_is_a_string(
    objects: list[tuple[str, tuple[int, ...]]], ascii_only: bool
) -> None:
    expected = [{"label": label, "box": box} for label, box in objects if label.strip()]
    rows = json.dumps([{"bbox": box, "label": label} for label, box in objects])
    text = json.dumps(rows, ensure_ascii=ascii_only)
    for one in (
        text,
        f'{{"arguments": {text}}}',
        rows.replace('"', '\\"') if "\\" not in rows else text,
    ):
        assert list(OVD.read(one) or ()) == expected


@settings(max_examples=100, deadline=None)
@given(OBJECTS, st.booleans(), st.sampled_from([None, 2, 4]))
def test_lists_of_yaml_are_read_as_their_library_writes_them(
    objects: list[tuple[str, tuple[int, int, int, int]]], flow: bool, indent: int | None
) -> None:
    rows = [{"label": label, "bbox": list(box)} for label, box in objects]
    text = yaml.safe_dump(
        rows,
        default_flow_style=None if flow else False,
        indent=indent,
        allow_unicode=True,
        sort_keys=False,
        width=1000,
    )
    assert OVD.read(text) == tuple({"label": label, "box": box} for label, box in objects)


@pytest.mark.parametrize("piece", ["[", "{", '{"a":', "(1,2),", "dog: [1, 2, 3, 4]; ", '"', " "])
def test_a_huge_answer_is_one_cut_off(piece: str) -> None:
    """A megabyte costs no more than the part that is read, and nothing recurses."""
    text = piece * (1_000_000 // len(piece))
    for name in TASKS.names():
        assert get_task(name).read(text) == get_task(name).read(text[:LONGEST])
