"""Multi30k English-German: Mega beside fairseq's transformer at equal parameters, data, batches and updates.

    python benchmarks/multi30k/run.py "$MEGA_SHARED/data/multi30k"

goes through these stages and skips what is done already: joint sentencepieces, binary data, a learning rate
for each model (equal effort: the same rates, updates and seed; the lowest validation perplexity wins),
training, translation of test 2016, scores with a paired test. Everything lies under work/ but results.json.
Models whose numbers of parameters differ by more than 3 % are refused.
"""

import argparse
import gzip
import json
import re
import shlex
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "examples" / "common"))

import commands  # noqa: E402
import sentencepiece  # noqa: E402
from stage import StageError, digest, ensure, say, write_json  # noqa: E402

NAMES = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
PIECES = 4000
TUNING, UPDATES = 600, 2000
RATES = ("2e-3", "4e-3", "8e-3")
SETTINGS = shlex.split("""
    --source-lang en --target-lang de --user-dir mega_fairseq --task translation --share-all-embeddings
    --max-tokens 1024 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
    --lr-scheduler inverse_sqrt --warmup-updates 300
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1
    --validate-interval-updates 300 --validate-interval 1000 --save-interval-updates 300 --save-interval 1000
    --keep-interval-updates 1 --no-epoch-checkpoints --num-workers 0 --log-format json --log-interval 50
""")
MODELS = {
    "transformer": """--arch transformer --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 128
        --encoder-ffn-embed-dim 624 --decoder-ffn-embed-dim 624 --encoder-attention-heads 4
        --decoder-attention-heads 4""",
    "mega": "--arch mega_nmt_tiny",
    "mega-paper-init": """--arch mega_nmt --encoder-embed-dim 128 --encoder-hidden-dim 256
        --encoder-ffn-embed-dim 256 --encoder-z-dim 64 --encoder-layers 2""",
}
VARIANTS = {  # of "mega", with its learning rate; seed 1
    "mega-laplace": "--attention-activation-fn laplace",
    "mega-relu2": "--attention-activation-fn relu2",
    "mega-n1": "--encoder-n-dim 1 --decoder-n-dim 1",
    "mega-chunk16": "--encoder-chunk-size 16 --decoder-chunk-size 16",
}


def write_pieces(texts: Path, directory: Path) -> None:
    """Plain texts (raw.*) and joint sentencepieces of them."""
    for split, name in NAMES.items():
        for side in ("en", "de"):
            content = gzip.decompress((texts / f"{name}.{side}.gz").read_bytes())
            (directory / f"raw.{split}.{side}").write_bytes(content)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(directory / f"raw.train.{side}") for side in ("en", "de")],
        model_prefix=str(directory / "spm"),
        vocab_size=PIECES,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "spm.model"))
    for name in (f"{split}.{side}" for split in NAMES for side in ("en", "de")):
        raw = (directory / f"raw.{name}").read_text(encoding="utf-8").removesuffix("\n").split("\n")
        lines = processor.encode(raw, out_type=str)
        (directory / name).write_text("".join(" ".join(x) + "\n" for x in lines), encoding="utf-8")


def preprocess(pieces: Path, directory: Path) -> None:
    """fairseq's binary data with one dictionary."""
    splits = [argument for split in NAMES for argument in (f"--{split}pref", pieces / split)]
    flags = ["--source-lang", "en", "--target-lang", "de", "--joined-dictionary", "--destdir", directory]
    log = directory / "preprocess.log"
    commands.run(commands.fairseq("preprocess", *flags, *splits), log)
    log.unlink()


def train(data: Path, model: str, rate: str, seed: int, updates: int, directory: Path) -> None:
    """Train into `directory`, with the log as train.log."""
    stop = ["--lr", rate, "--seed", seed, "--max-update", updates, "--save-dir", directory]
    arguments = [data, *SETTINGS, *shlex.split(model), *stop]
    commands.train(commands.fairseq("train", *arguments), directory / "train.log")
    for spare in directory.glob("checkpoint_[0-9l]*.pt"):
        spare.unlink()


def curve(directory: Path) -> dict[int, float]:
    """Validation perplexity by updates."""
    with (directory / "train.log").open(encoding="utf-8") as log:
        return dict(commands.validations(iter(log)))


def parameters(directory: Path) -> int:
    """Of the model that train.log tells of."""
    log = (directory / "train.log").read_text(encoding="utf-8")
    return int(re.search(r"num\. shared model params: ([\d,]+)", log)[1].replace(",", ""))


def check_equal(sizes: dict[str, int]) -> None:
    """Raises StageError where two models differ by more than 3 %."""
    if max(sizes.values()) > 1.03 * min(sizes.values()):
        raise StageError(f"the models' numbers of parameters differ by more than 3 %: {sizes}")


def translate(data: Path, model: Path, directory: Path) -> None:
    """Test 2016 with beam 5 into generate.txt."""
    where = [data, "--source-lang", "en", "--target-lang", "de", "--user-dir", "mega_fairseq"]
    how = ["--path", model / "checkpoint_best.pt", "--gen-subset", "test", "--beam", 5, "--batch-size", 64]
    command = commands.fairseq("generate", *where, *how)
    commands.run(command, directory / "generate.log", stdout=directory / "generate.txt")
    (directory / "generate.log").unlink()


def run(work: Path, model: str, arguments: str, rate: str, seed: int, updates: int) -> Path:
    """The folder of a trained model."""
    folder = work / f"{model}-lr{rate}-seed{seed}-{updates}"
    settings = [
        SETTINGS,
        shlex.split(arguments),
        rate,
        seed,
        updates,
        digest(work / "data-bin" / "train.en-de.en.bin"),
    ]
    ensure(folder.name, folder, settings, partial(train, work / "data-bin", arguments, rate, seed, updates))
    return folder


def score(work: Path, systems: list[Path]) -> dict:
    """scripts/score.py's report; the first system is the baseline of the paired tests."""
    out = work / "scores.json"
    files = ["--hypotheses", *(system / "generate.txt" for system in systems)]
    names = ["--names", *(system.name.removesuffix("-test") for system in systems)]
    options = ["--references", work / "pieces" / "raw.test.de", "--detokenize", "sentencepiece", "--json"]
    command = [sys.executable, "scripts/score.py", *files, *names, *options, "--metrics", "bleu", "chrf"]
    command += ["--target-lang", "de", "--test", "bootstrap"] if len(systems) > 1 else ["--target-lang", "de"]
    out.unlink(missing_ok=True)
    commands.run([*map(str, command)], work / "score.log", stdout=out)
    return json.loads(out.read_text(encoding="utf-8"))


def main() -> None:
    """Every stage that is not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, help="folder with train.en.gz, val.en.gz, ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument(
        "--variants", nargs="*", default=[*VARIANTS], choices=VARIANTS, help="of mega, seed 1"
    )
    options = parser.parse_args()
    work = HERE.relative_to(ROOT) / "work"
    texts = {file.name: digest(file) for file in sorted(options.texts.glob("*.gz"))}
    made = ensure("pieces", work / "pieces", [PIECES, texts], partial(write_pieces, options.texts))
    ensure("data-bin", work / "data-bin", made, partial(preprocess, work / "pieces"))
    tuned: dict[str, dict[str, float]] = {}
    sizes = {}
    for model, arguments in MODELS.items():
        tuned[model] = {}
        for rate in RATES:
            trained = run(work, model, arguments, rate, 1, TUNING)
            tuned[model][rate] = min(curve(trained).values())
            sizes[model] = parameters(trained)
    check_equal(sizes)
    best = {model: min(rates, key=lambda rate: rates[rate]) for model, rates in tuned.items()}
    say(f"learning rates: {best}")
    plan = [(m, a, best[m], seed) for seed in options.seeds for m, a in MODELS.items()]
    plan += [(v, f"{MODELS['mega']} {VARIANTS[v]}", best["mega"], 1) for v in options.variants]
    systems, curves = {}, {}
    for model, arguments, rate, seed in plan:
        trained = run(work, model, arguments, rate, seed, options.updates)
        test = trained.with_name(f"{trained.name}-test")
        chosen = digest(trained / "checkpoint_best.pt")
        ensure(test.name, test, chosen, partial(translate, work / "data-bin", trained))
        systems[model, seed] = test
        curves[trained.name] = curve(trained)
    scores = {}
    for seed in options.seeds:
        scores[seed] = score(work, [test for (_, s), test in systems.items() if s == seed])
    result = {
        "updates": options.updates,
        "parameters": sizes,
        "tuning": {"updates": TUNING, "perplexity": tuned},
        "scores": scores,
    }
    write_json(HERE / "results.json", {**result, "valid perplexity": curves})


if __name__ == "__main__":
    main()
