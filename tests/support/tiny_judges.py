"""Tiny random-weight judges: the real transformers classes, tokenizers made here, small sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import pre_tokenizers

WORDS = ("chair", "red", "lamp", "dining", "table", "a", "photo", "of", "grey", "walls")
SIDE = 64
"""Pixels of a side that the models see."""


def bert_tokenizer() -> Any:
    """BERT's special tokens have BERT's numbers: Grounding DINO cuts its text by them."""
    vocabulary = [f"[unused{number}]" for number in range(1100)]
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: "."}
    for number, token in (fixed | {1029: "?", 1010: ",", 1011: "-"}).items():
        vocabulary[number] = token
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *(w for w in WORDS if len(w) > 1)]
    vocabulary[200 : 200 + len(pieces)] = pieces
    return hf.BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)})


def clip_tokenizer(length: int) -> Any:
    """Letter by letter; the two special tokens come last, as CLIP's do."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return hf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|startoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        **more,
    }


_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 16,
}


def _dino(model: Any, config: Any) -> tuple[Any, Any]:
    tokenizer = bert_tokenizer()
    backbone = hf.SwinConfig(
        image_size=SIDE,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        out_indices=[2, 3, 4],
    )
    text = hf.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
    )
    made = config(
        backbone_config=backbone,
        text_config=text,
        num_queries=12,
        d_model=64,
        encoder_layers=1,
        encoder_ffn_dim=48,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=48,
        decoder_attention_heads=2,
    )
    pictures = hf.GroundingDinoImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 96})
    return model(made), hf.GroundingDinoProcessor(image_processor=pictures, tokenizer=tokenizer)


def _owl() -> tuple[Any, Any]:
    tokenizer = clip_tokenizer(24)
    text = _text(tokenizer, max_position_embeddings=24)
    made = hf.Owlv2Config(text_config=text, vision_config=_VISION, projection_dim=32)
    pictures = hf.Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = hf.Owlv2Processor(image_processor=pictures, tokenizer=tokenizer)
    return hf.Owlv2ForObjectDetection(made), processor


def _clip() -> tuple[Any, Any]:
    tokenizer = clip_tokenizer(77)
    text = _text(tokenizer, max_position_embeddings=77)
    made = hf.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24)
    size = {"shortest_edge": SIDE}
    pictures = hf.CLIPImageProcessor(size=size, crop_size={"height": SIDE, "width": SIDE})
    return hf.CLIPModel(made), hf.CLIPProcessor(image_processor=pictures, tokenizer=tokenizer)


def _siglip() -> tuple[Any, Any]:
    tokenizer = clip_tokenizer(64)
    text = _text(tokenizer, max_position_embeddings=64, projection_size=32)
    made = hf.SiglipConfig(text_config=text, vision_config=_VISION)
    pictures = hf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    return hf.SiglipModel(made), hf.SiglipProcessor(image_processor=pictures, tokenizer=tokenizer)


def _sam() -> tuple[Any, Any]:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 2, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [4, 4, 4, 2],
        "window_positional_embedding_background_size": [2, 2],
        "global_attention_blocks": [4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompts = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 48,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    made = hf.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    pictures = hf.Sam2ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": 16, "width": 16}
    )
    return hf.Sam2Model(made), hf.Sam2Processor(image_processor=pictures)


TINY_JUDGES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "grounding-dino": lambda: _dino(hf.GroundingDinoForObjectDetection, hf.GroundingDinoConfig),
    "mm-grounding-dino": lambda: _dino(
        hf.MMGroundingDinoForObjectDetection, hf.MMGroundingDinoConfig
    ),
    "owlv2": _owl,
    "clip": _clip,
    "siglip": _siglip,
    "sam2": _sam,
}


def save_judge(directory: Path, name: str, seed: int = 0) -> str:
    """Writes a random checkpoint of ``TINY_JUDGES[name]``; returns the directory."""
    torch.manual_seed(seed)
    model, processor = TINY_JUDGES[name]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if "class_embed" in part and parameter.ndim <= 1:
                parameter.zero_()  # a prior that would keep every score near zero
            if parameter.ndim > 1:  # larger than the initialiser's: scores shall differ
                parameter.normal_(0, 1.2 / parameter[0].numel() ** 0.5, generator=generator)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return str(directory)
