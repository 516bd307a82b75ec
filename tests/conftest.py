import os
import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, register_random, settings

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


class TorchRandom:
    """torch's generator, which hypothesis seeds before each example: models begin alike."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


torch_random = TorchRandom()
register_random(torch_random)

# The same examples every time, unless a campaign asks for new ones: --hypothesis-profile=campaign, or
# MEGA_EXAMPLES=1000. A model is built for each example, which hypothesis may find slow.
slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=slow)
settings.register_profile(
    "campaign",
    max_examples=int(os.environ.get("MEGA_EXAMPLES", "1000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=slow,
)
settings.load_profile("campaign" if "MEGA_EXAMPLES" in os.environ else "ci")
