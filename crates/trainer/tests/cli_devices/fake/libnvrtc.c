/* A compiler of kernels that knows its version and compiles nothing. */
#include <stdlib.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int nvrtcVersion(int *major, int *minor) {
    int version = number("FAKE_NVRTC", 130);
    *major = version / 10;
    *minor = version % 10;
    return 0;
}
int nvrtcGetNumSupportedArchs(int *n) { *n = 3; return 0; }
int nvrtcGetSupportedArchs(int *archs) {
    archs[0] = 75;
    archs[1] = 80;
    archs[2] = 89;
    return 0;
}
