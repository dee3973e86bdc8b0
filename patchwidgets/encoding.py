"""From prompts to tokens, with the checks that two prompts can be compared."""

from __future__ import annotations

import warnings
from dataclasses import replace

from .alignment import Alignment, propose
from .answers import Target, check_known, resolve, told
from .errors import PatchError, PromptError, quoted
from .prompts import EncodedPair, Prompt, PromptPair
from .spelling import counted
from .tokens import Rate, Tokenizer, half_character, spelled


def encode_prompts(
    pair: PromptPair,
    tokenizer: Tokenizer,
    *,
    prepend_bos: bool | None = None,
    align: object = None,
    may_be_equal: bool = False,
) -> EncodedPair:
    """Return the pair's prompts as tokens, without answer and foil.

    `align` says how prompts of unequal length are compared: None not at all, "auto" by the alignment proposed, or an
    Alignment, or a list of (clean position, corrupted position). Raises PromptError when a prompt is empty, too long,
    has a second beginning-of-sequence token, when the two have unequal lengths and no alignment, or when they are
    identical and `may_be_equal` does not allow it.
    """
    prepend = tokenizer.prepends_bos if prepend_bos is None else prepend_bos
    clean, corrupted = (_encode(getattr(pair, name), name, tokenizer, prepend) for name in ("clean", "corrupted"))
    clean_text, corrupted_text = (tuple(tokenizer.text(token) for token in ids) for ids in (clean, corrupted))
    if isinstance(pair.clean, str) != isinstance(pair.corrupted, str):
        raise PromptError(
            "one prompt is a text and the other a list of token ids; give both as texts or both as ids.", "corrupted"
        )
    if clean == corrupted and not may_be_equal:
        raise PromptError(_why_equal(pair, clean, tokenizer), "corrupted", between=True)
    alignment = _aligned(clean, corrupted, align, tokenizer)
    is_text = isinstance(pair.clean, str)
    bos_at = 0 if tokenizer.bos is not None and clean[0] == tokenizer.bos else None
    at = _read_at(pair.at, len(clean), len(corrupted))
    return EncodedPair(
        clean, corrupted, clean_text, corrupted_text, prepend and is_text, bos_at, at=at, alignment=alignment,
        given=(_text(pair.clean), _text(pair.corrupted)),
    )  # fmt: skip


def _why_equal(pair: PromptPair, ids: tuple[int, ...], tokenizer: Tokenizer) -> str:
    unknown = tokenizer.unk is not None and tokenizer.unk in ids and pair.clean != pair.corrupted
    if unknown:
        return (
            "the words in which the two prompts differ are unknown to this model, so it reads the same tokens in both: "
            f"{spelled(tokenizer, ids)}. Choose words of its vocabulary."
        )
    return "the two prompts are the same tokens; change the fact you ask about in one."


def _text(prompt: Prompt) -> str | None:
    return prompt if isinstance(prompt, str) else None


def _aligned(
    clean: tuple[int, ...], corrupted: tuple[int, ...], align: object, tokenizer: Tokenizer
) -> Alignment | None:
    """Return the alignment to use, None when positions are each other's counterparts as they are."""
    if align is None and len(clean) != len(corrupted):
        raise PromptError(
            f"the prompts have different lengths in tokens: {len(clean)} clean, {len(corrupted)} corrupted. "
            "Positions would not mean the same thing; change the corrupted prompt so that both have as many tokens, "
            'or compare them by an alignment with align="auto". '
            f"Clean: {spelled(tokenizer, clean)}. Corrupted: {spelled(tokenizer, corrupted)}.",
            "corrupted",
            between=True,
        )
    if align is None:
        return None
    if isinstance(align, str) and align == "auto":
        found = propose(clean, corrupted)
    elif isinstance(align, Alignment):
        found = Alignment.from_pairs(len(clean), len(corrupted), align.matches)
    elif isinstance(align, (list, tuple)):
        found = Alignment.from_pairs(len(clean), len(corrupted), align)
    else:
        raise PatchError(
            f'align must be None, "auto", an Alignment or a list of (clean, corrupted) positions, not {quoted(align)}.'
        )
    if not found.matches:
        raise PatchError("align names no position of one prompt that stands for one of the other; name at least one.")
    return None if found.identity else found


def _read_at(at: int, clean: int, corrupted: int) -> int:
    """Return the position read, counted from the end of either prompt."""
    if at >= 0 and clean != corrupted:
        raise PromptError(
            f"at={at} counts from the start, and the prompts have {clean} and {corrupted} tokens; count from the end "
            "(-1 is the last).",
            "clean",
        )
    from_end = at if at < 0 else at - clean
    if not -min(clean, corrupted) <= from_end < 0:
        raise PromptError(
            f"position at={at} does not exist: the prompts have {counted(min(clean, corrupted), 'token')}.", "clean"
        )
    return from_end


def encode_pair(
    pair: PromptPair,
    tokenizer: Tokenizer,
    *,
    prepend_bos: bool | None = None,
    needs_answer: bool = True,
    needs_foil: bool = False,
    rate: Rate | None = None,
    align: object = None,
    may_be_equal: bool = False,
) -> EncodedPair:
    """Return the pair as tokens with its answer and, where given, its foil.

    `rate(prompt ids, candidate ids)` tells how probable the model finds each candidate next; errors use it to suggest a
    neighbour. Raises PromptError as `encode_prompts`, and for an answer or foil that is missing or not known tokens.
    """
    encoded = encode_prompts(pair, tokenizer, prepend_bos=prepend_bos, align=align, may_be_equal=may_be_equal)
    if pair.answer is None and needs_answer:
        raise PromptError("no answer given; name the token the clean prompt should be continued with.", "answer")
    if pair.foil is None and needs_foil:
        raise PromptError(
            "logit_diff compares two tokens and no foil is given; name the token the corrupted prompt calls for, "
            "or use another metric such as logprob.",
            "foil",
        )
    answers: Target = ()
    foils: Target = ()
    if pair.answer is not None:
        answers = resolve(pair.answer, "answer", tokenizer, encoded.clean, rate)
    if pair.foil is not None:
        foils = resolve(pair.foil, "foil", tokenizer, encoded.corrupted, rate)
    _check_apart(answers, foils, tokenizer)
    for name, target in (("answer", answers), ("foil", foils)):
        _check_continuation(name, target, encoded, tokenizer)
    return replace(
        encoded,
        answers=answers,
        foils=foils,
        answer_text=told(answers, tokenizer) if answers else None,
        foil_text=told(foils, tokenizer) if foils else None,
    )


def _check_apart(answers: Target, foils: Target, tokenizer: Tokenizer) -> None:
    shared = set(answers) & set(foils)
    if shared:
        text = "".join(tokenizer.text(token) for token in min(shared))
        raise PromptError(
            f"answer and foil are the same token {quoted(text)}; their difference is always 0."
            if len(answers) == len(foils) == 1
            else f"answer and foil share the token {quoted(text)}; leave it out of one.",
            "foil",
        )


def _check_continuation(name: str, target: Target, encoded: EncodedPair, tokenizer: Tokenizer) -> None:
    extra = max((len(sequence) for sequence in target), default=1) - 1
    if extra and encoded.at != -1:
        raise PromptError(f"{name}: several tokens in a row are read at the end of the prompt; leave out at=.", name)
    if encoded.length + extra > tokenizer.context:
        raise PromptError(
            f"prompt and {name} have {encoded.length + extra} tokens and the model's context holds "
            f"{tokenizer.context}; shorten the prompt.",
            name,
        )


def unknown_words(pair: PromptPair, encoded: EncodedPair, tokenizer: Tokenizer) -> list[str]:
    """Return the fields of the pair whose text contains a token the vocabulary does not know."""
    if tokenizer.unk is None:
        return []
    runs = {"clean": encoded.clean, "corrupted": encoded.corrupted}
    return [field for field, ids in runs.items() if isinstance(getattr(pair, field), str) and tokenizer.unk in ids]


def warn_unknown_words(pair: PromptPair, encoded: EncodedPair, tokenizer: Tokenizer) -> None:
    """Warn for every prompt in which a word became the unknown token."""
    for field in unknown_words(pair, encoded, tokenizer):
        texts = encoded.clean_text if field == "clean" else encoded.corrupted_text
        warnings.warn(
            f"the {field} prompt has a word this model does not know; it reads {quoted('|'.join(texts))}.",
            UserWarning,
            stacklevel=4,
        )


def _encode(prompt: Prompt, field: str, tokenizer: Tokenizer, prepend_bos: bool) -> tuple[int, ...]:
    if isinstance(prompt, str):
        ids = _encode_text(prompt, field, tokenizer, prepend_bos)
    else:
        ids = tuple(prompt)
        wrong = [token for token in ids if not 0 <= token < tokenizer.vocab_size]
        if wrong:
            raise PromptError(
                f"{field}: token id {wrong[0]} is not in the vocabulary of {tokenizer.vocab_size} tokens.", field
            )
    if not ids:
        raise PromptError(f"the {field} prompt is empty; type a text.", field)
    if len(ids) > tokenizer.context:
        raise PromptError(
            f"the {field} prompt has {counted(len(ids), 'token')} and the model's context holds {tokenizer.context}; "
            "shorten it.",
            field,
        )
    return ids


def _encode_text(text: str, field: str, tokenizer: Tokenizer, prepend_bos: bool) -> tuple[int, ...]:
    if not tokenizer.has_text:
        raise PromptError(f"this model has no tokenizer; give the {field} prompt as a list of token ids.", field)
    if not text.strip():
        raise PromptError(f"the {field} prompt is empty; type a text.", field)
    if prepend_bos and tokenizer.bos is None:
        raise PromptError(
            "prepend_bos=True, but this model's tokenizer has no BOS token; use prepend_bos=False.", field
        )
    half = half_character(text)
    if half is not None:
        raise PromptError(
            f"the {field} prompt has {quoted(text[half])} at character {half}, half of a character; leave it out.",
            field,
        )
    ids = tuple(tokenizer.encode_prompt(text, prepend_bos))
    plain = tuple(tokenizer.encode(text))
    check_known(ids, field, tokenizer)
    if ids[-len(plain) :] != plain:
        raise PromptError(
            f"TransformerLens reads the {field} prompt as {spelled(tokenizer, ids)}, which is not "
            "all of its text (it drops an end-of-sequence token at the end); leave that token out, or give token ids.",
            field,
        )
    if prepend_bos and tokenizer.bos in ids[1:]:
        raise PromptError(
            f"the {field} prompt contains the BOS token {tokenizer.text(ids[0])!r} and another is put before it; "
            "leave it out of the text, or use prepend_bos=False.",
            field,
        )
    return ids
