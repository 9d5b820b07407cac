"""The bundled starter model: a small Qwen2.5-VL that sees rooms, and the recipe that made it."""

from pathlib import Path

STARTER_DIR = Path(__file__).parent.parent / "starter_model"
"""Where the shipped checkpoint lies, in Hugging Face format."""
