"""The word-level tokenizer that ships with the embedded model."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from .corpus import BOS, PAD, UNK, vocabulary
from .corpus.text import TOKEN_PATTERN

CONTEXT = 64


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer over `vocabulary`: words, digit pairs and single marks; spaces separate and are not kept.

    " Mary" and "Mary" are the same token. Decoding puts single spaces between words, none before closing marks and none
    between digit pairs, so that usual sentences come back as typed.
    """
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary())}, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN_PATTERN), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            # Joins words by spaces; no token carries the prefix.
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(" : param", " :param"),
            decoders.Replace(Regex(r"(?<=[(]) "), ""),
            decoders.Replace(Regex(r'(?<=""") '), ""),
            decoders.Replace(Regex(r" (?=\(self|[,.;!?)]|:(?!param))"), ""),
            decoders.Replace(Regex(r"(?<=\d\d) (?=\d)"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        unk_token=UNK,
        pad_token=PAD,
        padding_side="right",
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build_tokenizer().save_pretrained(folder)
