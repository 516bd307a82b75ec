"""Bad input that takes more than one command to make or to tell; the table is test_bad_input_table.py."""

import re
import shutil

import pytest
import torch
from forked import Commands
from malformed import texts

import mega_fairseq  # noqa: F401  (allows what a checkpoint holds)

WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]
TEXT = [" ".join(WORDS[(i * k) % 12] for k in range(1, 2 + i % 6)) for i in range(30)]
SIZES = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SIZES += ["--encoder-z-dim", "8", "--encoder-n-dim", "2", "--encoder-layers", "1"]
PLUGIN = ["--user-dir", "mega_fairseq"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("io"))
    yield commands.run
    commands.close()


def preprocess(run, folder, *options, **splits):
    """folder/bin from the lines of each split."""
    folder.mkdir(exist_ok=True)
    for split, lines in splits.items():
        for language in ("en", "de"):
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    prefixes = [f"--{split}pref={folder / split}" for split in splits]
    done = run("preprocess", "-s", "en", "-t", "de", *prefixes, *options, "--destdir", folder / "bin")
    assert done.status == 0, done.err
    return folder / "bin"


def train(run, data, save_dir, *options, arch="mega_nmt_tiny"):
    common = [*PLUGIN, "--arch", arch, *SIZES, "--optimizer", "adam", "--max-tokens", "200"]
    limits = ["--max-update", "2", "--save-dir", save_dir, "--num-workers", "0", "--no-epoch-checkpoints"]
    return run("train", data, *common, *limits, *options)


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nmt")
    data = preprocess(run, folder, "--joined-dictionary", train=TEXT, valid=TEXT, test=TEXT)
    done = train(run, data, folder / "model")
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def dictionaries(trained):
    """Options of fairseq-preprocess."""
    return ["--srcdict", trained / "bin" / "dict.en.txt", "--tgtdict", trained / "bin" / "dict.de.txt"]


def generate(run, data, path, *options):
    return run("generate", data, *PLUGIN, "--path", path, "--max-len-b", "5", *options)


def interactive(run, trained, stdin, *options):
    path = trained / "model" / "checkpoint_last.pt"
    return run(
        *("interactive", trained / "bin", *PLUGIN, "--path", path, "-s", "en", "-t", "de", "--beam", "2"),
        *("--max-len-b", "5", *options),
        stdin=stdin,
    )


def refused(done, *words):
    """The command failed, and its last line is a sentence with these words."""
    last = done.err.strip().splitlines()[-1]
    assert done.status > 0, done.err
    assert [word for word in map(str, words) if word not in last] == [], last
    assert len(last) < 500
    return last


def hypotheses(done):
    assert done.status == 0, done.err
    return [int(number) for number in re.findall(r"^H-(\d+)\t", done.out, re.M)]


def test_embeddings_of_another_width(run, trained, tmp_path):
    vectors = tmp_path / "vectors"
    vectors.write_text("1 3\nred 0.1 0.2 0.3\n")
    done = train(run, trained / "bin", tmp_path / "model", "--encoder-embed-path", vectors)
    refused(done, "--encoder-embed-path", vectors, "16 numbers")
    vectors.write_text("1 16\nred" + " 0.1" * 16 + "\n")
    done = train(run, trained / "bin", tmp_path / "model", "--encoder-embed-path", vectors)
    assert done.status == 0, done.err
    vectors.unlink()
    model = tmp_path / "model" / "checkpoint_last.pt"
    refused(generate(run, trained / "bin", model), "--model-overrides", vectors)
    without = ["--model-overrides", "{'encoder_embed_path': None}"]
    assert len(hypotheses(generate(run, trained / "bin", model, *without))) == 30


def test_shared_embeddings_without_a_joined_dictionary(run, tmp_path):
    data = preprocess(run, tmp_path, train=TEXT, valid=TEXT)
    with (data / "dict.de.txt").open("a") as file:
        file.write("another 1\n")
    done = train(run, data, tmp_path / "model")
    refused(done, "--share-all-embeddings", "of 16 and 17 words", "--joined-dictionary")


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_another_dictionary(run, trained, tmp_path, change):
    data, model = tmp_path / "bin", tmp_path / "model"
    shutil.copytree(trained / "bin", data)
    shutil.copytree(trained / "model", model)
    for language in ("en", "de"):
        lines = (data / f"dict.{language}.txt").read_text().splitlines()
        lines = [*lines, "more 1", "words 1"] if change == "more" else lines[:-2]
        (data / f"dict.{language}.txt").write_text("\n".join(lines))
    path = model / "checkpoint_last.pt"
    words = [path, "of 16 words", f"has {18 if change == 'more' else 14}", "--srcdict"]
    before = path.read_bytes()
    refused(generate(run, data, path), *words)
    if change == "fewer":  # the data themselves do not fit
        words = [data / "valid.en-de.en.bin", "word number 15", "14 words", "dict.*.txt"]
    refused(train(run, data, model), *words)
    assert path.read_bytes() == before


def test_another_model_in_the_save_dir(run, trained, tmp_path):
    shutil.copytree(trained / "model", tmp_path / "model")
    path = tmp_path / "model" / "checkpoint_last.pt"
    before = path.read_bytes()
    done = train(run, trained / "bin", tmp_path / "model", "--encoder-hidden-dim", "8")
    refused(done, path, "another model", "differs in encoder.stack.layers.0", "--save-dir")
    assert path.read_bytes() == before


def test_without_the_plugin_the_message_is_fairseqs(run, trained):
    """fairseq formats its own message wrongly; nothing of ours is loaded that could tell of --user-dir."""
    done = run("generate", trained / "bin", "--path", trained / "model" / "checkpoint_last.pt")
    assert refused(done) == """KeyError: "'_name'\""""


def test_a_restore_file_in_the_save_dir_may_be_absent(run, trained, tmp_path):
    done = train(run, trained / "bin", tmp_path, "--restore-file", tmp_path / "checkpoint_last.pt")
    assert done.status == 0, done.err
    assert (tmp_path / "checkpoint_last.pt").exists()


def test_an_unknown_architecture_in_a_checkpoint(run, trained, tmp_path):
    state = torch.load(trained / "model" / "checkpoint_last.pt", weights_only=True)
    state["cfg"]["model"].update(_name="mega_nmt_gone", arch="mega_nmt_gone")
    torch.save(state, tmp_path / "gone.pt")
    done = generate(run, trained / "bin", tmp_path / "gone.pt")
    refused(done, "no architecture 'mega_nmt_gone'", "--user-dir")


@pytest.mark.parametrize("empty", ["train", "valid"])
def test_an_empty_data_set(run, dictionaries, tmp_path, empty):
    data = preprocess(run, tmp_path, *dictionaries, **{"train": TEXT, "valid": TEXT, empty: []})
    refused(train(run, data, tmp_path / "model"), data / f"{empty}.en-de.en.bin", f"--{empty}pref")


def test_one_line_is_enough(run, trained, dictionaries, tmp_path):
    data = preprocess(run, tmp_path, *dictionaries, train=TEXT[:1], valid=TEXT[:1])
    done = train(run, data, tmp_path / "model")
    assert done.status == 0, done.err
    assert (tmp_path / "model" / "checkpoint_best.pt").exists()


def test_validation_that_exceeds_the_model_is_refused_before_training(run, trained, tmp_path):
    simple = ["--rel-pos-bias", "simple", "--max-source-positions", "4"]
    done = train(run, trained / "bin", tmp_path, *simple)
    refused(done, "has 5 source tokens", "takes 4", "--max-source-positions", "--skip-invalid-size-inputs")
    assert "begin training epoch" not in done.out


def test_every_line_of_a_file_is_answered(run, trained, tmp_path):
    given, counts = zip(*texts.LINES.values(), strict=True)
    (tmp_path / "text").write_bytes(b"".join(given))
    options = ["--input", tmp_path / "text", "--buffer-size", "4", "--batch-size", "3"]
    assert sorted(hypotheses(interactive(run, trained, b"", *options))) == list(range(sum(counts)))


def test_a_line_that_is_too_long(run, trained):
    done = interactive(run, trained, b"red\n" + b"dog cat " * 2500 + b"\nblue\n")
    refused(done, "(dog cat dog cat dog ...)", "5001 source tokens", "takes 1024", "--max-source-positions")
    assert "\nH-0\t" in done.out  # what came before is translated


def test_sources_that_are_empty_or_too_long(run, trained, dictionaries, tmp_path):
    model = trained / "model" / "checkpoint_last.pt"
    data = preprocess(run, tmp_path, *dictionaries, test=["red", "", "blue"])
    assert sorted(hypotheses(generate(run, data, model))) == [0, 1, 2]
    data = preprocess(run, tmp_path, *dictionaries, test=["red", "dog " * 2000, "blue"])
    words = ["sentence 1 (dog dog", "2001 source tokens", "takes 1024", "--max-source-positions"]
    refused(generate(run, data, model), *words, "--skip-invalid-size-inputs-valid-test")
    kept = generate(run, data, model, "--skip-invalid-size-inputs-valid-test")
    assert sorted(hypotheses(kept)) == [0, 2]
