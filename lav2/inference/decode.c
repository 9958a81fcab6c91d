/* A LLaMA with zero-init attention, for one token of a few texts or a piece of a prompt at once: what engine.py does
   in torch operations, in one call and one team of threads. native_forward.py prepares the weights and sets the order
   of the tables' columns.

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
   where [B, ROW_SIZE]: each row's token, its position in the row's cache, where its text begins there, and the address of
   its STATE in the first layer, `LAYER_STRIDE` numbers before that in the next. embedding [V, D] bfloat16. cosine, sine
   [context, A]. head_matrix: address and factors of the vocabulary's matrix. scratch: see native_forward.py.
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
    float *x = scratch, *qkv = x + rows * width, *active = qkv + rows * wide, *partials = active + rows * hidden;
    float *work = partials + rows * parts * heads * stride;
    const int shared = rows > PRIVATE_ROWS;
    Team team = {0, 0, 0};

    for (int64_t b = 0; b < rows; b++)
        for (int64_t i = 0; i < width; i += LANES)
            store(x + b * width + i, load_bf16(embedding + where[b * ROW_SIZE + TOKEN] * width + i));

#pragma omp parallel num_threads(threads)
    {
#ifdef _OPENMP
        const int thread = omp_get_thread_num(), team_size = omp_get_num_threads();
#else
        const int thread = 0, team_size = 1;
#endif
        /* What products read is prepared by each thread for itself, or by all of them together up to a barrier. */
        const int64_t first_row = shared ? thread : 0, row_step = shared ? team_size : 1;
        float *scores = work + thread * (2 * rows * longest + heads * SCORES + 16);
        float *normed = (shared ? work : scores) + heads * SCORES;
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

            for (int64_t b = first_row; b < rows; b += row_step) {
                rms_norm(x + b * width, (const float *)w[NORM_1], epsilon, width, normed + b * width);
                prepare(&mq, rows_after(prepared, b * width));
            }
            if (shared) barrier(&team, team_size);
            while ((end = next_chunk(&team, team_size, wide / TILE, &n)) > n)
                multiply(&mq, n * TILE, (end - n) * TILE, prepared, rows, qkv + n * TILE, wide);
            barrier(&team, team_size);

            for (int64_t b = thread; b < rows; b += team_size) {  /* rotate queries and keys (RoPE), fill the caches */
                const int64_t *row = where + b * ROW_SIZE, angle = (row[POSITION] - row[FIRST]) * head;
                float *q = qkv + b * wide, *k = q + heads * head;
                uint16_t *kv = (uint16_t *)state_of(row, l)[KV] + row[POSITION] * 2 * groups * head;
                for (int64_t h = 0; h < heads + groups; h++) {
                    const float *norm = h < heads ? norm_q : norm_k;
                    if (norm) rms_norm(q + h * head, norm, epsilon, head, q + h * head);
                    rotate(q + h * head, cosine + angle, sine + angle, head, h < heads ? scaling : 1, q + h * head);
                }
                for (int64_t i = 0; i < 2 * groups * head; i += LANES) store_bf16(kv + i, load(k + i));
            }
            if (thread >= rows)  /* nothing to rotate: prefetch the prompts, which the attention reads first */
                for (int64_t b = 0; b < rows; b++) {
                    const int64_t *st = state_of(where + b * ROW_SIZE, l);
                    for (int64_t i = 0; i < st[PROMPT_LENGTH] * 2 * groups * head; i += 32)
                        __builtin_prefetch((const uint16_t *)st[PROMPT] + i);
                }
            barrier(&team, team_size);

            int64_t split = 0, next = atomic_fetch_add(&team.taken, 1);
            for (int64_t b = 0; b < rows; b++) {  /* attention, a split of a prompt or text at a time */
                const int64_t *row = where + b * ROW_SIZE, *st = state_of(row, l), step = 2 * groups * head;
                const int64_t lengths[2] = {st[PROMPT_LENGTH], row[POSITION] + 1 - row[FIRST]};
                float *to = partials + b * parts * heads * stride;
                for (int text = 0; text < 2; text++) {
                    const uint16_t *kv = (const uint16_t *)st[text ? KV : PROMPT] + (text ? row[FIRST] * step : 0);
                    const int64_t length = lengths[text], count = kv_splits(length);
                    for (int64_t c = 0; c < count; c++, to += heads * stride) {
                        if (split++ != next) continue;
                        next = atomic_fetch_add(&team.taken, 1);
                        const int64_t at = length * c / count;
                        attend(qkv + b * wide, kv + at * step, length * (c + 1) / count - at, heads, groups, head,
                               scores, to, stride);
                    }
                }
            }
            barrier(&team, team_size);

            for (int64_t b = first_row; b < rows; b += row_step) {
                const int64_t *row = where + b * ROW_SIZE, *st = state_of(row, l), apart = heads * stride;
                const int64_t prompts = kv_splits(st[PROMPT_LENGTH]);
                const int64_t texts = kv_splits(row[POSITION] + 1 - row[FIRST]);
                memset(normed + b * heads * head, 0, heads * head * sizeof *normed);
                for (int64_t h = 0; h < heads; h++) {
                    const float *from = partials + b * parts * apart + h * stride;
                    float *out = normed + (b * heads + h) * head;
                    if (prompts) merge_partials(from, apart, prompts, head, widen(((const uint16_t *)st[GATE])[h]), out);
                    merge_partials(from + prompts * apart, apart, texts, head, 1, out);
                }
                prepare(&mo, rows_after(prepared, b * heads * head));
            }
            if (shared) barrier(&team, team_size);
            add_product(&team, team_size, &mo, prepared, rows, x, width, y[0]);
            barrier(&team, team_size);

            for (int64_t b = first_row; b < rows; b += row_step) {
                rms_norm(x + b * width, (const float *)w[NORM_2], epsilon, width, normed + b * width);
                prepare(&mg, rows_after(prepared, b * width));
            }
            if (shared) barrier(&team, team_size);
            while ((end = next_chunk(&team, team_size, hidden / TILE, &n)) > n)
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
            barrier(&team, team_size);

            const Rows fed = {active, prepared.rounded, prepared.factor};
            for (int64_t b = first_row; b < rows; b += row_step) prepare(&md, rows_after(fed, b * hidden));
            if (shared) barrier(&team, team_size);
            add_product(&team, team_size, &md, fed, rows, x, width, y[0]);
            barrier(&team, team_size);
        }
        const Matrix mh = {(const char *)head_matrix[0], (const uint16_t *)head_matrix[1], 0, width, bytes};
        const float *last = x + (rows - wanted) * width;
        for (int64_t b = first_row; b < wanted; b += row_step) {
            rms_norm(last + b * width, last_norm, epsilon, width, normed + b * width);
            prepare(&mh, rows_after(prepared, b * width));
        }
        if (shared) barrier(&team, team_size);
        while (wanted && (end = next_chunk(&team, team_size, (vocabulary + TILE - 1) / TILE, &n)) > n)
            multiply(&mh, n * TILE, (end * TILE < vocabulary ? end * TILE : vocabulary) - n * TILE, prepared, wanted,
                     logits + n * TILE, vocabulary);
    }
}
