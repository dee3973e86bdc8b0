"""The metrics as source text: what each reads off the logits, in the form the answers of a result need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..metrics import METRICS

LAST = ("last", "steps", "foil_steps", "clean_last", "corrupted_last", "answer", "foil", "logits", "tokens")
"""What a metric may read, in the order of `score`'s parameters."""

_ONE = {
    "logit_diff": "last[answer] - last[foil]",
    "logit": "last[answer]",
    "logprob": "last.log_softmax(-1)[answer]",
    "prob": "last.softmax(-1)[answer]",
    "rank": "(last > last[answer]).sum() + 1",
    "accuracy": "last.argmax() == answer",
    "cross_entropy": "-last.log_softmax(-1)[answer]",
    "kl_clean": "divergence(clean_last, last)",
    "kl_corrupted": "divergence(corrupted_last, last)",
}
_ANY = {
    "logit_diff": "last[answer].mean() - last[foil].mean()",
    "logit": "last[answer].mean()",
    "logprob": "last.log_softmax(-1)[answer].logsumexp(-1)",
    "prob": "last.softmax(-1)[answer].sum()",
    "rank": "(last > last[answer].max()).sum() + 1",
    "accuracy": "last.argmax().item() in answer",
    "cross_entropy": "-last.log_softmax(-1)[answer].logsumexp(-1)",
}
_ROW = {
    "logit_diff": "logprob(steps, answer) - logprob(foil_steps, foil)",
    "logprob": "logprob(steps, answer)",
    "prob": "logprob(steps, answer).exp()",
    "accuracy": "steps.argmax(-1).tolist() == answer",
    "cross_entropy": "-logprob(steps, answer)",
    "kl_clean": "divergence(clean_last, steps[0])",
    "kl_corrupted": "divergence(corrupted_last, steps[0])",
}
_MIXED = {
    **_ROW,
    "logit_diff": "logit_diff(steps, foil_steps, answer, foil)",
    "accuracy": "steps.argmax(-1).tolist() in answer",
}
FORMULAS = {"one": _ONE, "any": {**_ONE, **_ANY}, "row": _ROW, "mixed": _MIXED}
"""By what the answers are: one token, any of several, several in a row, or now one and now the other."""

_DIVERGENCE = '''
def divergence(plain, last):
    """Return KL(plain || last) of two next-token distributions."""
    before, after = plain.log_softmax(-1), last.log_softmax(-1)
    return (before.exp() * (before - after)).sum()
'''
_LOGPROB_ROW = '''
def logprob(steps, tokens):
    """Return the log-probability of tokens one after another."""
    return sum(step.log_softmax(-1)[token] for step, token in zip(steps, tokens))
'''
_FIRSTS = """
def firsts(target):
    return [sequence[0] for sequence in target]
"""
_LOGPROB_MIXED = '''
def logprob(steps, target):
    """Return the log-probability of any of several tokens, or of several one after another."""
    if len(target) > 1:
        return steps[0].log_softmax(-1)[firsts(target)].logsumexp(-1)
    return sum(step.log_softmax(-1)[token] for step, token in zip(steps, target[0]))
'''
_LOGIT_DIFF = '''
def logit_diff(steps, foil_steps, answer, foil):
    """Return a difference of mean logits, or of log-probabilities of several tokens in a row."""
    if max(map(len, [*answer, *foil])) > 1:
        return logprob(steps, answer) - logprob(foil_steps, foil)
    return steps[0, firsts(answer)].mean() - foil_steps[0, firsts(foil)].mean()
'''


def kind_of(targets: Iterable[Sequence[Sequence[int]]]) -> str:
    """Return which of FORMULAS the answers and foils need."""
    targets = list(targets)
    several = any(len(target) > 1 for target in targets)
    in_a_row = any(len(sequence) > 1 for target in targets for sequence in target)
    return {(False, False): "one", (True, False): "any", (False, True): "row", (True, True): "mixed"}[several, in_a_row]


def formula(name: str, kind: str) -> str:
    """Return a metric as source; a function of the user's is called by `custom_name`."""
    if name in METRICS:
        return FORMULAS[kind][name]
    return f"{custom_name(name)}(logits[None], tokens)[0]"


def custom_name(name: str) -> str:
    """Return what a function of the user's is called in a script."""
    return name if name.isidentifier() else "custom_metric"


def reads(formulas: Iterable[str]) -> list[str]:
    """Return which of LAST some formulas read, in order."""
    words = {word for text in formulas for word in re.findall(r"\w+", text)}
    return [name for name in LAST if name in words]


def helpers(formulas: Iterable[str], kind: str) -> list[str]:
    """Return the functions that formulas call, each after those it calls itself."""
    text = " ".join(formulas)
    found = []
    if kind == "mixed" and re.search(r"firsts|logprob|logit_diff", text):
        found.append(_FIRSTS)
    if re.search(r"logprob\(|logit_diff\(", text):
        found.append(_LOGPROB_MIXED if kind == "mixed" else _LOGPROB_ROW)
    found += [source for word, source in (("logit_diff(", _LOGIT_DIFF), ("divergence(", _DIVERGENCE)) if word in text]
    return [source.strip("\n") for source in found]
