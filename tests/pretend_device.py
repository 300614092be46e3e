"""A pretend accelerator, for machines without one: tensors on the device "pretend" hold their numbers on the
CPU, refuse
what CUDA refuses, and count when the host waits for the device and when numbers move between the two.

    import pretend_device
    device = pretend_device.start()         # "pretend:0", None where this version of torch can't do it
    x = torch.rand(2, 3).to(device)
    with pretend_device.counting() as counts:
        x.sum().item()
    counts.synchronisations                 # 1

Refused: tensors of both devices in one operation (but for numbers without dimensions where CUDA takes them), a CPU
generator for numbers drawn on the device, index tensors on the wrong device, `.numpy()`. Not pretended:
streams, memory,
half-precision kernels, and numbers that differ from the CPU's.
"""

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.utils import _pytree as pytree

NAME = "pretend"
_aten = torch.ops.aten
_lock = threading.RLock()


@dataclass
class Counts:
    "What happened between host and device"

    synchronisations: int = 0  # times that the host waited for numbers of the device
    to_device: int = 0  # tensors copied to the device
    to_host: int = 0  # tensors copied back
    operations: int = 0  # on the device
    by_name: Counter = field(default_factory=Counter)  # operation -> synchronisations

    @property
    def transfers(self) -> int:
        return self.to_device + self.to_host


_counts: list[Counts] = []


def _note(**found):
    with _lock:
        for counts in _counts:
            for name, number in found.items():
                setattr(counts, name, getattr(counts, name) + number)


def _waits(name: str):
    _note(synchronisations=1)
    with _lock:
        for counts in _counts:
            counts.by_name[name] += 1


@contextmanager
def counting():
    "Counts of everything that happens in the body, in every thread"
    counts = Counts()
    with _lock:
        _counts.append(counts)
    try:
        yield counts
    finally:
        with _lock:
            _counts[:] = [c for c in _counts if c is not counts]


class PretendTensor(torch.Tensor):
    "A tensor on the pretend device; `held` has its numbers"

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held: torch.Tensor):
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host"
            " memory first."
        )

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        return self.detach().cpu().tolist()

    def __repr__(self):
        return f"PretendTensor({self.held}, device='{self.device}')"


# Operations after which the host knows something of the numbers
_WAITING = {
    _aten._local_scalar_dense.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.equal.default,
    _aten._unique.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.unique_consecutive.default,
    _aten.unique_dim_consecutive.default,
    _aten.bincount.default,
    _aten._linalg_check_errors.default,
    _aten._linalg_eigh.default,
    _aten._linalg_svd.default,
    _aten.linalg_eig.default,
    _aten.linalg_lstsq.default,
    _aten.is_nonzero.default,
    _aten._assert_async.default,
}
_COPIES = {_aten._to_copy.default, _aten.copy_.default, _aten._copy_from.default}
_INDEXED = {
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
    _aten._unsafe_index.Tensor,
}
# Operations beside the pointwise ones that take a number without dimensions from the CPU
_TAKES_NUMBERS = {
    _aten.where.self,
    _aten.masked_fill.Tensor,
    _aten.masked_fill_.Tensor,
    _aten.fill_.Tensor,
    _aten.fill.Tensor,
    _aten.index_fill.int_Tensor,
    _aten.index_fill_.int_Tensor,
    _aten.clamp.Tensor,
    _aten.lerp.Tensor,
    _aten.lerp_.Tensor,
}


def _refuse_other_device(operation, args, kwargs):
    "Raise RuntimeError where CUDA would"
    written = {a.name for a in operation._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    named = [(a.name, value) for a, value in zip(operation._schema.arguments, args)] + list(kwargs.items())
    for name, value in named:
        for t in pytree.tree_leaves(value):
            if not isinstance(t, torch.Tensor) or isinstance(t, PretendTensor):
                continue
            is_number = (
                t.ndim == 0
                and name not in written
                and (torch.Tag.pointwise in operation.tags or operation in _TAKES_NUMBERS)
            )
            if operation in _INDEXED and isinstance(args[0], PretendTensor):
                if name == "indices" or (name == "values" and t.ndim == 0):
                    _note(to_device=1)  # as CUDA does
                    continue
            if not is_number:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
                    f"(argument {name} of {operation}, shape {tuple(t.shape)})"
                )


def _own_random_state():
    "The device's generator of random numbers, as it stands"
    if not hasattr(_own_random_state, "generator"):
        _own_random_state.generator = torch.Generator().manual_seed(0)
    return _own_random_state.generator


def _is_here(device) -> bool:
    return device is not None and torch.device(device).type == NAME


def _run(operation, args, kwargs):
    "The operation on the numbers held, its result on the device that it belongs to"
    leaves = pytree.tree_leaves((args, kwargs))
    own = [t for t in leaves if isinstance(t, PretendTensor)]
    if operation in _COPIES and operation is not _aten._to_copy.default:
        return _copy_into(args[0], args[1])
    if operation is _aten._to_copy.default:
        here = _is_here(kwargs["device"]) if kwargs.get("device") is not None else isinstance(args[0], PretendTensor)
        return _moved(operation, args[0], kwargs, here)
    if own:
        _refuse_other_device(operation, args, kwargs)
    generator = kwargs.get("generator")
    if isinstance(generator, torch.Generator) and generator.device.type != NAME:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{generator.device.type}'")
    if kwargs.get("device") is not None:
        here = _is_here(kwargs["device"])
        kwargs = {**kwargs, "device": torch.device("cpu")}
    else:
        here = True
    _note(operations=1)
    if operation in _WAITING or (operation is _aten.repeat_interleave.Tensor and kwargs.get("output_size") is None):
        _waits(operation._schema.name)
    elif operation in _INDEXED and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]):
        # as masked_fill_
        fills = (
            operation is _aten.index_put_.default and args[2].numel() == 1 and sum(t is not None for t in args[1]) == 1
        )
        if not fills:
            _waits(f"{operation._schema.name} with a mask")
    wrappers = {id(t.held): t for t in own}
    plain_args, plain_kwargs = pytree.tree_map_only(PretendTensor, lambda t: t.held, (args, kwargs))
    if torch.Tag.nondeterministic_seeded in operation.tags:
        with _lock:
            before, generator = torch.get_rng_state(), _own_random_state()
            torch.set_rng_state(generator.get_state())
            try:
                result = operation(*plain_args, **plain_kwargs)
                generator.set_state(torch.get_rng_state())
            finally:
                torch.set_rng_state(before)
    else:
        result = operation(*plain_args, **plain_kwargs)

    def wrapped(t):
        return wrappers[id(t)] if id(t) in wrappers else PretendTensor(t) if here else t

    return pytree.tree_map_only(torch.Tensor, wrapped, result)


def _moved(operation, source, kwargs, here: bool):
    "A copy of a tensor in another dtype or on another device"
    held = source.held if isinstance(source, PretendTensor) else source
    kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory", "non_blocking")}
    result = operation(held, **kwargs)
    if here and not isinstance(source, PretendTensor):
        _note(to_device=1)
    elif not here:
        _note(to_host=1)
        _waits("copy to the host")
    return PretendTensor(result) if here else result


def _copy_into(target, source):
    "The numbers of one tensor written into another, on any device"
    from_here, to_here = isinstance(source, PretendTensor), isinstance(target, PretendTensor)
    (target.held if to_here else target).copy_(source.held if from_here else source)
    if from_here and not to_here:
        _note(to_host=1)
        _waits("copy to the host")
    elif to_here and not from_here:
        _note(to_device=1)
    return target


class _Module:
    "torch.pretend"

    def is_initialized(self):
        return True

    def is_available(self):
        return True

    def current_device(self):
        return 0

    def device_count(self):
        return 1

    def _is_in_bad_fork(self):
        return False

    def manual_seed_all(self, seed):
        _own_random_state().manual_seed(seed)

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device=None):
        return _own_random_state().get_state()

    def set_rng_state(self, state, device=None):
        _own_random_state().set_state(state)


_started = []


def start() -> str | None:
    "Register the device, once per process; its name, or None where torch knows no devices made in Python"
    from torch.utils import backend_registration

    setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if setup is None:
        return None
    with _lock:
        if not _started:
            setup(NAME, backend_module=_Module())
            made = torch.library.Library("_", "IMPL")  # operations that make tensors on the device
            made.fallback(lambda operation, *args, **kwargs: _run(operation, args, kwargs), "PrivateUse1")
            # torch.tensor(..., device=...) passes by __torch_dispatch__
            copied = torch.library.Library("aten", "IMPL")
            copied.impl("copy_", lambda target, source, non_blocking=False: _copy_into(target, source), "PrivateUse1")
            _started.extend([made, copied])
    return f"{NAME}:0"
