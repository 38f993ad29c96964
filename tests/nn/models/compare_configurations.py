#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare_configurations.py LOGITS [WORD] - every key of the transformers package's configuration classes of FAMILIES,
one at a time (WORD: those whose key has it, or of the family of this name), in tiny random models: null, missing, other
values, and the keys of the other classes and of older versions. attngrad, by the program LOGITS (tests/logits.c), must
give equal logits (encoders: hidden states) or refuse with an error that names the key; it may never differ silently.
What the package itself refuses is counted apart. AG_SHOW=1 lists all. Skipped with a word where torch or transformers
are missing.
"""
import copy
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
except ImportError as missing:
    print(f"skip  configurations: {missing}")
    sys.exit(0)

V = 50
TOKENS = [[3, 0, 4, 0, 5, 9, 2, 6, 5], [2, 7, 0, 8, 2, 8, 0, 8, 4]]
IDS = ", ".join(" ".join(map(str, row)) for row in TOKENS)
TOLERANCE = 2e-5  # the package computes norms, softmax and rotary positions in float32

FAMILIES = {
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config,
             dict(vocab_size=V, n_positions=24, n_embd=16, n_layer=2, n_head=2, n_inner=40)),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig,
              dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, head_dim=6, max_position_embeddings=40)),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig,
                dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, head_dim=6, max_position_embeddings=40, sliding_window=4)),
    "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config,
              dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, head_dim=6, max_position_embeddings=40)),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config,
              dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=40, sliding_window=4, max_window_layers=1)),
    "smollm3": (transformers.SmolLM3ForCausalLM, transformers.SmolLM3Config,
                dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, max_position_embeddings=40, no_rope_layer_interval=2, sliding_window=4,
                     pad_token_id=0)),
    "gpt_neox": (transformers.GPTNeoXForCausalLM, transformers.GPTNeoXConfig,
                 dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                      max_position_embeddings=40)),
    "phi": (transformers.PhiForCausalLM, transformers.PhiConfig,
            dict(vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                 max_position_embeddings=40)),
    "bert": (transformers.BertModel, transformers.BertConfig,
             dict(vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                  max_position_embeddings=20)),
    "roberta": (transformers.RobertaModel, transformers.RobertaConfig,
                dict(vocab_size=V, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                     max_position_embeddings=24, pad_token_id=2)),
    "distilbert": (transformers.DistilBertModel, transformers.DistilBertConfig,
                   dict(vocab_size=V, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=20)),
}
TIED = {"gpt2": True, "smollm3": True, "bert": None, "roberta": None, "distilbert": None}  # the others: not

ACTIVATIONS = ["gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh",
               "gelu_accurate", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "swish",
               "tanh", "leaky_relu", "hardswish", "laplace", "no_such"]


def rope(rope_type, **more):
    return {"rope_type": rope_type, "rope_theta": 300.0, **more}


ROPES = [
    {}, rope("default"), rope("default", factor=2.0), rope("default", attention_factor=2.0),
    rope("default", partial_rotary_factor=0.5), rope("linear", factor=2.5), rope("linear", factor=1.0),
    rope("linear", factor=0.5), rope("linear"), rope("linear", factor=2.5, partial_rotary_factor=0.5),
    rope("linear", factor=2.0, attention_factor=2.0), rope("dynamic", factor=2.0), rope("su"),
    rope("yarn", factor=4.0, original_max_position_embeddings=10), rope("yarn", factor=4.0),
    rope("yarn", factor=None, original_max_position_embeddings=10),
    rope("yarn", factor=4.0, attention_factor=1.5), rope("yarn", factor=4.0, mscale=1.0),
    rope("yarn", factor=4.0, mscale=1.0, mscale_all_dim=0.5), rope("yarn", factor=4.0, beta_fast=16.0),
    rope("yarn", factor=4.0, beta_slow=2.0), rope("yarn", factor=4.0, truncate=False),
    rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=20),
    rope("llama3", factor=8.0, low_freq_factor=2.0, high_freq_factor=3.0),
    rope("longrope", factor=2.0, short_factor=[1.0] * 3, long_factor=[2.0] * 3, original_max_position_embeddings=10),
    rope("yarn", factor=4.0, original_max_position_embeddings=10, partial_rotary_factor=0.75),
    rope("default", partial_rotary_factor=0.4), rope("default", partial_rotary_factor=0.0),
    rope("proportional", factor=2.0), {"type": "linear", "factor": 2.0}, {"type": "yarn", "factor": 2.0},
    {"type": "linear", "rope_type": "default", "factor": 2.0}, {"rope_type": "linear", "factor": 2.0},
    {"full_attention": rope("linear", factor=2.0)}, {"sliding_attention": rope("default")},
]

# Values for a key, besides null and missing; a key that is not here gets values by the type of its default.
VALUES = {
    "activation_function": ACTIVATIONS, "hidden_act": ACTIVATIONS, "summary_activation": ["tanh"],
    "rope_parameters": ROPES, "rope_scaling": ROPES, "rope_theta": [300.0, 7],
    "num_key_value_heads": [1, 2, 4, 3], "head_dim": [4, 8, 3], "n_head": [1, 4, 3], "num_attention_heads": [1, 8, 3],
    "n_embd": [32, 8], "hidden_size": [32, 8], "n_inner": [24], "intermediate_size": [40], "n_layer": [1, 3],
    "num_hidden_layers": [1, 3], "n_positions": [9, 100], "max_position_embeddings": [9, 100], "vocab_size": [10, 60],
    "type_vocab_size": [1, 3], "sliding_window": [1, 3, 100], "layer_types": [["full_attention"] * 2,
                                                                            ["sliding_attention", "full_attention"]],
    "no_rope_layer_interval": [1, 2, 3, 0], "max_window_layers": [0, 1, 2], "rotary_pct": [0.5, 1.0, 0.3],
    "rotary_emb_base": [300.0, 7], "use_parallel_residual": [True, False], "qk_layernorm": [True, False],
    "dim": [32, 8], "n_heads": [1, 4, 3], "n_layers": [1, 3], "hidden_dim": [40], "activation": ACTIVATIONS,
    "layer_norm_epsilon": [0.5, 1e-12, 0.0], "layer_norm_eps": [0.5, 1e-3, 0.0], "rms_norm_eps": [0.5, 1e-3, 0.0],
    "dtype": ["float16", "float64"], "torch_dtype": ["bfloat16"], "eos_token_id": [[1, 2], 5],
    "pad_token_id": [0, 10, 12], "position_embedding_type": ["absolute", "relative_key"],
    "pretraining_tp": [2], "chunk_size_feed_forward": [2],
    "is_causal": [True, False], "per_layer_config": [{"0": {"hidden_act": "relu"}}, {"1": {"n_inner": 24}}],
    "quantization_config": [{"quant_method": "gptq", "bits": 4}], "pruned_heads": [{}, {"0": [1]}],
    "original_max_position_embeddings": [10], "partial_rotary_factor": [0.5, 1.0], "attn_implementation": ["eager"],
    "_attn_implementation": ["eager"], "id2label": [{"0": "a", "1": "b", "2": "c"}], "label2id": [{"a": 0}],
    "problem_type": ["regression"], "architectures": [["Other"], None], "transformers_version": ["4.0.0"],
    "initializer_range": [0.5], "n_ctx": [5], "use_sliding_window": [True],
    "logit_scale": [2.0], "attn_logit_softcapping": [1.0], "final_logit_softcapping": [1.0], "qk_norm": [True],
    "clip_qkv": [0.1], "embedding_multiplier": [2.0], "attention_multiplier": [2.0], "residual_multiplier": [2.0],
    "rope_interleaved": [True], "no_rope_layers": [[0, 1], [1, 1], [0, 0, 1], []],
    "embedding_size": [8], "is_encoder_decoder": [True],
    "output_attentions": [True], "torchscript": [True], "tie_encoder_decoder": [True], "use_bfloat16": [True],
    "return_dict": [True], "summary_type": ["first"], "output_hidden_states": [True],
}
NEVER = {"model_type", "return_dict"}  # another model; a tuple in place of the result, whose values are the same


def values_of(key, default):
    if key in VALUES:
        return VALUES[key]
    if isinstance(default, bool):
        return [True, False]
    if isinstance(default, int):
        return [default + 1]
    if isinstance(default, float):
        return [0.0, 0.4]
    return [0.4, True, 3, "other"]


def model_of(kind, config):
    """Random weights large enough that every setting shows: norms near 1, biases not 0."""
    random = torch.Generator().manual_seed(1)
    model = kind(config)
    for name, p in model.named_parameters():
        p.data = torch.randn(p.shape, generator=random)
        if p.dim() == 1:
            p.data = 0.2 * p.data + ("norm" in name.lower() or ".ln_" in name) * name.endswith("weight")
        else:
            p.data *= 0.7 if any(w in name for w in ("embed", "wte", "wpe")) else 1.5 * p.shape[-1] ** -0.5
    model.tie_weights()
    return model


MISSING = object()


def cases(family):
    kind, config_class, sizes = FAMILIES[family]
    defaults = {f.name: f.default for c in FAMILIES.values() for f in dataclasses.fields(c[1])}
    own = {f.name for f in dataclasses.fields(config_class)}
    for key in sorted(set(defaults) | set(VALUES)):
        if key in NEVER or (len(sys.argv) > 2 and sys.argv[2] != family and sys.argv[2] not in key):
            continue
        for value in ([MISSING] if key in own else []) + [None] + values_of(key, defaults.get(key)):
            yield key, value
    window = {"use_sliding_window": True, "sliding_window": 3}
    for settings in {"qwen2": [window, window | {"max_window_layers": 0}, {"layer_types": VALUES["layer_types"][1]}],
                     "smollm3": [window, window | {"no_rope_layers": [0, 1]}, window | {"no_rope_layers": [0, 0]}],
                     }.get(family, []):
        yield tuple(settings), tuple(settings.values())
    if family == "llama":
        for two in ({"attention_bias": True, "mlp_bias": True}, {"rope_theta": 300.0, "rope_parameters": {}},
                    {"rope_scaling": rope("linear", factor=2.0), "original_max_position_embeddings": 5},
                    {"rope_scaling": {"type": "yarn", "factor": 2.0}, "original_max_position_embeddings": 10}):
            yield tuple(two), tuple(two.values())


def write(folder, family, key, value):
    """The model's folder and the package's result: a tensor, or None with the reason when the package refuses."""
    kind, config_class, sizes = FAMILIES[family]
    folder.mkdir()
    text = json.loads(config_class(**copy.deepcopy(sizes)).to_json_string(use_diff=False))
    text = {k: v for k, v in text.items() if v is not None and not k.startswith("_")}
    text["model_type"] = family
    if TIED.get(family, False) is not None:
        text["tie_word_embeddings"] = TIED.get(family, False)
    for k, v in zip(key, value) if isinstance(key, tuple) else [(key, value)]:
        if v is MISSING:
            text.pop(k, None)
        else:
            text[k] = v
        if k in ("rope_scaling", "rope_theta", "rotary_emb_base", "rotary_pct", "partial_rotary_factor"):
            text.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(text))
    try:
        config = config_class.from_pretrained(folder)
        model_of(kind, config).save_pretrained(folder / "weights")
        shutil.move(folder / "weights" / "model.safetensors", folder / "model.safetensors")
        shutil.rmtree(folder / "weights")
        model = kind.from_pretrained(folder, dtype=torch.float64).eval()
        with torch.no_grad():
            return model(torch.tensor(TOKENS), return_dict=True)[0], None
    except Exception as error:  # of many kinds
        weights = folder / "model.safetensors"
        if not weights.exists():
            model_of(kind, config_class(**sizes)).save_pretrained(folder / "weights")
            shutil.move(folder / "weights" / "model.safetensors", weights)
        return None, f"{type(error).__name__}: {error}"


def judge(result, line, key):
    """"" when the case is as it must be; else what is wrong."""
    names = key if isinstance(key, tuple) else (key,)
    known = {"rope_parameters", "rope_scaling"} & set(names)
    if line.startswith("!"):
        named = any(name in line for name in names) or known or "model_type" in line
        return "" if result is None or named else "refused without the key: " + line
    if result is None:
        return ""
    got = torch.tensor([float(word) for word in line.split()], dtype=torch.float64)
    if got.numel() != result.numel():
        return f"{got.numel()} numbers, the package has {result.numel()}"
    difference = (got - result.flatten()).abs().max().item()
    return "" if difference <= TOLERANCE * max(1, result.abs().max().item()) else f"differs by {difference:.3g}"


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failed = equal = refused = both = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for family in FAMILIES:
            made = []
            for key, value in cases(family):
                place = folder / f"{family}.{len(made)}"
                made.append((key, value, place, *write(place, family, key, value)))
            lines = subprocess.run([sys.argv[1], "encoder" if "bert" in family else "gpt", "float64", IDS] +
                                   [str(m[2]) for m in made], text=True, capture_output=True, check=True)
            for (key, value, place, result, reason), line in zip(made, lines.stdout.split("\n")):
                shown = "missing" if value is MISSING else json.dumps(value)
                fault = judge(result, line, key)
                if os.environ.get("AG_SHOW"):
                    said = line if line.startswith("!") else "equal"
                    print(f"{family} {key} {shown}: {said[:150]} | {(reason or '')[:100]}")
                if fault:
                    print(f"FAIL  configurations: {family}: {key}: {shown}: {fault}")
                failed += bool(fault)
                equal += not fault and result is not None and not line.startswith("!")
                refused += not fault and result is not None and line.startswith("!")
                both += not fault and result is None
            for m in made:
                shutil.rmtree(m[2])
    print(f"{'FAIL' if failed else 'ok'}    configurations: {equal} equal, {refused} refused by name, "
          f"{both} that the package refuses, {failed} wrong; transformers {transformers.__version__}")
    sys.exit(1 if failed else 0)


main()
