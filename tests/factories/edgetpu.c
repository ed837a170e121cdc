/* A library in the place of Coral's libedgetpu.so.1: it takes each operator edgetpu-custom-op and computes nothing in it.
   As an external delegate of any name it takes the operators of the code that its option `builtin` gives, `most` of them.
   The structs are the beginnings of those of TensorFlow Lite's C interface (tensorflow/lite/core/c/common.h). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, void *);
  int (*invoke)(Context *, void *);
  const char *(*profiling_string)(const Context *, const void *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external;
  void *async_kernel;
  uint64_t inplace_operator;
} Registration;
typedef struct Delegate Delegate;
struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context *, IntArray **);
  void *tensors, *impl;
  void *ResizeTensor, *ReportError, *AddTensors;
  int (*GetNodeAndRegistration)(Context *, int, void **, Registration **);
  int (*Replace)(Context *, Registration, const IntArray *, Delegate *);
};
struct Delegate {
  void *data;
  int (*Prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque_delegate_builder;
};

static int builtin, most;

static int nothing(Context *context, void *node) { (void)context; (void)node; return 0; }

static int prepare(Context *context, Delegate *delegate) {
  IntArray *plan;
  if (context->GetExecutionPlan(context, &plan)) return 1;
  IntArray *taken = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  taken->size = 0;
  for (int i = 0; i < plan->size; i++) {
    void *node;
    Registration *registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration)) return 1;
    int is_coral = registration->custom_name && !strcmp(registration->custom_name, "edgetpu-custom-op");
    if (builtin ? registration->builtin_code == builtin && taken->size < most : is_coral)
      taken->data[taken->size++] = plan->data[i];
  }
  Registration kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.prepare = kernel.invoke = nothing;
  kernel.builtin_code = 51; /* DELEGATE */
  kernel.custom_name = "EdgeTpuDelegateForCustomOp";
  kernel.version = 1;
  int status = taken->size ? context->Replace(context, kernel, taken, delegate) : 0;
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  builtin = 0, most = 1000;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "builtin")) builtin = atoi(values[i]);
    else if (!strcmp(keys[i], "most")) most = atoi(values[i]);
    else {
      report("no such option");
      return NULL;
    }
  }
  if (getenv("FAKE_EDGETPU_UNPLUGGED")) {
    report("no device");
    return NULL;
  }
  Delegate *delegate = calloc(1, sizeof *delegate);
  delegate->Prepare = prepare;
  delegate->flags = 1; /* dynamic tensors: else unknown operators are prepared before it is asked */
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
