"""Averages are the means of a plain loop; what is tied stays tied."""

import pytest
import torch
from checkpoint_files import load, save

from mega_fairseq.checkpoints import files
from mega_fairseq.checkpoints.averaging import average

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def written(inputs, output):
    """The average's tensors, out of its file."""
    files.save(average(inputs), output, "--output")
    return load(output)["model"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_means_are_those_of_a_plain_loop(tmp_path, count):
    torch.manual_seed(count)
    models = [
        {str(dtype): torch.randn(3, 5, dtype=torch.float64).to(dtype) for dtype in DTYPES}
        | {"steps": torch.tensor(10 + i), "mask": torch.tensor([i == 1]), "empty": torch.zeros(0, 2)}
        for i in range(count)
    ]
    inputs = [save(tmp_path / f"{i}.pt", model) for i, model in enumerate(models)]
    found = written(inputs, tmp_path / "out.pt")
    assert list(found) == list(models[0])
    for dtype in DTYPES:
        columns = zip(*(model[str(dtype)].flatten().tolist() for model in models), strict=True)
        means = torch.tensor([sum(column) / count for column in columns], dtype=torch.float64)
        assert found[str(dtype)].dtype is dtype
        assert torch.equal(found[str(dtype)], means.reshape(3, 5).to(dtype))
    for name in ("steps", "mask", "empty"):
        assert torch.equal(found[name], models[-1][name]) and found[name].dtype is models[-1][name].dtype


def test_tied_tensors_stay_tied_where_they_were_in_every_input(tmp_path):
    def model(tied, split):
        x, y = torch.randn(4), torch.randn(4)
        return {"a": x, "b": x if tied else y, "c": x, "d": y, "e": y.clone() if split else y}

    inputs = [save(tmp_path / f"{i}.pt", model(tied=i > 0, split=False)) for i in range(2)]
    found = written(inputs, tmp_path / "out.pt")
    memory = {name: tensor.data_ptr() for name, tensor in found.items()}
    assert memory["a"] == memory["c"] and memory["d"] == memory["e"]
    assert len(set(memory.values())) == 3
    save(inputs[1], model(tied=True, split=True))
    found = written(inputs, tmp_path / "out.pt")
    assert found["d"].data_ptr() != found["e"].data_ptr()
    means = [(load(inputs[0])["model"][name] + load(inputs[1])["model"][name]) / 2 for name in found]
    torch.testing.assert_close(list(found.values()), means, rtol=0, atol=1e-7)
