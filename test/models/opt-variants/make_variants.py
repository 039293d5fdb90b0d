"""Makes the folders beside this file: small random OPT checkpoints, each with the logits that transformers computes.

    python3 -m venv --system-site-packages venv && venv/bin/pip install 'transformers==4.40.*' safetensors 'numpy<2'
    venv/bin/python make_variants.py [FOLDER...]

Each folder holds config.json, the weights as save_pretrained writes them, logits.npy (float32 [T, vocab], float64
transformers on the stored weights) and reference.json:

    ids                    the T token ids
    logits_std             the unit of every error here: standard deviation over the vocabulary, mean over positions
    kv_f16_error           largest error of float16 keys and values alone, by oracle.py; at most half of the bound of 1e-3
    score_std              per layer, the spread of attention scores over the visible positions, mean over queries
                           and heads; at least 2, so that attention is far from uniform
    active_fraction        per layer, share of neurons above zero
    wrong                  largest error when one thing is wrong: that a bound of 1e-3 catches it is a fact, not a hope

Weights are rounded to the stored type before anything is measured, and all stored values are exact in float16, so that
packing at f16 loses nothing. The seeds are fixed.
"""
import json
import math
import os
import shutil
import sys

import numpy as np
import torch
from transformers import OPTConfig, OPTForCausalLM

import oracle

HERE = os.path.dirname(os.path.abspath(__file__))
SCORE_STD = 2.3
ERROR_BOUND = 1e-3

# hidden, ffn, layers, heads, vocabulary, tokens; then what differs from a plain OPT.
VARIANTS = {
    "plain": dict(shape=(48, 100, 2, 3, 97, 64)),
    "long": dict(shape=(60, 100, 2, 4, 97, 150), positions=150),
    "post_norm_projected": dict(shape=(64, 130, 3, 4, 211, 48), do_layer_norm_before=False, word_embed_proj_dim=40),
    "no_final_norm": dict(shape=(72, 257, 2, 6, 150, 44), _remove_final_layer_norm=True),
    "no_bias": dict(shape=(66, 130, 3, 6, 128, 48), enable_bias=False),
    "no_norm_affine": dict(shape=(84, 100, 2, 6, 131, 48), layer_norm_elementwise_affine=False),
    "untied": dict(shape=(56, 130, 3, 4, 199, 48), tie_word_embeddings=False),
    "small_residuals": dict(shape=(48, 100, 2, 3, 163, 48), residual=3e-3),
    "f32_post_norm": dict(shape=(54, 100, 2, 3, 101, 44), do_layer_norm_before=False, stored=torch.float32),
    "bf16_projected": dict(shape=(60, 130, 2, 3, 300, 44), word_embed_proj_dim=48, stored=torch.bfloat16),
    "sharded": dict(shape=(96, 257, 2, 3, 97, 44), shard="90KB"),
    # As the bare OPTModel saves it, with the copy of the embedding that some published checkpoints carry.
    "hub_names": dict(shape=(48, 131, 2, 4, 113, 44), hub_names=True),
}


def round_to(tensor, stored):
    """Rounds in place to values that both `stored` and float16 hold."""
    rounded = tensor.data.to(torch.float16).double()
    if stored == torch.bfloat16:
        # A bfloat16 has fewer bits but a wider exponent: what is denormal in float16 would not come back.
        rounded = rounded.to(torch.bfloat16).double()
        rounded[rounded.abs() < 2.0**-14] = 0.0
    assert torch.equal(rounded, rounded.to(torch.float16).double()), "float16 does not hold the value"
    assert torch.equal(rounded, rounded.to(stored).double()), "the stored type does not hold the value"
    tensor.data.copy_(rounded)


def draw_weights(model, rng, residual):
    """Random weights, biases and norms. The residual stream has about the deviation `residual`."""
    for name, tensor in model.named_parameters():
        part = name.split(".")[-2]
        if part in ("embed_tokens", "lm_head"):
            deviation = residual
        elif part == "embed_positions":
            deviation = 0.7 * residual
        elif name.endswith("norm.weight"):
            tensor.data.copy_(torch.tensor(rng.uniform(0.5, 1.5, tensor.shape)))
            continue
        elif part in ("out_proj", "fc2"):  # what is added to the residual
            share = 0.15 if part == "out_proj" else 0.7
            deviation = share * residual / (math.sqrt(tensor.shape[1]) if tensor.dim() == 2 else 3)
        elif tensor.dim() == 2:
            deviation = 1 / math.sqrt(tensor.shape[1])
        else:
            deviation = 0.3
        tensor.data.copy_(torch.tensor(rng.normal(0, deviation, tensor.shape)))


def capture(model, modules, ids):
    """Returns the outputs [T, width] of `modules` in one forward pass."""
    outputs = [None] * len(modules)

    def hook(index):
        return lambda module, inputs, output: outputs.__setitem__(index, output.detach().reshape(len(ids), -1).numpy())

    handles = [module.register_forward_hook(hook(index)) for index, module in enumerate(modules)]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return outputs


def score_spread(model, layer, ids):
    """Returns per head the deviation of q.k / sqrt(head_size) over visible positions, mean over queries that see 8."""
    attention = model.model.decoder.layers[layer].self_attn
    q, k = capture(model, [attention.q_proj, attention.k_proj], ids)
    q, k = (z.reshape(len(ids), attention.num_heads, -1).transpose(1, 0, 2) for z in (q, k))
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    return np.mean([scores[:, t, : t + 1].std(axis=-1) for t in range(7, len(ids))], axis=0)


def scale_scores(model, layer, ids):
    attention = model.model.decoder.layers[layer].self_attn
    factor = torch.tensor(SCORE_STD / score_spread(model, layer, ids)).repeat_interleave(attention.head_dim)
    attention.q_proj.weight.data *= factor[:, None]
    if attention.q_proj.bias is not None:
        attention.q_proj.bias.data *= factor


def set_activity(model, layer, ids, rng):
    """Gives neurons chances of 2 to 48% to be active, by the bias or, where there is none, along the norm's shift."""
    block = model.model.decoder.layers[layer]
    chances = rng.uniform(0.02, 0.48, block.fc1.weight.shape[0])

    def thresholds():
        values = capture(model, [block.fc1], ids)[0]
        return torch.tensor([np.quantile(values[:, j], 1 - chance) for j, chance in enumerate(chances)])

    if block.fc1.bias is not None:
        block.fc1.bias.data -= thresholds()
    else:
        norm = block.final_layer_norm if block.do_layer_norm_before else block.self_attn_layer_norm
        shift = norm.bias.data
        for _ in range(3):
            block.fc1.weight.data -= torch.outer(thresholds(), shift / (shift @ shift))


def save(model, folder, spec, stored):
    model.to(stored)
    model.config.torch_dtype = stored
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=spec.get("shard", "1GB"))
    os.remove(os.path.join(folder, "generation_config.json"))
    model.double()
    if spec.get("hub_names"):
        from safetensors.torch import load_file, save_file

        path = os.path.join(folder, "model.safetensors")
        tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(path).items()}
        tensors["lm_head.weight"] = tensors["decoder.embed_tokens.weight"].clone()
        save_file(tensors, path, metadata={"format": "pt"})
    for name in os.listdir(folder):
        os.chmod(os.path.join(folder, name), 0o644)  # safetensors are written for their owner alone


def make(name, seed):
    spec = dict(VARIANTS[name])
    hidden, ffn, layers, heads, vocab, count = spec.pop("shape")
    stored = spec.pop("stored", torch.float16)
    residual = spec.pop("residual", 1.0)
    positions = spec.pop("positions", 64)
    options = {key: value for key, value in spec.items() if key not in ("shard", "hub_names")}
    config = OPTConfig(
        hidden_size=hidden, ffn_dim=ffn, num_hidden_layers=layers, num_attention_heads=heads, vocab_size=vocab,
        max_position_embeddings=positions, dropout=0.0, **{"word_embed_proj_dim": hidden, **options},
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    model = OPTForCausalLM(config).double().eval()
    draw_weights(model, rng, residual)
    ids = [2] + [int(i) for i in rng.integers(0, vocab, count - 1)]
    for layer in range(layers):
        scale_scores(model, layer, ids)
        set_activity(model, layer, ids, rng)
    for parameter in model.parameters():
        round_to(parameter, stored)

    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    save(model, folder, spec, stored)

    with torch.no_grad():
        reference = model(torch.tensor([ids])).logits[0].numpy()
    np.save(os.path.join(folder, "logits.npy"), reference.astype(np.float32))
    unit = oracle.spread(reference)
    checker = oracle.Oracle(folder)

    def error(**wrong):
        return float(np.abs(checker.logits(ids, **wrong) - reference).max() / unit)

    assert error() < 1e-9, f"{name}: the oracle differs from transformers by {error()}"
    spreads = [score_spread(model, layer, ids) for layer in range(layers)]
    active = [float((z > 0).mean()) for z in capture(model, [b.fc1 for b in model.model.decoder.layers], ids)]
    wrong = {
        "norm_epsilon_1e-12": error(epsilon=1e-12),
        "norm_epsilon_1e-3": error(epsilon=1e-3),
        "position_offset_0": error(position_offset=0),
        "position_offset_1": error(position_offset=1),
        "heads_interleaved": error(heads="interleaved"),
        "heads_rotated": error(heads="rotated"),
    }
    facts = dict(
        logits_std=unit, kv_f16_error=error(kv_f16=True), score_std=[float(s.mean()) for s in spreads],
        active_fraction=active, wrong=wrong,
    )  # fmt: skip
    print(f"{name:20s} kv_f16 {facts['kv_f16_error']:.1e}  scores {min(s.min() for s in spreads):.2f}  active "
          + " ".join(f"{a:.2f}" for a in active) + "  wrong " + " ".join(f"{w:.1e}" for w in wrong.values()))
    assert min(s.min() for s in spreads) >= 2, f"{name}: a head's attention is too uniform"
    assert all(0.1 <= a <= 0.4 for a in active), f"{name}: {active} of the neurons are active"
    assert facts["kv_f16_error"] <= ERROR_BOUND / 2, f"{name}: float16 KV leaves no room under the bound"
    for what, size in wrong.items():
        if name == "small_residuals" or not what.startswith("norm_epsilon"):
            assert size >= 10 * ERROR_BOUND, f"{name}: {what} moves the logits by {size} only"
    lines = json.dumps(facts, indent=1)
    with open(os.path.join(folder, "reference.json"), "w") as file:
        file.write('{\n "ids": ' + json.dumps(ids) + "," + lines[1:] + "\n")


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # transformers makes its causal mask in the default type
    for seed, name in enumerate(VARIANTS):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, 1000 + seed)


if __name__ == "__main__":
    main()
