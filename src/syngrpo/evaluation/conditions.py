"""The conditions under which a model was evaluated, and how those of several evaluations differ.

``model_evaluation`` writes ``conditions_of`` into ``metrics.json``, beside the settings.
``compare`` asks for ``mismatches`` and refuses evaluations that differ in more than the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syngrpo.policy.model import Policy

LIBRARIES = ("syngrpo", "torch", "transformers", "tokenizers", "pillow")
"""The packages whose version can change an answer."""

OF_MODEL = ("model", "family", "coordinates", "model_name", "revision")
"""What belongs to the models that are compared, and may differ."""

NOT_RECORDED = "not recorded"

OF_DATA = "data."
"""The beginning of the settings that say how the data were read. They are recorded only if they
were given."""
USUAL = "as usual in the format"


@dataclass(frozen=True)
class Mismatch:
    """One thing in which evaluations differ beside their models; one value for each of them."""

    name: str
    values: tuple[Any, ...]

    def words(self, evaluations: Sequence[str]) -> str:
        """Return ``temperature 1.0 (base, other), 0.7 (mine)``."""
        named: dict[str, list[str]] = {}
        for evaluation, value in zip(evaluations, self.values, strict=True):
            named.setdefault(str(value), []).append(evaluation)
        return f"{self.name} " + ", ".join(f"{v} ({', '.join(n)})" for v, n in named.items())


def conditions_of(model: str, policy: Policy) -> dict[str, Any]:
    """Return what an answer depends on beside the settings: where the model comes from, the limits
    of the image size, the kind of device, and the versions of libraries."""
    images = policy.processor.image_processor
    found = {
        "model_name": model,
        "revision": getattr(policy.base.config, "_commit_hash", None),
        "max_pixels": policy.family.most_pixels(images),
        "min_pixels": policy.family.least_pixels(images),
        "device": policy.device.type,
        **{name: version_of(name) for name in LIBRARIES},
    }
    return {name: value for name, value in found.items() if value is not None}


def mismatches(evaluations: Sequence[Mapping[str, Any]]) -> list[Mismatch]:
    """Return in what the evaluations differ beside the model.

    Each is the content of ``metrics.json``, with ``settings`` and, unless an earlier version has
    written it, ``conditions``. The conditions replace settings of the same name. Two revisions of
    the same model are a difference, two models are none.
    """
    known = [{**one.get("settings", {}), **one.get("conditions", {})} for one in evaluations]
    names = list(dict.fromkeys(name for one in known for name in one))
    found = []
    for name in names:
        if name in OF_MODEL and not (name == "revision" and _same_model(known)):
            continue
        missing = USUAL if name.startswith(OF_DATA) else NOT_RECORDED
        values = tuple(one.get(name, missing) for one in known)
        if any(value != values[0] for value in values):
            found.append(Mismatch(name, values))
    return found


def _same_model(evaluations: Sequence[Mapping[str, Any]]) -> bool:
    return len({one.get("model_name") for one in evaluations}) == 1


def version_of(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
