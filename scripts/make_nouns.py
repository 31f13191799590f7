"""Writes the page's list of nouns from WordNet: names of things in photos that are common in captions.

    python scripts/make_nouns.py

A noun is taken if it is one word, or two that name a class of ImageNet-1k, names a synset of ImageNet-12k (the list
that timm ships, whose names are WordNet's) that is an animal, an artefact, food, a plant, a part of a body, of a
landscape or a substance, and each word is one token of CLIP's vocabulary (open_clip ships it), which was made from
captions of photos: rare words are several. nouns_left_out.txt has those that are left out: words whose first meaning is
another (*can*, *still*), names, and words that one does not want to be offered. Writes
gsdff/viewer/page/wordnet_nouns.txt beside the list that is written by hand (nouns.txt).
"""

import gzip
from importlib.resources import files
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "gsdff" / "viewer" / "page"
KINDS = (
    (1_300_000, 2_660_000), (2_660_000, 4_640_000), (5_200_000, 5_630_000), (7_500_000, 7_940_000),
    (9_100_000, 9_500_000), (11_000_000, 13_200_000), (14_000_000, 15_500_000),
)  # fmt: skip
"""Offsets of WordNet 3.0's noun files: animal, artifact, body, food, object, plant, substance."""
NUM_BYTES, SIZE = 256, 49_152
"""Single bytes, of which a vocabulary has two forms each, and the size of CLIP's vocabulary with its two marks."""
LEAST_LETTERS = 3


def main() -> None:
    """Writes the list, the words that are commonest in captions first."""
    words = choose()
    lines = [
        "# Nouns of WordNet 3.0 that name things in photos, the commonest in captions first; made by",
        "# scripts/make_nouns.py. WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.",
        "# Licence: wordnet_licence.txt.",
        *words,
    ]
    (PLACE / "wordnet_nouns.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(words):,} nouns")


def choose() -> list[str]:
    """The nouns, by falling frequency in captions."""
    ranks = read_tokens()
    info = files("timm") / "data" / "_info"
    shown = set((info / "imagenet12k_synsets.txt").read_text(encoding="utf-8").split())
    pictured = set((info / "imagenet_synsets.txt").read_text(encoding="utf-8").split())
    found = set()
    for line in (info / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines():
        synset, names = line.split("\t")
        offset = int(synset[1:])
        if synset in shown and any(low <= offset < high for low, high in KINDS):
            most = 2 if synset in pictured else 1
            found |= {name.strip() for name in names.split(",") if len(name.split()) <= most}
    left_out = set((Path(__file__).parent / "nouns_left_out.txt").read_text(encoding="utf-8").splitlines())
    kept = [name for name in found if name not in left_out and len(name) >= LEAST_LETTERS]
    kept = [name for name in kept if all(word in ranks for word in name.split())]
    return sorted(kept, key=lambda name: (max(ranks[word] for word in name.split()), name))


def read_tokens() -> dict[str, int]:
    """Whole words that are one token of CLIP, with their rank; the commonest are merged first."""
    packed = (files("open_clip") / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    merges = gzip.decompress(packed).decode("utf-8").split("\n")[1 : SIZE - 2 * NUM_BYTES - 1]
    tokens = [merge.replace(" ", "") for merge in merges]
    ranks: dict[str, int] = {}
    for rank, token in enumerate(tokens):
        if token.endswith("</w>"):
            ranks.setdefault(token.removesuffix("</w>"), rank)
    return ranks


if __name__ == "__main__":
    main()
