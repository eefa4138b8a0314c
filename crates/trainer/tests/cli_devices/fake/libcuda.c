/* A driver that says what the environment tells it to, and can't compute. */
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) { return number("FAKE_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = number("FAKE_DRIVER", 13000); return 0; }
int cuDeviceGetCount(int *n) { *n = number("FAKE_CARDS", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Fake 3000", length); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    int capability = number("FAKE_CAPABILITY", 89);
    *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : which == 20 ? number("FAKE_MODE", 0) : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &number; return number("FAKE_ENTER", 0); }
int cuCtxSetCurrent(void *context) { return 0; }
#ifndef OLD
int cuMemGetInfo_v2(size_t *free, size_t *total) {
    *free = (size_t)number("FAKE_FREE_MIB", 7000) << 20;
    *total = (size_t)8192 << 20;
    return 0;
}
#endif
