"""The bundled starter model, a small Qwen2.5-VL that sees rooms, and the recipe that made it.

``recipe`` runs the two stages of supervised training (``syngrpo rooms starter``); start reading
there. It uses the other modules in this order:

- ``architecture`` builds the tokenizer, the processor and the model with random weights.
- ``training_batches`` renders scenes and makes batches of them; simulated annotators write the
  responses (``annotators``).
- ``supervised_losses`` computes the losses of a batch; ``compat_qwen`` holds every use of the
  internals of transformers.
- ``held_out_accuracy`` measures the model on scenes that it was not trained on.

Reinforcement learning itself is not done here, but by syngrpo, which starts from the bundled model.
"""

from pathlib import Path

from syngrpo.policy import NamedModel

STARTER_DIR = Path(__file__).parent.parent / "starter_model"
"""Directory of the bundled checkpoint, in Hugging Face format."""

STARTER = NamedModel(STARTER_DIR, knows_format=True)
"""The model that configurations call ``starter``."""
