"""Makes tokenizer_reference.bin and tokenizer_variants.json with Hugging Face's tokenizers library.

  python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers
  /tmp/venv/bin/python test/tokenizer/make_reference.py

Made with tokenizers 0.23.3. The strings hold only code points that Unicode 14 (Python 3.11's) has assigned: the
library knows a later Unicode than utf8proc 2.8 (Unicode 15). All code points that both know fall into the same class
(space, letter, number, other): compared one by one; 5,004 that Unicode 15 leaves unassigned are letters or numbers there.

tokenizer_reference.bin: u32 count; for each case u16 text bytes, u16 ids, the text in UTF-8, the ids as u16.
"""

import copy
import json
import pathlib
import random
import struct
import unicodedata

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "models" / "tales-opt"
CASES = 10_000

SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u0085", "\u2028", "\u2029", "\u200a",
          "\u202f", "\u205f", "\u1680", "\u000b", "\u000c", "\u2003", "\u180e", "\u200b", "\ufeff", "\x1c", "\x1f"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'D", "\u2019s",
                "'", "''", "'st", "'lld"]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "< s>", "<s", "</s", "<<s>>", "<S>", "<mask>"]
EMOJI = ["\U0001F600", "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F3F3\ufe0f\u200d\U0001F308", "\u2764\ufe0f",
         "\U0001F1E9\U0001F1EA", "\U0001F44D\U0001F3FD", "1\ufe0f\u20e3", "\U0001F9D1\u200d\U0001F4BB"]
CODE = ["for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}", "def f(x):\n\treturn x ** 2  # done\n", "a->b::c<d>(&e);",
        "SELECT * FROM t WHERE id=42;", "<div class=\"x\">&nbsp;</div>", "0xFF 1e-9 3.14 1_000 v2.0", "if(!x)return;",
        "\\n\\t\\u00e9", "https://example.org/a?b=c&d=%20#e", "{\"key\": [1, null, true]}", "#!/bin/sh\n\necho $HOME\n"]
DIGITS = "0123456789\u0660\u0665\u0966\u096f\u00b2\u00bd\u2167\u2460\u3007\u0e53\uff11\U0001D7D9\u4e00\u3023"
RANGES = [(0x20, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x587),
          (0x591, 0x5F4), (0x600, 0x6FF), (0x901, 0x97F), (0xE01, 0xE5B), (0x10A0, 0x10FF), (0x1100, 0x11FF),
          (0x1E00, 0x1FFE), (0x2010, 0x2BFF), (0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE010),
          (0xFE00, 0xFFFD), (0x10000, 0x1018E), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF)]


def assigned(rng, low, high):
    while True:
        char = chr(rng.randint(low, high))
        if unicodedata.category(char) not in ("Cn", "Cs"):
            return char


def script_word(rng):
    low, high = rng.choice(RANGES)
    return "".join(assigned(rng, low, high) for _ in range(rng.randint(1, 6)))


def marked_word(rng):
    return "".join(assigned(rng, *rng.choice(RANGES[:3])) + assigned(rng, 0x300, 0x36F) for _ in range(rng.randint(1, 3)))


def english(rng, text):
    begin = rng.randrange(len(text) - 100)
    return text[begin:begin + rng.randint(5, 70)]


def make_text(rng, text):
    parts = [
        lambda: english(rng, text), lambda: script_word(rng), lambda: marked_word(rng),
        lambda: "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4))), lambda: " " * rng.randint(1, 9),
        lambda: "".join(rng.choice(DIGITS) for _ in range(rng.randint(1, 8))), lambda: str(rng.randint(0, 10**rng.randint(1, 12))),
        lambda: rng.choice(CODE)[:rng.randint(1, 30)], lambda: rng.choice(EMOJI) * rng.randint(1, 2),
        lambda: rng.choice(["don", "I", "we", "x", "", " ", "9"]) + rng.choice(CONTRACTIONS), lambda: rng.choice(SPECIAL),
        lambda: chr(rng.randrange(0x20)) + rng.choice(["", "\x7f", "a"]), lambda: rng.choice("!?.,;:-_/\\\"()[]~`@") * rng.randint(1, 5),
        lambda: rng.choice("aeiouAEzt") * rng.randint(2, 20), lambda: assigned(rng, 0, 0x10FFFF),
    ]
    if rng.random() < 0.15:
        return english(rng, text)
    glue = rng.choice(["", "", " "])
    return glue.join(rng.choice(parts)() for _ in range(rng.randint(1, 4)))


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def merge_patch(target, patch):
    """RFC 7386, as nlohmann::json::merge_patch does it."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def added(identity, content, **flags):
    token = {"id": identity, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    return {**token, **flags}


def make_variants(base):
    specials = base["added_tokens"]
    vocab = base["model"]["vocab"]  # a token that is there already keeps its id
    strips = specials + [added(4096, "<left>", lstrip=True), added(4097, "<right>", rstrip=True),
                         added(4098, "<both>", lstrip=True, rstrip=True)]
    overlaps = specials + [added(4096, "<s>x", special=False), added(4097, "<s", special=False, normalized=True),
                           added(vocab["ab"], "ab", special=False, normalized=True), added(4098, "abcd", special=False, normalized=True),
                           added(4099, "bc", special=False), added(4100, " \u00e9t\u00e9", special=False, normalized=True),
                           added(4101, "abcde f", normalized=True)]
    texts = ["", " ", "a", "hello", " hello", "\thello", "\n", "<s>hello", "hello <s> world", "<s> hello", "  <s>  ",
             "x  <left>  y", "x  <right>  y", "x \u3000\n<both>\u00a0\t y", "<left><right><both>", "a<left> <left>b <right> <right>",
             " <both> ", "<s>x<s", "<s>xx<s", "abcdef", "abcde f", "abc", "xabcdabcd", "aab bcd abab", "un \u00e9t\u00e9 ici", "\u00e9t\u00e9",
             "<s>abcd</s>bc<s", "'s't", "<s>'s", "</s> 's</s>", "  two", "<unk><pad>", "<s>\n\n<s>", "ab <left>", "bc\u2003<right>\u2003cd"]
    patches = {
        "prefix space": {"pre_tokenizer": {"add_prefix_space": True}},
        "sequence of one": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [dict(base["pre_tokenizer"])], "add_prefix_space": None,
                                              "trim_offsets": None, "use_regex": None}},
        "stripping tokens": {"added_tokens": strips},
        "overlapping tokens": {"added_tokens": overlaps},
        "stripping and overlapping with prefix space": {
            "added_tokens": overlaps + [added(4102, "<left>", lstrip=True), added(4103, "<right>", rstrip=True)],
            "pre_tokenizer": {"add_prefix_space": True}},
    }
    variants = []
    for name, patch in patches.items():
        tokenizer = Tokenizer.from_str(json.dumps(merge_patch(base, patch)))
        for parse_special in (True, False):
            tokenizer.encode_special_tokens = not parse_special
            variants.append({"name": name, "patch": patch, "parse_special": parse_special,
                             "cases": [{"text": text, "ids": encode(tokenizer, text)} for text in texts]})
    return variants


def main():
    rng = random.Random(20240229)
    text = (MODEL / "text" / "valid.txt").read_text(encoding="utf-8")
    base = json.loads((MODEL / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(base))
    seen = set()
    cases = []
    while len(cases) < CASES:
        case = make_text(rng, text)
        if case not in seen:
            seen.add(case)
            cases.append(case)
    with open(HERE / "tokenizer_reference.bin", "wb") as out:
        out.write(struct.pack("<I", len(cases)))
        for case in cases:
            utf8 = case.encode("utf-8")
            ids = encode(tokenizer, case)
            out.write(struct.pack("<HH", len(utf8), len(ids)) + utf8 + struct.pack(f"<{len(ids)}H", *ids))
    with open(HERE / "tokenizer_variants.json", "w", encoding="utf-8") as out:
        json.dump(make_variants(base), out, ensure_ascii=True)
        out.write("\n")


if __name__ == "__main__":
    main()
