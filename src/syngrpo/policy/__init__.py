"""The model that is trained, and everything that computes with it.

- ``model_options.py``: the options of the configuration section ``model``, and short names of
  models (``MODELS``). It imports no torch.
- ``loading.py`` loads a checkpoint as a ``Policy`` (``model.py``), with adapters (``lora.py``) if
  asked for; ``families/`` holds the code that differs between model families, and ``trial.py``
  refuses a model that cannot be trained.
- ``encode.py`` turns a sample and its question into a ``Prompt``.
- ``packed.py`` scores responses: an update calls its ``segment_logprobs``. If the responses of a
  group can share their prompt, ``forward.py`` runs one pass over prompts and continuations with the
  attention of ``shared_prefix.py``; otherwise ``padded.py`` computes one padded row a response.
  ``distribution.py`` computes the distribution over tokens that sampling and training share.
- ``spans.py`` finds the tokens that wrote a part of a response.
- ``sharding.py`` spreads a model over processes (FSDP2).
- ``compat_torch.py`` and ``compat_transformers.py`` hold every use of undocumented interfaces of
  these libraries.

The trainer, the rollout and the evaluation call these. Start reading in ``packed.py``.
"""

from syngrpo.policy.model_options import MODELS as MODELS
from syngrpo.policy.model_options import LoraOptions as LoraOptions
from syngrpo.policy.model_options import ModelOptions as ModelOptions
from syngrpo.policy.model_options import NamedModel as NamedModel
from syngrpo.policy.model_options import model_directory as model_directory
