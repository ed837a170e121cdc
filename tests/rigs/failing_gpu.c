/* A driver of Vulkan in front of another one, GPU_BEHIND, which it passes everything on to until it fails:
   GPU_LOST_AT=N: at the Nth submission the device is lost, and all that is asked of it afterwards says so;
   GPU_LOST_LATE=1: that submission is taken and never done, so that only waiting for it tells of the loss;
   GPU_IDLE_AT=N: the Nth computation and those after it are left out, and all else goes well;
   GPU_FULL_AT=N: the Nth allocation finds no memory; GPU_MEMORY=BYTES: there is no more in all.
   It counts from the start of a process. Types and codes are those of vulkan_core.h, see
   https://registry.khronos.org/vulkan/specs/latest/man/html/VkMemoryAllocateInfo.html and VkResult.html;
   the three functions that a driver exports: https://vulkan.lunarg.com/doc/view/latest/linux/LoaderDriverInterface.html. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int32_t Result;
typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);
typedef struct { int32_t type; const void *next; uint64_t size; uint32_t kind; } Allocation;
enum { SUCCESS = 0, OUT_OF_DEVICE_MEMORY = -2, DEVICE_LOST = -4 };

static struct {
  Lookup instance, device;
  Result (*submit)(void *, uint32_t, const void *, uint64_t);
  Result (*allocate)(void *, const Allocation *, const void *, uint64_t *);
  Result (*wait)(void *, uint32_t, const uint64_t *, uint32_t, uint64_t);
  Result (*status)(void *, uint64_t);
  Result (*idle)(void *);
  void (*dispatch)(void *, uint32_t, uint32_t, uint32_t);
} behind;
static atomic_long submissions, allocations, bytes, computations;
static atomic_int is_lost;

static long setting(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static Result submit(void *queue, uint32_t count, const void *infos, uint64_t fence) {
  if (++submissions == setting("GPU_LOST_AT")) {
    is_lost = 1;
    if (setting("GPU_LOST_LATE")) return SUCCESS;
  }
  return is_lost ? DEVICE_LOST : behind.submit(queue, count, infos, fence);
}

static Result allocate(void *device, const Allocation *info, const void *allocator, uint64_t *memory) {
  long most = setting("GPU_MEMORY");
  if (++allocations == setting("GPU_FULL_AT") || (most && bytes + (long)info->size > most)) return OUT_OF_DEVICE_MEMORY;
  bytes += (long)info->size;
  return behind.allocate(device, info, allocator, memory);
}

static Result wait(void *device, uint32_t count, const uint64_t *fences, uint32_t all, uint64_t timeout_ns) {
  return is_lost ? DEVICE_LOST : behind.wait(device, count, fences, all, timeout_ns);
}

static Result status(void *device, uint64_t fence) { return is_lost ? DEVICE_LOST : behind.status(device, fence); }

static Result idle(void *device) { return is_lost ? DEVICE_LOST : behind.idle(device); }

static void dispatch(void *commands, uint32_t x, uint32_t y, uint32_t z) {
  long idle_at = setting("GPU_IDLE_AT");
  if (++computations < idle_at || !idle_at) behind.dispatch(commands, x, y, z);
}

static Function of_device(void *device, const char *name);

static const struct { const char *name; Function here; void *there; } replaced[] = {
  {"vkQueueSubmit", (Function)submit, &behind.submit},
  {"vkAllocateMemory", (Function)allocate, &behind.allocate},
  {"vkWaitForFences", (Function)wait, &behind.wait},
  {"vkGetFenceStatus", (Function)status, &behind.status},
  {"vkDeviceWaitIdle", (Function)idle, &behind.idle},
  {"vkCmdDispatch", (Function)dispatch, &behind.dispatch},
  {"vkGetDeviceProcAddr", (Function)of_device, &behind.device},
};

static Function replace(const char *name, Function found) {
  for (size_t i = 0; found && i < sizeof replaced / sizeof *replaced; i++)
    if (!strcmp(name, replaced[i].name)) {
      memcpy(replaced[i].there, &found, sizeof found);
      return replaced[i].here;
    }
  return found;
}

static Function of_device(void *device, const char *name) { return replace(name, behind.device(device, name)); }

static void *of_driver(const char *name) {
  static void *driver;
  if (!driver) driver = dlopen(getenv("GPU_BEHIND"), RTLD_NOW);
  return driver ? dlsym(driver, name) : NULL;
}

Result vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  Result (*there)(uint32_t *) = of_driver(__func__);
  return there ? there(version) : -3; /* VK_ERROR_INITIALIZATION_FAILED */
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  if (!behind.instance) behind.instance = of_driver(__func__);
  return behind.instance ? replace(name, behind.instance(instance, name)) : NULL;
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  Lookup there = of_driver(__func__);
  return there ? there(instance, name) : NULL;
}
