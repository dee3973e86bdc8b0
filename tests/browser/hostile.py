"""Tokens that try to be anything but text, and what must hold of a page that shows them."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Dialog, Page

MARKS = "".join(map(chr, range(0x300, 0x330)))

TOKENS = {
    "image": "<img src=x onerror=\"window.hit='image'\">",
    "script": "<script>window.hit='script'</script>",
    "end of script": "</script><script>window.hit='end'</script>",
    "end of style": "</style></textarea><b onclick='hit=1'>bold",
    "entity": "&lt;b&gt;&amp;",
    "template": "${window.hit=1}{{7*7}}$\\int$",
    "address": "javascript:window.hit='address'",
    "quotes": '"\'`\\"""',
    "Hebrew": " \u05e9\u05dc\u05d5\u05dd",
    "Arabic": " \u0645\u0631\u062d\u0628\u0627\u061f",
    "turned": "\u202eabc\u202d(",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "zalgo": f"Z{MARKS}a{MARKS}",
    "lone mark": "\u0301",
    "zero width": "a\u200bb\ufeff",
    "joiner": "c\u200dd\ufe0f",
    "line break": "\n",
    "tab": "\t\r",
    "control": "\x07\x1b[31m\x00",
    "spaces": "   ",
    "other spaces": "\u00a0\u3000\u2028",
    "tag": "x\U000e0061",
    "long": "W" * 300,
    "wide": "\ufdfd\U0001242b",
}

# A folder with a small random model whose every token is one of them, so that its answers are hostile as well.
MAKE = """
import torch, patchwidgets as pw
from tokenizers import AddedToken, Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
torch.manual_seed(0)
words = ["[UNK]", "[BOS]", *tokens.values()]
built = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
built.add_special_tokens(["[UNK]", "[BOS]"])
built.add_tokens([AddedToken(word, normalized=False) for word in tokens.values()])
assert [built.token_to_id(word) for word in words] == list(range(len(words)))
names = dict(unk_token="[UNK]", bos_token="[BOS]", pad_token="[BOS]", eos_token="[BOS]")
PreTrainedTokenizerFast(tokenizer_object=built, **names).save_pretrained("hostile")
sizes = dict(n_layer=2, n_head=2, n_embd=16, vocab_size=len(words), n_positions=64, bos_token_id=1, eos_token_id=1)
made = GPT2LMHeadModel(GPT2Config(**sizes))
for weights in made.parameters(): torch.nn.init.normal_(weights, std=0.5)
made.save_pretrained("hostile")
model = pw.load_model("./hostile")
"""

_WRONG = (Path(__file__).parent / "in_place.js").read_text(encoding="utf-8").partition("\n")[2]


class Watched:
    """A page that shows hostile texts: it opens no dialog, and asks for nothing."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._dialogs: list[str] = []
        self._asked: list[str] = []
        page.on("dialog", self._dismiss)
        page.on("request", lambda request: self._asked.append(request.url))

    def check(self, css: str, what: str) -> None:
        """Fail unless what is shown at `css` is text, and in its place."""
        wrong = self._page.evaluate(_WRONG, css)
        assert not wrong, f"{what}:\n" + "\n".join(wrong)
        assert not self._dialogs, f"{what}: a dialog, {self._dialogs}"
        strange = [url for url in self._asked if url.endswith(("/x", "=x")) or "hit" in url]
        assert not strange, f"{what}: fetched {strange}"

    def _dismiss(self, dialog: Dialog) -> None:
        self._dialogs.append(dialog.message)
        dialog.dismiss()
