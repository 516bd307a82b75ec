"""What the pictures make of odd logs, options that cannot be, and checkpoints that are to be converted."""

from argparse import Namespace

import pytest
import torch

from mega_fairseq.commands import average, pictures, plot_attention, plot_ema, plot_training
from mega_fairseq.evaluation.pictures import training

LOADED = "| INFO | fairseq.trainer | Loaded checkpoint last.pt (epoch 1 @ {} updates)\n"


def validated(update, loss):
    return f'| INFO | valid | {{"valid_loss": "{loss}", "valid_num_updates": "{update}"}}\n'


@pytest.mark.parametrize("between", ["", *map(LOADED.format, (0, 1, 2))])
def test_a_training_may_be_resumed_from_before_its_first_validation(tmp_path, between):
    log = tmp_path / "train.log"
    first, second = (validated(2, loss) + validated(4, loss) for loss in ("5.0", "4.0"))
    log.write_text(first + between + second)
    assert training.read_log(log)["valid"]["loss"] == {2: 4.0, 4: 4.0}
    assert plot_training.main([str(log), "--out", str(tmp_path / "curves.svg")]) == 0


def test_a_log_without_a_finite_number_is_told(tmp_path, capsys):
    log = tmp_path / "train.log"
    log.write_text(validated(2, "nan") + validated(4, "inf"))
    assert plot_training.main([str(log), "--names", "a", "--out", str(tmp_path / "curves.png")]) == 1
    said = capsys.readouterr().err
    assert (
        said.startswith("mega-plot training: a: there is no finite value of loss, ppl,")
        and said.count("\n") == 1
    )
    assert not (tmp_path / "curves.png").exists()


def test_a_checkpoint_of_the_reference_is_to_be_converted(tmp_path, capsys):
    path, out = tmp_path / "theirs.pt", str(tmp_path / "out.png")
    torch.save({"args": Namespace(), "model": {"encoder.layers.0.mega_layer.gamma": torch.ones(1)}}, path)
    drawing, averaging = [str(path), "--out", out], ["--inputs", str(path), "--output", out]
    for tool, command, given in (("plot ema", plot_ema, drawing), ("average", average, averaging)):
        assert command.main(given) == 1
        told = f"mega-{tool}: {path} is a checkpoint of the reference implementation; convert it first"
        assert capsys.readouterr().err == f"{told} with mega-convert\n"


OPTIONS = ["--beam 0", *(f"--model-overrides {text}" for text in ("{", "a", "f()", "5"))]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_cannot_be_exit_with_the_usage(capsys, option):
    given = ["bin", "--path", "four.pt", "--source", "a", "--out", "a.png", *option.split()]
    with pytest.raises(SystemExit):
        plot_attention.main(given)
    assert f"argument {option.split()[0]}: must be " in capsys.readouterr().err


def test_only_the_first_line_of_an_error_is_told(tmp_path, capsys):
    def draw():
        raise RuntimeError("size mismatch\n\tfor a\n\tfor b")

    assert pictures.run("tool.py", tmp_path / "a.png", draw) == 1
    assert capsys.readouterr().err == "tool.py: size mismatch\n"
