"""A model shared out among processes by torch's FSDP2. Its imports take long: import it where needed."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class FullySharded(nn.Module):
    """A model of which each process of `group` keeps a part: of parameters, gradients, optimiser states.

    It has what fairseq's trainer calls of fairscale's wrapper; `parameters()` are this process's parts, plain
    tensors that any pointwise optimiser takes. Checkpoints are those of an unsharded training. Other
    attributes are the model's.
    """

    use_sharded_state = False

    def __init__(self, cfg: Any, model: nn.Module, group: Any, device: torch.device):
        """cfg: fairseq's distributed_training; model: on `device`, in the dtype of its parameters.

        Layers that fairseq marks are gathered one by one, and the rest together.
        """
        super().__init__()
        mesh = DeviceMesh.from_group(group, device.type)
        kwargs: dict[str, Any] = {"mp_policy": _precision(cfg)}
        if cfg.no_reshard_after_forward:
            kwargs["reshard_after_forward"] = False
        apart = [part for part in model.modules() if hasattr(part, "sharded_apart") and part is not model]
        for part in [*apart, model]:
            fully_shard(part, mesh=mesh, **kwargs)
        self.module = model
        self.module._register_load_state_dict_pre_hook(self._share_out)
        self.group = group
        self._whole: dict[str, Any] = dict(self.module.named_parameters())
        self._parts = {name: _part_of(parameter) for name, parameter in self._whole.items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self._parts.items()

    def parameters(self, *args: Any, **kwargs: Any) -> Iterator[nn.Parameter]:
        yield from self._parts.values()

    def all_reduce_grads(self) -> None:
        """Hand the optimiser its parts of the gradients, which the backward has averaged."""
        for name, parameter in self._whole.items():
            self._parts[name].grad = None if parameter.grad is None else parameter.grad.to_local()
            parameter.grad = None

    def whole_norm(self, norm: Tensor) -> Tensor:
        """The norm () of the whole gradient. norm: that of this process's part.

        On a CPU, in float32, each whole gradient is gathered for it, so that it is summed as by one process:
        Adam would make whole steps of what another last bit does to gradients that are zero.
        """
        if norm.device.type == "cpu" and all(part.dtype == torch.float32 for part in self._parts.values()):
            with_gradient = [(part.grad, self._whole[name]) for name, part in self._parts.items()]
            norms = [torch.norm(_joined(*pair)) for pair in with_gradient if pair[0] is not None]
            return torch.norm(torch.stack(norms))
        square = norm.float() ** 2
        dist.all_reduce(square, group=self.group)
        return square**0.5

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The unsharded model's; a collective call."""
        return {name: _whole(tensor) for name, tensor in self.module.state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: dict[str, Tensor], strict: bool = True, **kwargs: Any) -> Any:
        """Load an unsharded model's state."""
        return self.module.load_state_dict(dict(state_dict), strict=strict, **kwargs)

    def _share_out(self, state_dict: dict[str, Tensor], *_: Any) -> None:
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            if name in state_dict and state_dict[name].shape == parameter.shape:
                state_dict[name] = _shared_out(state_dict[name], parameter)

    def gather_full_optim_state_dict(self, optimizer: Any) -> dict[str, Any]:
        """The optimiser's state as an unsharded training saves it; a collective call."""

        def gathered(tensor: Tensor, whole: DTensor) -> Tensor:
            if tensor.shape != whole.to_local().shape:
                return tensor
            return _joined(tensor, whole)

        return self._with_states(optimizer.state_dict(), gathered)

    def get_shard_from_optim_state_dict(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """This process's part of an unsharded optimiser's state."""

        def part(tensor: Tensor, whole: DTensor) -> Tensor:
            return _shared_out(tensor, whole).to_local() if tensor.shape == whole.shape else tensor

        return self._with_states(state_dict, part)

    def _with_states(self, state_dict: dict[str, Any], change: Any) -> dict[str, Any]:
        trained = [parameter for parameter in self._whole.values() if parameter.requires_grad]
        states = {
            index: {
                name: change(value, trained[index]) if torch.is_tensor(value) and value.dim() else value
                for name, value in state.items()
            }
            for index, state in state_dict["state"].items()
        }
        return {**state_dict, "state": states}

    def local_metadata_dict(self) -> dict[str, Any]:
        """What fairscale needs to join sharded checkpoints: ours are whole."""
        return {}


def _precision(cfg: Any) -> MixedPrecisionPolicy:
    half = cfg.fp16 and not cfg.memory_efficient_fp16
    return MixedPrecisionPolicy(
        param_dtype=torch.float16 if half else None,
        reduce_dtype=torch.float32 if cfg.fp32_reduce_scatter else None,
    )


def _part_of(parameter: Any) -> nn.Parameter:
    """This process's part of a sharded parameter, in the same memory."""
    return nn.Parameter(parameter.to_local().detach(), requires_grad=parameter.requires_grad)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def _joined(part: Tensor, like: DTensor) -> Tensor:
    """The whole of which each process has a part, shared out as `like` is; a collective call."""
    placed = {"shape": like.shape, "stride": like.stride()}
    return _whole(DTensor.from_local(part, like.device_mesh, like.placements, **placed))


def _shared_out(tensor: Tensor, like: DTensor) -> DTensor:
    """`tensor`, which every process holds, as `like` is shared out."""
    local = tensor.to(device=like.device)
    return distribute_tensor(local, like.device_mesh, like.placements, src_data_rank=None)
