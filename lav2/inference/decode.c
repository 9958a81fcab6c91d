/* A LLaMA with zero-init attention, for one token of a few texts or a piece of a prompt at once: what engine.py does
   in torch operations, in one call and one team of threads. There the weights are prepared and the order of the
   tables' columns is set.

   Words: B rows, D width, H query heads, G key/value heads, A head width, F width of the feed-forward, V vocabulary,
   S capacity of the cache in tokens, K prompt length. Activations are float32, keys and values bfloat16. Weights are
   bfloat16, or int8 in blocks of 32 of a row that share one bfloat16 factor; every row is a multiple of 32 long. What
   int8 weights are multiplied with is rounded to int16 in such blocks: finer than bfloat16, and a block's products are
   added as whole numbers. Int8 rows lie in tiles of 16, pair by pair of a row's weights, so that one instruction takes a
   pair of each row, and the 16 sums of a block are converted and weighted together.

   One translation unit, so that the compiler inlines across its parts. */

#include "vectors.h"

#include "products.c"

#include "attention.c"

/* A thread's part of x [rows, width] += W · r for each row r; y: space for a tile of each. */
static void add_product(Team *team, int threads, const Matrix *m, Rows vectors, int64_t rows, float *x, int64_t width,
                        float *y) {
    int64_t n, end;
    while ((end = next_chunk(team, threads, width / TILE, &n)) > n)
        for (n *= TILE; n < end * TILE; n += TILE) {
            multiply(m, n, TILE, vectors, rows, y, TILE);
            add(x + n, width, y, rows);
        }
}

/* One token of each of B <= MAX_TOKENS rows, which may be answers of several users, or tokens of one text in their
   order: what a row gets does not depend on the others, but for those whose keys and values it looks at.
   where [B, PLACES]: each row's token, its place in the row's cache, where its text begins there, and the address of
   its STATE in the first layer, `STATES` numbers before that in the next. embedding [V, D] bfloat16. cosine, sine
   [context, A]. head_matrix: address and factors of the vocabulary's matrix. scratch: see engine.py.
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
        const Rows prepared = {normed, (int16_t *)(normed + rows * longest), normed + rows * longest / 2 * 3};
        float y[2][MAX_TOKENS * TILE];
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
                prepare(&mq, below(prepared, b * width));
            }
            if (shared) barrier(&team, all);
            while ((end = next_chunk(&team, all, wide / TILE, &n)) > n)
                multiply(&mq, n * TILE, (end - n) * TILE, prepared, rows, qkv + n * TILE, wide);
            barrier(&team, all);

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
            barrier(&team, all);

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
            barrier(&team, all);

            for (int64_t b = mine; b < rows; b += every) {
                const int64_t *row = where + b * PLACES, *st = state_of(row, l), apart = heads * stride;
                const int64_t prompts = stretches(st[PROMPT_LENGTH]);
                const int64_t texts = stretches(row[PLACE] + 1 - row[FIRST]);
                memset(normed + b * heads * head, 0, heads * head * sizeof *normed);
                for (int64_t h = 0; h < heads; h++) {
                    const float *from = found + b * parts * apart + h * stride;
                    float *out = normed + (b * heads + h) * head;
                    if (prompts) merge_partials(from, apart, prompts, head, widen(((const uint16_t *)st[GATE])[h]), out);
                    merge_partials(from + prompts * apart, apart, texts, head, 1, out);
                }
                prepare(&mo, below(prepared, b * heads * head));
            }
            if (shared) barrier(&team, all);
            add_product(&team, all, &mo, prepared, rows, x, width, y[0]);
            barrier(&team, all);

            for (int64_t b = mine; b < rows; b += every) {
                normalise(x + b * width, (const float *)w[NORM_2], epsilon, width, normed + b * width);
                prepare(&mg, below(prepared, b * width));
            }
            if (shared) barrier(&team, all);
            while ((end = next_chunk(&team, all, hidden / TILE, &n)) > n)
                for (n *= TILE; n < end * TILE; n += TILE) {
                    multiply(&mg, n, TILE, prepared, rows, y[0], TILE);
                    multiply(&mg, hidden + n, TILE, prepared, rows, y[1], TILE);
                    for (int64_t b = 0; b < rows; b++)
                        for (int i = 0; i < TILE; i += LANES) {
                            const lanes t = load(y[0] + b * TILE + i);
                            store(active + b * hidden + n + i,
                                  t / (1.0f + exponential(-t)) * load(y[1] + b * TILE + i));
                        }
                }
            barrier(&team, all);

            const Rows fed = {active, prepared.rounded, prepared.factor};
            for (int64_t b = mine; b < rows; b += every) prepare(&md, below(fed, b * hidden));
            if (shared) barrier(&team, all);
            add_product(&team, all, &md, fed, rows, x, width, y[0]);
            barrier(&team, all);
        }
        const Matrix mh = {(const char *)head_matrix[0], (const uint16_t *)head_matrix[1], 0, width, bytes};
        const float *last = x + (rows - wanted) * width;
        for (int64_t b = mine; b < wanted; b += every) {
            normalise(last + b * width, last_norm, epsilon, width, normed + b * width);
            prepare(&mh, below(prepared, b * width));
        }
        if (shared) barrier(&team, all);
        while (wanted && (end = next_chunk(&team, all, (vocabulary + TILE - 1) / TILE, &n)) > n)
            multiply(&mh, n * TILE, (end * TILE < vocabulary ? end * TILE : vocabulary) - n * TILE, prepared, wanted,
                     logits + n * TILE, vocabulary);
    }
}
