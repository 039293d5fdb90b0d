"""Reads a model file by FORMAT.md alone, and compares rows of it with the checkpoint that it was packed from.

    format_reader.py GLINT CHECKPOINT

packs CHECKPOINT (F16 safetensors in one file, tokenizer.json) at every type with the program GLINT, and makes models of
odd sizes with it, of which only the structure can be checked. It shares no code with glint, so that what FORMAT.md says is tested and not only what the writer and the reader agree on. The checksums
are left out: Python has no XXH3.
"""
import json
import struct
import subprocess
import sys
import tempfile

EXTENT = 65536
GRANULE = 262144
CONFIG_KEYS = {
    "architecture", "name", "synthetic", "layer_count", "hidden_size", "ffn_size", "head_count", "vocab_size",
    "embedding_size", "context_max", "position_offset", "norm_before", "final_norm", "gated", "tied_output",
    "activation", "norm_epsilon", "bos_id", "eos_ids", "activity"}


def check(holds, *what):
    if not holds:
        raise SystemExit("format_reader: " + " ".join(str(part) for part in what))


def align_up(value, alignment):
    return -(-value // alignment) * alignment


def keys_of(value, wanted, where):
    check(set(value) == set(wanted), where, "has the keys", sorted(value))


def padded(kind, n):
    return align_up(n, 16 if kind in ("f32", "f16") else 64)


def stride(kind, n):
    p = padded(kind, n)
    return align_up({"f32": p * 4, "f16": p * 2, "q8_0": p + p // 32 * 2, "q4_0": p // 2 + p // 32 * 2}[kind], 64)


def decode(kind, row, n):
    """The n values of a stored row, and the scale of each (0 where the type has none)."""
    p = padded(kind, n)
    check(len(row) == stride(kind, n), "row has", len(row), "bytes")
    if kind in ("f32", "f16"):
        values = struct.unpack_from("<%d%s" % (p, "f" if kind == "f32" else "e"), row)
        scales = [0.0] * p
        used = p * (4 if kind == "f32" else 2)
    else:
        quants = p if kind == "q8_0" else p // 2
        halves = struct.unpack_from("<%de" % (p // 32), row, quants)
        scales = [halves[i // 32] for i in range(p)]
        if kind == "q8_0":
            integers = struct.unpack_from("<%db" % p, row)
        else:
            integers = []
            for block in range(p // 32):
                pairs = row[16 * block:16 * block + 16]
                integers += [(b & 15) - 8 for b in pairs] + [(b >> 4) - 8 for b in pairs]
        values = [d * q for d, q in zip(scales, integers)]
        used = quants + p // 32 * 2
    check(not any(row[used:]) and not any(values[n:]), "padding of a row is not zero")
    return values[:n], scales[:n]


def compare(kind, stored, wanted, where):
    values, scales = decode(kind, stored, len(wanted))
    for value, scale, want in zip(values, scales, wanted):
        # Rounding errs by half a step. q4_0 has no integer for the one extreme (8), so a whole step there; the scale is
        # rounded to a half after the integers were chosen.
        step = abs(scale) * (0.5 if kind == "q8_0" else 1.0) + abs(want) * 2 ** -10
        error = 0 if kind == "f16" else step
        check(abs(value - want) <= error, where, "wanted", want, "got", value, "step", scale)


class Checkpoint:
    def __init__(self, folder):
        with open(folder + "/model.safetensors", "rb") as file:
            data = file.read()
        header_bytes, = struct.unpack_from("<Q", data)
        self.data = data[8 + header_bytes:]
        self.tensors = json.loads(data[8:8 + header_bytes])

    def row(self, name, index):
        tensor = self.tensors["model.decoder." + name]
        columns = tensor["shape"][-1]
        return struct.unpack_from("<%de" % columns, self.data, tensor["data_offsets"][0] + 2 * columns * index)

    def column(self, name, index):
        rows, columns = self.tensors["model.decoder." + name]["shape"]
        start = self.tensors["model.decoder." + name]["data_offsets"][0]
        return [struct.unpack_from("<e", self.data, start + 2 * (columns * i + index))[0] for i in range(rows)]


class ModelFile:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.extents = [(0, 4096, "header")]
        self.arrays = []
        check(self.data[:8] == bytes.fromhex("676C696E740D0A1A"), "magic")
        version, zero, size, offset, length = struct.unpack_from("<IIQQQ", self.data, 8)
        check(version == 1 and zero == 0 and size == len(self.data), "version", version, "size", size)
        check(not any(self.data[48:4088]) and 1 <= length <= 1048576, "header")
        self.directory = json.loads(self.take(offset, length, "directory").decode("utf-8"))
        keys_of(self.directory, ("format", "version", "writer", "config", "type", "tokenizer", "tables", "vectors",
                                 "matrices", "ffn"), "directory")
        check(self.directory["format"] == "glint" and self.directory["version"] == 1, "format")
        self.config = self.directory["config"]
        keys_of(self.config, CONFIG_KEYS, "config")
        self.tables = [self.section(table) for table in self.directory["tables"]]
        check(len(self.tables) == self.config["layer_count"] + 1, "tables")
        self.vectors = {entry["name"]: self.vector(entry) for entry in self.directory["vectors"]}
        self.matrices = {entry["name"]: self.matrix(entry) for entry in self.directory["matrices"]}
        self.ffn = [self.ffn_layer(entry) for entry in self.directory["ffn"]]
        tokenizer = self.directory["tokenizer"]
        self.tokenizer = None if tokenizer is None else self.section(tokenizer)
        self.check_names()
        self.check_nothing_between()

    def take(self, offset, length, what):
        check(offset % EXTENT == 0 and offset + length <= len(self.data), what, "lies at", offset)
        self.extents.append((offset, length, what))
        return self.data[offset:offset + length]

    def section(self, entry):
        keys_of(entry, ("offset", "bytes", "checksums"), "section")
        check(len(entry["checksums"]) == align_up(entry["bytes"], GRANULE) // GRANULE, "section's checksums")
        check(all(len(c) == 18 and c.startswith("0x") for c in entry["checksums"]), "spelling of checksums")
        return self.take(entry["offset"], entry["bytes"], "section")

    def array(self, entry, letter, count):
        check(entry["offset"] % 64 == 0 and entry["count"] == count, "array", entry)
        length = count * struct.calcsize("<" + letter)
        self.arrays.append((entry["table"], entry["offset"], length))
        check(entry["offset"] + length <= len(self.tables[entry["table"]]), "array", entry, "in its table")
        return struct.unpack_from("<%d%s" % (count, letter), self.tables[entry["table"]], entry["offset"])

    def vector(self, entry):
        keys_of(entry, ("name", "table", "offset", "count"), "vector")
        return self.array(entry, "f", entry["count"])

    def matrix(self, entry):
        keys_of(entry, ("name", "type", "rows", "columns", "offset", "bytes", "checksums"), "matrix")
        check(entry["bytes"] == entry["rows"] * stride(entry["type"], entry["columns"]), entry["name"], "bytes")
        self.array(entry["checksums"], "Q", align_up(entry["bytes"], GRANULE) // GRANULE)
        return entry, self.take(entry["offset"], entry["bytes"], entry["name"])

    def matrix_row(self, name, row):
        entry, data = self.matrices[name]
        step = stride(entry["type"], entry["columns"])
        return entry["type"], data[row * step:(row + 1) * step]

    def ffn_layer(self, entry):
        """The bundles of a layer, each as (first rows, rest rows)."""
        keys_of(entry, ("type", "neurons_per_bundle", "offset", "bytes", "first_checksums", "rest_checksums"), "ffn")
        neurons, per_bundle = self.config["ffn_size"], entry["neurons_per_bundle"]
        step = stride(entry["type"], self.config["hidden_size"])
        data = self.take(entry["offset"], entry["bytes"], "ffn")
        bundles = []
        at = 0
        for begin in range(0, neurons, per_bundle):
            m = min(per_bundle, neurons - begin)
            first_bytes = align_up(m * step, 512)
            rest_rows = 2 * m if self.config["gated"] else m
            whole_bytes = align_up(first_bytes + rest_rows * step, 4096)
            first, rest = data[at:at + first_bytes], data[at + first_bytes:at + whole_bytes]
            check(len(first) <= GRANULE and len(rest) <= GRANULE, "granule is too long")
            check(not any(first[m * step:]) and not any(rest[rest_rows * step:]), "padding of a bundle")
            bundles.append(([first[i * step:(i + 1) * step] for i in range(m)],
                            [rest[i * step:(i + 1) * step] for i in range(rest_rows)]))
            at += whole_bytes
        check(at == entry["bytes"], "bundles make", at, "bytes")
        self.array(entry["first_checksums"], "Q", len(bundles))
        self.array(entry["rest_checksums"], "Q", len(bundles))
        return entry["type"], bundles

    def check_names(self):
        c = self.config
        hidden, embedding, vocab = c["hidden_size"], c["embedding_size"], c["vocab_size"]
        matrices = {"token_embd.weight": (vocab, embedding),
                    "position_embd.weight": (c["context_max"] + c["position_offset"], hidden)}
        if embedding != hidden:
            matrices["token_embd_proj_in.weight"] = (hidden, embedding)
            matrices["token_embd_proj_out.weight"] = (embedding, hidden)
        if not c["tied_output"]:
            matrices["output.weight"] = (vocab, embedding)
        vectors = {"output_norm.weight": hidden, "output_norm.bias": hidden} if c["final_norm"] else {}
        for n in range(c["layer_count"]):
            for role in ("attn_q", "attn_k", "attn_v", "attn_output"):
                matrices["blk.%d.%s.weight" % (n, role)] = (hidden, hidden)
                vectors["blk.%d.%s.bias" % (n, role)] = hidden
            for norm in ("attn_norm", "ffn_norm"):
                vectors["blk.%d.%s.weight" % (n, norm)] = vectors["blk.%d.%s.bias" % (n, norm)] = hidden
            if c["gated"]:
                vectors["blk.%d.ffn_gate.bias" % n] = c["ffn_size"]
            vectors["blk.%d.ffn_up.bias" % n] = c["ffn_size"]
            vectors["blk.%d.ffn_down.bias" % n] = hidden
        check({name: (e["rows"], e["columns"]) for name, (e, _) in self.matrices.items()} == matrices, "matrices")
        check(all(vectors.get(name) == len(values) for name, values in self.vectors.items()), "vectors")
        check(len(self.ffn) == c["layer_count"], "ffn layers")

    def check_nothing_between(self):
        end = 0
        for offset, length, what in sorted(self.extents):
            check(offset == align_up(end, EXTENT), what, "begins at", offset, "not behind", end)
            check(not any(self.data[end:offset]), "padding before", what)
            end = offset + length
        check(what == "directory" and len(self.data) == align_up(end, EXTENT), "end of the file")
        check(not any(self.data[end:]), "padding at the end")
        self.arrays.sort()
        for (table, offset, length), (next_table, next_offset, _) in zip(self.arrays, self.arrays[1:]):
            check(table != next_table or offset + length <= next_offset, "arrays overlap in table", table)


def check_tokenizer(section, source):
    magic, version, vocab, merges, added, added_first, text_bytes, flags = struct.unpack_from("<4s7I", section)
    check(magic == b"GLTK" and version == 1 and flags in (0, 1) and added_first <= added, "tokenizer header")
    at = 32
    byte_ids = struct.unpack_from("<256I", section, at)
    at += 1024
    token_begin = struct.unpack_from("<%dI" % (vocab + 1), section, at)
    at += 4 * (vocab + 1)
    merge_begin = struct.unpack_from("<%dI" % (vocab + 1), section, at)
    at += 4 * (vocab + 1)
    merge_list = list(struct.iter_unpack("<3I", section[at:at + 12 * merges]))
    at += 12 * merges
    added_list = list(struct.iter_unpack("<2I", section[at:at + 8 * added]))
    at += 8 * added
    token_flags = section[at:at + vocab]
    at += vocab
    text = section[at:]
    check(len(text) == text_bytes, "tokenizer's length")
    tokens = [text[begin:end] for begin, end in zip(token_begin, token_begin[1:])]
    check(all(i == 0xFFFFFFFF or tokens[i] == bytes([b]) for b, i in enumerate(byte_ids)), "tokens of single bytes")

    with open(source, encoding="utf-8") as file:
        document = json.load(file)
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or 0xAE <= b]
    others = [b for b in range(256) if b not in printable]
    alphabet = {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}
    ids = document["model"]["vocab"]
    special = {token["content"]: token["id"] for token in document["added_tokens"]}
    for spelling, i in ids.items():
        wanted = spelling.encode() if spelling in special else bytes(alphabet[c] for c in spelling)
        check(tokens[i] == wanted, "token", i, tokens[i], wanted)
    check(sorted(i for i, _ in added_list) == sorted(special.values()), "added tokens")
    check(all(token_flags[t["id"]] == t["special"] for t in document["added_tokens"]), "special tokens")
    wanted = {}
    for rank, pair in enumerate(document["model"]["merges"]):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        wanted[(ids[left], ids[right])] = (rank, ids[left + right])
    stored = {}
    for left in range(vocab):
        for right, rank, merged in merge_list[merge_begin[left]:merge_begin[left + 1]]:
            stored[(left, right)] = (rank, merged)
    check(stored == wanted, "merges")


def check_against(model, checkpoint, kind):
    config = model.config
    attention = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "out_proj"}
    pairs = [("token_embd.weight", "embed_tokens.weight"), ("position_embd.weight", "embed_positions.weight")]
    pairs += [("blk.%d.%s.weight" % (n, ours), "layers.%d.self_attn.%s.weight" % (n, theirs))
              for n in range(config["layer_count"]) for ours, theirs in attention.items()]
    for ours, theirs in pairs:
        rows = model.matrices[ours][0]["rows"]
        for row in (0, rows // 2, rows - 1):
            stored_kind, stored = model.matrix_row(ours, row)
            compare(stored_kind, stored, checkpoint.row(theirs, row), "%s row %d:" % (ours, row))
    for n in range(config["layer_count"]):
        check(model.vectors["blk.%d.ffn_up.bias" % n] == checkpoint.row("layers.%d.fc1.bias" % n, 0), "fc1.bias")
        check(model.vectors["blk.%d.ffn_norm.weight" % n] ==
              checkpoint.row("layers.%d.final_layer_norm.weight" % n, 0), "ffn_norm")
        ffn_kind, bundles = model.ffn[n]
        check(ffn_kind == kind, "type of the neurons")
        per_bundle = model.directory["ffn"][n]["neurons_per_bundle"]
        for neuron in (0, 1, config["ffn_size"] // 2 + 1, config["ffn_size"] - 1):
            first, rest = bundles[neuron // per_bundle]
            lane = neuron % per_bundle
            where = "layer %d neuron %d:" % (n, neuron)
            compare(kind, first[lane], checkpoint.row("layers.%d.fc1.weight" % n, neuron), where)
            compare(kind, rest[lane], checkpoint.column("layers.%d.fc2.weight" % n, neuron), where)


def make(program, *command):
    with tempfile.TemporaryDirectory() as out:
        path = out + "/model.glint"
        subprocess.run([program, *command, "-o", path], check=True, capture_output=True)
        return ModelFile(path)


def check_odd_sizes(program, kind):
    """Rows that are padded, and a last bundle that is short."""
    model = make(program, "synth", "--layers", "1", "--hidden", "72", "--ffn", "37", "--heads", "9", "--vocab", "261",
                 "--context", "7", "--type", kind)
    check(model.config["synthetic"] is True, "synthetic")
    for name, (entry, _) in model.matrices.items():
        for row in range(entry["rows"]):
            decode(*model.matrix_row(name, row), entry["columns"])
    ffn_kind, bundles = model.ffn[0]
    check(len(bundles) > 1 and len(bundles[-1][0]) < len(bundles[0][0]), "the last bundle is not short")
    for first, rest in bundles:
        for row in first + rest:
            decode(ffn_kind, row, 72)


def main():
    program, folder = sys.argv[1:]
    checkpoint = Checkpoint(folder)
    for kind in ("f16", "q8_0", "q4_0"):
        model = make(program, "pack", folder, "--type", kind)
        check_against(model, checkpoint, kind)
        check_tokenizer(model.tokenizer, folder + "/tokenizer.json")
        check_odd_sizes(program, kind)
        print(kind, "is as FORMAT.md says:", len(model.data), "bytes")


main()
