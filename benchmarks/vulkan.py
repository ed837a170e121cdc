"""The devices that Vulkan's loader finds here, by the loader alone (Vulkan 1.0, VkPhysicalDeviceProperties)."""

from __future__ import annotations

import ctypes

LOADER = "libvulkan.so.1"
KINDS = {0: "other", 1: "integrated GPU", 2: "discrete GPU", 3: "virtual GPU", 4: "processor"}
_PROPERTIES_BYTES = 4096  # of which the structure takes 824
_KIND_AT, _NAME_AT, _NAME_BYTES = 16, 20, 256
_MOST = 64


def vulkan_devices() -> list[dict[str, str]]:
    """Return each device's `name` and `kind`; a GPU in software is of the kind `processor`.

    Raises: OSError where the loader is not there or answers with an error, as it does without any driver.
    """
    loader = ctypes.CDLL(LOADER)
    wanted = (ctypes.c_uint64 * 8)(1)  # VkInstanceCreateInfo: its type, no layer, no extension
    instance = ctypes.c_void_p()
    _check(loader.vkCreateInstance(wanted, None, ctypes.byref(instance)), "vkCreateInstance")
    try:
        count, devices = ctypes.c_uint32(_MOST), (ctypes.c_void_p * _MOST)()
        status = loader.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), devices)
        _check(status, "vkEnumeratePhysicalDevices")
        return [_described(loader, device) for device in devices[: count.value]]
    finally:
        loader.vkDestroyInstance(instance, None)


def _described(loader: ctypes.CDLL, device: int) -> dict[str, str]:
    properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
    loader.vkGetPhysicalDeviceProperties(ctypes.c_void_p(device), properties)
    kind = int.from_bytes(properties.raw[_KIND_AT : _KIND_AT + 4], "little")
    name = properties.raw[_NAME_AT : _NAME_AT + _NAME_BYTES].split(b"\0")[0].decode("utf-8", "replace")
    return {"name": name, "kind": KINDS.get(kind, str(kind))}


def _check(status: int, call: str) -> None:
    if status < 0:
        raise OSError(f"{call} answered {status}")
