"""A small mirror with the layout of the WMT'16 archives."""

import gzip
import hashlib
import html
import io
import random
import tarfile
from itertools import product

from outside import outside

SAMPLE = outside("data/wmt16-sample")
CORPORA = {
    "training-parallel-europarl-v7.tgz": "training/europarl-v7.de-en",
    "training-parallel-commoncrawl.tgz": "commoncrawl.de-en",
    "training-parallel-nc-v11.tgz": "training-parallel-nc-v11/news-commentary-v11.de-en",
}
NEWS = {  # as in the originals: dev.tgz has all but the last
    "dev.tgz": ["dev/newstest2013-{}", "dev/newstest2014-deen-{}", "dev/newstest2015-{pair}-{}"],
    "test.tgz": ["test/newstest2016-{pair}-{}"],
}
WORDS = [
    ("house", "Haus"),
    ("tree", "Baum"),
    ("city's", "Stadt"),
    ("well-known", "bekannt"),
    ("sees", "sieht"),
]
WORDS += [("the", "das"), ("a", "ein"), ("&", "&"), ("and", "und"), ("is", "ist"), ("big,", "groß,")]
ODD = (
    "tree\x85 the\u2028 house\r is\x0b a\x1c big\xa0tree",
    "Baum\x0c das\u2029 Haus ist\x1d ein\t groß\u00ad e",
)


def built_in(count):
    draw = random.Random(1)
    chosen = [draw.choices(WORDS, k=draw.randint(4, 12)) for _ in range(count)]
    return [tuple(" ".join(words) + "." for words in zip(*sentence, strict=True)) for sentence in chosen]


def shared(count):
    sides = [gzip.decompress((SAMPLE / f"train.tok.{lang}.gz").read_bytes()) for lang in ("en", "de")]
    sides = [html.unescape(side.decode()).split("\n")[:count] for side in sides]
    return list(zip(*sides, strict=True))


def sgm(lines, kind="src"):
    """Two documents, with what the originals have around the text."""
    half = len(lines) // 2
    documents = []
    for name, part in (("one", lines[:half]), ("two", lines[half:])):
        texts = (html.escape(line, quote=False) for line in part)
        body = "\n".join(f'<seg id="{number}">{text}</seg>' for number, text in enumerate(texts, 1))
        documents.append(f'<doc sysid="x" docid="{name}" genre="news">\n<p>\n{body}\n</p>\n</doc>\n')
    return f'<{kind}set setid="set" srclang="any">\n{"".join(documents)}</{kind}set>\n'


def tgz(path, members):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def members(pairs):
    """Name of an archive -> its members. 36 pairs are for the sets, the others for training."""
    news, training = pairs[:36], [*pairs[36:], ODD, (" \u2028", "leer"), ("empty", "")]
    made = {}
    for number, (archive, stem) in enumerate(CORPORA.items()):
        part = training[number::3]
        made[archive] = {
            f"{stem}.{lang}": "".join(f"{pair[side]}\n" for pair in part).encode()
            for side, lang in enumerate(("en", "de"))
        } | {f"{stem.replace('de-en', 'cs-en')}.en": b"of another pair\n"}
    number = 0
    for archive, names in NEWS.items():
        made[archive] = {"README": b"which is not taken"}
        for name in names:
            part, number = news[number : number + 9], number + 9
            for pair, kind, side in product(("ende", "deen"), ("src", "ref"), (0, 1)):
                member = name.format(f"{kind}.{('en', 'de')[side]}.sgm", pair=pair)
                made[archive][member] = sgm([sentence[side] for sentence in part], kind).encode()
    return made


def write(folder, archives):
    """The archives and their sums."""
    folder.mkdir(exist_ok=True)
    for name, content in archives.items():
        tgz(folder / name, content)
    sums(folder)


def sums(folder):
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.tgz")}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
