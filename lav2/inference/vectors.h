/* The registers of this processor, types that all parts share, and a team of threads. */

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define BLOCK 32     /* weights that share a factor: the blocks of the GGUF file that the embedded model comes from */
#define PREFETCH 4096  /* bytes that are asked for before they are needed; of 512 to 8192 the best on a Zen 4 */
#define TILE 16      /* rows of an int8 matrix that lie together: weights [N / TILE, blocks, BLOCK / 2, TILE, 2] and
                        their factors [N / TILE, blocks, TILE] */
#define MAX_TOKENS 128  /* tokens in one call, */
#define PRIVATE_ROWS 4  /* and up to which each thread prepares all that it needs: a barrier takes longer than that */
#define KV_BLOCK 128  /* tokens at most that a thread attends to at once */
#define SCORES (KV_BLOCK + 16)  /* space for theirs and to fill up a vector */
#define KEYS 4       /* that a query is compared with at once, */
#define SHARED_HEADS 3  /* and query heads that share a look at a key: 12 sums, in 16 registers of an AVX2 processor */
/* Numbers in a register of this processor. Of longer vectors the compiler keeps parts in memory: four times as slow. */
#ifdef __AVX512BW__
#define LANES 16
#define NO_UNROLL
#else
#define NO_UNROLL _Pragma("GCC unroll 1")  /* unrolled, it reads ahead into more registers than there are */
#ifdef __AVX2__
#define LANES 8
#else
#define LANES 4
#endif
#endif
const int64_t lav2_lanes = LANES;
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t sums __attribute__((vector_size(4 * LANES)));
typedef int16_t pairs __attribute__((vector_size(4 * LANES)));
typedef int16_t shorts __attribute__((vector_size(2 * LANES)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef int16_t h16 __attribute__((vector_size(32)));
typedef int32_t i4 __attribute__((vector_size(16)));
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif
#define NEAREST 12582912.0f  /* 1.5 · 2^23: adding it rounds to whole numbers */
#define INLINE static inline __attribute__((always_inline))

enum { WIDTH, HEADS, GROUPS, HEAD, HIDDEN, VOCABULARY, LAYERS, PARTS, BYTES };     /* of `shape` */
enum { QKV, QKV_F, QKV_B, OUT, OUT_F, OUT_B, GATE_UP, GATE_UP_F, GATE_UP_B, DOWN, DOWN_F, DOWN_B,
       NORM_1, NORM_2, NORM_Q, NORM_K, WEIGHTS };                                 /* a layer's addresses, 0: not there */
enum { KV, PROMPT, GATE, PROMPT_LENGTH, STATE };  /* a row's keys and values [S, 2G, A] in a layer, its prompt's
                                                     [K, 2G, A] and their gate [H] */
enum { TOKEN, POSITION, FIRST, STATE_AT, LAYER_STRIDE, ROW_SIZE };
typedef struct { const char *weight; const uint16_t *factor; const float *bias; int64_t length, bytes; } Matrix;
typedef struct { const float *x; int16_t *rounded; float *factor; } Rows;  /* vectors, and rounded for int8 weights */
typedef struct { atomic_int arrived, phase; atomic_llong taken; } Team;  /* taken: of the work up to the next barrier */

INLINE lanes load(const float *p) { lanes v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, lanes v) { memcpy(p, &v, sizeof v); }
INLINE float sum(lanes v) {  /* by halves: one after the other would wait for each addition */
    v4 quarter[LANES / 4];
#if LANES == 16
    v8 half[2]; memcpy(half, &v, sizeof half); half[0] += half[1];
    memcpy(quarter, half, sizeof(v8)); quarter[0] += quarter[1];
#else
    memcpy(quarter, &v, sizeof quarter);
    if (LANES == 8) quarter[0] += quarter[LANES / 4 - 1];
#endif
    return (quarter[0][0] + quarter[0][1]) + (quarter[0][2] + quarter[0][3]);
}
INLINE v4 sums_of_four(lanes a, lanes b, lanes c, lanes d) {  /* the sum of each */
    const lanes all[4] = {a, b, c, d};
    v4 t[4];
    for (int i = 0; i < 4; i++) {
        v4 quarter[LANES / 4]; memcpy(quarter, &all[i], sizeof quarter);
        for (int left = LANES / 8; left; left /= 2)
            for (int j = 0; j < left; j++) quarter[j] += quarter[j + left];
        t[i] = quarter[0];
    }
    t[0] = PICK(i4, t[0], t[1], 0, 4, 1, 5) + PICK(i4, t[0], t[1], 2, 6, 3, 7);
    t[2] = PICK(i4, t[2], t[3], 0, 4, 1, 5) + PICK(i4, t[2], t[3], 2, 6, 3, 7);
    return PICK(i4, t[0], t[2], 0, 1, 4, 5) + PICK(i4, t[0], t[2], 2, 3, 6, 7);
}
INLINE float widen(uint16_t h) { uint32_t u = (uint32_t)h << 16; float f; memcpy(&f, &u, 4); return f; }
INLINE uint16_t narrow(float f) {  /* to the nearest bfloat16 */
    uint32_t u; memcpy(&u, &f, 4);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

INLINE lanes load_bf16(const uint16_t *p) {
    lanes v;
#ifdef __AVX512BW__
    __m512i u = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
    memcpy(&v, &u, sizeof v);
#elif defined(__AVX2__)
    __m256i u = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
    memcpy(&v, &u, sizeof v);
#else
    for (int i = 0; i < LANES; i++) v[i] = widen(p[i]);
#endif
    return v;
}

INLINE void store_bf16(uint16_t *p, lanes v) {
    sums u; memcpy(&u, &v, sizeof u);
    u += 0x7fff + ((u >> 16) & 1);
    u >>= 16;  /* with the sign, whose copies the next line drops */
    const shorts h = __builtin_convertvector(u, shorts);
    memcpy(p, &h, sizeof h);
}

INLINE lanes load_int8(const int8_t *p) {
    lanes v;
#ifdef __AVX512BW__
    __m512 f = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
    memcpy(&v, &f, sizeof v);
#elif defined(__AVX2__)
    __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
    memcpy(&v, &f, sizeof v);
#else
    for (int i = 0; i < LANES; i++) v[i] = (float)p[i];
#endif
    return v;
}

INLINE pairs load_int8_pairs(const int8_t *p) {
    pairs v;
#ifdef __AVX512BW__
    __m512i w = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
    memcpy(&v, &w, sizeof v);
#elif defined(__AVX2__)
    __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
    memcpy(&v, &w, sizeof v);
#else
    for (int i = 0; i < 2 * LANES; i++) v[i] = p[i];
#endif
    return v;
}

/* total[j] + the product of row j's pair of weights with the pair of numbers at x; a block's 32 stay below 2^31. */
INLINE sums add_products(sums total, pairs w, const int16_t *x) {
    int32_t pair; memcpy(&pair, x, sizeof pair);
#ifdef __AVX512BW__
    __m512i t, a; memcpy(&t, &total, sizeof t); memcpy(&a, &w, sizeof a);
#ifdef __AVX512VNNI__
    t = _mm512_dpwssd_epi32(t, a, _mm512_set1_epi32(pair));
#else
    t = _mm512_add_epi32(t, _mm512_madd_epi16(a, _mm512_set1_epi32(pair)));
#endif
    memcpy(&total, &t, sizeof t);
#elif defined(__AVX2__)
    __m256i t, a; memcpy(&t, &total, sizeof t); memcpy(&a, &w, sizeof a);
    t = _mm256_add_epi32(t, _mm256_madd_epi16(a, _mm256_set1_epi32(pair)));
    memcpy(&total, &t, sizeof t);
#else
    for (int j = 0; j < LANES; j++) total[j] += w[2 * j] * x[0] + w[2 * j + 1] * x[1];
#endif
    return total;
}

/* total + integers · scale. Rounded once where the processor can: left to the compiler, it would depend on how many rows
   there are, and an answer on who else is answered. */
INLINE lanes add_scaled(lanes total, sums integers, lanes scale) {
    lanes found = __builtin_convertvector(integers, lanes);
#ifdef __AVX512BW__
    __m512 t, f, s; memcpy(&t, &total, sizeof t); memcpy(&f, &found, sizeof f); memcpy(&s, &scale, sizeof s);
    t = _mm512_fmadd_ps(f, s, t);
    memcpy(&found, &t, sizeof t);
#elif defined(__AVX2__) && defined(__FMA__)
    __m256 t, f, s; memcpy(&t, &total, sizeof t); memcpy(&f, &found, sizeof f); memcpy(&s, &scale, sizeof s);
    t = _mm256_fmadd_ps(f, s, t);
    memcpy(&found, &t, sizeof t);
#elif defined(__FP_FAST_FMAF)
    for (int i = 0; i < LANES; i++) found[i] = __builtin_fmaf(found[i], scale[i], total[i]);
#else
    found = total + found * scale;
#endif
    return found;
}

INLINE lanes select_lanes(sums where, lanes a, lanes b) {
    sums p, q; memcpy(&p, &a, sizeof p); memcpy(&q, &b, sizeof q);
    p = (where & p) | (~where & q);
    memcpy(&a, &p, sizeof a);
    return a;
}

INLINE lanes exponential(lanes x) {  /* 2^n · e^r, |r| <= ln(2)/2; relative error 2e-7 */
    const lanes low = (lanes){0} - 87.0f, high = (lanes){0} + 87.0f;
    x = select_lanes(x > low, select_lanes(x < high, x, high), low);
    lanes n = (x * 1.44269504f + NEAREST) - NEAREST;
    sums integers = __builtin_convertvector(n, sums);
    lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
    lanes e = 1.0f + r * (1.0f + r * (0.5f + r * (1.6666667e-1f + r * (4.1666310e-2f + r * (8.3345162e-3f
              + r * 1.3888889e-3f)))));
    sums bits = (integers + 127) << 23;
    lanes power; memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* Every thread of the team meets here. They sleep only when a core is wanted by others: two waits in a row are a few
   microseconds apart, far less than waking takes. */
static void barrier(Team *team, int threads) {
    int phase = atomic_load(&team->phase);
    if (atomic_fetch_add(&team->arrived, 1) == threads - 1) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->taken, 0);
        atomic_fetch_add(&team->phase, 1);
        return;
    }
    for (int tries = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; tries++) {
        if (tries > 100) sched_yield();
#ifdef __AVX2__
        else _mm_pause();
#endif
    }
}

/* Take the next of `count` pieces of work: from *at up to what is returned, none if that is *at. Ever fewer at a time, so
   that all threads end together although one of them was disturbed. */
static int64_t next_chunk(Team *team, int threads, int64_t count, int64_t *at) {
    long long begin = atomic_load(&team->taken), end;
    do {
        if (begin >= count) return *at = count;
        end = begin + (count - begin + 2 * threads - 1) / (2 * threads);
    } while (!atomic_compare_exchange_weak(&team->taken, &begin, end));
    *at = begin;
    return end;
}

INLINE lanes magnitude(lanes x) {
    sums bits; memcpy(&bits, &x, sizeof bits);
    bits &= 0x7fffffff;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE float lane_max(lanes v) {  /* by halves */
    float most[LANES]; store(most, v);
    for (int left = LANES / 2; left; left /= 2)
        for (int i = 0; i < left; i++) most[i] = most[i + left] > most[i] ? most[i + left] : most[i];
    return most[0];
}
