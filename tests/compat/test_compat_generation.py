"""Repairs of fairseq's search and of --replace-unk, and the originals failing."""

from types import SimpleNamespace

import pytest
import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.search import DiverseBeamSearch

import mega_fairseq  # noqa: F401  (the repairs)


def two_steps(step, ids):
    """Tokens that four diverse beams choose at step 1 for the sentences called `ids`."""
    search = DiverseBeamSearch(Dictionary(), num_groups=4, diversity_strength=2.0)
    torch.manual_seed(0)
    lprobs = torch.randn(len(ids), 4, 9).log_softmax(-1)
    numbers = torch.tensor(ids)
    first, tokens, _ = step(search, 0, lprobs, None, None, numbers)
    scores = first.view(len(ids), 4, 1)
    return tokens, step(search, 1, lprobs[1:], scores[1:], None, numbers[1:])[1]


def test_diverse_beams_know_sentences_by_their_row():
    expected = two_steps(DiverseBeamSearch.step, [0, 1, 2])
    for ids in ([40, 7, 93], [2, 0, 1]):
        torch.testing.assert_close(two_steps(DiverseBeamSearch.step, ids), expected)
    with pytest.raises(IndexError):
        two_steps(DiverseBeamSearch.step.mega_original, [40, 7, 93])


@pytest.mark.parametrize("alignment", [[(1, 1), (2, 0)], [["0.1", "0.2", "0.7"], ["0.3", "0.6", "0.1"]]])
def test_unknown_words_come_from_where_the_alignment_points(alignment):
    arguments = ("<unk> <unk>", "a b c", alignment, {"b": "B"}, "<unk>")
    assert utils.replace_unk(*arguments) == "c B"
    with pytest.raises(TypeError):
        utils.replace_unk.mega_original(*arguments)


def test_a_table_of_replacements(tmp_path):
    (tmp_path / "table").write_text("ä b\n\nlonely\nc d e\n", encoding="utf-8")
    assert utils.load_align_dict(str(tmp_path / "table")) == {"ä": "b", "c": "d"}
    with pytest.raises(IndexError):
        utils.load_align_dict.mega_original(str(tmp_path / "table"))
    assert utils.load_align_dict("@@ ") == {}  # --replace-unk without a file
    assert utils.load_align_dict("") == {}
    assert utils.load_align_dict(None) is None
    with pytest.raises(FileNotFoundError, match="--replace-unk"):
        utils.load_align_dict(str(tmp_path / "absent"))


def test_replacement_brings_alignment():
    from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
    from fairseq.tasks import FairseqTask

    class Model(torch.nn.Module):
        encoder = None

        def forward_decoder(self):
            raise NotImplementedError

    task = FairseqTask(None)
    task.tgt_dict = Dictionary()
    type(task).target_dictionary = property(lambda self: self.tgt_dict)
    model = Model()
    model.decoder = torch.nn.Linear(1, 1)
    options = SimpleNamespace(replace_unk="@@ ")
    made = task.build_generator([model], options)
    assert isinstance(made, SequenceGeneratorWithAlignment)
    assert not hasattr(options, "print_alignment")  # nothing more is printed
    assert not isinstance(
        FairseqTask.build_generator.mega_original(task, [model], options), SequenceGeneratorWithAlignment
    )
    assert isinstance(task.build_generator([model], SimpleNamespace()), SequenceGenerator)
