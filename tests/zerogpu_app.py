"""Runs the app as tests/quiet.py does, with the package `spaces` and without a GPU: what a worker does with CUDA goes
on as the emulation that `spaces` itself runs in the main process, where tensors that say `cuda` lie in the memory.
Everything else is the package's own: the patches of torch, the packing of the weights, the fork, the queues."""

import sys
import threading
from importlib.machinery import PathFinder

import quiet


def move(callback=None) -> None:
    """Read the packed weights back, as the package does on a GPU."""
    import torch
    from spaces.zero.torch import patching

    for pack in patching.tensor_packs:
        packed = [*(entry for batch in pack.batches for entry in batch), *pack.big_tensors]
        with torch._C.DisableTorchFunction(), open(pack.path(), "rb") as file:
            for meta, size, aligned in packed:
                storage = torch.UntypedStorage(size)
                file.readinto(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
                file.seek(aligned - size, 1)
                whole = torch.empty(0, dtype=meta.dtype).set_(storage, 0, meta.shape, meta.stride())
                for fake in pack.fakes[meta]:
                    patching.cuda_aliases[fake] = whole


def init(uuid: str) -> None:
    """The emulation in every thread of the worker: the package enters it in the main process's first thread only."""
    import torch
    from spaces.zero.torch import patching

    run = threading.Thread.run

    def emulated(thread):
        patching.enter_mode()
        run(thread)

    threading.Thread.run = emulated
    torch.Tensor.pin_memory = lambda tensor, *_: tensor


class WithoutCuda:
    """Puts these two in place when the package is imported, whenever the app does that."""

    def find_spec(self, name, path=None, target=None):
        if name != "spaces.zero.torch":
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.init, module.move, module.unpatch = init, move, lambda: None

        spec.loader.exec_module = exec_module
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, WithoutCuda())
    quiet.main()
