"""The rollout: samples a group of G responses for each prompt, with their log-probabilities.

The trainer calls one function a step (``base.Rollout``). The option ``rollout.engine`` chooses the
engine that does it:

- ``native`` (``native.py``): samples with the trained model itself. The prompt is computed once for
  each group (``decoding.py``); on a GPU the steps are recorded as CUDA graphs (``cuda_graphs.py``).
- ``vllm`` (``vllm_engine.py``): vLLM in the trainer's process. ``compat_vllm.py`` holds every use
  of vLLM's internals.
- ``server`` (``server_engine.py``): ``syngrpo rollout-server``, vLLM in a process of its own
  (``server/``). The trainer sends it the weights (``weight_stream.py``) and the prompts
  (``server_messages.py``) over HTTP.
- ``openai`` (``openai_engine.py``): a server with an OpenAI API that the user runs, vLLM or SGLang.
  It loads the weights from a folder (``weight_folder.py``) and samples from chat completions
  (``openai_server.py``).

Another package adds an engine by an entry point of the group ``syngrpo.engines``.
To understand a rollout, read ``native.py`` from the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syngrpo.extensions import Registry, no_subclass
from syngrpo.rollout.rollout_options import RolloutOptions as RolloutOptions
from syngrpo.sample import InputError

if TYPE_CHECKING:
    from syngrpo.policy.model import Policy
    from syngrpo.rollout.base import Engine


def _problem(name: str, found: Any) -> str | None:
    from syngrpo.rollout.base import Engine  # with torch, as every engine

    return no_subclass(found, Engine)


_BUILT_IN = {
    "native": "syngrpo.rollout.native:NativeEngine",
    "vllm": "syngrpo.rollout.vllm_engine:VllmEngine",
    "server": "syngrpo.rollout.server_engine:ServerEngine",
    "openai": "syngrpo.rollout.openai_engine:OpenAIEngine",
}

ENGINES: Registry[type[Engine]] = Registry(
    "rollout engine",
    "syngrpo.engines",
    _BUILT_IN,
    problem=_problem,
)
"""Short name → a subclass of ``base.Engine``."""


def check_engine(options: RolloutOptions) -> None:
    """Raise InputError when the engine of these options cannot work, for example because vLLM is
    not installed, or for an option that only another engine reads. A run calls this before it loads
    a model."""
    ENGINES.load(options.engine_name).check(options)
    _require_effect(options)


_READERS = {
    "server_token_file": ("server", "openai"),
    "server_model": ("openai",),
    "weights_folder": ("openai",),
}
"""Options that not every engine reads, whose default is None → the engines that do."""


def _require_effect(options: RolloutOptions) -> None:
    """Raise InputError for an option that the engine does not read. An engine of another package
    may read any."""
    engine = options.engine_name
    if engine not in _BUILT_IN:
        return
    for key, readers in _READERS.items():
        if getattr(options, key) is not None and engine not in readers:
            raise InputError(
                f"rollout.{key} has no effect with rollout.engine {engine}; set rollout.engine to "
                f"{' or '.join(readers)}, or remove rollout.{key}"
            )


def make_rollout(options: RolloutOptions, policy: Policy) -> Engine:
    """Start the engine that the options name, for this policy.

    Raises InputError as ``check_engine`` does, and as the engine's constructor does.
    """
    check_engine(options)
    return ENGINES.load(options.engine_name)(policy, options)
