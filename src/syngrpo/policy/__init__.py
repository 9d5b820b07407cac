"""The model: families, loading, rollouts and log-probabilities that share a group's prompt."""

from syngrpo.policy.model_options import MODELS as MODELS
from syngrpo.policy.model_options import LoraOptions as LoraOptions
from syngrpo.policy.model_options import ModelOptions as ModelOptions
from syngrpo.policy.model_options import NamedModel as NamedModel
from syngrpo.policy.model_options import model_directory as model_directory
