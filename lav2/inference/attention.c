/* Attention of query heads to keys and values, a block of tokens at a time. */

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
static void partial_softmax(float *scores, int64_t count, float *end) {
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
    for (int64_t h = 0; h < heads; h++) partial_softmax(scores + h * SCORES, count, out + h * stride + head);
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

/* How many a prompt or text is cut into: by its length alone, for the same bits beside any others, and so that two or
   four threads get the same. engine.py knows the most. */
INLINE int64_t stretches(int64_t count) {
    return count < 4 * KEYS ? count > 0 : (count + 4 * KV_BLOCK - 1) / (4 * KV_BLOCK) * 4;
}

INLINE const int64_t *state_of(const int64_t *row, int64_t layer) {
    return (const int64_t *)row[STATE_AT] + layer * row[STATES];
}
