/* A LLaMA with zero-init attention, for one token of a few texts or a piece of a prompt at once: what lav2/inference/engine.py
   does in torch operations, in one call and one team of threads. There the weights are prepared and the order of the
   tables' columns is set.

   Words: B rows, D width, H query heads, G key/value heads, A head width, F width of the feed-forward, V vocabulary,
   S room of the cache in tokens, K prompt length. Activations are float32, keys and values bfloat16. Weights are
   bfloat16, or int8 in blocks of 32 of a row that share one bfloat16 factor; every row is a multiple of 32 long. What
   int8 weights are multiplied with is rounded to int16 in such blocks: finer than bfloat16, and a block's products are
   added as whole numbers. Int8 rows lie in tiles of 16, pair by pair of a row's weights, so that one instruction takes a
   pair of each row, and the 16 sums of a block are converted and weighted together. */

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
#define AHEAD 4096   /* bytes that are asked for before they are needed; of 512 to 8192 the best on a Zen 4 */
#define TILE 16      /* rows of an int8 matrix that lie together: weights [N / TILE, blocks, BLOCK / 2, TILE, 2] and
                        their factors [N / TILE, blocks, TILE] */
#define MOST 128     /* tokens in one call, */
#define ALONE 4      /* and up to which each thread prepares all that it needs: a meeting takes longer than that */
#define STRETCH 128  /* tokens at most that a thread attends to at once */
#define SCORES (STRETCH + 16)  /* room for theirs and to fill up a vector */
#define KEYS 4       /* that a query is compared with at once, */
#define TOGETHER 3   /* and query heads that share a look at a key: 12 sums, in 16 registers of an AVX2 processor */
/* Numbers in a register of this processor. Of longer vectors the compiler keeps parts in memory: four times as slow. */
#ifdef __AVX512BW__
#define LANES 16
#define ROLLED
#else
#define ROLLED _Pragma("GCC unroll 1")  /* unrolled, it reads ahead into more registers than there are */
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
enum { TOKEN, PLACE, FIRST, STATE_AT, STATES, PLACES };
typedef struct { const char *weight; const uint16_t *factor; const float *bias; int64_t length, bytes; } Matrix;
typedef struct { const float *x; int16_t *whole; float *factor; } Rows;  /* vectors, and rounded for int8 weights */
typedef struct { atomic_int arrived, phase; atomic_llong taken; } Team;  /* taken: of the work up to the next meeting */

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
INLINE v4 four(lanes a, lanes b, lanes c, lanes d) {  /* the sum of each */
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

INLINE pairs load_whole(const int8_t *p) {
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

/* total + whole · scale. Rounded once wherever the processor can: left to the compiler, it would depend on how many rows
   there are, and an answer on who else is answered. */
INLINE lanes add_scaled(lanes total, sums whole, lanes scale) {
    lanes found = __builtin_convertvector(whole, lanes);
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

INLINE lanes choose(sums where, lanes a, lanes b) {
    sums p, q; memcpy(&p, &a, sizeof p); memcpy(&q, &b, sizeof q);
    p = (where & p) | (~where & q);
    memcpy(&a, &p, sizeof a);
    return a;
}

INLINE lanes exponential(lanes x) {  /* 2^n · e^r, |r| <= ln(2)/2; relative error 2e-7 */
    const lanes low = (lanes){0} - 87.0f, high = (lanes){0} + 87.0f;
    x = choose(x > low, choose(x < high, x, high), low);
    lanes n = (x * 1.44269504f + NEAREST) - NEAREST;
    sums whole = __builtin_convertvector(n, sums);
    lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
    lanes e = 1.0f + r * (1.0f + r * (0.5f + r * (1.6666667e-1f + r * (4.1666310e-2f + r * (8.3345162e-3f
              + r * 1.3888889e-3f)))));
    sums bits = (whole + 127) << 23;
    lanes power; memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* Every thread of the team meets here. They sleep only when a core is wanted by others: two waits in a row are a few
   microseconds apart, far less than waking takes. */
static void meet(Team *team, int threads) {
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
static int64_t take(Team *team, int threads, int64_t count, int64_t *at) {
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

INLINE float greatest(lanes v) {  /* by halves */
    float most[LANES]; store(most, v);
    for (int left = LANES / 2; left; left /= 2)
        for (int i = 0; i < left; i++) most[i] = most[i + left] > most[i] ? most[i + left] : most[i];
    return most[0];
}

/* Vectors of int16 with a factor for each block; `count` numbers in all. By vectors: fmaxf and rintf are calls, a tenth
   of a step's time. */
static void whole(int64_t count, Rows rows) {
    for (int64_t g = 0; g < count / BLOCK; g++) {
        const float *p = rows.x + g * BLOCK;
        lanes top = magnitude(load(p));
        for (int i = LANES; i < BLOCK; i += LANES) {
            const lanes other = magnitude(load(p + i));
            top = choose(other > top, other, top);
        }
        const float most = greatest(top), inverse = most > 0 ? 32767 / most : 0;
        rows.factor[g] = most / 32767;
        for (int i = 0; i < BLOCK; i += LANES) {
            const lanes nearest = (load(p + i) * inverse + NEAREST) - NEAREST;
            const shorts rounded = __builtin_convertvector(__builtin_convertvector(nearest, sums), shorts);
            memcpy(rows.whole + g * BLOCK + i, &rounded, sizeof rounded);
        }
    }
}

INLINE void prepare(const Matrix *m, Rows row) {  /* one of what m is multiplied with */
    if (m->bytes == 1) whole(m->length, row);
}

INLINE Rows below(Rows rows, int64_t count) {  /* the vectors after `count` numbers */
    return (Rows){rows.x + count, rows.whole + count, rows.factor + count / BLOCK};
}

/* y[r][j] = W[n + j] · x[r] for int8 weights, `many` <= 4 rows, known to the compiler, and j < count <= TILE: what is read
   once serves all of them. */
INLINE void tile(const Matrix *m, int64_t n, const Rows *rows, float *y, int64_t stride, int64_t count, const int many) {
    enum { BESIDE = LANES < TILE ? 2 : 1 };  /* registers of weights that share a look at a pair of x */
    lanes total[4][TILE / LANES] = {{{0}}};
    const int64_t length = m->length, blocks = length / BLOCK;
    const int8_t *w = (const int8_t *)m->weight + n * length;
    const uint16_t *factor = m->factor + n * blocks;
    if (m->bias) __builtin_prefetch(m->bias + n);  /* wanted at the end, and nothing reads on from it */
    for (int64_t g = 0; g < blocks; g++, w += TILE * BLOCK, factor += TILE) {
        const int16_t *x = rows->whole + g * BLOCK;
        ROLLED for (int first = 0; first < TILE / LANES; first += BESIDE) {
            sums whole[4][2] = {{{0}}};  /* of two registers, or of one's pairs in turns: two do not wait */
            ROLLED for (int p = 0; p < BLOCK / 2; p += 2) {
                if (!first) __builtin_prefetch(w + p * 2 * TILE + AHEAD);
                for (int i = 0; i < 2 * BESIDE; i++) {
                    const int pair = p + i / BESIDE, part = first + i % BESIDE;
                    const pairs one = load_whole(w + (pair * TILE + part * LANES) * 2);
                    for (int r = 0; r < many; r++)
                        whole[r][i % 2] = add_products(whole[r][i % 2], one, x + r * length + 2 * pair);
                }
            }
            for (int i = 0; i < BESIDE; i++) {
                const lanes own = load_bf16(factor + (first + i) * LANES);
                for (int r = 0; r < many; r++)
                    total[r][first + i] = add_scaled(total[r][first + i],
                                                     BESIDE == 2 ? whole[r][i] : whole[r][0] + whole[r][1],
                                                     own * rows->factor[r * blocks + g]);
            }
        }
    }
    for (int r = 0; r < many; r++) {
        float found[TILE];
        for (int i = 0; i < TILE; i += LANES) {
            if (m->bias && count == TILE) total[r][i / LANES] += load(m->bias + n + i);
            store(count == TILE ? y + r * stride + i : found + i, total[r][i / LANES]);
        }
        for (int j = 0; j < count && count < TILE; j++) y[r * stride + j] = found[j] + (m->bias ? m->bias[n + j] : 0);
    }
}

/* y[r] = W[n] · x[r] for bfloat16 weights and `many` <= 4 rows, known to the compiler. */
INLINE void dot(const Matrix *m, int64_t n, const Rows *rows, float *y, int64_t stride, const int many) {
    lanes total[4][2] = {{{0}}};  /* two sums, as one would wait for each addition */
    const uint16_t *w = (const uint16_t *)m->weight + n * m->length;
    for (int64_t k = 0; k < m->length; k += BLOCK) {
        __builtin_prefetch(w + k + AHEAD / 2);
        ROLLED for (int i = 0; i < BLOCK; i += 2 * LANES) {
            const lanes a = load_bf16(w + k + i), b = load_bf16(w + k + i + LANES);
            for (int r = 0; r < many; r++) {
                total[r][0] += load(rows->x + r * m->length + k + i) * a;
                total[r][1] += load(rows->x + r * m->length + k + i + LANES) * b;
            }
        }
    }
    for (int r = 0; r < many; r++) y[r * stride] = sum(total[r][0] + total[r][1]) + (m->bias ? m->bias[n] : 0);
}

/* y[r][j] = W[n + j] · x[r] for `many` rows and j < count; n is a multiple of TILE. */
static void multiply(const Matrix *m, int64_t n, int64_t count, Rows rows, int64_t many, float *y, int64_t stride) {
    const int64_t step = m->bytes == 1 ? TILE : 1;
    for (; count > 0; n += step, count -= step, y += step) {
        Rows left = rows;
        float *to = y;
        for (int64_t r = 0; r < many; r += 4, left = below(left, 4 * m->length), to += 4 * stride) {
            const int64_t some = many - r < 4 ? many - r : 4, kept = count < TILE ? count : TILE;
            switch (step * 8 + some) {
                case TILE * 8 + 4: tile(m, n, &left, to, stride, kept, 4); break;
                case TILE * 8 + 3: tile(m, n, &left, to, stride, kept, 3); break;
                case TILE * 8 + 2: tile(m, n, &left, to, stride, kept, 2); break;
                case TILE * 8 + 1: tile(m, n, &left, to, stride, kept, 1); break;
                case 8 + 4: dot(m, n, &left, to, stride, 4); break;
                case 8 + 3: dot(m, n, &left, to, stride, 3); break;
                case 8 + 2: dot(m, n, &left, to, stride, 2); break;
                default: dot(m, n, &left, to, stride, 1);
            }
        }
    }
}

static void normalise(const float *x, const float *weight, float epsilon, int64_t length, float *y) {
    lanes squares = {0};
    for (int64_t i = 0; i < length; i += LANES) squares += load(x + i) * load(x + i);
    float scale = 1 / sqrtf(sum(squares) / length + epsilon);
    for (int64_t i = 0; i < length; i += LANES) store(y + i, load(x + i) * scale * load(weight + i));
}

static void add(float *x, int64_t width, const float *y, int64_t rows) {  /* TILE numbers of y to those of each row */
    for (int64_t b = 0; b < rows; b++)
        for (int i = 0; i < TILE; i += LANES) store(x + b * width + i, load(x + b * width + i) + load(y + b * TILE + i));
}

static void rotate(const float *x, const float *cosine, const float *sine, int64_t head, float scale, float *y) {
    const int64_t half = head / 2;
    for (int64_t i = 0; i < half; i += LANES) {
        const lanes a = load(x + i), b = load(x + half + i);
        store(y + i, (a * load(cosine + i) - b * load(sine + i)) * scale);
        store(y + half + i, (b * load(cosine + half + i) + a * load(sine + half + i)) * scale);
    }
}

/* scores[h][k] = q[h] · key k, of KEYS keys, of which `count` are there, and `many` heads that share them, known to the
   compiler: each key is read and converted once. */
INLINE void compare(const float *q, const uint16_t *key, int64_t step, int64_t count, int64_t head, float *scores,
                    const int many) {
    lanes t[KEYS][TOGETHER] = {{{0}}};
    const uint16_t *at[KEYS];
    for (int k = 0; k < KEYS; k++) at[k] = key + (k < count ? k : 0) * step;
    ROLLED for (int64_t i = 0; i < head; i += LANES)
        for (int k = 0; k < KEYS; k++) {
            const lanes a = load_bf16(at[k] + i);
            for (int h = 0; h < many; h++) t[k][h] += load(q + h * head + i) * a;
        }
    for (int h = 0; h < many; h++) {
        const v4 found = four(t[0][h], t[1][h], t[2][h], t[3][h]);
        memcpy(scores + h * SCORES, &found, sizeof found);
    }
}

/* out[h] = the values weighted by scores[h]. */
INLINE void gather(const float *scores, const uint16_t *value, int64_t step, int64_t count, int64_t head, float *out,
                   int64_t stride, const int many) {
    enum { SOME = LANES < 16 ? 4 : 2 };
    for (int64_t i = 0; i < head; i += SOME * LANES) {
        lanes t[TOGETHER][SOME] = {{{0}}};
        ROLLED for (int64_t s = 0; s < count; s++)
            for (int j = 0; j < SOME; j++) {
                const lanes a = load_bf16(value + s * step + i + j * LANES);
                for (int h = 0; h < many; h++) t[h][j] += scores[h * SCORES + s] * a;
            }
        for (int h = 0; h < many; h++)
            for (int j = 0; j < SOME; j++) store(out + h * stride + i + j * LANES, t[h][j]);
    }
}

/* Weights from scores, e to the power of what is missing to the greatest; `end` gets that and the weights' sum. */
static void weigh(float *scores, int64_t count, float *end) {
    int64_t s;
    for (s = count; s % LANES; s++) scores[s] = -INFINITY;
    lanes most = load(scores), total = {0};
    for (s = LANES; s < count; s += LANES) most = choose(load(scores + s) > most, load(scores + s), most);
    const float top = greatest(most);
    for (s = 0; s < count; s += LANES) {
        const lanes e = exponential(load(scores + s) - top);  /* behind the end 1e-38 */
        store(scores + s, e);
        total += e;
    }
    end[0] = top;
    end[1] = sum(total);
}

/* What query heads q [H, A] find in a stretch of keys and values kv [count, 2G, A]: for each head, `stride` numbers
   apart, the weighted sum of the values [A], the greatest score and the weights' sum. */
static void attend(const float *q, const uint16_t *kv, int64_t count, int64_t heads, int64_t groups, int64_t head,
                   float *scores, float *out, int64_t stride) {
    const int64_t step = 2 * groups * head, share = heads / groups;
    for (int64_t s = 0; s < count; s += KEYS) {
        for (int64_t i = 0; i < KEYS * step; i += 32)  /* the values too, which are wanted next */
            __builtin_prefetch(kv + s * step + AHEAD / 2 + i);
        for (int64_t h = 0, some; h < heads; h += some) {
            const uint16_t *key = kv + s * step + h / share * head;
            some = share - h % share;
            switch (some = some < TOGETHER ? some : TOGETHER) {
                case 1: compare(q + h * head, key, step, count - s, head, scores + h * SCORES + s, 1); break;
                case 2: compare(q + h * head, key, step, count - s, head, scores + h * SCORES + s, 2); break;
                default: compare(q + h * head, key, step, count - s, head, scores + h * SCORES + s, TOGETHER);
            }
        }
    }
    for (int64_t h = 0; h < heads; h++) weigh(scores + h * SCORES, count, out + h * stride + head);
    for (int64_t h = 0, some; h < heads; h += some) {
        const uint16_t *value = kv + (groups + h / share) * head;
        some = share - h % share;
        switch (some = some < TOGETHER ? some : TOGETHER) {
            case 1: gather(scores + h * SCORES, value, step, count, head, out + h * stride, stride, 1); break;
            case 2: gather(scores + h * SCORES, value, step, count, head, out + h * stride, stride, 2); break;
            default: gather(scores + h * SCORES, value, step, count, head, out + h * stride, stride, TOGETHER);
        }
    }
}

/* out += scale times a head's attention out of what `attend` found in `count` stretches, `apart` from one another. */
static void join(const float *found, int64_t apart, int64_t count, int64_t head, float scale, float *out) {
    float top = found[head], total = 0;
    lanes weight[count];
    for (int64_t c = 1; c < count; c++) top = found[c * apart + head] > top ? found[c * apart + head] : top;
    for (int64_t c = 0; c < count; c++) {
        weight[c] = exponential((lanes){0} + (found[c * apart + head] - top));
        total += weight[c][0] * found[c * apart + head + 1];
    }
    for (int64_t i = 0; i < head; i += LANES) {
        lanes t = {0};
        for (int64_t c = 0; c < count; c++) t += load(found + c * apart + i) * weight[c];
        store(out + i, load(out + i) + t * (scale / total));
    }
}

/* How many a prompt or text is cut into: by its length alone, for the same bits beside any others, and so that two or
   four threads get the same. lav2/inference/engine.py knows the most. */
INLINE int64_t stretches(int64_t count) {
    return count < 4 * KEYS ? count > 0 : (count + 4 * STRETCH - 1) / (4 * STRETCH) * 4;
}

INLINE const int64_t *state_of(const int64_t *row, int64_t layer) {
    return (const int64_t *)row[STATE_AT] + layer * row[STATES];
}

/* A thread's part of x [rows, width] += W · r for each row r; y: room for a tile of each. */
static void add_product(Team *team, int threads, const Matrix *m, Rows vectors, int64_t rows, float *x, int64_t width,
                        float *y) {
    int64_t n, end;
    while ((end = take(team, threads, width / TILE, &n)) > n)
        for (n *= TILE; n < end * TILE; n += TILE) {
            multiply(m, n, TILE, vectors, rows, y, TILE);
            add(x + n, width, y, rows);
        }
}

/* One token of each of B <= MOST rows, which may be answers of several users, or tokens of one text in their order: what
   a row gets does not depend on the others, but for those whose keys and values it looks at.
   where [B, PLACES]: each row's token, its place in the row's cache, where its text begins there, and the address of
   its STATE in the first layer, `STATES` numbers before that in the next. embedding [V, D] bfloat16. cosine, sine
   [context, A]. head_matrix: address and factors of the vocabulary's matrix. scratch: see lav2/inference/engine.py.
   logits [wanted, V]: of the last rows. */
void lav2_step(const int64_t *shape, const int64_t *layers, const float *numbers, const float *cosine,
               const float *sine, const float *last_norm, const int64_t *head_matrix, const uint16_t *embedding,
               int64_t rows, const int64_t *where, int64_t wanted, float *scratch, float *logits, int64_t threads) {
    const int64_t width = shape[WIDTH], heads = shape[HEADS], groups = shape[GROUPS], head = shape[HEAD];
    const int64_t hidden = shape[HIDDEN], bytes = shape[BYTES], vocabulary = shape[VOCABULARY];
    const int64_t wide = (heads + 2 * groups) * head, parts = shape[PARTS], stride = head + 16;  /* of `attend` */
    const int64_t longest = hidden > heads * head ? hidden > width ? hidden : width
                                                  : heads * head > width ? heads * head : width;
    const float epsilon = numbers[0], scaling = numbers[1];
    float *x = scratch, *qkv = x + rows * width, *active = qkv + rows * wide, *found = active + rows * hidden;
    float *own = found + rows * parts * heads * stride;
    const int shared = rows > ALONE;
    Team team = {0, 0, 0};

    for (int64_t b = 0; b < rows; b++)
        for (int64_t i = 0; i < width; i += LANES)
            store(x + b * width + i, load_bf16(embedding + where[b * PLACES + TOKEN] * width + i));

#pragma omp parallel num_threads(threads)
    {
#ifdef _OPENMP
        const int me = omp_get_thread_num(), all = omp_get_num_threads();
#else
        const int me = 0, all = 1;
#endif
        /* What products read is prepared by each thread for itself, or by all of them for all: then they meet. */
        const int64_t mine = shared ? me : 0, every = shared ? all : 1;
        float *scores = own + me * (2 * rows * longest + heads * SCORES + 16);
        float *normed = (shared ? own : scores) + heads * SCORES;
        const Rows room = {normed, (int16_t *)(normed + rows * longest), normed + rows * longest / 2 * 3};
        float y[2][MOST * TILE];
        int64_t n, end;
        for (int64_t l = 0; l < shape[LAYERS]; l++) {
            const int64_t *w = layers + l * WEIGHTS;
            const Matrix mq = {(const char *)w[QKV], (const uint16_t *)w[QKV_F], (const float *)w[QKV_B], width, bytes};
            const Matrix mo = {(const char *)w[OUT], (const uint16_t *)w[OUT_F], (const float *)w[OUT_B],
                               heads * head, bytes};
            const Matrix mg = {(const char *)w[GATE_UP], (const uint16_t *)w[GATE_UP_F], (const float *)w[GATE_UP_B],
                               width, bytes};
            const Matrix md = {(const char *)w[DOWN], (const uint16_t *)w[DOWN_F], (const float *)w[DOWN_B],
                               hidden, bytes};
            const float *norm_q = (const float *)w[NORM_Q], *norm_k = (const float *)w[NORM_K];

            for (int64_t b = mine; b < rows; b += every) {
                normalise(x + b * width, (const float *)w[NORM_1], epsilon, width, normed + b * width);
                prepare(&mq, below(room, b * width));
            }
            if (shared) meet(&team, all);
            while ((end = take(&team, all, wide / TILE, &n)) > n)
                multiply(&mq, n * TILE, (end - n) * TILE, room, rows, qkv + n * TILE, wide);
            meet(&team, all);

            for (int64_t b = me; b < rows; b += all) {  /* turn queries and keys by their place, and fill the caches */
                const int64_t *row = where + b * PLACES, turn = (row[PLACE] - row[FIRST]) * head;
                float *q = qkv + b * wide, *k = q + heads * head;
                uint16_t *kv = (uint16_t *)state_of(row, l)[KV] + row[PLACE] * 2 * groups * head;
                for (int64_t h = 0; h < heads + groups; h++) {
                    const float *norm = h < heads ? norm_q : norm_k;
                    if (norm) normalise(q + h * head, norm, epsilon, head, q + h * head);
                    rotate(q + h * head, cosine + turn, sine + turn, head, h < heads ? scaling : 1, q + h * head);
                }
                for (int64_t i = 0; i < 2 * groups * head; i += LANES) store_bf16(kv + i, load(k + i));
            }
            if (me >= rows)  /* nothing to turn: what the attention reads first, prompts of some KB at scattered places */
                for (int64_t b = 0; b < rows; b++) {
                    const int64_t *st = state_of(where + b * PLACES, l);
                    for (int64_t i = 0; i < st[PROMPT_LENGTH] * 2 * groups * head; i += 32)
                        __builtin_prefetch((const uint16_t *)st[PROMPT] + i);
                }
            meet(&team, all);

            int64_t stretch = 0, next = atomic_fetch_add(&team.taken, 1);
            for (int64_t b = 0; b < rows; b++) {  /* attention, by stretches of prompts and texts */
                const int64_t *row = where + b * PLACES, *st = state_of(row, l), step = 2 * groups * head;
                const int64_t lengths[2] = {st[PROMPT_LENGTH], row[PLACE] + 1 - row[FIRST]};
                float *to = found + b * parts * heads * stride;
                for (int text = 0; text < 2; text++) {
                    const uint16_t *kv = (const uint16_t *)st[text ? KV : PROMPT] + (text ? row[FIRST] * step : 0);
                    const int64_t length = lengths[text], count = stretches(length);
                    for (int64_t c = 0; c < count; c++, to += heads * stride) {
                        if (stretch++ != next) continue;
                        next = atomic_fetch_add(&team.taken, 1);
                        const int64_t at = length * c / count;
                        attend(qkv + b * wide, kv + at * step, length * (c + 1) / count - at, heads, groups, head,
                               scores, to, stride);
                    }
                }
            }
            meet(&team, all);

            for (int64_t b = mine; b < rows; b += every) {
                const int64_t *row = where + b * PLACES, *st = state_of(row, l), apart = heads * stride;
                const int64_t prompts = stretches(st[PROMPT_LENGTH]);
                const int64_t texts = stretches(row[PLACE] + 1 - row[FIRST]);
                memset(normed + b * heads * head, 0, heads * head * sizeof *normed);
                for (int64_t h = 0; h < heads; h++) {
                    const float *from = found + b * parts * apart + h * stride;
                    float *out = normed + (b * heads + h) * head;
                    if (prompts) join(from, apart, prompts, head, widen(((const uint16_t *)st[GATE])[h]), out);
                    join(from + prompts * apart, apart, texts, head, 1, out);
                }
                prepare(&mo, below(room, b * heads * head));
            }
            if (shared) meet(&team, all);
            add_product(&team, all, &mo, room, rows, x, width, y[0]);
            meet(&team, all);

            for (int64_t b = mine; b < rows; b += every) {
                normalise(x + b * width, (const float *)w[NORM_2], epsilon, width, normed + b * width);
                prepare(&mg, below(room, b * width));
            }
            if (shared) meet(&team, all);
            while ((end = take(&team, all, hidden / TILE, &n)) > n)
                for (n *= TILE; n < end * TILE; n += TILE) {
                    multiply(&mg, n, TILE, room, rows, y[0], TILE);
                    multiply(&mg, hidden + n, TILE, room, rows, y[1], TILE);
                    for (int64_t b = 0; b < rows; b++)
                        for (int i = 0; i < TILE; i += LANES) {
                            const lanes t = load(y[0] + b * TILE + i);
                            store(active + b * hidden + n + i,
                                  t / (1.0f + exponential(-t)) * load(y[1] + b * TILE + i));
                        }
                }
            meet(&team, all);

            const Rows fed = {active, room.whole, room.factor};
            for (int64_t b = mine; b < rows; b += every) prepare(&md, below(fed, b * hidden));
            if (shared) meet(&team, all);
            add_product(&team, all, &md, fed, rows, x, width, y[0]);
            meet(&team, all);
        }
        const Matrix mh = {(const char *)head_matrix[0], (const uint16_t *)head_matrix[1], 0, width, bytes};
        const float *last = x + (rows - wanted) * width;
        for (int64_t b = mine; b < wanted; b += every) {
            normalise(last + b * width, last_norm, epsilon, width, normed + b * width);
            prepare(&mh, below(room, b * width));
        }
        if (shared) meet(&team, all);
        while (wanted && (end = take(&team, all, (vocabulary + TILE - 1) / TILE, &n)) > n)
            multiply(&mh, n * TILE, (end * TILE < vocabulary ? end * TILE : vocabulary) - n * TILE, room, wanted,
                     logits + n * TILE, vocabulary);
    }
}

/* y [B, N] = x [B, length] Wᵀ of int8 weights; scratch: B · length + 16 floats. */
void lav2_linear(const char *weight, const uint16_t *factor, const float *x, int64_t rows, int64_t length, int64_t many,
                 float *scratch, float *y, int64_t threads) {
    const Matrix m = {weight, factor, 0, length, 1};
    const Rows vectors = {x, (int16_t *)scratch, scratch + rows * length / 2};
    whole(rows * length, vectors);
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < many; n += 16)
        multiply(&m, n, many - n < 16 ? many - n : 16, vectors, rows, y + n, many);
}

/* The pairs of a block, [BLOCK / 2, TILE] of two bytes, as rows [TILE, BLOCK / 2], and the way back. Each round turns
   the eight bits of a pair's place by one. */
INLINE void upright(const int8_t *from, int8_t *to) {
    h16 a[16], b[16];
    memcpy(a, from, sizeof a);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = PICK(h16, a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            b[2 * i + 1] = PICK(h16, a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof a);
    }
    memcpy(to, a, sizeof a);
}

/* Whole numbers, to the nearest (of two as near: the even one). */
INLINE sums nearest(lanes x) {
    sums found;
#ifdef __AVX512BW__
    __m512 v; memcpy(&v, &x, sizeof v);
    const __m512i n = _mm512_cvtps_epi32(v);
    memcpy(&found, &n, sizeof found);
#elif defined(__AVX2__)
    __m256 v; memcpy(&v, &x, sizeof v);
    const __m256i n = _mm256_cvtps_epi32(v);
    memcpy(&found, &n, sizeof found);
#else
    for (int i = 0; i < LANES; i++) found[i] = (int32_t)rintf(x[i]);
#endif
    return found;
}

/* Whole numbers as int8, -127 to 127. */
INLINE void store_small(int8_t *p, sums whole) {
    const sums below = whole < -127;
    whole = (below & -127) | (~below & whole);
#ifdef __AVX512BW__
    __m512i v; memcpy(&v, &whole, sizeof v);
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(v));
#elif defined(__AVX2__)
    __m128i half[2]; memcpy(half, &whole, sizeof half);
    const __m128i words = _mm_packs_epi32(half[0], half[1]);
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
#else
    for (int i = 0; i < LANES; i++) p[i] = (int8_t)(whole[i] > 127 ? 127 : whole[i]);
#endif
}

/* (from + added) · scale as int8 in tiles, with a factor for each block of a row. `from` is [N, length], bfloat16 (`bytes`
   2) or float32 (4); added [N, length] and scale [N] are float32, 0: none. Rows of zeros fill up the last tile. */
void lav2_quantise(const void *from, int64_t bytes, const float *added, const float *scale, int64_t many, int64_t length,
                   int8_t *weight, uint16_t *factor, int64_t threads) {
    const int64_t blocks = length / BLOCK;
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < many; n += TILE)
        for (int64_t g = 0; g < blocks; g++) {
            const int64_t at = n / TILE * blocks + g;
            int8_t rows[TILE * BLOCK] = {0};
            for (int64_t row = 0; row < TILE; row++) {
                if (n + row >= many) { factor[at * TILE + row] = 0; continue; }
                const int64_t place = (n + row) * length + g * BLOCK;
                lanes part[BLOCK / LANES];
                sums most = {0};  /* of the sizes' bits, whose order is theirs */
                for (int i = 0; i < BLOCK / LANES; i++) {
                    const int64_t here = place + i * LANES;
                    part[i] = bytes == 4 ? load((const float *)from + here) : load_bf16((const uint16_t *)from + here);
                    if (added) part[i] += load(added + here);
                    if (scale) part[i] *= scale[n + row];
                    sums size; memcpy(&size, &part[i], sizeof size);
                    size &= 0x7fffffff;
                    const sums more = size > most;
                    most = (more & size) | (~more & most);
                }
                int32_t top = 0;
                for (int i = 0; i < LANES; i++) top = most[i] > top ? most[i] : top;
                float largest; memcpy(&largest, &top, sizeof largest);
                const uint16_t kept = factor[at * TILE + row] = narrow(largest / 127);
                const float inverse = widen(kept) > 0 ? 1 / widen(kept) : 0;
                for (int i = 0; i < BLOCK / LANES; i++)
                    store_small(rows + row * BLOCK + i * LANES, nearest(part[i] * inverse));
            }
            upright(rows, weight + at * TILE * BLOCK);
        }
}

/* The int8 matrix as bfloat16 (`bytes` 2) or float32 (4) [N, length], for many tokens at once. */
void lav2_expand(const int8_t *weight, const uint16_t *factor, int64_t many, int64_t length, void *out, int64_t bytes,
                 int64_t threads) {
    const int64_t blocks = length / BLOCK;
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < many; n += TILE)
        for (int64_t first = 0; first < blocks; first += 16) {  /* so many that a row's part is written in one go */
            const int64_t end = blocks - first < 16 ? blocks - first : 16, at = n / TILE * blocks + first;
            int8_t rows[16][TILE * BLOCK];
            for (int64_t g = 0; g < end; g++) upright(weight + (at + g) * TILE * BLOCK, rows[g]);
            for (int64_t row = 0; row < TILE; row++)
                for (int64_t g = 0; g < end; g++) {
                    const int8_t *from = rows[g] + row * BLOCK;
                    const float f = widen(factor[(at + g) * TILE + row]);
                    const int64_t place = (n + row) * length + (first + g) * BLOCK;
                    for (int i = 0; i < BLOCK; i += LANES)
                        if (bytes == 4) store((float *)out + place + i, f * load_int8(from + i));
                        else store_bf16((uint16_t *)out + place + i, f * load_int8(from + i));
                }
        }
}
