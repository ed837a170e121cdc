/* Libraries in the place of an NPU vendor's: as LiteRT's compiler plugin they take no operator, as its dispatch library they
   drive nothing. Both say of which file they are. Declared as in litert/vendors/c of https://github.com/google-ai-edge/LiteRT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

static int say(const char *what) {
  Dl_info info;
  dladdr((void *)say, &info);
  fprintf(stderr, "%s: %s\n", what, info.dli_fname);
  return 0;
}

int LiteRtDispatchGetApi(void *api) { return say("dispatch asked"), 3; }

static int plugin;
int LiteRtGetCompilerPluginVersion(int *version) { return version[0] = version[2] = 0, version[1] = 1, 0; }
const char *LiteRtGetCompilerPluginSocManufacturer(void) { return "StandIn"; }
int LiteRtCreateCompilerPlugin(const void *context, void **made, void *environment, void *options) {
  return *made = &plugin, say("compiler asked");
}
void LiteRtDestroyCompilerPlugin(void *one) {}
int LiteRtGetCompilerPluginSupportedHardware(void *one, int *hardware) { return *hardware = 4, 0; }
int LiteRtGetNumCompilerPluginSupportedSocModels(void *one, size_t *count) { return *count = 0; }
int LiteRtGetCompilerPluginSupportedSocModel(void *one, size_t index, const char **name) { return 6; }
int LiteRtGetCompilerPluginSDKVersion(void *one, const char **version) { return *version = "1", 0; }
int LiteRtCompilerPluginPartition(void *one, const char *model, void *graph, void *operators) { return 0; }
int LiteRtCompilerPluginCompile(void *one, const char *model, void *parts, void **compiled) { return 504; }
void LiteRtDestroyCompiledResult(void *compiled) {}
int LiteRtGetCompiledResultByteCode(void *compiled, size_t index, const void **code, size_t *size) { return 6; }
int LiteRtCompiledResultNumByteCodeModules(void *compiled, size_t *count) { return *count = 0; }
int LiteRtGetCompiledResultCallInfo(void *compiled, size_t index, const void **info, size_t *size, size_t *code) { return 6; }
int LiteRtGetNumCompiledResultCalls(void *compiled, size_t *count) { return *count = 0; }
int LiteRtCompilerPluginRegisterAllTransformations(void *one, void **all, size_t *count) { return *count = 0; }
int LiteRtCompilerPluginCheckCompilerCompatibility(long version, void *one, void *environment, void *options, const char *model) {
  return 0;
}
