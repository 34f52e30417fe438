"""The embedded student's tokenizer: one token per word, for a vocabulary small enough to train in a minute.

Only vocabulary and text rules belong here; the model and its training are in `make_student`.
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from mbt_assets.benchmarks.trails import CITIES, FILMS, PEOPLE, PLACES, ROLES

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
DOCUMENT_NUMBERS = 80  # 40 chains of two facts are the longest question that `trails` draws
CONTEXT = 8192  # tokens; the longest prompts of the real benchmarks take about half of it

# Every word of the prompts, drafts and traces that the student reads and writes. Anything else is `<unk>`.
TEXT = """
system user assistant
Answer the question from the documents. Think inside and, then give only the answer inside. Documents: Question:
Question about: what is the of its? was by
About: hmm. Let us look at. So maybe. Wait. Again. So it is.
About: find the of its. is noise. Plan: first the then the. This fits. Wait. Not. Check:. Done.
and so the answer is because from which not it also first next second then check plan verify understand! ; , ( ) - ' "
"""

# The template renders every message alike, so the prompt's tokens are a prefix of those of prompt and completion, and
# reasoning of earlier turns stays (Qwen3's own template drops it).
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# A blank line, a line break, a document's number, a word, or one mark; spaces between them carry no token.
WORDS = r"\n\n|\n|\[[0-9]+\]|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]"
# Where the joined words must lose the space that the decoder puts between tokens.
NO_SPACE = r" (?=[.,:;?!)'\n]|</think>|</answer>|<\|im_end\|>)|(?<=[\n('])[ ]|(?<=<think>)[ ]|(?<=<answer>)[ ]"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Makes the tokenizer: a fixed vocabulary, no training, the same on every machine."""
    words = [word for word, _ in pre_tokenizers.Split(Regex(WORDS), "removed", invert=True).pre_tokenize_str(TEXT)]
    facts = [word for phrase in (*ROLES, *ROLES.values(), *PLACES, *PLACES.values()) for word in phrase.split()]
    numbers = [f"[{i}]" for i in range(1, DOCUMENT_NUMBERS + 1)]
    vocabulary = [PAD, UNKNOWN, START, END, *TAGS, "\n\n", "\n", *numbers, *words, *facts, *FILMS, *PEOPLE, *CITIES]
    ids = {word: i for i, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="\0", cleanup=False), decoders.Fuse(), decoders.Replace(Regex(NO_SPACE), "")]
    )
    tokenizer.add_special_tokens([PAD, UNKNOWN, START, END])
    # As with Qwen3, the tags are whole tokens but no special ones: they stay when special tokens are skipped.
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        model_max_length=CONTEXT,
        padding_side="right",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
