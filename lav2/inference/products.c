/* Products of weights and vectors, and int8 weights made and read back. */

/* Vectors of int16 with a factor for each block; `count` numbers in all. By vectors: fmaxf and rintf are calls, a tenth
   of a step's time. */
static void quantise_int16(int64_t count, Rows rows) {
    for (int64_t g = 0; g < count / BLOCK; g++) {
        const float *p = rows.x + g * BLOCK;
        lanes top = magnitude(load(p));
        for (int i = LANES; i < BLOCK; i += LANES) {
            const lanes other = magnitude(load(p + i));
            top = select_lanes(other > top, other, top);
        }
        const float most = lane_max(top), inverse = most > 0 ? 32767 / most : 0;
        rows.factor[g] = most / 32767;
        for (int i = 0; i < BLOCK; i += LANES) {
            const lanes nearest = (load(p + i) * inverse + NEAREST) - NEAREST;
            const shorts rounded = __builtin_convertvector(__builtin_convertvector(nearest, sums), shorts);
            memcpy(rows.rounded + g * BLOCK + i, &rounded, sizeof rounded);
        }
    }
}

INLINE void prepare(const Matrix *m, Rows row) {  /* one of what m is multiplied with */
    if (m->bytes == 1) quantise_int16(m->length, row);
}

INLINE Rows rows_after(Rows rows, int64_t count) {  /* the vectors after `count` numbers */
    return (Rows){rows.x + count, rows.rounded + count, rows.factor + count / BLOCK};
}

/* y[r][j] = W[n + j] · x[r] for int8 weights, `row_count` <= 4 rows, known to the compiler, and j < count <= TILE: what
   is read once serves all of them. */
INLINE void tile(const Matrix *m, int64_t n, const Rows *rows, float *y, int64_t stride, int64_t count,
                 const int row_count) {
    enum { BESIDE = LANES < TILE ? 2 : 1 };  /* registers of weights that share a look at a pair of x */
    lanes total[4][TILE / LANES] = {{{0}}};
    const int64_t length = m->length, blocks = length / BLOCK;
    const int8_t *w = (const int8_t *)m->weight + n * length;
    const uint16_t *factor = m->factor + n * blocks;
    if (m->bias) __builtin_prefetch(m->bias + n);  /* wanted at the end, and nothing reads on from it */
    for (int64_t g = 0; g < blocks; g++, w += TILE * BLOCK, factor += TILE) {
        const int16_t *x = rows->rounded + g * BLOCK;
        NO_UNROLL for (int first = 0; first < TILE / LANES; first += BESIDE) {
            sums integers[4][2] = {{{0}}};  /* of two registers, or of one's pairs in turns: two do not wait */
            NO_UNROLL for (int p = 0; p < BLOCK / 2; p += 2) {
                if (!first) __builtin_prefetch(w + p * 2 * TILE + PREFETCH);
                for (int i = 0; i < 2 * BESIDE; i++) {
                    const int pair = p + i / BESIDE, part = first + i % BESIDE;
                    const pairs one = load_int8_pairs(w + (pair * TILE + part * LANES) * 2);
                    for (int r = 0; r < row_count; r++)
                        integers[r][i % 2] = add_products(integers[r][i % 2], one, x + r * length + 2 * pair);
                }
            }
            for (int i = 0; i < BESIDE; i++) {
                const lanes own = load_bf16(factor + (first + i) * LANES);
                for (int r = 0; r < row_count; r++)
                    total[r][first + i] = add_scaled(total[r][first + i],
                                                     BESIDE == 2 ? integers[r][i] : integers[r][0] + integers[r][1],
                                                     own * rows->factor[r * blocks + g]);
            }
        }
    }
    for (int r = 0; r < row_count; r++) {
        float found[TILE];
        for (int i = 0; i < TILE; i += LANES) {
            if (m->bias && count == TILE) total[r][i / LANES] += load(m->bias + n + i);
            store(count == TILE ? y + r * stride + i : found + i, total[r][i / LANES]);
        }
        for (int j = 0; j < count && count < TILE; j++) y[r * stride + j] = found[j] + (m->bias ? m->bias[n + j] : 0);
    }
}

/* y[r] = W[n] · x[r] for bfloat16 weights and `row_count` <= 4 rows, known to the compiler. */
INLINE void dot(const Matrix *m, int64_t n, const Rows *rows, float *y, int64_t stride, const int row_count) {
    lanes total[4][2] = {{{0}}};  /* two sums, as one would wait for each addition */
    const uint16_t *w = (const uint16_t *)m->weight + n * m->length;
    for (int64_t k = 0; k < m->length; k += BLOCK) {
        __builtin_prefetch(w + k + PREFETCH / 2);
        NO_UNROLL for (int i = 0; i < BLOCK; i += 2 * LANES) {
            const lanes a = load_bf16(w + k + i), b = load_bf16(w + k + i + LANES);
            for (int r = 0; r < row_count; r++) {
                total[r][0] += load(rows->x + r * m->length + k + i) * a;
                total[r][1] += load(rows->x + r * m->length + k + i + LANES) * b;
            }
        }
    }
    for (int r = 0; r < row_count; r++) y[r * stride] = sum(total[r][0] + total[r][1]) + (m->bias ? m->bias[n] : 0);
}

/* y[r][j] = W[n + j] · x[r] for `row_count` rows and j < count; n is a multiple of TILE. */
static void multiply(const Matrix *m, int64_t n, int64_t count, Rows rows, int64_t row_count, float *y,
                     int64_t stride) {
    const int64_t step = m->bytes == 1 ? TILE : 1;
    for (; count > 0; n += step, count -= step, y += step) {
        Rows left = rows;
        float *to = y;
        for (int64_t r = 0; r < row_count; r += 4, left = rows_after(left, 4 * m->length), to += 4 * stride) {
            const int64_t some = row_count - r < 4 ? row_count - r : 4, kept = count < TILE ? count : TILE;
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

static void rms_norm(const float *x, const float *weight, float epsilon, int64_t length, float *y) {
    lanes squares = {0};
    for (int64_t i = 0; i < length; i += LANES) squares += load(x + i) * load(x + i);
    float scale = 1 / sqrtf(sum(squares) / length + epsilon);
    for (int64_t i = 0; i < length; i += LANES) store(y + i, load(x + i) * scale * load(weight + i));
}

static void add(float *x, int64_t width, const float *y, int64_t rows) {  /* TILE numbers of y to those of each row */
    for (int64_t b = 0; b < rows; b++)
        for (int i = 0; i < TILE; i += LANES) store(x + b * width + i, load(x + b * width + i) + load(y + b * TILE + i));
}

/* y [B, N] = x [B, length] Wᵀ of int8 weights; scratch: B · length + 16 floats. */
void lav2_linear(const char *weight, const uint16_t *factor, const float *x, int64_t rows, int64_t length,
                 int64_t outputs, float *scratch, float *y, int64_t threads) {
    const Matrix m = {weight, factor, 0, length, 1};
    const Rows vectors = {x, (int16_t *)scratch, scratch + rows * length / 2};
    quantise_int16(rows * length, vectors);
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < outputs; n += 16)
        multiply(&m, n, outputs - n < 16 ? outputs - n : 16, vectors, rows, y + n, outputs);
}

/* The pairs of a block, [BLOCK / 2, TILE] of two bytes, as rows [TILE, BLOCK / 2], and the way back. Each round turns
   the eight bits of a pair's place by one. */
INLINE void transpose_block(const int8_t *from, int8_t *to) {
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
INLINE sums round_to_int(lanes x) {
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
INLINE void store_small(int8_t *p, sums integers) {
    const sums below = integers < -127;
    integers = (below & -127) | (~below & integers);
#ifdef __AVX512BW__
    __m512i v; memcpy(&v, &integers, sizeof v);
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(v));
#elif defined(__AVX2__)
    __m128i half[2]; memcpy(half, &integers, sizeof half);
    const __m128i words = _mm_packs_epi32(half[0], half[1]);
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
#else
    for (int i = 0; i < LANES; i++) p[i] = (int8_t)(integers[i] > 127 ? 127 : integers[i]);
#endif
}

/* (from + added) · scale as int8 in tiles, with a factor for each block of a row. `from` is [N, length], bfloat16 (`bytes`
   2) or float32 (4); added [N, length] and scale [N] are float32, 0: none. Rows of zeros fill up the last tile. */
void lav2_quantise(const void *from, int64_t bytes, const float *added, const float *scale, int64_t outputs,
                   int64_t length, int8_t *weight, uint16_t *factor, int64_t threads) {
    const int64_t blocks = length / BLOCK;
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < outputs; n += TILE)
        for (int64_t g = 0; g < blocks; g++) {
            const int64_t at = n / TILE * blocks + g;
            int8_t rows[TILE * BLOCK] = {0};
            for (int64_t row = 0; row < TILE; row++) {
                if (n + row >= outputs) { factor[at * TILE + row] = 0; continue; }
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
                    store_small(rows + row * BLOCK + i * LANES, round_to_int(part[i] * inverse));
            }
            transpose_block(rows, weight + at * TILE * BLOCK);
        }
}

/* The int8 matrix as bfloat16 (`bytes` 2) or float32 (4) [N, length], for many tokens at once. */
void lav2_expand(const int8_t *weight, const uint16_t *factor, int64_t outputs, int64_t length, void *out, int64_t bytes,
                 int64_t threads) {
    const int64_t blocks = length / BLOCK;
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < outputs; n += TILE)
        for (int64_t first = 0; first < blocks; first += 16) {  /* so many that a row's part is written in one go */
            const int64_t end = blocks - first < 16 ? blocks - first : 16, at = n / TILE * blocks + first;
            int8_t rows[16][TILE * BLOCK];
            for (int64_t g = 0; g < end; g++) transpose_block(weight + (at + g) * TILE * BLOCK, rows[g]);
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
