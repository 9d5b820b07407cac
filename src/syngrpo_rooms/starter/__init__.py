"""The bundled starter model, a small Qwen2.5-VL that sees rooms, and the recipe that made it.

``recipe`` runs the two stages of supervised training (``syngrpo rooms starter``); start reading
there. It builds the model (``architecture``), draws batches (``training_batches``) with responses
by simulated annotators (``annotators``), computes the losses (``supervised_losses``) and measures
the result (``held_out_accuracy``). ``compat_qwen`` holds every use of
the internals of transformers.
"""

from pathlib import Path

from syngrpo.policy import NamedModel

STARTER_DIR = Path(__file__).parent.parent / "starter_model"
"""Directory of the bundled checkpoint, in Hugging Face format."""

STARTER = NamedModel(STARTER_DIR, knows_format=True)
"""The model that configurations call ``starter``."""
