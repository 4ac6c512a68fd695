"""Write a model of two megabytes that recites texts of ours, so that a real Ollama can be run where none can be downloaded.

A model with random weights would do for the wire format, but nobody could say in advance what it answers, and a test of
a banned word would have to ask first. This one is a table: the last token alone decides what comes next. Each token has
an input vector with a one in the place of its row, no layer adds anything (all its weights are zero), and the output
matrix holds the table. Each token stands in one text only, so a text is recited to its end.

Which text depends on the last character of the prompt, see `Voice`. So that answers can be told apart from each other's
and pieces of a pattern come in several tokens, the texts are written with `|` between tokens.

    python -m ai.servers.tiny_model VOICE OUT.gguf      # needs the packages gguf and numpy
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType

from ai.servers import voices
from ai.servers.voices import Voice

LAYERS = 1
WIDTH = 256
HEADS = 4
FEED_FORWARD_WIDTH = 64
CONTEXT_LENGTH = 2048

UNKNOWN, BEGIN, END = 0, 1, 2  # token numbers that the "llama" tokenizer expects
SPACE = "▁"  # what it has in the place of a space
CERTAIN, NEVER = 24.0, -24.0

OTHER = 0  # the row of all tokens that are in no text and end no prompt in a way that matters


class Vocabulary:
    """The tokens of a voice by number, and the table of what follows what.

    No token of a text is one character long, so the tokenizer never gets as far as one and spells every prompt: one token
    per printable ASCII character and one per byte of any other.
    """

    def __init__(self, voice: Voice) -> None:
        self.texts = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
        self.types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
        self.rows: dict[int, int] = {}
        self.follows: dict[int, int] = {}
        for character in SPACE + string.ascii_letters + string.digits + string.punctuation:
            self._add(character)
        for last, text in voice.answers.items():
            self._text(text, row=OTHER if last is None else self._row(self.texts.index(last)), repeat=False)
        for last, text in voice.endless.items():
            self._text(text, row=self._row(self.texts.index(last)), repeat=True)
        if len(self.rows) >= WIDTH:
            raise ValueError(f"{len(self.rows)} tokens have rows of their own, and there are {WIDTH}")

    def _text(self, text: str, *, row: int, repeat: bool) -> None:
        numbers = [self._add(piece.replace(" ", SPACE)) for piece in text.split("|")]
        for number in numbers:
            self.follows[row] = number
            row = self._row(number)
        self.follows[row] = numbers[0] if repeat else END

    def _add(self, text: str) -> int:
        if text in self.texts:
            raise ValueError(f"the token {text!r} stands in two places: join it with one beside it")
        self.texts.append(text)
        self.types.append(TokenType.NORMAL)
        return len(self.texts) - 1

    def _row(self, number: int) -> int:
        return self.rows.setdefault(number, len(self.rows) + 1)


def weights(vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Return every tensor by name; a matrix has the shape (outputs, inputs)."""
    size = len(vocabulary.texts)
    embedding = np.zeros((size, WIDTH), np.float16)
    for number in range(size):
        embedding[number, vocabulary.rows.get(number, OTHER)] = 1
    # The norm before the output makes the root of WIDTH of a one that stands alone.
    output = np.full((size, WIDTH), NEVER / WIDTH**0.5, np.float16)
    for row, number in vocabulary.follows.items():
        output[number, row] = CERTAIN / WIDTH**0.5
    norm = np.ones(WIDTH, np.float32)
    tensors = {"token_embd.weight": embedding, "output_norm.weight": norm, "output.weight": output}
    for block in (f"blk.{layer}" for layer in range(LAYERS)):
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"{block}.{name}.weight"] = norm
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}.{name}.weight"] = np.zeros((WIDTH, WIDTH), np.float16)
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"{block}.{name}.weight"] = np.zeros((FEED_FORWARD_WIDTH, WIDTH), np.float16)
        tensors[f"{block}.ffn_down.weight"] = np.zeros((WIDTH, FEED_FORWARD_WIDTH), np.float16)
    return tensors


def write_model(voice: Voice, path: Path) -> None:
    """Write the model of a voice to `path`, replacing what is there; the same voice gives the same bytes."""
    vocabulary = Vocabulary(voice)
    writer = GGUFWriter(path, "llama")
    writer.add_name(f"tiny, voice {voice.name}")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(vocabulary.texts)
    writer.add_token_scores([-float(number) for number in range(len(vocabulary.texts))])
    writer.add_token_types(vocabulary.types)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    for name, tensor in weights(vocabulary).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in voices.VOICES:
        sys.exit(f"usage: python -m ai.servers.tiny_model {'|'.join(voices.VOICES)} OUT.gguf")
    write_model(voices.VOICES[sys.argv[1]], Path(sys.argv[2]))
