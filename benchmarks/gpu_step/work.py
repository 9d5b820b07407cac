"""Calculates how much one training step has to compute and to move: floating point operations and
bytes.

*Model FLOPs* are what the mathematics needs, whatever a kernel does in addition. A matrix of n
weights costs 2·n for each token forward, the same for the gradient of its input and the same for
its own; a frozen matrix has no gradient of its own. Attention costs 4·heads·head_dim for each pair
of a query and a key that it may see, and twice that backward. What is computed again
(checkpointing, chunks of logits, softmax inside a kernel) does not count, nor do norms, rotations,
softmax and activations (below 1 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import nn
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from benchmarks.gpu_step.shapes import Shape, linear_layers
from syngrpo.policy.model_options import LoraOptions

BF16, FP32 = 2, 4


@dataclass(frozen=True)
class Setting:
    """What a step works on: ``prompts`` with one image of ``width`` x ``height`` pixels and
    ``text_tokens`` each, and ``group`` responses of ``new_tokens`` to each prompt."""

    prompts: int = 8
    group: int = 8
    new_tokens: int = 160
    width: int = 640
    height: int = 480
    text_tokens: int = 77

    @property
    def rows(self) -> int:
        return self.prompts * self.group


REHEARSED = Setting(prompts=2, group=2, new_tokens=10, width=160, height=120)
"""What a step of a small architecture works on, on a CPU."""


@dataclass(frozen=True)
class Work:
    """Sizes of one architecture in one setting. ``lora`` None: all weights are trained. Else only
    the decoder's adapters are trained, and the vision tower is frozen."""

    shape: Shape
    setting: Setting
    lora: LoraOptions | None = None

    @cached_property
    def model(self) -> nn.Module:
        return self.shape.empty()

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Number of patches from top to bottom and from left to right."""
        vision, (least, most) = self.shape.vision, self.shape.pixels
        factor = vision["patch_size"] * vision["spatial_merge_size"]
        size = smart_resize(self.setting.height, self.setting.width, factor, least, most)
        return size[0] // vision["patch_size"], size[1] // vision["patch_size"]

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def image_tokens(self) -> int:
        return self.patches // self.shape.vision["spatial_merge_size"] ** 2

    @property
    def prompt(self) -> int:
        """Number of tokens of a prompt."""
        return self.image_tokens + self.setting.text_tokens

    # Weights

    @cached_property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def text_matrices(self) -> int:
        """Weights of the matrices that every token of the decoder goes through."""
        return self._matrices("model.language_model.layers")

    @property
    def head_matrix(self) -> int:
        return int(self.shape.text["vocab_size"] * self.shape.text["hidden_size"])

    @cached_property
    def adapters(self) -> int:
        """Number of weights of the adapters."""
        if self.lora is None:
            return 0
        layers = linear_layers(self.model, "model.language_model.layers")
        return sum(self.lora.rank * (inputs + outputs) for inputs, outputs in layers)

    @property
    def trained(self) -> int:
        return self.parameters if self.lora is None else self.adapters

    def _matrices(self, *parts: str) -> int:
        layers = [layer for part in parts for layer in linear_layers(self.model, part)]
        return sum(inputs * outputs for inputs, outputs in layers)

    # Operations

    def text_forward(self, tokens: int, pairs: int, scored: int, adapted: bool = True) -> int:
        """FLOPs of the decoder over ``tokens``, whose queries and keys see each other in ``pairs``,
        and of the head over ``scored`` tokens."""
        matrices = self.text_matrices + (self.adapters if adapted else 0)
        return 2 * matrices * tokens + self.attention(pairs) + 2 * self.head_matrix * scored

    def attention(self, pairs: int) -> int:
        """FLOPs of all decoder layers for this many pairs in each."""
        text = self.shape.config.text_config
        dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return 4 * text.num_attention_heads * dim * text.num_hidden_layers * pairs

    def vision_forward(self, images: int) -> int:
        """FLOPs of the vision tower."""
        a_patch = self._matrices("model.visual.patch_embed", "model.visual.blocks")
        a_token = self._matrices("model.visual.merger", "model.visual.deepstack_merger_list")
        width = self.shape.vision["hidden_size"]
        matrices = a_patch * self.patches + a_token * self.image_tokens
        return images * (2 * matrices + 4 * width * self.vision_pairs)

    @property
    def vision_pairs(self) -> int:
        """Pairs that see each other, over all blocks, in one image. Windows see only themselves."""
        vision = self.shape.vision
        full = self.patches**2
        if "fullatt_block_indexes" not in vision:
            return int(vision["depth"] * full)
        whole = len(vision["fullatt_block_indexes"])
        side = vision["window_size"] // vision["patch_size"]
        rows, columns = ([min(side, n - i) for i in range(0, n, side)] for n in self.grid)
        windowed = sum(r * r for r in rows) * sum(c * c for c in columns)
        return int(whole * full + (vision["depth"] - whole) * windowed)

    @property
    def packed(self) -> tuple[int, int, int]:
        """Return (tokens, pairs, scored) of one update with packed rows: each prompt once, its
        responses behind it. The last token of a response predicts nothing and is left out."""
        prompt, group, own = self.prompt, self.setting.group, self.setting.new_tokens - 1
        pairs = triangle(prompt) + group * (own * prompt + triangle(own))
        tokens = prompt + group * own
        return (
            self.setting.prompts * tokens,
            self.setting.prompts * pairs,
            self.setting.rows * self.setting.new_tokens,
        )

    @property
    def padded(self) -> tuple[int, int, int]:
        """Return the same for TRL's rows, where every response is behind a copy of its prompt."""
        length, rows = self.prompt + self.setting.new_tokens, self.setting.rows
        return rows * length, rows * triangle(length), rows * self.setting.new_tokens

    def update_flops(self, padded: bool = False) -> int:
        """FLOPs of forward and backward passes over all groups. With a frozen vision tower, packed
        rows reuse the features from the rollout; ``padded`` rows have an image each and compute
        them again."""
        tokens, pairs, scored = self.padded if padded else self.packed
        forward = self.text_forward(tokens, pairs, scored, adapted=False)
        images = self.setting.rows if padded else self.setting.prompts
        if self.lora is None:
            return 3 * (forward + self.vision_forward(images))
        adapters = 3 * 2 * self.adapters * tokens
        seen = self.vision_forward(images) if padded else 0
        return 2 * forward + self.attention(pairs) + adapters + seen

    def prefill_flops(self, padded: bool = False) -> int:
        """FLOPs of images and prompts before the first new token."""
        count = self.setting.rows if padded else self.setting.prompts
        text = self.text_forward(count * self.prompt, count * triangle(self.prompt), count)
        return text + self.vision_forward(count)

    def decode_flops(self, written: int) -> int:
        """FLOPs of one more token in every row, after ``written`` others."""
        rows = self.setting.rows
        return self.text_forward(rows, rows * (self.prompt + written + 1), rows)

    # Bytes

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of one token in all decoder layers, bfloat16."""
        text = self.shape.config.text_config
        dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return 2 * text.num_hidden_layers * text.num_key_value_heads * dim * BF16

    @cached_property
    def decoder_bytes(self) -> int:
        """Bytes of the weights that one decoding step reads: decoder, head, adapters."""
        decoder = sum(
            parameter.numel()
            for name, parameter in self.model.named_parameters()
            if name.startswith("model.language_model") and "embed_tokens" not in name
        )
        return BF16 * (decoder + self.head_matrix) + FP32 * self.adapters

    def decode_bytes(self, written: int, padded: bool = False) -> int:
        """Bytes that one decoding step has to read: the weights once, the keys and values of each
        prompt once (``padded``: once for each row) and those that each row has written."""
        prompts = self.setting.rows if padded else self.setting.prompts
        cached = prompts * self.prompt + self.setting.rows * (written + 1)
        return self.decoder_bytes + cached * self.kv_bytes

    @property
    def optimizer_bytes(self) -> int:
        """Bytes moved by one step of AdamW. All weights: gradient (2), master weight (4) and
        moments (8) are read; master weight, moments and weight are written. Adapters are float32
        and their own master weights: gradient (4), weight (4), moments (8) are read; weight and
        moments are written."""
        return 28 * self.trained


def triangle(length: int) -> int:
    """Number of pairs in a causal sequence."""
    return length * (length + 1) // 2
