"""fairseq's tasks hold a Mega model as they hold a transformer."""

import random

import pytest
import torch
from fairseq import options, tasks
from fairseq_cli import preprocess

import mega_fairseq

SIZES = ["--encoder-embed-dim", "16", "--encoder-layers", "1", "--decoder-layers", "1"]
MEGA = ["--encoder-hidden-dim", "16", "--encoder-z-dim", "8", "--encoder-n-dim", "2"]
MODELS = {"transformer": ["--arch", "transformer"], "mega_nmt": ["--arch", "mega_nmt_tiny", *MEGA]}
WORDS = [f"w{number}" for number in range(20)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(1)
    for side in ("en", "de"):
        lines = (" ".join(draw.choices(WORDS, k=5)) + "\n" for _ in range(12))
        (folder / f"train.{side}").write_text("".join(lines))
    arguments = ["-s", "en", "-t", "de", "--joined-dictionary", "--trainpref", f"{folder / 'train'}"]
    parser = options.get_preprocessing_parser()
    preprocess.main(parser.parse_args([*arguments, "--destdir", str(folder / "bin")]))
    return folder / "bin"


@pytest.mark.parametrize("name", MODELS)
def test_translation_from_pretrained_bart(data, name):
    """It trains and translates: self.args, langs and the tag of the target language."""
    command = [str(data), "--user-dir", mega_fairseq.__path__[0], *MODELS[name], *SIZES]
    command += ["--task", "translation_from_pretrained_bart", "--langs", "en,de", "-s", "en", "-t", "de"]
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [*command, "--max-tokens", "100", "--prepend-bos"])
    task = tasks.setup_task(args)
    model, criterion = task.build_model(args), task.build_criterion(args)
    task.load_dataset("train")
    sample = task.dataset("train").collater([task.dataset("train")[number] for number in range(4)])
    loss, _, _ = criterion(model, sample)
    loss.backward()
    assert torch.isfinite(loss)
    model.eval()
    args.beam, args.max_len_b = 2, 6
    generator = task.build_generator([model], args)
    found = task.inference_step(generator, [model], sample)
    assert len(found) == 4 and all(len(hypotheses) == 2 for hypotheses in found)


def test_preprocessing_names_the_remedy_for_several_texts(data, monkeypatch, capsys, tmp_path):
    texts = f"{data.parent / 'train'},{data.parent / 'train'}"
    parser = options.get_preprocessing_parser()
    with pytest.raises(SystemExit):
        parser.parse_args(["-s", "en", "-t", "de", "--trainpref", texts, "--destdir", str(tmp_path / "bin")])
    told = capsys.readouterr().err
    assert "--trainpref: takes one prefix" in told and "cat " in told and "all.en" in told
    assert not (tmp_path / "bin").exists()
