"""Logs of Hydra, and of trainings that report epochs only."""

from mega_fairseq.evaluation.pictures import training


def test_log_of_hydra_and_of_epochs(tmp_path):
    log = tmp_path / "hydra_train.log"
    log.write_text(
        "[2026-11-24 15:06:10,907][valid][INFO] - epoch 001 | valid on 'valid' subset | loss nan | ppl 24.57 "
        "| num_updates 2\n[2026-11-24 15:06:10,966][train][INFO] - epoch 001 | loss 4.74 | ppl 26.72 | "
        "num_updates 2 | lr 6e-05\n[2026-11-24 15:06:10,966][train][INFO] - epoch 002 | loss | ppl 25\n"
    )
    found = training.read_log(log)
    expected = {"epoch": 1.0, "loss": 4.74, "ppl": 26.72, "num_updates": 2.0, "lr": 6e-05}
    assert found["train"] == {name: {2: value} for name, value in expected.items()}
    assert found["valid"]["ppl"] == {2: 24.57}
    assert training.finite(found["valid"]["loss"]) == []
