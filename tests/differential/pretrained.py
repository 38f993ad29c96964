# SPDX-License-Identifier: MIT
"""pretrained.py - models of the transformers package at random sizes, saved and loaded by attngrad: the kind
`pretrained` of kinds.py. Values only; the package computes norms and rotary positions in float32.
"""
import atexit
import json
import pathlib
import shutil
import tempfile

import torch
import transformers

import references as ref
from bounds import Torch
from kinds import Case, base, some

transformers.logging.set_verbosity(transformers.logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="attngrad-differential-"))  # the last case's files
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FAMILIES = {
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config),
    "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config),
    "smollm3": (transformers.SmolLM3ForCausalLM, transformers.SmolLM3Config),
    "gpt_neox": (transformers.GPTNeoXForCausalLM, transformers.GPTNeoXConfig),
    "phi": (transformers.PhiForCausalLM, transformers.PhiConfig),
    "bert": (transformers.BertModel, transformers.BertConfig),
    "roberta": (transformers.RobertaModel, transformers.RobertaConfig),
    "distilbert": (transformers.DistilBertModel, transformers.DistilBertConfig),
}
# In the words of references.py.
LLAMA = dict(norm=1, gated=1, activation=3, position_kind=2, rotary=1)
PARALLEL = dict(position_kind=2, rotary=1, parallel=1)
BERT = dict(post_norm=1, emb_norm=1, types=2, kv_heads=0)
MODELS = {
    "gpt2": dict(activation=1, kv_heads=0, untied_head=0), "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA,
    "qwen3": LLAMA | dict(qk_norm=1), "smollm3": LLAMA, "gpt_neox": PARALLEL | dict(kv_heads=0),
    "phi": PARALLEL | dict(activation=1, one_norm=1, untied_head=1), "bert": BERT, "roberta": BERT,
    "distilbert": BERT | dict(types=0, eps=1e-12),
}
HEADS_OF_ANY_SIZE = "llama", "mistral", "qwen3"


def layer(s, i):
    """What the layer has of its own."""
    rotated = s["family"] != "smollm3" or (i + 1) % s["unrotated_every"] != 0
    late = i >= s["windowed_from"]
    windowed = {"mistral": True, "qwen2": late, "qwen3": late, "smollm3": not rotated}.get(s["family"], False)
    return {"rotary": rotated and s["rotary"], "back": s["back"] if windowed else 0}


def settings(s):
    """The configuration, in the package's words."""
    family, emb = s["family"], s["heads"] * s["head_size"]
    usual = dict(vocab_size=s["V"], hidden_size=emb, num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
                 intermediate_size=s["ff"], max_position_embeddings=40)
    rope = {"rope_type": "default", "rope_theta": s["theta"]}
    if family == "gpt2":
        return dict(vocab_size=s["V"], n_positions=16, n_embd=emb, n_layer=s["layers"], n_head=s["heads"],
                    n_inner=s["ff"], layer_norm_epsilon=s["eps"])
    if family == "distilbert":
        return dict(vocab_size=s["V"], dim=emb, n_layers=s["layers"], n_heads=s["heads"], hidden_dim=s["ff"],
                    max_position_embeddings=16)
    if family in ("bert", "roberta"):
        return usual | dict(layer_norm_eps=s["eps"], pad_token_id=s["padding"])
    if family in ("gpt_neox", "phi"):
        return usual | dict(layer_norm_eps=s["eps"], tie_word_embeddings=family != "phi" and not s["untied_head"],
                            rope_parameters=rope | {"partial_rotary_factor": s["turned"] / s["head_size"]},
                            **({"num_key_value_heads": s["kv_heads"]} if family == "phi" else {}))
    own = dict(hidden_size=s["emb"], head_dim=s["head_size"]) if family in HEADS_OF_ANY_SIZE else {}
    if s["back"] > 0:
        own |= dict(use_sliding_window=True, sliding_window=s["back"])
    elif family == "mistral":
        own |= dict(sliding_window=None)
    if family in ("qwen2", "qwen3"):
        own |= dict(max_window_layers=s["windowed_from"])
    if family == "smollm3":
        own |= dict(no_rope_layer_interval=s["unrotated_every"], pad_token_id=0)
    return usual | dict(num_key_value_heads=s["kv_heads"], rms_norm_eps=s["eps"], rope_parameters=rope,
                        tie_word_embeddings=not s["untied_head"]) | own


def model_of(s):
    kind, config_class = FAMILIES[s["family"]]
    random = torch.Generator().manual_seed(s["seed"])
    model = kind(config_class(**settings(s)))
    for name, p in model.named_parameters():
        p.data = 0.1 + 0.5 * torch.randn(p.shape, generator=random)
    model.tie_weights()
    return model


class pretrained:
    deep = values_only = True
    share = 0.1  # files are written and read

    @staticmethod
    def draw(r):
        family, kv = r.choice(list(FAMILIES)), r.randint(1, 2)
        call = "pretrained_encoder" if "bert" in family else "pretrained_gpt"
        heads, half = kv * r.randint(1, 2), r.randint(1, 4)
        return base(r, call, family=family, V=r.randint(2, 30), layers=r.randint(1, 3), heads=heads, kv_heads=kv,
                    head_size=2 * half, turned=2 * r.randint(1, half), windowed_from=r.randint(0, 3),
                    unrotated_every=r.randint(1, 3), padding=r.randint(0, 1), emb=heads * r.randint(1, 4),
                    ff=r.randint(1, 12), eps=some(r, 1e-5, 1e-12, 0.1), theta=some(r, 10000.0, 50.0),
                    untied_head=some(r, 0, 1), back=some(r, 0, r.randint(1, 4)), B=r.randint(1, 2), T=r.randint(1, 9))

    @staticmethod
    def case(s):
        c = Case(s)
        assert s["heads"] * s["layers"] * s["ff"] * s["B"] * s["T"] > 0 and s["V"] > 1 and s["eps"] > 0
        assert s["kv_heads"] > 0 and s["heads"] % s["kv_heads"] == 0 and s["theta"] > 1
        assert s["head_size"] > 0 and s["head_size"] % 2 == 0 and s["emb"] > 0 and s["emb"] % s["heads"] == 0
        assert 0 < s["turned"] <= s["head_size"] and s["turned"] % 2 == 0 and s["unrotated_every"] > 0
        assert s["padding"] < s["V"]
        shutil.rmtree(FOLDER, ignore_errors=True)
        model_of(s).save_pretrained(FOLDER)
        assert json.loads((FOLDER / "config.json").read_text())["model_type"] == s["family"]
        c.texts = {"config": str(FOLDER / "config.json"), "weights": str(FOLDER / "model.safetensors")}
        c.ints("tokens", s["V"], [s["B"], s["T"]])
        return c

    @staticmethod
    def keep(s):
        """The case with files that stay, for the program that is printed."""
        c, kept = pretrained.case(s), f"{FOLDER}-{s['seed']}"
        shutil.copytree(FOLDER, kept, dirs_exist_ok=True)
        c.texts = {k: v.replace(str(FOLDER), kept) for k, v in c.texts.items()}
        return c

    @staticmethod
    def reference(f, s, p):
        if f is Torch:
            model = FAMILIES[s["family"]][0].from_pretrained(FOLDER, dtype=torch.float64).eval()
            with torch.no_grad():
                return model(p["tokens"])[0]
        s = s | {"emb": s["heads"] * s["head_size"]} | MODELS[s["family"]] | {"qk_norm_eps": s["eps"]}
        if s["parallel"]:
            s |= {"size": s["turned"]}
        if s["family"] == "roberta":
            s |= {"first": s["padding"] + 1}
        s |= {"per_layer": [layer(s, i) for i in range(s["layers"])]}
        return (ref.encoder if s["call"] == "pretrained_encoder" else ref.gpt)(f, s, p)
