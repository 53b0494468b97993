"""Writes the trained model as a GGUF file, with its tokeniser and chat template, through gguf-py."""

import argparse
import sys
from pathlib import Path

import numpy
import torch

from corpus import END, TEMPLATE_SOURCE
from model import Model, Shape
from tokenizer import CONTROL, TAGS, Tokenizer

# What a server may open. Training read texts of up to about 400 tokens, so far positions are untested ground.
CONTEXT = 4096


def load_gguf(folder):
    """gguf-py comes with llama.cpp's source and is imported from there."""
    sys.path.insert(0, str(folder))
    try:
        import gguf
    except ImportError as error:
        sys.exit(f"cannot import gguf from {folder}: {error}\nGive the folder gguf-py of llama.cpp's source with --gguf-py.")
    return gguf


def add_settings(writer, gguf, shape):
    writer.add_name("LMServ demo")
    writer.add_description("A tiny model that answers a few questions by heart, to try LMServ without a download.")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def add_tokenizer(writer, gguf, tokenizer):
    plain = len(tokenizer) - len(CONTROL) - len(TAGS)
    types = [gguf.TokenType.NORMAL] * plain + [gguf.TokenType.CONTROL] * len(CONTROL) + [
        gguf.TokenType.USER_DEFINED] * len(TAGS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokenizer.gguf_tokens())
    writer.add_token_types(types)
    writer.add_token_merges(tokenizer.gguf_merges())
    writer.add_bos_token_id(tokenizer.ids[b"<|endoftext|>"])
    writer.add_pad_token_id(tokenizer.ids[b"<|endoftext|>"])
    writer.add_eos_token_id(tokenizer.ids[END.encode()])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE_SOURCE)


def add_weights(writer, model):
    """Matrices in half precision, norms in full, as llama.cpp's own converters do."""
    for name, weight in model.state_dict().items():
        writer.add_tensor(name, weight.numpy().astype(numpy.float16 if weight.dim() == 2 else numpy.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder with tokenizer.json and checkpoint.pt")
    parser.add_argument("--gguf-py", type=Path, required=True, help="folder gguf-py of llama.cpp's source")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    gguf = load_gguf(options.gguf_py)
    tokenizer = Tokenizer.load(options.work / "tokenizer.json")
    shape = Shape(len(tokenizer))
    model = Model(shape)
    model.load_state_dict(torch.load(options.work / "checkpoint.pt")["model"])
    part = options.out.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    add_settings(writer, gguf, shape)
    add_tokenizer(writer, gguf, tokenizer)
    add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
