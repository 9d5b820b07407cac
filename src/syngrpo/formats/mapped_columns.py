"""Converts the rows of a user's table to rows of our JSONL, by a mapping of its columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from syngrpo.formats.answer_boxes import answer_text, boxes_in, from_json
from syngrpo.formats.box_questions import with_absent
from syngrpo.formats.chat_rows import IMAGES
from syngrpo.formats.defects import ColumnsError
from syngrpo.formats.lineage_columns import LINEAGE
from syngrpo.formats.question_texts import without_image_mark
from syngrpo.formats.sample_rows import checked_text
from syngrpo.sample import InputError
from syngrpo.tasks import Task, default_task, get_task
from syngrpo.tasks.labels import class_name, shown

OWN_FIELDS = (
    *("id", "task", "image", "question", "answer", "objects", "boxes", "labels"),
    *("parent", "depth", "description", "columns", LINEAGE),
)
"""Our fields. One that is not mapped is read from the column of the same name, if there is one."""

BOX_NAMES = ("box", "boxes", "bbox", "bboxes", "bbox_2d")
LABEL_NAMES = ("label", "labels", "category", "categories", "class", "classes", "name", "names")
"""What the box and the label of an object are called, in a struct or as lists in a struct."""

BOX_FORMAT = "box_format"
"""Was a field; the key ``boxes`` of the source has replaced it."""


@dataclass(frozen=True)
class ClassQuestions:
    """Builds questions for images that have labelled objects and no question. A question asks for
    the image's classes and ``negatives`` of the other ``classes``, in an order drawn from ``seed``
    and the image's name."""

    classes: Sequence[str]
    negatives: int
    seed: int

    def ask(self, present: Sequence[str], name: str) -> str:
        """Return class names joined by commas. Raises InputError when there is none to ask for."""
        shown = list(dict.fromkeys(present))
        absent = [label for label in self.classes if label not in shown]
        asked = with_absent(shown, absent, self.negatives, self.seed, name)
        if not asked:
            raise InputError("the row has no objects and no class could be asked for")
        return ", ".join(asked)


@dataclass(frozen=True)
class ColumnMapping:
    """Says which column of a user's table holds which of our fields.

    ``fields``: our field → path to the column, such as ``objects.bbox`` for a member of a struct.
    Fields that are not ours become columns of the sample.
    """

    fields: Mapping[str, str]

    @classmethod
    def of(cls, known: Sequence[str], wanted: Mapping[str, str], where: str) -> ColumnMapping:
        """Return the mapping ``wanted`` of the user, completed by columns that have our names.

        ``known`` are the table's columns, ``where`` names the table in messages. Raises InputError
        for a column that the table does not have.
        """
        if BOX_FORMAT in wanted:
            order = wanted[BOX_FORMAT]
            raise InputError(
                f"columns.{BOX_FORMAT} is now a key of the source; set boxes: {order} "
                f"(--option boxes={order})"
            )
        missing = sorted(
            {path for path in wanted.values() if steps_of(path, known)[0] not in known}
        )
        if missing:
            raise ColumnsError(f"{where} has no column {', '.join(missing)}; it has {_list(known)}")
        fields = {name: name for name in OWN_FIELDS if name in known} | dict(wanted)
        return cls(fields)

    def of_detection(self, task: Task | None, labelled: Sequence[str]) -> ColumnMapping | None:
        """Return the mapping for a table of images with labelled boxes and no questions, of which
        the classes can be asked: with its one column of labelled boxes as ``objects``. None for any
        other table, and where ``task`` asks for something else. ``labelled`` are the columns that
        hold labelled boxes."""
        if "image" not in self.fields or self.fields.keys() & {"question", "answer", "task"}:
            return None
        if task is not None and task.asks_for != "classes":
            return None
        if "objects" in self.fields or {"boxes", "labels"} <= self.fields.keys():
            return self
        return replace(self, fields={**self.fields, "objects": labelled[0]}) if labelled else None

    def require(
        self, task: Task | None, known: Sequence[str], where: str, labelled: Sequence[str] = ()
    ) -> None:
        """Raise ColumnsError if no column holds a field that every row needs, with the columns that
        there are. ``task`` is the user's; None if a column names it. ``known`` and ``where`` are as
        in ``of``; ``labelled``: the columns that hold labelled boxes."""
        by_row = task is None and "task" in self.fields
        if by_row and "image" in self.fields:
            return  # what a row needs depends on its task
        has_boxes = bool(self.fields.keys() & {"objects", "boxes"})
        asks_itself = task is not None and task.asks_for == "classes" and has_boxes
        free = task is not None and not task.needs_objects
        missing = [] if "image" in self.fields else ["image"]
        if not ("question" in self.fields or asks_itself or by_row):
            missing.append("question")
        if task is not None and task.asks_for == "question":
            missing += [] if "answer" in self.fields else ["answer"]
            needs = f"objects (labelled boxes, which task {task.name} needs)"
            missing += [] if has_boxes or free else [needs]
        elif not (has_boxes or free or "answer" in self.fields or by_row):
            missing.append("answer or objects")
        pairs = {"boxes", "labels"} <= self.fields.keys()
        if "question" in missing and (labelled or pairs) and "image" in self.fields:
            told = self._detection(labelled)
            raise ColumnsError(f"{where} has the columns {_list(known)}: {told}")
        problems = []
        if task is None and not by_row:
            problems.append("the task is not known; set task (--task), or map a column to it")
        if missing:
            field = missing[0].split()[0]
            theirs = next((n for n in IMAGES if n in known and field == "image"), "THEIR_COLUMN")
            problems.append(
                f"no column holds {', and none holds '.join(missing)}; map each, as in columns: "
                f"{{{field}: {theirs}}} or --columns {field}={theirs}"
            )
        if problems:
            raise ColumnsError(f"{where} has the columns {_list(known)}: {'; '.join(problems)}")

    def _detection(self, labelled: Sequence[str]) -> str:
        """Return what to do about a table that has labelled boxes and no questions."""
        name = default_task("classes")
        key, option = f"set task: {name}", f"--task {name}"
        fields = (self.fields.get(field) for field in ("objects", "boxes"))
        column = next(filter(None, fields), "")
        if not column:
            column = labelled[0]
            key += f" and columns: {{objects: {column}}}"
            option += f" --columns objects={column}"
        return (
            f"it has labelled boxes ({column}) and no questions; {key} ({option}) to ask for the "
            "classes of each image, or map the column of the questions, as in --columns "
            "question=THEIR_COLUMN"
        )

    def rows(
        self, row: Mapping[str, Any], name: str, wanted: Task | None, detection: ClassQuestions
    ) -> Iterator[dict[str, Any]]:
        """Yield rows of our JSONL, without the image, for one row of the table.

        ``name`` is the id for a row that has none; the task ``wanted`` takes precedence over the
        column. Each phrase of a list for one box gives a row; a task that asks for classes gets a
        question if there is none. Raises InputError for a row that is not valid.
        """
        values = {field: value_at(row, path) for field, path in self.fields.items()}
        task = wanted or _task(values.get("task"))
        base: dict[str, Any] = {"id": _identifier(values.get("id"), name), "task": task.name}
        base |= {key: values[key] for key in ("parent", "description") if values.get(key)}
        if values.get("parent") and values.get("depth") is not None:
            base["depth"] = values["depth"]
        columns = self._columns(values)
        if columns:
            base["columns"] = columns
        base |= self._labels(values, task)
        question = values.get("question")
        if task.asks_for == "classes" and "question" not in self.fields:
            question = detection.ask([thing["label"] for thing in base.get("objects", ())], name)
        if task.asks_for != "object" or not isinstance(question, list):
            yield base | {"question": _question(question)}
            return
        for number, phrase in enumerate(question):
            suffix = f"-{number}" if len(question) > 1 else ""
            yield base | {"id": base["id"] + suffix, "question": _question(phrase)}

    def _columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        columns = from_json(values.get("columns")) or {}
        if not isinstance(columns, dict):
            raise InputError(f"columns is {shown(columns)}, not a JSON object")
        lineage = values.get(LINEAGE)
        if isinstance(lineage, dict):
            scores = lineage.get("scores")
            pairs = scores.items() if isinstance(scores, dict) else ()
            known = {name: score for name, score in pairs if score is not None}
            columns = columns | {LINEAGE: lineage | {"scores": known}}
        foreign = {key: value for key, value in values.items() if key not in OWN_FIELDS}
        return columns | {key: value for key, value in foreign.items() if value is not None}

    def _labels(self, values: Mapping[str, Any], task: Task) -> dict[str, Any]:
        """Return ``answer`` and ``objects``, with boxes as they are in the table."""
        answer = from_json(values.get("answer"))
        objects = self._objects(values)
        found: dict[str, Any] = {}
        if task.asks_for == "object":
            if answer is None and objects is not None and len(objects) == 1:
                answer = objects[0]["box"]
            elif isinstance(answer, str | dict):
                answer = _only_box(answer)
        elif task.asks_for == "classes":
            if isinstance(answer, str):
                answer = _labelled_boxes(answer, values.get("question"))
            if isinstance(answer, list):
                answer = [self._object(thing) for thing in answer]
        elif isinstance(answer, str):
            answer = from_json(answer_text(answer))
        if answer is not None:
            found["answer"] = answer
        if objects is not None:
            found["objects"] = objects
        return found

    def _objects(self, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        boxes, labels = values.get("boxes"), values.get("labels")
        if boxes is None:
            things = from_json(values.get("objects"))
            if isinstance(things, dict):
                boxes, labels = _member(things, BOX_NAMES), _member(things, LABEL_NAMES)
            elif not isinstance(things, list):
                return None
            else:
                return [self._object(thing) for thing in things]
        if labels is None or boxes is None:
            return None
        if not isinstance(labels, list):
            boxes, labels = [boxes], [labels]
        if not isinstance(boxes, list) or len(boxes) != len(labels):
            raise InputError(
                f"boxes {shown(boxes)} and labels {shown(labels)} are not lists of equal length"
            )
        pairs = zip(labels, boxes, strict=True)
        return [self._object({"label": label, "box": box}) for label, box in pairs]

    def _object(self, thing: Any) -> dict[str, Any]:
        label = _member(thing, LABEL_NAMES) if isinstance(thing, dict) else None
        if isinstance(label, int) and not isinstance(label, bool):
            raise InputError(
                f"the label {label} is a number, and its column declares no class names "
                "(ClassLabel); write names"
            )
        if not isinstance(label, str):
            raise InputError(f"the object {shown(thing)} has no label")
        mask = thing.get("mask")
        known = {"label": class_name(label), "box": _member(thing, BOX_NAMES)}
        return known | ({"mask": mask} if mask is not None else {})


def _member(thing: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of these keys that the struct has; None when it has none."""
    return next((thing[name] for name in names if thing.get(name) is not None), None)


def _only_box(answer: Any) -> Any:
    """Return the box of an answer that is an object or a text."""
    found = boxes_in(answer).objects
    if len(found) != 1:
        raise InputError(f"the answer holds {len(found)} boxes; a phrase is answered by one box")
    return found[0][1]


def _labelled_boxes(answer: str, question: Any) -> list[dict[str, Any]]:
    """Return the labelled boxes of an answer that is a text. A box without a label has that of the
    only class that is asked for."""
    asked = question if isinstance(question, str) and "," not in question else None
    return [
        {"label": asked if label is None else label, "box": box}
        for label, box in boxes_in(answer).objects
    ]


def steps_of(path: str, known: Collection[str]) -> list[str]:
    """Split a path into a column and members of its structs. The name of a column may hold dots."""
    return [path] if path in known else path.split(".")


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path; in a list of structs, the list of their members."""
    column, *members = steps_of(path, row)
    value = row.get(column)
    for key in members:
        if isinstance(value, list):
            value = [item.get(key) if isinstance(item, dict) else None for item in value]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _task(value: Any) -> Task:
    if value is None:
        raise InputError("the task is not known; set task (--task), or map a column to it")
    return get_task(checked_text(value, "task"))


def _question(value: Any) -> Any:
    """Return a question without the mark of the image; a list of class names is joined by
    commas."""
    if isinstance(value, str):
        return without_image_mark(value)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return ", ".join(class_name(name) for name in value)
    return value


def _identifier(value: Any, name: str) -> str:
    if value is None:
        return name
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"id is {shown(value)}, neither a text nor a number")
    return str(value)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
