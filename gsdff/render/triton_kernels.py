"""Triton kernels of the feature pass: blending a tile is a matrix product, which tensor cores compute.

weights [pixels, Gaussians] times features [Gaussians, channels]. The weights are found in float32, a chunk of Gaussians
at a time, and are the same for all channels. `tensor_cores` calls these kernels; `scripts/compile_kernels.py` prints
what they are compiled to.

A thread owns a pixel, or two, and all Gaussians of a chunk, so that the products along a chunk stay in its registers.
Hence the orientation [Gaussians, pixels] of most tensors here.
"""

# Triton's own operators lack types:
# pyright: reportOperatorIssue=false

import os

from gsdff.triton import tl, triton

TILE = tl.constexpr(16)
PIXELS = tl.constexpr(256)
CHUNK = tl.constexpr(16)
"""Gaussians that are blended at a time: the depth of one matrix instruction of half precision."""
COLUMNS = tl.constexpr(6)
"""Rows of the table that `list_ellipses` writes: centre (2), factor of the conic (3), opacity."""
FULL = tl.constexpr(1024.0)
"""Transmittance of an empty pixel. Weights down to 4e-7 are then normal numbers of half precision."""
STOP = tl.constexpr(1024.0 * 1e-4)
MIN_ALPHA = tl.constexpr(1 / 255)
MAX_ALPHA = tl.constexpr(0.999)
LOG2_E = tl.constexpr(1.4426950408889634)
ROOT = tl.constexpr((0.5 * 1.4426950408889634) ** 0.5)
MIN_NORM = tl.constexpr(1e-8)
LEAST = tl.constexpr(-1e30)
"""Below every logit, and finite, so that differences of two are no NaN."""
RELEVANCY, LERF, COSINE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def exp2(x):
    """2^x in one instruction: Triton's own spends three more on denormal results, which are below 1/255 here."""
    if INTERPRETED:
        return tl.exp2(x)
    else:
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)


@triton.jit
def reciprocal(x):
    """1/x in one instruction, for x from 0.001 to 1."""
    if INTERPRETED:
        return 1 / x
    else:
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)


@triton.jit
def least_sigma(x, a, b, c, low, high):
    """Least of (a x^2 + c y^2) / 2 + b x y along an edge: y from `low` to `high`."""
    y = tl.minimum(tl.maximum(-b * x / c, low), high)
    return 0.5 * (a * x * x + c * y * y) + b * x * y


@triton.jit(do_not_specialize=["tiles_x"])
def list_ellipses(
    pair_ids, bounds, means2d, conics, opacities, starts, counts, ids, table, stride, tiles_x,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Copies what blending reads into the order of the tiles, one program per tile.

    gsplat lists a Gaussian in every tile that its bounding box touches; here those remain whose ellipse
    {alpha >= 1/255} may meet a pixel centre. Lists start at `starts` [tiles], in chunks, and are filled up with
    Gaussians of no opacity to whole chunks; `counts` [tiles] gets their lengths. `table` [COLUMNS, stride] has centres
    relative to the tile's first pixel centre, and of the conic its Cholesky factor, for powers of two: sigma is then a
    sum of squares, where a needle's a dx^2 + 2 b dx dy + c dy^2 is a small difference of large terms.
    """
    tile = tl.program_id(0)
    place = tl.load(bounds + tile)
    end = tl.load(bounds + tile + 1)
    first = tl.load(starts + tile).to(tl.int64) * CHUNK
    x0 = ((tile % tiles_x) * TILE).to(tl.float32) + 0.5
    y0 = ((tile // tiles_x) * TILE).to(tl.float32) + 0.5
    listed = 0
    while place < end:
        there = place + tl.arange(0, BLOCK) < end
        gaussian = tl.load(pair_ids + place + tl.arange(0, BLOCK), mask=there, other=0)
        # from the centre to the tile's first column and row
        left = x0 - tl.load(means2d + 2 * gaussian, mask=there, other=0.0)
        top = y0 - tl.load(means2d + 2 * gaussian + 1, mask=there, other=0.0)
        a = tl.load(conics + 3 * gaussian, mask=there, other=1.0)
        b = tl.load(conics + 3 * gaussian + 1, mask=there, other=0.0)
        c = tl.load(conics + 3 * gaussian + 2, mask=there, other=1.0)
        opacity = tl.load(opacities + gaussian, mask=there, other=1.0)
        right, bottom = left + (TILE - 1), top + (TILE - 1)
        sigma = tl.minimum(least_sigma(left, a, b, c, top, bottom), least_sigma(right, a, b, c, top, bottom))
        sigma = tl.minimum(sigma, least_sigma(top, c, b, a, left, right))
        sigma = tl.minimum(sigma, least_sigma(bottom, c, b, a, left, right))
        sigma = tl.where((left <= 0) & (right >= 0) & (top <= 0) & (bottom >= 0), 0.0, sigma)
        # what rounding may have made of a needle's sigma stays listed
        far_x, far_y = tl.maximum(tl.abs(left), tl.abs(right)), tl.maximum(tl.abs(top), tl.abs(bottom))
        slack = 1e-5 * (a * far_x * far_x + c * far_y * far_y) + 1e-3
        misses = (sigma - slack) * LOG2_E > tl.log2(opacity / MIN_ALPHA)
        kept = (there & (misses == 0)).to(tl.int32)
        at = first + listed + tl.cumsum(kept, axis=0) - 1
        keep = kept > 0
        tl.store(ids + at, gaussian, mask=keep)
        tl.store(table + at, -left, mask=keep)
        tl.store(table + stride + at, -top, mask=keep)
        root = tl.sqrt(a)
        tl.store(table + 2 * stride + at, root * ROOT, mask=keep)
        tl.store(table + 3 * stride + at, (b / root) * ROOT, mask=keep)
        tl.store(table + 4 * stride + at, tl.sqrt(tl.maximum(c - b * b / a, 0.0)) * ROOT, mask=keep)
        tl.store(table + 5 * stride + at, opacity, mask=keep)
        listed += tl.sum(kept, axis=0)
        place += BLOCK
    tl.store(counts + tile, listed)
    at = first + listed + tl.arange(0, CHUNK)
    rest = listed + tl.arange(0, CHUNK) < (listed + CHUNK - 1) // CHUNK * CHUNK
    tl.store(ids + at, 0, mask=rest)
    for column in range(COLUMNS):
        tl.store(table + column * stride + at, 0.0, mask=rest)


@triton.jit
def open_pixels(width, height, P: tl.constexpr):
    """The tile of this program, and its P pixels: columns and rows within the tile, places in the image, transmittance.

    Pixels outside the image start as finished.
    """
    parts: tl.constexpr = PIXELS // P
    tile = tl.program_id(0) // parts
    tiles_x = (width + TILE - 1) // TILE
    pixel = (tl.program_id(0) % parts) * P + tl.arange(0, P)
    x, y = pixel % TILE, pixel // TILE
    column, row = (tile % tiles_x) * TILE + x, (tile // tiles_x) * TILE + y
    inside = (column < width) & (row < height)
    left = tl.where(inside, FULL, 0.0)
    return tile, x.to(tl.float32), y.to(tl.float32), row.to(tl.int64) * width + column, inside, left


@triton.jit
def weigh(table, stride, place, x, y, left):
    """Weights [CHUNK, P] of a chunk of Gaussians, times FULL, and the transmittance behind them.

    `left` goes on falling behind a finished pixel, so that it stays below STOP, and no weight is given any more.
    """
    entry = table + place + tl.arange(0, CHUNK)
    dy = y[None, :] - tl.load(entry + stride)[:, None]
    along = tl.load(entry + 4 * stride)[:, None] * dy
    across = tl.load(entry + 3 * stride)[:, None] * dy
    across += tl.load(entry + 2 * stride)[:, None] * (x[None, :] - tl.load(entry)[:, None])
    alpha = tl.load(entry + 5 * stride)[:, None] * exp2(-(across * across) - along * along)
    alpha = tl.where(alpha >= MIN_ALPHA, tl.minimum(alpha, MAX_ALPHA), 0.0)
    through = 1 - alpha
    after = left[None, :] * tl.cumprod(through, axis=0)
    weights = tl.where(after > STOP, after * (alpha * reciprocal(through)), 0.0)
    is_last = tl.arange(0, CHUNK) == CHUNK - 1
    return weights, tl.sum(tl.where(is_last[:, None], after, -0.0), axis=0)


@triton.jit
def blend_chunks(
    ids, table, stride, starts, counts, features, tile, x, y, left, channel,
    K: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Blended features [P, WIDE] of some channels, and sums of weights [P]; both times FULL."""
    place = tl.load(starts + tile).to(tl.int64) * CHUNK
    end = place + tl.load(counts + tile)
    blended = tl.zeros([P, WIDE], tl.float32)
    seen = tl.zeros([P], tl.float32)
    while (place < end) & (tl.max(left, axis=0) > STOP):
        place = tl.multiple_of(place, CHUNK)
        weights, left = weigh(table, stride, place, x, y, left)
        seen += tl.sum(weights, axis=0)
        gaussian = tl.load(ids + place + tl.arange(0, CHUNK)).to(tl.int64)
        rows = features + gaussian[:, None] * K + channel[None, :]
        values = tl.load(rows, mask=(channel < K)[None, :], other=0.0)
        blended = tl.dot(tl.trans(weights.to(values.dtype)), values, blended, input_precision=PRECISION)
        place += CHUNK
    return blended, seen


@triton.jit(do_not_specialize=["width", "height"])
def blend_features(
    ids, table, stride, starts, counts, features, scale, width, height, renders, alphas,
    K: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Renders WIDE channels of P pixels: features [N, K], divided by `scale` -> renders [H, W, K], alphas [H, W]."""
    tile, x, y, pixel, inside, left = open_pixels(width, height, P)
    channel = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    blended, seen = blend_chunks(
        ids, table, stride, starts, counts, features, tile, x, y, left, channel, K, P, WIDE, PRECISION
    )
    blended *= tl.load(scale) / FULL
    tl.store(renders + pixel[:, None] * K + channel[None, :], blended, mask=inside[:, None] & (channel < K)[None, :])
    if tl.program_id(1) == 0:
        tl.store(alphas + pixel, seen / FULL, mask=inside)


@triton.jit(do_not_specialize=["width", "height"])
def gather_gradients(
    ids, table, stride, starts, counts, cotangent, scale, width, height, gradients,
    K: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr, HALF: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds to gradients [N, K] what P pixels of WIDE channels of the cotangent [H, W, K] give: weights^T cotangent.

    With HALF both factors are sums of two numbers of half precision, which leaves the error of float32: sums of
    gradients cancel, and what is rounded once to half precision would be off by more than a thousandth.
    """
    tile, x, y, pixel, inside, left = open_pixels(width, height, P)
    channel = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    rows = cotangent + pixel[:, None] * K + channel[None, :]
    largest = tl.load(scale)
    values = tl.load(rows, mask=inside[:, None] & (channel < K)[None, :], other=0.0) / largest
    coarse = values.to(tl.float16)
    fine = (values - coarse.to(tl.float32)).to(tl.float16)
    place = tl.load(starts + tile).to(tl.int64) * CHUNK
    end = place + tl.load(counts + tile)
    while (place < end) & (tl.max(left, axis=0) > STOP):
        place = tl.multiple_of(place, CHUNK)
        weights, left = weigh(table, stride, place, x, y, left)
        if HALF:
            near = weights.to(tl.float16)
            sums = tl.dot((weights - near.to(tl.float32)).to(tl.float16), coarse)
            sums = tl.dot(near, coarse, tl.dot(near, fine, sums))
        else:
            sums = tl.dot(weights, values, input_precision=PRECISION)
        sums *= largest / FULL
        gaussian = tl.load(ids + place + tl.arange(0, CHUNK)).to(tl.int64)
        # NaN is not 0 either, and must be seen
        counted = (tl.max((sums != 0).to(tl.int32), axis=1) > 0)[:, None] & (channel < K)[None, :]
        tl.atomic_add(gradients + gaussian[:, None] * K + channel[None, :], sums, mask=counted, sem="relaxed")
        place += CHUNK


@triton.jit(do_not_specialize=["width", "height", "num_positives", "num_queries", "sharpness"])
def score_features(
    ids, table, stride, starts, counts, features, scale, width, height, queries, num_positives, num_queries, sharpness,
    scores, best, alphas,
    K: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr, METHOD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores of P pixels' blended features, which are not written: scores [H, W] and the best positive's index [H, W].

    `queries` [num_queries, K] are unit vectors, the positives first. `sharpness` is the inverse of the temperature.
    The index is -1 where nothing is, and the score 0.
    """
    tile, x, y, pixel, inside, left = open_pixels(width, height, P)
    channel = tl.arange(0, WIDE)
    blended, seen = blend_chunks(
        ids, table, stride, starts, counts, features, tile, x, y, left, channel, K, P, WIDE, PRECISION
    )
    lengths = tl.sqrt(tl.sum(blended * blended, axis=1)) * (tl.load(scale) / FULL)
    to_logit = tl.load(scale) / FULL / tl.maximum(lengths, MIN_NORM) * sharpness
    most, rival = tl.full([P], LEAST, tl.float32), tl.full([P], LEAST, tl.float32)
    share, rest = tl.zeros([P], tl.float32), tl.zeros([P], tl.float32)
    winner = tl.zeros([P], tl.int32)
    # One query at a time, in float32: as a product of matrices this would need more registers than there are.
    for query in range(num_positives):
        vector = tl.load(queries + query * K + channel, mask=channel < K, other=0.0)
        logits = tl.sum(blended * vector[None, :], axis=1) * to_logit
        winner = tl.where(logits > most, query, winner)
        if METHOD == RELEVANCY:  # a running logsumexp
            share = share * tl.exp(most - tl.maximum(most, logits)) + tl.exp(logits - tl.maximum(most, logits))
        most = tl.maximum(most, logits)
    for query in range(num_positives, num_queries):
        vector = tl.load(queries + query * K + channel, mask=channel < K, other=0.0)
        logits = tl.sum(blended * vector[None, :], axis=1) * to_logit
        if METHOD == RELEVANCY:
            rest = rest * tl.exp(rival - tl.maximum(rival, logits)) + tl.exp(logits - tl.maximum(rival, logits))
        rival = tl.maximum(rival, logits)
    if METHOD == COSINE:
        score = most / sharpness
    elif METHOD == LERF:
        score = tl.sigmoid(most - rival)
    else:
        score = tl.sigmoid(most - rival + tl.log(share) - tl.log(rest))
    is_nothing = lengths < MIN_NORM
    # maxima forget NaN, which must be seen in the scores
    score = tl.where(lengths != lengths, lengths, tl.where(is_nothing, 0.0, score))
    tl.store(scores + pixel, score, mask=inside)
    tl.store(best + pixel, tl.where(is_nothing, -1, winner), mask=inside)
    tl.store(alphas + pixel, seen / FULL, mask=inside)
