#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peer_llama_cpp.py - the generation of bench_generate.c by llama.cpp: models of Llama's kind, the same weights.

    peer_llama_cpp.py EMB FF LAYERS HEADS KV_HEADS VOCAB TOKENS --weights FILE --threads N

The weights come from `bench_generate --model NAME --save FILE`; FILE.gguf gets them, float32, when it is not there.
Keys and values are float32 too. The calls of llama.cpp are timed, one for each token and one for its logits; Python's
search for the likeliest token is not. Prints as one line of JSON the median of the rounds, and the tokens.
"""
import argparse
import ctypes
import json
import os
import statistics
import struct
import time

import gguf
import llama_cpp
import numpy as np

ROUNDS = 5
SIZES = ("emb", "ff", "layers", "heads", "kv_heads", "vocab", "tokens")
NAMES = {"norm1": "attn_norm", "norm2": "ffn_norm", "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v",
         "attn.proj": "attn_output", "ff.gate": "ffn_gate", "ff.up": "ffn_up", "ff.down": "ffn_down"}


def read_weights(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
            for name, entry in header.items()}


def neighbours(weight, heads):
    """Rows so that rotary pairs are neighbours: the library pairs channel n of a head with n + half its size."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(path, w, sizes):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(sizes.vocab)
    writer.add_context_length(sizes.tokens)
    writer.add_embedding_length(sizes.emb)
    writer.add_feed_forward_length(sizes.ff)
    writer.add_block_count(sizes.layers)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(sizes.emb // sizes.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("no_vocab")
    writer.add_tensor("token_embd.weight", w["tok.weight"])  # the head is the token table
    writer.add_tensor("output_norm.weight", w["norm.weight"])
    for i in range(sizes.layers):
        for ours, theirs in NAMES.items():
            weight = w[f"blocks.{i}.{ours}.weight"]
            if ours in ("attn.q", "attn.k"):
                weight = neighbours(weight, sizes.heads if ours == "attn.q" else sizes.kv_heads)
            writer.add_tensor(f"blk.{i}.{theirs}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_context(path, sizes, threads):
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = sizes.tokens
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # on processors slower here, and other tokens
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("peer_llama_cpp.py: llama.cpp does not take the model")
    return context


def generate(context, sizes):
    """-> ms, tokens"""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    token = (llama_cpp.llama_token * 1)(1)
    batch = llama_cpp.llama_batch_get_one(token, 1)
    text, seconds = [1], 0
    for _ in range(sizes.tokens):
        start = time.perf_counter()
        failed = llama_cpp.llama_decode(context, batch)
        logits = llama_cpp.llama_get_logits(context)
        seconds += time.perf_counter() - start
        if failed:
            raise SystemExit(f"peer_llama_cpp.py: llama_decode returned {failed}")
        token[0] = int(np.ctypeslib.as_array(logits, (sizes.vocab,)).argmax())
        text.append(token[0])
    return 1e3 * seconds, text


def main():
    parser = argparse.ArgumentParser()
    for size in SIZES:
        parser.add_argument(size, type=int)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    path = f"{args.weights}.gguf"
    if not os.path.exists(path):
        write_gguf(path, read_weights(args.weights), args)
    context = make_context(path, args, args.threads)
    rounds = [generate(context, args) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    print(json.dumps({"cached_ms": statistics.median(ms for ms, _ in rounds), "text": rounds[0][1]}))


if __name__ == "__main__":
    main()
