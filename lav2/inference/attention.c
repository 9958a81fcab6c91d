/* Attention of query heads to keys and values, a block of tokens at a time. */

static void rotate(const float *x, const float *cosine, const float *sine, int64_t head, float scale, float *y) {
    const int64_t half = head / 2;
    for (int64_t i = 0; i < half; i += LANES) {
        const lanes a = load(x + i), b = load(x + half + i);
        store(y + i, (a * load(cosine + i) - b * load(sine + i)) * scale);
        store(y + half + i, (b * load(cosine + half + i) + a * load(sine + half + i)) * scale);
    }
}

/* scores[h][k] = q[h] · key k, of KEYS keys, of which `count` are there, and `shared` heads that share them, known to the
   compiler: each key is read and converted once. */
INLINE void score_keys(const float *q, const uint16_t *key, int64_t step, int64_t count, int64_t head, float *scores,
                       const int shared) {
    lanes t[KEYS][SHARED_HEADS] = {{{0}}};
    const uint16_t *at[KEYS];
    for (int k = 0; k < KEYS; k++) at[k] = key + (k < count ? k : 0) * step;
    NO_UNROLL for (int64_t i = 0; i < head; i += LANES)
        for (int k = 0; k < KEYS; k++) {
            const lanes a = load_bf16(at[k] + i);
            for (int h = 0; h < shared; h++) t[k][h] += load(q + h * head + i) * a;
        }
    for (int h = 0; h < shared; h++) {
        const v4 found = sums_of_four(t[0][h], t[1][h], t[2][h], t[3][h]);
        memcpy(scores + h * SCORES, &found, sizeof found);
    }
}

/* out[h] = the values weighted by scores[h]. */
INLINE void weigh_values(const float *scores, const uint16_t *value, int64_t step, int64_t count, int64_t head,
                         float *out, int64_t stride, const int shared) {
    enum { REGISTERS = LANES < 16 ? 4 : 2 };
    for (int64_t i = 0; i < head; i += REGISTERS * LANES) {
        lanes t[SHARED_HEADS][REGISTERS] = {{{0}}};
        NO_UNROLL for (int64_t s = 0; s < count; s++)
            for (int j = 0; j < REGISTERS; j++) {
                const lanes a = load_bf16(value + s * step + i + j * LANES);
                for (int h = 0; h < shared; h++) t[h][j] += scores[h * SCORES + s] * a;
            }
        for (int h = 0; h < shared; h++)
            for (int j = 0; j < REGISTERS; j++) store(out + h * stride + i + j * LANES, t[h][j]);
    }
}

/* The softmax of one split before it is divided: weights e^(score - maximum) in place of the scores; `end` gets the
   maximum and the weights' sum. */
static void partial_softmax(float *scores, int64_t count, float *end) {
    int64_t s;
    for (s = count; s % LANES; s++) scores[s] = -INFINITY;
    lanes most = load(scores), total = {0};
    for (s = LANES; s < count; s += LANES) most = select_lanes(load(scores + s) > most, load(scores + s), most);
    const float top = lane_max(most);
    for (s = 0; s < count; s += LANES) {
        const lanes e = exponential(load(scores + s) - top);  /* behind the end 1e-38 */
        store(scores + s, e);
        total += e;
    }
    end[0] = top;
    end[1] = sum(total);
}

/* What query heads q [H, A] find in a split of keys and values kv [count, 2G, A]: for each head, `stride` numbers
   apart, the weighted sum of the values [A], the greatest score and the weights' sum. */
static void attend(const float *q, const uint16_t *kv, int64_t count, int64_t heads, int64_t groups, int64_t head,
                   float *scores, float *out, int64_t stride) {
    const int64_t step = 2 * groups * head, share = heads / groups;
    for (int64_t s = 0; s < count; s += KEYS) {
        for (int64_t i = 0; i < KEYS * step; i += 32)  /* the values too, which are wanted next */
            __builtin_prefetch(kv + s * step + PREFETCH / 2 + i);
        for (int64_t h = 0, some; h < heads; h += some) {
            const uint16_t *key = kv + s * step + h / share * head;
            some = share - h % share;
            switch (some = some < SHARED_HEADS ? some : SHARED_HEADS) {
                case 1: score_keys(q + h * head, key, step, count - s, head, scores + h * SCORES + s, 1); break;
                case 2: score_keys(q + h * head, key, step, count - s, head, scores + h * SCORES + s, 2); break;
                default: score_keys(q + h * head, key, step, count - s, head, scores + h * SCORES + s, SHARED_HEADS);
            }
        }
    }
    for (int64_t h = 0; h < heads; h++) partial_softmax(scores + h * SCORES, count, out + h * stride + head);
    for (int64_t h = 0, some; h < heads; h += some) {
        const uint16_t *value = kv + (groups + h / share) * head;
        some = share - h % share;
        switch (some = some < SHARED_HEADS ? some : SHARED_HEADS) {
            case 1: weigh_values(scores + h * SCORES, value, step, count, head, out + h * stride, stride, 1); break;
            case 2: weigh_values(scores + h * SCORES, value, step, count, head, out + h * stride, stride, 2); break;
            default: weigh_values(scores + h * SCORES, value, step, count, head, out + h * stride, stride, SHARED_HEADS);
        }
    }
}

/* out += scale times a head's attention out of what `attend` found in `count` splits, `apart` from one another. */
static void merge_partials(const float *found, int64_t apart, int64_t count, int64_t head, float scale, float *out) {
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

/* How many splits a prompt or text is cut into: by its length alone, for the same bits beside any others, and so that
   two or four threads get the same. native_forward.py has scratch memory for the most there can be. */
INLINE int64_t kv_splits(int64_t count) {
    return count < 4 * KEYS ? count > 0 : (count + 4 * KV_BLOCK - 1) / (4 * KV_BLOCK) * 4;
}

INLINE const int64_t *state_of(const int64_t *row, int64_t layer) {
    return (const int64_t *)row[STATE_AT] + layer * row[LAYER_STRIDE];
}
