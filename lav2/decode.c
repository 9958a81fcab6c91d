/* One token of a LLaMA with zero-init attention, for a few rows at once: what lav2/engine.py does in torch operations
   for any number of tokens, in one call and one team of threads. There the weights are prepared and the order of the
   tables' columns is set.

   Words: B rows, D width, H query heads, G key/value heads, A head width, F width of the feed-forward, V vocabulary,
   S room of the cache in tokens, K prompt length. Activations are float32, keys and values bfloat16. Weights are
   bfloat16, or int8 in blocks of 32 of a row that share one bfloat16 factor; every row is a multiple of 32 long. */

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

typedef float v16 __attribute__((vector_size(64)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef int32_t i16 __attribute__((vector_size(64)));
#define BLOCK 32     /* weights that share a factor: the blocks of the GGUF file that the embedded model comes from */
#define AHEAD 8192   /* bytes that are asked for before they are needed; 0 takes 1.4 times as long, 2048 1.05 times */
#define INLINE static inline __attribute__((always_inline))

enum { ROWS, WIDTH, HEADS, GROUPS, HEAD, HIDDEN, VOCABULARY, LAYERS, ROOM, BYTES, THREADS }; /* of `shape` */
enum { QKV, QKV_F, QKV_B, OUT, OUT_F, OUT_B, GATE_UP, GATE_UP_F, GATE_UP_B, DOWN, DOWN_F, DOWN_B,
       NORM_1, NORM_2, NORM_Q, NORM_K, WEIGHTS };                                 /* a layer's addresses, 0: not there */
enum { KV, PROMPT_K, PROMPT_V, PROMPT_LENGTH, STATE };                       /* a row's cache and prompt in a layer */
typedef struct { const char *weight; const uint16_t *factor; const float *bias; int64_t length, bytes; } Matrix;
typedef struct { atomic_int arrived, phase; } Gate;

INLINE v16 load(const float *p) { v16 v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, v16 v) { memcpy(p, &v, sizeof v); }
INLINE float sum(v16 v) {  /* by halves: one after the other would wait for each addition */
    v8 half[2]; memcpy(half, &v, sizeof half); half[0] += half[1];
    v4 quarter[2]; memcpy(quarter, half, sizeof quarter); quarter[0] += quarter[1];
    return (quarter[0][0] + quarter[0][1]) + (quarter[0][2] + quarter[0][3]);
}
INLINE float widen(uint16_t h) { uint32_t u = (uint32_t)h << 16; float f; memcpy(&f, &u, 4); return f; }
INLINE uint16_t narrow(float f) {  /* to the nearest bfloat16 */
    uint32_t u; memcpy(&u, &f, 4);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

INLINE v16 load_bf16(const uint16_t *p) {
    v16 v;
#ifdef __AVX512F__
    __m512i u = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
    memcpy(&v, &u, sizeof v);
#else
    for (int i = 0; i < 16; i++) v[i] = widen(p[i]);
#endif
    return v;
}

INLINE v16 load_int8(const int8_t *p) {
    v16 v;
#ifdef __AVX512F__
    __m512 f = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
    memcpy(&v, &f, sizeof v);
#elif defined(__AVX2__)
    for (int i = 0; i < 2; i++) {
        __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8 * i))));
        memcpy((char *)&v + 32 * i, &f, 32);
    }
#else
    for (int i = 0; i < 16; i++) v[i] = (float)p[i];
#endif
    return v;
}

INLINE v16 choose(i16 where, v16 a, v16 b) {
    i16 p, q; memcpy(&p, &a, sizeof p); memcpy(&q, &b, sizeof q);
    p = (where & p) | (~where & q);
    memcpy(&a, &p, sizeof a);
    return a;
}

INLINE v16 exponential(v16 x) {  /* 2^n · e^r, |r| <= ln(2)/2; relative error 2e-7 */
    const v16 low = (v16){0} - 87.0f, high = (v16){0} + 87.0f;
    x = choose(x > low, choose(x < high, x, high), low);
    v16 n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  /* 1.5 · 2^23: adding it rounds to whole numbers */
    i16 whole = __builtin_convertvector(n, i16);
    v16 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    v16 e = 1.0f + r * (1.0f + r * (0.5f + r * (1.6666667e-1f + r * (4.1666310e-2f + r * (8.3345162e-3f
            + r * 1.3888889e-3f)))));
    i16 bits = (whole + 127) << 23;
    v16 power; memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* Every thread of the team meets here. They sleep only when a core is wanted by others: two waits in a row are a few
   microseconds apart, far less than waking takes. */
static void meet(Gate *gate, int team) {
    int phase = atomic_load(&gate->phase);
    if (atomic_fetch_add(&gate->arrived, 1) == team - 1) {
        atomic_store(&gate->arrived, 0);
        atomic_fetch_add(&gate->phase, 1);
        return;
    }
    for (int tries = 0; atomic_load_explicit(&gate->phase, memory_order_acquire) == phase; tries++) {
        if (tries > 100) sched_yield();
#ifdef __AVX2__
        else _mm_pause();
#endif
    }
}

/* y[r] = W[n] · x[r] for `rows` rows; one reading of W serves them all. */
INLINE void dot(const Matrix *m, int64_t n, const float *x, float *y, const int rows) {
    v16 total[4][2] = {{{0}}};
    if (m->bytes == 1) {
        const int8_t *w = (const int8_t *)m->weight + n * m->length;
        const uint16_t *factor = m->factor + n * (m->length / BLOCK);
        for (int64_t k = 0, g = 0; k < m->length; k += BLOCK, g++) {
            __builtin_prefetch(w + k + AHEAD);
            float f = widen(factor[g]);
            v16 a = f * load_int8(w + k), b = f * load_int8(w + k + 16);
            for (int r = 0; r < rows; r++) {
                const float *p = x + r * m->length + k;
                total[r][0] += load(p) * a;
                total[r][1] += load(p + 16) * b;
            }
        }
    } else {
        const uint16_t *w = (const uint16_t *)m->weight + n * m->length;
        for (int64_t k = 0; k < m->length; k += BLOCK) {
            __builtin_prefetch(w + k + AHEAD / 2);
            v16 a = load_bf16(w + k), b = load_bf16(w + k + 16);
            for (int r = 0; r < rows; r++) {
                const float *p = x + r * m->length + k;
                total[r][0] += load(p) * a;
                total[r][1] += load(p + 16) * b;
            }
        }
    }
    float bias = m->bias ? m->bias[n] : 0;
    for (int r = 0; r < rows; r++) y[r] = sum(total[r][0] + total[r][1]) + bias;
}

/* rows <= 64 */
static void multiply(const Matrix *m, int64_t n, const float *x, float *y, int64_t rows) {
    for (; rows >= 4; rows -= 4, x += 4 * m->length, y += 4) dot(m, n, x, y, 4);
    if (rows == 3) dot(m, n, x, y, 3);
    if (rows == 2) dot(m, n, x, y, 2);
    if (rows == 1) dot(m, n, x, y, 1);
}

static void normalise(const float *x, const float *weight, float epsilon, int64_t length, float *y) {
    v16 squares = {0};
    for (int64_t i = 0; i < length; i += 16) squares += load(x + i) * load(x + i);
    float scale = 1 / sqrtf(sum(squares) / length + epsilon);
    for (int64_t i = 0; i < length; i += 16) store(y + i, load(x + i) * scale * load(weight + i));
}

static void rotate(float *x, const float *cosine, const float *sine, int64_t head) {
    int64_t half = head / 2;
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i + half] + a * sine[i + half];
    }
}

/* out += softmax(scaling · q kᵀ) v over keys and values [count, A] that lie `step` apart. */
static void attend(const float *q, const uint16_t *key, const uint16_t *value, int64_t step, int64_t count,
                   int64_t head, float scaling, float *scores, float *out) {
    float top = -INFINITY;
    for (int64_t s = 0; s < count; s++) {
        v16 t = {0};
        for (int64_t i = 0; i < head; i += 16) t += load(q + i) * load_bf16(key + s * step + i);
        scores[s] = sum(t) * scaling;
        if (scores[s] > top) top = scores[s];
    }
    for (int64_t s = count; s % 16; s++) scores[s] = -INFINITY;
    v16 total = {0};
    for (int64_t s = 0; s < count; s += 16) {
        v16 e = exponential(load(scores + s) - top);
        store(scores + s, e);
    }
    for (int64_t s = count; s % 16; s++) scores[s] = 0;
    for (int64_t s = 0; s < count; s += 16) total += load(scores + s);
    float share = 1 / sum(total);
    for (int64_t i = 0; i < head; i += 16) {
        v16 t = {0};
        for (int64_t s = 0; s < count; s++) t += scores[s] * load_bf16(value + s * step + i);
        store(out + i, load(out + i) + t * share);
    }
}

/* One token of each of B rows, which may be answers of several users: what a row gets does not depend on the others.
   state [layers, B, STATE]. x [B, D]: embeddings, destroyed. cosine, sine [B, A]: of the tokens' places in the texts.
   places, first [B]: the token's place in the row's cache, and where its text begins there. head_matrix: address and
   factors of the vocabulary's matrix. scratch: see lav2/engine.py. logits [B, V]. */
void lav2_step(const int64_t *shape, const int64_t *layers, const int64_t *state, const float *numbers, float *x,
               const float *cosine, const float *sine, const int64_t *places, const int64_t *first,
               const float *last_norm, const int64_t *head_matrix, float *scratch, float *logits) {
    const int64_t rows = shape[ROWS], width = shape[WIDTH], heads = shape[HEADS], groups = shape[GROUPS];
    const int64_t head = shape[HEAD], hidden = shape[HIDDEN], bytes = shape[BYTES];
    const int64_t wide = (heads + 2 * groups) * head, share = heads / groups, room = shape[ROOM];
    const int team = (int)shape[THREADS];
    const float epsilon = numbers[0], scaling = numbers[1];
    float *qkv = scratch, *mixed = qkv + rows * wide, *active = mixed + rows * heads * head;
    float *own = active + rows * hidden;
    Gate gate = {0, 0};

#pragma omp parallel num_threads(team)
    {
#ifdef _OPENMP
        const int me = omp_get_thread_num(), all = omp_get_num_threads();
#else
        const int me = 0, all = 1;
#endif
        float *normed = own + me * (rows * width + room + 16), *scores = normed + rows * width;
        float y[2][64];
        for (int64_t l = 0; l < shape[LAYERS]; l++) {
            const int64_t *w = layers + l * WEIGHTS, *rows_state = state + l * rows * STATE;
            const Matrix mq = {(const char *)w[QKV], (const uint16_t *)w[QKV_F], (const float *)w[QKV_B], width, bytes};
            const Matrix mo = {(const char *)w[OUT], (const uint16_t *)w[OUT_F], (const float *)w[OUT_B],
                               heads * head, bytes};
            const Matrix mg = {(const char *)w[GATE_UP], (const uint16_t *)w[GATE_UP_F], (const float *)w[GATE_UP_B],
                               width, bytes};
            const Matrix md = {(const char *)w[DOWN], (const uint16_t *)w[DOWN_F], (const float *)w[DOWN_B],
                               hidden, bytes};
            const float *norm_q = (const float *)w[NORM_Q], *norm_k = (const float *)w[NORM_K];

            for (int64_t b = 0; b < rows; b++)
                normalise(x + b * width, (const float *)w[NORM_1], epsilon, width, normed + b * width);
            for (int64_t n = wide * me / all; n < wide * (me + 1) / all; n++) {
                multiply(&mq, n, normed, y[0], rows);
                for (int64_t b = 0; b < rows; b++) qkv[b * wide + n] = y[0][b];
            }
            meet(&gate, all);

            /* The new key and value of each group, then the attention: by group, since a group's heads share them. */
            for (int64_t item = rows * groups * me / all; item < rows * groups * (me + 1) / all; item++) {
                const int64_t b = item / groups, g = item % groups;
                const float *cb = cosine + b * head, *sb = sine + b * head;
                float *key = qkv + b * wide + (heads + g) * head, *value = key + groups * head;
                uint16_t *row = (uint16_t *)rows_state[b * STATE + KV] + (places[b] * 2 * groups + g) * head;
                if (norm_k) normalise(key, norm_k, epsilon, head, key);
                rotate(key, cb, sb, head);
                for (int64_t i = 0; i < head; i++) row[i] = narrow(key[i]);
                for (int64_t i = 0; i < head; i++) row[groups * head + i] = narrow(value[i]);
            }
            meet(&gate, all);
            for (int64_t item = rows * heads * me / all; item < rows * heads * (me + 1) / all; item++) {
                const int64_t b = item / heads, h = item % heads, step = 2 * groups * head;
                float *q = qkv + b * wide + h * head, *out = mixed + (b * heads + h) * head;
                const int64_t *st = rows_state + b * STATE;  /* KV: [S, 2G, A] */
                const uint16_t *key = (const uint16_t *)st[KV] + first[b] * step + h / share * head;
                if (norm_q) normalise(q, norm_q, epsilon, head, q);
                rotate(q, cosine + b * head, sine + b * head, head);
                memset(out, 0, head * sizeof *out);
                attend(q, key, key + groups * head, step, places[b] + 1 - first[b], head, scaling, scores, out);
                if (st[PROMPT_LENGTH]) {  /* [H, K, A]; the gate is in the values */
                    const int64_t at = h * st[PROMPT_LENGTH] * head;
                    attend(q, (const uint16_t *)st[PROMPT_K] + at, (const uint16_t *)st[PROMPT_V] + at, head,
                           st[PROMPT_LENGTH], head, scaling, scores, out);
                }
            }
            meet(&gate, all);

            for (int64_t n = width * me / all; n < width * (me + 1) / all; n++) {
                multiply(&mo, n, mixed, y[0], rows);
                for (int64_t b = 0; b < rows; b++) x[b * width + n] += y[0][b];
            }
            meet(&gate, all);

            for (int64_t b = 0; b < rows; b++)
                normalise(x + b * width, (const float *)w[NORM_2], epsilon, width, normed + b * width);
            for (int64_t n = hidden / 16 * me / all * 16; n < hidden / 16 * (me + 1) / all * 16; n += 16)
                for (int64_t b0 = 0; b0 < rows; b0 += 4) {
                    const int64_t some = rows - b0 < 4 ? rows - b0 : 4;
                    for (int64_t i = 0; i < 16; i++) {
                        float pair[2][4];
                        multiply(&mg, n + i, normed + b0 * width, pair[0], some);
                        multiply(&mg, hidden + n + i, normed + b0 * width, pair[1], some);
                        for (int64_t r = 0; r < some; r++) { y[0][r * 16 + i] = pair[0][r]; y[1][r * 16 + i] = pair[1][r]; }
                    }
                    for (int64_t r = 0; r < some; r++) {
                        v16 t = load(y[0] + r * 16);
                        store(active + (b0 + r) * hidden + n, t / (1.0f + exponential(-t)) * load(y[1] + r * 16));
                    }
                }
            meet(&gate, all);

            for (int64_t n = width * me / all; n < width * (me + 1) / all; n++) {
                multiply(&md, n, active, y[0], rows);
                for (int64_t b = 0; b < rows; b++) x[b * width + n] += y[0][b];
            }
            meet(&gate, all);
        }
        const Matrix mh = {(const char *)head_matrix[0], (const uint16_t *)head_matrix[1], 0, width, bytes};
        const int64_t vocabulary = shape[VOCABULARY];
        for (int64_t b = 0; b < rows; b++) normalise(x + b * width, last_norm, epsilon, width, normed + b * width);
        for (int64_t n = vocabulary * me / all; n < vocabulary * (me + 1) / all; n++) {
            multiply(&mh, n, normed, y[0], rows);
            for (int64_t b = 0; b < rows; b++) logits[b * vocabulary + n] = y[0][b];
        }
    }
}

/* y [B, N] = x [B, length] Wᵀ. */
void lav2_linear(const char *weight, const uint16_t *factor, const float *x, int64_t rows, int64_t length, int64_t many,
                 int64_t bytes, float *y, int64_t threads) {
    const Matrix m = {weight, factor, 0, length, bytes};
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < many; n++) {
        float t[64];
        multiply(&m, n, x, t, rows);
        for (int64_t b = 0; b < rows; b++) y[b * many + n] = t[b];
    }
}

/* A float32 matrix as int8, one factor for each block; `blocks` in all. */
void lav2_quantise(const float *from, int64_t blocks, int8_t *weight, uint16_t *factor, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t g = 0; g < blocks; g++) {
        const float *p = from + g * BLOCK;
        float most = 0;
        for (int i = 0; i < BLOCK; i++) most = fabsf(p[i]) > most ? fabsf(p[i]) : most;
        factor[g] = narrow(most / 127);
        float f = widen(factor[g]), inverse = f > 0 ? 1 / f : 0;
        for (int i = 0; i < BLOCK; i++) {
            float whole = rintf(p[i] * inverse);
            weight[g * BLOCK + i] = (int8_t)(whole > 127 ? 127 : whole < -127 ? -127 : whole);
        }
    }
}

/* The int8 matrix [N, length] as bfloat16 (`bytes` 2) or float32 (4), for many tokens at once. */
void lav2_expand(const int8_t *weight, const uint16_t *factor, int64_t blocks, void *out, int64_t bytes,
                 int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t g = 0; g < blocks; g++) {
        float f = widen(factor[g]);
        v16 half[2] = {f * load_int8(weight + g * BLOCK), f * load_int8(weight + g * BLOCK + 16)};
        if (bytes == 4) {
            memcpy((float *)out + g * BLOCK, half, sizeof half);
            continue;
        }
        float wide[BLOCK];
        uint16_t *to = (uint16_t *)out + g * BLOCK;
        memcpy(wide, half, sizeof wide);
        for (int i = 0; i < BLOCK; i++) to[i] = narrow(wide[i]);
    }
}
