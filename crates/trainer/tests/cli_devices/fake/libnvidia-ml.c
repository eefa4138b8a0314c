/* The driver's management library, on a computer with one card. */
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

struct memory { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "580.1", length); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = number("FAKE_DRIVER", 13000); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = number("FAKE_CARDS", 1); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &number; return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned length) { strncpy(text, "Fake 3000", length); return 0; }
int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
    memory->total = 8192ull << 20;
    memory->free = (unsigned long long)number("FAKE_FREE_MIB", 7000) << 20;
    memory->used = memory->total - memory->free;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    int capability = number("FAKE_CAPABILITY", 89);
    *major = capability / 10;
    *minor = capability % 10;
    return 0;
}
int nvmlDeviceGetComputeMode(void *device, int *mode) {
    int fake = number("FAKE_MODE", 0);
    *mode = fake;
    return 0;
}
