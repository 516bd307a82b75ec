"""YAML and overrides for mega-hydra-train: each row changes the configuration of mega_nmt_tiny."""

from malformed import Row

FILE = "{here}/c.yaml"


def row(name, old, new, *says, options=""):
    """The configuration with `new` in the place of `old`."""

    def change(here):
        text = (here / "c.yaml").read_text()
        assert old in text
        changed = text.replace(old, new, 1) if old else new
        (here / "c.yaml").write_bytes(changed.encode("latin-1"))

    return Row("hydra", options, list(says), change, name)


def no_file(here):
    (here / "c.yaml").unlink()


ROWS = [
    row("tab", "  seed: 1", "\tseed: 1", FILE, r"'\t'", "line 6", "correct"),
    row("unclosed list", "lr: [0.004]", "lr: [0.004", FILE, "expected ',' or ']'", "correct"),
    row(
        "key twice",
        "  dropout: 0.1",
        "  dropout: 0.1\n  dropout: 0.2",
        FILE,
        "duplicate key dropout",
        "correct",
    ),
    row("section twice", "model:", "model: {}\nmodel:", FILE, "duplicate key model", "correct"),
    row("tag", "seed: 1", "seed: !!python/object/apply:os.getpid []", FILE, "os.getpid", "correct"),
    row("latin-1", "# A small", "# Für", FILE, "utf-8", "0xfc", "correct"),
    row("nothing", "", "", FILE, "task.data", "correct"),
    row("list", "", "- a\n- b\n", FILE, "must be a DictConfig, got ListConfig", "correct"),
    row("word", "", "hello\n", FILE, "hello", "correct"),
    row("unknown key", "  dropout: 0.1", "  dropot: 0.1", FILE, "'dropot'", "MegaNMTOptions", "correct"),
    row("unknown key of the task", "source_lang", "source_lng", FILE, "'source_lng'", "correct"),
    row("word for a number", "layers: 2", "layers: two", FILE, "'two'", "encoder_layers", "Integer"),
    row("word for a boolean", "before: true", "before: maybe", FILE, "'maybe'", "normalize_before", "bool"),
    row("word for a list", "lr: [0.004]", "lr: x", FILE, "lr", "correct"),
    row("word for max_tokens", "max_tokens: 1024", "max_tokens: x", FILE, "'x'", "max_tokens", "correct"),
    row("null", "layers: 2", "layers: null", FILE, "'None'", "encoder_layers", "correct"),
    row("choice", "bias: rotary", "bias: foo", FILE, "'foo'", "[simple, rotary]", "rel_pos_bias"),
    row("nowhere", "layers: 2", "layers: ${a.b}", FILE, "'a.b'", "encoder_layers", "correct"),
    row("0", "z_dim: 64", "z_dim: 0", "--encoder-z-dim", "at least 1", "got 0"),
    row("dropout", "dropout: 0.1", "dropout: 2", "--dropout", "[0, 1)", "got 2"),
    row("multiple", "max_tokens:", "required_batch_size_multiple: 0\n  max_tokens:", "at least 1; got 0"),
    row("max_tokens 0", "max_tokens: 1024", "max_tokens: 0", "dataset.max_tokens", "at least 1", "got 0"),
    row("no name", "  _name: mega_nmt\n", "", "model._name", "missing", "model._name=mega_nmt"),
    row(
        "model", "_name: mega_nmt", "_name: mega_nmtt", "model._name", "'mega_nmtt'", "did you mean mega_nmt"
    ),
    row("task", "_name: translation", "_name: translatin", "task._name", "'translatin'", "translation"),
    row(
        "criterion",
        "_name: mega_cross",
        "_name: mega_cros",
        "criterion._name",
        "'mega_cros_",
        "mega_cross_entropy",
    ),
    row("optimizer", "_name: adam", "_name: adm", "optimizer._name", "'adm'", "did you mean adam"),
    row("scheduler", "_name: inverse_sqrt", "_name: sqrt", "lr_scheduler._name", "'sqrt'", "inverse_sqrt"),
    Row("hydra", "", [FILE, "there is no file", "--config-name"], no_file, "no file"),
    Row("hydra", "model.foo=3", [FILE, "model.foo", "the command line"]),
    Row("hydra", "modell.dropout=3", [FILE, "modell.dropout", "the command line"]),
    Row("hydra", "model.dropout", ["'model.dropout'", "missing EQUAL", "the command line"]),
    Row("hydra", "model.dropout=x", [FILE, "'x'", "dropout", "Float", "the command line"]),
    Row("hydra", "task.data=/no/data", ["data folder", "/no/data", "--destdir"]),
    Row("hydra", "'task.data=???'", ["task.data is missing", "--destdir"]),
    Row("hydra", "common.user_dir=/no/plugin", ["/no/plugin", "there is no folder", "--user-dir"]),
]
