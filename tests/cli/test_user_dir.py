"""`--user-dir` in every form: how it is spelled, what is already imported, and what else is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "mega_fairseq"

# fairseq's own parser in a fresh process; a trainer imports the user dir again, so this does as well
PARSE = """
import sys
from fairseq import options, utils
args = options.parse_args_and_arch(options.get_training_parser(), ["data", *sys.argv[1:]])
utils.import_user_module(args)
from fairseq.data import data_utils
import mega_fairseq
print(args.arch, data_utils.batch_by_size.__name__, hasattr(data_utils.batch_by_size, "mega_original"))
print(mega_fairseq.__path__[0])
"""


def python(code, *arguments, cwd, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        # -P: the working directory must not be importable by itself
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A source tree apart from the one that may be installed for development."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(SOURCE, root / "mega_fairseq", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "link").symlink_to(root / "mega_fairseq")
    (root / "parent").symlink_to(root)
    return root


@pytest.mark.parametrize(
    "user_dir",
    ["mega_fairseq", "./mega_fairseq/", "{root}/mega_fairseq", "elsewhere/link/", "parent/mega_fairseq"],
)
def test_every_spelling(checkout, user_dir):
    user_dir = user_dir.format(root=checkout)
    done = python(PARSE, "--user-dir", user_dir, "--arch", "mega_nmt_tiny", cwd=checkout)
    assert done.returncode == 0, done.stderr
    arch, path = done.stdout.strip().splitlines()
    assert arch == "mega_nmt_tiny batch_by_size True"
    assert Path(path).resolve() == checkout / "mega_fairseq"


def test_a_renamed_copy(checkout):
    copy = checkout / "elsewhere" / "my_mega"
    shutil.copytree(checkout / "mega_fairseq", copy)
    done = python(PARSE, "--user-dir", copy, "--arch", "mega_nmt_tiny", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[1]) == copy


@pytest.mark.parametrize("user_dir", ["{source}", "mega_fairseq", "elsewhere/link", "nowhere/mega_fairseq"])
def test_package_imported_first(checkout, user_dir):
    """As with the console commands: the installed package is loaded, whatever tree --user-dir names."""
    user_dir = user_dir.format(source=SOURCE)
    done = python(
        "import mega_fairseq\n" + PARSE,
        *("--user-dir", user_dir, "--arch", "mega_nmt_tiny"),
        cwd=checkout,
        PYTHONPATH=str(SOURCE.parent),
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[1]) == SOURCE
    assert ("is not used" in done.stderr) == (user_dir in {"mega_fairseq", "elsewhere/link"})


def test_another_plugin_still_loads(checkout):
    (checkout / "other_plugin").mkdir(exist_ok=True)
    (checkout / "other_plugin" / "__init__.py").write_text("print('other plugin loaded')")
    done = python(
        "import mega_fairseq\n" + PARSE,
        *("--user-dir", "other_plugin", "--arch", "mega_nmt_tiny"),
        cwd=checkout,
        PYTHONPATH=str(SOURCE.parent),
    )
    assert done.returncode == 0, done.stderr
    assert "other plugin loaded" in done.stdout


@pytest.mark.parametrize(
    ("stub", "remedy"),
    [
        ("raise ModuleNotFoundError(\"No module named 'fairseq'\")", "ModuleNotFoundError"),
        ("raise ValueError('mutable default')", "mutable default"),
    ],
)
def test_without_fairseq_the_error_says_what_to_install(tmp_path, stub, remedy):
    (tmp_path / "fairseq.py").write_text(stub)
    done = python("import mega_fairseq", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{SOURCE.parent}")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: mega_fairseq needs PyTorch and fairseq")
    assert remedy in last and "pip install" in last
