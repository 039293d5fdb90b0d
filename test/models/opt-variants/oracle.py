"""An OPT decoder in NumPy float64, written apart from transformers and from glint's C++: a third opinion.

It reads config.json and safetensors (single or sharded; F32, F16, BF16) itself and needs NumPy only. The arguments of
`logits` can make it wrong on purpose, as a detector must be shown to detect, or round keys and values to float16, as
glint's KV cache does.

    oracle.py FOLDER...    compares each folder's logits.npy with this decoder, with exact and with float16 KV
"""
import json
import os
import struct
import sys

import numpy as np


def read_safetensors(path):
    """Returns {name: float64 array} of one safetensors file."""
    with open(path, "rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(header_bytes))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def norm(x, scale, shift, epsilon):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) * scale + shift


class Oracle:
    """One checkpoint folder, ready to compute logits."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        index = os.path.join(folder, "model.safetensors.index.json")
        names = ["model.safetensors"]
        if os.path.exists(index):
            with open(index) as file:
                names = sorted(set(json.load(file)["weight_map"].values()))
        self.tensors = {}
        for name in names:
            for key, value in read_safetensors(os.path.join(folder, name)).items():
                # Checkpoints of the bare OPTModel say "decoder." where those of OPTForCausalLM say "model.decoder.".
                self.tensors[key.removeprefix("model.")] = value

    def _linear(self, x, name):
        y = x @ self.tensors[name + ".weight"].T
        return y + self.tensors[name + ".bias"] if name + ".bias" in self.tensors else y

    def _norm(self, x, name, epsilon):
        scale = self.tensors.get(name + ".weight", 1.0)
        return norm(x, scale, self.tensors.get(name + ".bias", 0.0), epsilon)

    def logits(self, ids, kv_f16=False, epsilon=1e-5, position_offset=2, heads="right"):
        """Returns [len(ids), vocab_size].

        heads: "right", "interleaved" (element i * head_count + h is taken for head h) or "rotated" (each head's output
        stands where the next head's should).
        """
        config, tensors = self.config, self.tensors
        head_count = config["num_attention_heads"]
        head_size = config["hidden_size"] // head_count
        before = config.get("do_layer_norm_before", True)
        stored = (lambda z: z.astype(np.float16).astype(np.float64)) if kv_f16 else (lambda z: z)
        count = len(ids)
        future = np.triu(np.full((count, count), -np.inf), 1)

        def split(z):  # [T, hidden] -> [heads, T, head_size]
            if heads == "interleaved":
                return z.reshape(count, head_size, head_count).transpose(2, 0, 1)
            return z.reshape(count, head_count, head_size).transpose(1, 0, 2)

        def merge(z):
            if heads == "interleaved":
                return z.transpose(1, 2, 0).reshape(count, -1)
            if heads == "rotated":
                z = np.roll(z, 1, axis=0)
            return z.transpose(1, 0, 2).reshape(count, -1)

        x = tensors["decoder.embed_tokens.weight"][np.asarray(ids)]
        if "decoder.project_in.weight" in tensors:
            x = self._linear(x, "decoder.project_in")
        x = x + tensors["decoder.embed_positions.weight"][position_offset : position_offset + count]
        for layer in range(config["num_hidden_layers"]):
            name = f"decoder.layers.{layer}."
            h = self._norm(x, name + "self_attn_layer_norm", epsilon) if before else x
            q = split(self._linear(h, name + "self_attn.q_proj"))
            k = stored(split(self._linear(h, name + "self_attn.k_proj")))
            v = stored(split(self._linear(h, name + "self_attn.v_proj")))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(head_size) + future
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            x = x + self._linear(merge(weights @ v), name + "self_attn.out_proj")
            if not before:
                x = self._norm(x, name + "self_attn_layer_norm", epsilon)
            h = self._norm(x, name + "final_layer_norm", epsilon) if before else x
            x = x + self._linear(np.maximum(self._linear(h, name + "fc1"), 0.0), name + "fc2")
            if not before:
                x = self._norm(x, name + "final_layer_norm", epsilon)
        if before and not config.get("_remove_final_layer_norm", False):
            x = self._norm(x, "decoder.final_layer_norm", epsilon)
        if "decoder.project_out.weight" in tensors:
            x = self._linear(x, "decoder.project_out")
        tied = config.get("tie_word_embeddings", True)
        return x @ tensors["decoder.embed_tokens.weight" if tied else "lm_head.weight"].T


def spread(logits):
    """Returns the logits' standard deviation over the vocabulary, averaged over positions: the unit of all errors."""
    return float(logits.std(axis=-1).mean())


def main():
    for folder in sys.argv[1:]:
        with open(os.path.join(folder, "reference.json")) as file:
            ids = json.load(file)["ids"]
        reference = np.load(os.path.join(folder, "logits.npy")).astype(np.float64)
        oracle, unit = Oracle(folder), spread(reference)
        exact = np.abs(oracle.logits(ids) - reference).max() / unit
        rounded = np.abs(oracle.logits(ids, kv_f16=True) - reference).max() / unit
        print(f"{os.path.basename(os.path.normpath(folder)):20s} exact KV {exact:.1e}   float16 KV {rounded:.1e}   (std)")


if __name__ == "__main__":
    main()
