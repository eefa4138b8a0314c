/* What every translated kernel includes: a GPU thread, what it asks of its block, and the arithmetic of PTX that C does not
   have. Registers are integers of their width; floats are read out of them and put back. */
#include <stdint.h>
#include <string.h>

struct thread {
    uint32_t tid[3], ntid[3], ctaid[3], nctaid[3];
    uint32_t lane, warp, n_shared;
    uint8_t *shared;
    void *block;
    const struct calls *call;
};

struct tensor_copy {
    uint64_t map;
    uint32_t to, barrier;
    int32_t at[5];
};

/* The operands of a warp's product, and its result in `d`. */
struct mma {
    uint32_t a[8], b[8], c[8], d[8];
};

struct wgmma {
    uint64_t a, b;
    uint32_t n, scale_d, transposed_a, transposed_b;
    int32_t sign_a, sign_b;
    uint32_t *d[128];
};

struct calls {
    void (*barrier)(struct thread *, uint32_t id, uint32_t n_threads);
    void (*warp_barrier)(struct thread *, uint32_t mask);
    uint32_t (*active)(struct thread *);
    /* `kind`: bfly, up, down, idx; returns whether the source was in range in bit 32. */
    uint64_t (*shuffle)(struct thread *, uint32_t kind, uint32_t value, uint32_t by, uint32_t clamp, uint32_t mask);
    uint32_t (*ballot)(struct thread *, uint32_t predicate, uint32_t mask);
    uint32_t (*reduce)(struct thread *, uint32_t kind, uint32_t value, uint32_t mask);
    void (*ldmatrix)(struct thread *, uint32_t address, uint32_t n, uint32_t transposed, uint32_t *to);
    void (*stmatrix)(struct thread *, uint32_t address, uint32_t n, uint32_t transposed, const uint32_t *from);
    void (*mma)(struct thread *, uint32_t shape, struct mma *);
    void (*wmma)(struct thread *, uint32_t shape, uint32_t element, uint32_t halves, struct mma *);
    void (*wgmma)(struct thread *, uint32_t type, struct wgmma *);
    void (*mbarrier_init)(struct thread *, uint32_t address, uint32_t count);
    uint64_t (*mbarrier_arrive)(struct thread *, uint32_t address, uint32_t count, uint32_t bytes);
    uint32_t (*mbarrier_wait)(struct thread *, uint32_t address, uint32_t parity, uint32_t blocking);
    void (*copy_tensor)(struct thread *, uint32_t n_dimensions, struct tensor_copy *);
    void (*copy_later)(struct thread *, uint32_t to, uint64_t from, uint32_t n, uint32_t n_read);
    void (*commit_copies)(struct thread *);
    void (*wait_copies)(struct thread *, uint32_t at_most);
    void (*stop)(struct thread *, const char *why);
};

static inline float F(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline uint32_t U(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }
static inline double D(uint64_t bits) { double x; memcpy(&x, &bits, 8); return x; }
static inline uint64_t UD(double x) { uint64_t bits; memcpy(&bits, &x, 8); return bits; }

static inline float H(uint16_t bits) { _Float16 x; memcpy(&x, &bits, 2); return x; }
static inline uint16_t UH(float x) { _Float16 h = (_Float16)x; uint16_t bits; memcpy(&bits, &h, 2); return bits; }
static inline float B(uint16_t bits) { return F((uint32_t)bits << 16); }
static inline uint16_t UB(float x) {
    uint32_t bits = U(x);
    if (x != x) return 0x7fff;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
static inline uint16_t UB_rz(float x) { return x != x ? 0x7fff : U(x) >> 16; }
static inline uint16_t UH_rz(float x) {
    uint16_t bits = UH(x);
    return x == x && __builtin_fabsf(H(bits)) > __builtin_fabsf(x) ? bits - 1 : bits;
}
/* Rounded to nearest, ties away from zero, to 10 bits behind the point. */
static inline uint32_t tf32(float x) { return x != x ? 0x7fffffff : (U(x) + 0x1000) & 0xffffe000; }

static inline float down(long double x) { float y = x; return y > x ? __builtin_nextafterf(y, -__builtin_inff()) : y; }
static inline float up(long double x) { float y = x; return y < x ? __builtin_nextafterf(y, __builtin_inff()) : y; }
static inline float toward_zero(long double x) { return x < 0 ? up(x) : down(x); }
static inline float saturate(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }

/* A NaN operand gives way to the other one. */
static inline float fmin_(float a, float b) { return a != a ? b : b != b ? a : __builtin_fminf(a, b); }
static inline float fmax_(float a, float b) { return a != a ? b : b != b ? a : __builtin_fmaxf(a, b); }
static inline float fmin_nan(float a, float b) { return a != a ? a : b != b ? b : __builtin_fminf(a, b); }
static inline float fmax_nan(float a, float b) { return a != a ? a : b != b ? b : __builtin_fmaxf(a, b); }

/* A float as an integer between `low` and `high`: what is out of range becomes the nearest one, NaN 0. */
static inline int64_t to_int(double x, double low, double high) {
    return x != x ? 0 : x <= low ? (int64_t)low : x >= high ? (high >= 9.2e18 ? INT64_MAX : (int64_t)high) : (int64_t)x;
}
static inline uint64_t to_unsigned(double x, double high) {
    return !(x > 0) ? 0 : x >= high ? (high >= 1.8e19 ? UINT64_MAX : (uint64_t)high) : (uint64_t)x;
}

static inline uint32_t shl32(uint32_t x, uint32_t by) { return by > 31 ? 0 : x << by; }
static inline uint64_t shl64(uint64_t x, uint32_t by) { return by > 63 ? 0 : x << by; }
static inline uint32_t shr32(uint32_t x, uint32_t by) { return by > 31 ? 0 : x >> by; }
static inline uint64_t shr64(uint64_t x, uint32_t by) { return by > 63 ? 0 : x >> by; }
static inline int32_t sar32(int32_t x, uint32_t by) { return x >> (by > 31 ? 31 : by); }
static inline int64_t sar64(int64_t x, uint32_t by) { return x >> (by > 63 ? 63 : by); }
static inline uint32_t funnel_left(uint32_t low, uint32_t high, uint32_t by) {
    return (((uint64_t)high << 32 | low) << by) >> 32;
}
static inline uint32_t funnel_right(uint32_t low, uint32_t high, uint32_t by) {
    return ((uint64_t)high << 32 | low) >> by;
}
static inline uint64_t bfi(uint64_t f, uint64_t into, uint32_t at, uint32_t n, uint32_t width) {
    at &= 255, n &= 255;
    if (at >= width || n == 0) return into;
    uint64_t mask = (n >= 64 ? ~0ull : (1ull << n) - 1) << at;
    return (into & ~mask) | ((f << at) & mask);
}
static inline uint64_t bfe(uint64_t x, uint32_t at, uint32_t n, uint32_t width, int is_signed) {
    at &= 255, n &= 255;
    if (n == 0) return 0;
    uint32_t end = at + n - 1 < width - 1 ? at + n - 1 : width - 1;
    uint64_t sign = is_signed && (x >> end & 1) ? ~0ull : 0;
    uint64_t shifted = at >= 64 ? 0 : x >> at;
    uint32_t have = at >= width ? 0 : (n < width - at ? n : width - at);
    return have >= 64 ? shifted : (shifted & ((1ull << have) - 1)) | (sign << have);
}
static inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t selection) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t pick = selection >> (4 * i) & 15, byte = bytes >> (8 * (pick & 7)) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}
static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t result = 0;
    for (int i = 0; i < 8; i++)
        if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return result;
}
