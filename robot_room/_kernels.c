/* The inner loops of `loops.CompiledLoops`, bit-identical to `room`, `rendering` and `sensors`.

   Floating-point operations are in the same order as in the numpy functions; the build forbids fused
   multiply-adds, and the tests compare bits. Arrays come through the buffer protocol, C-contiguous, so
   one binary serves every Python from 3.11 on and every numpy. Their lengths are checked, their types
   are the caller's duty. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* One binary with a version for each width of vectors, chosen when it is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORISED
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* As in room.py, rendering.py, randomness.py and sensors.py. */
#define HALF_WIDTH 1.0
#define ROBOT_SIDE 0.20
#define ROBOT_LIMIT (HALF_WIDTH - ROBOT_SIDE / 2)
#define GOAL_SIDE 0.24
#define STEP_LENGTH 0.1
#define GOAL_RADIUS 0.10
#define TOLERANCE 1e-9
#define FLOOR 128
#define WALL 48
#define SIZE 64
#define SCALE (SIZE / (2 * HALF_WIDTH))
#define ROW (3 * SIZE)
#define FRAME (SIZE * ROW)
#define WINDOW 8 /* most pixels that a square of the robot's size can touch along an axis */
#define MOST 6   /* distractors */
#define GAUSSIAN 2
#define BANK_BITS 18
#define BANK (1 << BANK_BITS)
#define LAYERS (3 + 4 * MOST)

/* -------------------------------------------------------------------------------- arguments */

typedef struct {
    const char *name;
    Py_ssize_t item; /* bytes of an element */
    int written;
    int optional; /* None is allowed: a null pointer and no elements */
} Wanted;

typedef struct {
    Py_buffer view;
    Py_ssize_t count; /* elements */
} Array;

static void release(Array *arrays, int count)
{
    for (int i = 0; i < count; i++)
        if (arrays[i].view.obj)
            PyBuffer_Release(&arrays[i].view);
}

static int acquire(PyObject *const *args, Py_ssize_t got, const Wanted *wanted, Array *arrays, int count)
{
    memset(arrays, 0, count * sizeof(Array));
    if (got < count) {
        PyErr_Format(PyExc_TypeError, "got %zd arguments, %d are needed", got, count);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        if (wanted[i].optional && args[i] == Py_None)
            continue;
        int flags = wanted[i].written ? PyBUF_WRITABLE : PyBUF_SIMPLE;
        if (PyObject_GetBuffer(args[i], &arrays[i].view, flags) < 0) {
            release(arrays, i);
            return -1;
        }
        arrays[i].count = arrays[i].view.len / wanted[i].item;
    }
    return 0;
}

static int require(int good, const char *what)
{
    if (!good)
        PyErr_Format(PyExc_ValueError, "%s: the lengths of the arrays do not fit together", what);
    return good;
}

/* -------------------------------------------------------------------------------- move */

INLINE Py_ssize_t element(double coordinate, const double *edges, Py_ssize_t count)
{
    Py_ssize_t index = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        double past = coordinate - edges[i];
        index += (past > TOLERANCE) + (past >= -TOLERANCE);
    }
    return index;
}

INLINE double clip(double value, double low, double high)
{
    value = value > low ? value : low;
    return value < high ? value : high;
}

static PyObject *move(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { robot, action, noise, goal, x_edges, y_edges, x_intervals, y_intervals, distance, arrived, count };
    static const Wanted wanted[] = {
        {"robot", 8, 1, 0},       {"action", 8, 0, 0},  {"noise", 8, 0, 1},
        {"goal", 8, 0, 0},        {"x_edges", 8, 0, 1}, {"y_edges", 8, 0, 1},
        {"x_intervals", 8, 0, 1}, {"y_intervals", 8, 0, 1}, {"distance", 8, 1, 0},
        {"arrived", 1, 1, 0},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[distance].count, X = 0, Y = 0, elements = 0;
    int good = a[robot].count == 2 * rooms && a[action].count == 2 * rooms && a[goal].count == 2 * rooms;
    good = good && a[arrived].count == rooms && (!a[noise].view.obj || a[noise].count == 2 * rooms);
    if (good && rooms && a[x_intervals].view.obj) {
        X = a[x_edges].count / rooms, Y = a[y_edges].count / rooms;
        elements = (2 * X + 1) * (2 * Y + 1);
        good = a[x_intervals].count == 2 * rooms * elements && a[y_intervals].count == 2 * rooms * elements;
    }
    if (!require(good, "move")) {
        release(a, count);
        return NULL;
    }
    double *at = a[robot].view.buf, *length = a[distance].view.buf;
    uint8_t *there = a[arrived].view.buf;
    const double *velocity = a[action].view.buf, *slip = a[noise].view.buf, *target = a[goal].view.buf;
    for (Py_ssize_t n = 0; n < rooms; n++) {
        double u = clip(velocity[2 * n], -1.0, 1.0), v = clip(velocity[2 * n + 1], -1.0, 1.0);
        if (slip)
            u += slip[2 * n], v += slip[2 * n + 1];
        double x = at[2 * n], y = at[2 * n + 1];
        if (elements) {
            const double *xs = (double *)a[x_edges].view.buf + n * X, *interval;
            Py_ssize_t row = element(y, (double *)a[y_edges].view.buf + n * Y, Y) * (2 * X + 1);
            interval = (double *)a[x_intervals].view.buf + 2 * (n * elements + row + element(x, xs, X));
            x = clip(x + STEP_LENGTH * u, interval[0], interval[1]);
            interval = (double *)a[y_intervals].view.buf + 2 * (n * elements + row + element(x, xs, X));
            y = clip(y + STEP_LENGTH * v, interval[0], interval[1]);
        } else {
            x = clip(x + STEP_LENGTH * u, -ROBOT_LIMIT, ROBOT_LIMIT);
            y = clip(y + STEP_LENGTH * v, -ROBOT_LIMIT, ROBOT_LIMIT);
        }
        at[2 * n] = x, at[2 * n + 1] = y;
        double dx = x - target[2 * n], dy = y - target[2 * n + 1];
        length[n] = sqrt(dx * dx + dy * dy);
        there[n] = length[n] <= GOAL_RADIUS + TOLERANCE;
    }
    release(a, count);
    Py_RETURN_NONE;
}

/* -------------------------------------------------------------------------------- draw */

typedef struct {
    double top, left, bottom, right; /* pixels */
} Square;

typedef struct {
    /* Covered length of each row and column of a window by each layer: the robot (0), the goal (1), their
       overlap (2), and four for each distractor: itself and its overlap with the goal, with the robot, and
       with both. */
    double rows[LAYERS][WINDOW], columns[LAYERS][WINDOW];
    int seen[LAYERS]; /* whether any of it lies in the window */
} Cover;

INLINE Square square(const double *centre, double side)
{
    double half = 0.5 * side * SCALE;
    double row = (HALF_WIDTH - centre[1]) * SCALE, column = (centre[0] + HALF_WIDTH) * SCALE;
    Square found = {row - half, column - half, row + half, column + half};
    return found;
}

INLINE Square overlap(Square a, Square b)
{
    Square both = {
        a.top > b.top ? a.top : b.top, a.left > b.left ? a.left : b.left,
        a.bottom < b.bottom ? a.bottom : b.bottom, a.right < b.right ? a.right : b.right};
    return both;
}

INLINE void cover(double low, double high, int first, double *lengths)
{
    for (int i = 0; i < WINDOW; i++) {
        double pixel = (double)(first + i), end = pixel + 1.0;
        double length = (high < end ? high : end) - (low > pixel ? low : pixel);
        lengths[i] = length > 0.0 ? length : 0.0;
    }
}

INLINE int measure(Cover *c, int m, Square s, int top, int left)
{
    c->seen[m] = s.top < s.bottom && s.left < s.right && s.top < top + WINDOW && s.left < left + WINDOW &&
                 s.bottom > top && s.right > left;
    if (c->seen[m]) {
        cover(s.top, s.bottom, top, c->rows[m]);
        cover(s.left, s.right, left, c->columns[m]);
    } else {
        memset(c->rows[m], 0, sizeof c->rows[m]);
        memset(c->columns[m], 0, sizeof c->columns[m]);
    }
    return c->seen[m];
}

INLINE void blend(const Cover *c, int i, int count, const double *colours, const double *ground, uint8_t *out)
{
    double value[3][WINDOW]; /* the colour + 0.5, so that truncation rounds halves up */
    for (int j = 0; j < WINDOW; j++) {
        double robot = c->rows[0][i] * c->columns[0][j];
        double goal = c->rows[1][i] * c->columns[1][j] - c->rows[2][i] * c->columns[2][j];
        double grey = (ground[j] + 0.5) - ground[j] * goal + (255 - ground[j]) * robot;
        value[0][j] = grey + 255 * goal;
        value[1][j] = value[2][j] = grey;
    }
    for (int d = 0; d < count; d++) {
        int m = 3 + 4 * d;
        if (!c->seen[m])
            continue;
        for (int j = 0; j < WINDOW; j++) {
            double hidden = c->rows[m + 1][i] * c->columns[m + 1][j];
            double area = c->rows[m][i] * c->columns[m][j];
            area -= hidden + c->rows[m + 2][i] * c->columns[m + 2][j];
            area += c->rows[m + 3][i] * c->columns[m + 3][j];
            area = ground[j] == FLOOR ? area : 0.0;
            for (int k = 0; k < 3; k++)
                value[k][j] += (colours[3 * d + k] - FLOOR) * area;
        }
    }
    for (int j = 0; j < WINDOW; j++)
        for (int k = 0; k < 3; k++)
            out[3 * j + k] = (uint8_t)(int32_t)value[k][j];
}

VECTORISED static void draw_windows(uint8_t *frame, const double *robot, const double *goal,
                                    const double *distractors, int count, const double *colours,
                                    const uint8_t *walls, const uint8_t *keep, const uint8_t *stuck,
                                    int64_t *corners)
{
    Square of_robot = square(robot, ROBOT_SIDE), of_goal = square(goal, GOAL_SIDE), of[MOST];
    Cover c;
    double ground[WINDOW];
    for (int j = 0; j < WINDOW; j++)
        ground[j] = FLOOR;
    for (int d = 0; d < count; d++)
        of[d] = square(distractors + 2 * d, ROBOT_SIDE);
    for (int k = 0; k <= count; k++) { /* the robot's window comes last */
        Square here = k < count ? of[k] : of_robot;
        int top = (int)here.top, left = (int)here.left;
        top = top < SIZE - WINDOW ? top : SIZE - WINDOW, left = left < SIZE - WINDOW ? left : SIZE - WINDOW;
        if (corners)
            corners[2 * k] = top, corners[2 * k + 1] = left;
        measure(&c, 0, of_robot, top, left);
        if (measure(&c, 1, of_goal, top, left))
            measure(&c, 2, overlap(of_robot, of_goal), top, left);
        else {
            memset(c.rows[2], 0, sizeof c.rows[2]);
            memset(c.columns[2], 0, sizeof c.columns[2]);
        }
        for (int d = 0; d < count; d++) {
            int m = 3 + 4 * d;
            if (measure(&c, m, of[d], top, left)) {
                Square with_goal = overlap(of[d], of_goal);
                measure(&c, m + 1, with_goal, top, left);
                measure(&c, m + 2, overlap(of[d], of_robot), top, left);
                measure(&c, m + 3, overlap(with_goal, of_robot), top, left);
            }
        }
        int plain = count == 0 && !walls && !c.seen[1]; /* the robot alone, on floor: all is grey */
        for (int i = 0; i < WINDOW; i++) {
            uint8_t *out = frame + (top + i) * ROW + 3 * left;
            if (plain && i > 0 && c.rows[0][i] == c.rows[0][i - 1]) {
                memcpy(out, out - ROW, 3 * WINDOW); /* most rows repeat the previous one */
                continue;
            }
            if (plain) {
                int32_t grey[WINDOW];
                for (int j = 0; j < WINDOW; j++)
                    grey[j] = (int32_t)(FLOOR + 0.5 + (255 - FLOOR) * (c.rows[0][i] * c.columns[0][j]));
                for (int j = 0; j < WINDOW; j++)
                    out[3 * j] = out[3 * j + 1] = out[3 * j + 2] = (uint8_t)grey[j];
                continue;
            }
            if (walls)
                for (int j = 0; j < WINDOW; j++)
                    ground[j] = walls[(top + i) * SIZE + left + j] ? WALL : FLOOR;
            blend(&c, i, count, colours, ground, out);
        }
        if (keep)
            for (int i = 0; i < WINDOW; i++) {
                int at = (top + i) * ROW + 3 * left;
                for (int j = at; j < at + 3 * WINDOW; j++)
                    frame[j] = (frame[j] & keep[j]) | stuck[j];
            }
    }
}

static PyObject *draw(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { frames, background, robot, goal, moving, colours, walls, keep, stuck, dirty, count };
    static const Wanted wanted[] = {
        {"frames", 1, 1, 0},  {"background", 1, 0, 0}, {"robot", 8, 0, 0}, {"goal", 8, 0, 0},
        {"moving", 8, 0, 1},  {"colours", 8, 0, 0},    {"walls", 1, 0, 1}, {"keep", 1, 0, 1},
        {"stuck", 1, 0, 1},   {"dirty", 8, 1, 1},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[frames].count / FRAME;
    Py_ssize_t squares = rooms ? a[moving].count / (2 * rooms) : 0;
    int shared = a[background].count == FRAME;
    int good = a[frames].count == rooms * FRAME && (shared || a[background].count == rooms * FRAME) &&
               a[robot].count == 2 * rooms && a[goal].count == 2 * rooms && squares <= MOST &&
               a[moving].count == 2 * rooms * squares && a[colours].count >= 3 * squares &&
               (!a[walls].view.obj || a[walls].count == rooms * SIZE * SIZE) &&
               (!a[keep].view.obj || (a[keep].count == rooms * FRAME && a[stuck].count == rooms * FRAME)) &&
               (!a[dirty].view.obj || a[dirty].count == 2 * rooms * (squares + 1));
    if (!require(good, "draw")) {
        release(a, count);
        return NULL;
    }
    int64_t *windows = a[dirty].view.buf;
    for (Py_ssize_t n = 0; n < rooms; n++) {
        uint8_t *frame = (uint8_t *)a[frames].view.buf + n * FRAME;
        const uint8_t *ground = (uint8_t *)a[background].view.buf + (shared ? 0 : n * FRAME);
        int64_t *corners = windows ? windows + 2 * n * (squares + 1) : NULL;
        if (corners && corners[0] >= 0)
            for (Py_ssize_t k = 0; k <= squares; k++)
                for (int i = 0; i < WINDOW; i++) {
                    Py_ssize_t at = (corners[2 * k] + i) * ROW + 3 * corners[2 * k + 1];
                    memcpy(frame + at, ground + at, 3 * WINDOW);
                }
        else
            memcpy(frame, ground, FRAME);
        draw_windows(frame, (double *)a[robot].view.buf + 2 * n, (double *)a[goal].view.buf + 2 * n,
                     squares ? (double *)a[moving].view.buf + 2 * n * squares : NULL, (int)squares,
                     a[colours].view.buf,
                     a[walls].view.obj ? (uint8_t *)a[walls].view.buf + n * SIZE * SIZE : NULL,
                     a[keep].view.obj ? (uint8_t *)a[keep].view.buf + n * FRAME : NULL,
                     a[keep].view.obj ? (uint8_t *)a[stuck].view.buf + n * FRAME : NULL, corners);
    }
    release(a, count);
    Py_RETURN_NONE;
}

/* -------------------------------------------------------------------------------- varied rooms */

/* As in appearance.py and randomness.py. */
#define REACH 7
#define REACHED (2 * REACH)
#define LANES 16 /* pixels of a row computed together, REACHED at least */
#define NOISE_CELLS 16
#define CHECKER 0.25
#define FLOOR_NOISE 8
#define ACTION_NOISE 9
enum {
    COS, SIN, SHIFT_X, SHIFT_Y, EDGE, HALF, SHAPE, ROBOT_RED,
    FLOOR_RED = ROBOT_RED + 3, WALL_RED = FLOOR_RED + 3, GOAL_RED = WALL_RED + 3,
    GOAL_X = GOAL_RED + 3, GOAL_Y, GOAL_HALF, GOAL_SHAPE, GAIN, LIGHT_X, LIGHT_Y, TEXTURE, CONTRAST, WEIGHT,
    NUMBERS
};
enum { SQUARE, DISC, DIAMOND, TRIANGLE };
enum { PLAIN, CHECKERED, NOISE, GRADIENT };
static double diamond_slope, triangle_slope; /* √½ and √⅕ */

/* Word `index` of the sequence of a key, as `randomness.words` */
INLINE uint64_t word(uint64_t key, uint64_t step, uint64_t stream, uint64_t index)
{
    uint64_t mixed = ((((step << 4) + stream) << 20) + index + 1) * 0x9E3779B97F4A7C15u + key;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
}

INLINE double ramp(double depth)
{
    depth += 0.5;
    depth = depth > 0.0 ? depth : 0.0;
    return depth < 1.0 ? depth : 1.0;
}

/* Coverage of a shape by a row of pixels, whose places in the room are x and y. */
INLINE void cover_row(int shape, double half, double edge, const double *centre, const double *x,
                      const double *y, int width, double *area)
{
    double cx = centre[0], cy = centre[1];
    switch (shape) {
    case SQUARE:
        for (int j = 0; j < width; j++)
            area[j] = ramp((half - fabs(x[j] - cx)) * edge) * ramp((half - fabs(y[j] - cy)) * edge);
        break;
    case DISC:
        for (int j = 0; j < width; j++) {
            double dx = x[j] - cx, dy = y[j] - cy;
            area[j] = ramp((half - sqrt(dx * dx + dy * dy)) * edge);
        }
        break;
    case DIAMOND:
        for (int j = 0; j < width; j++) {
            double dx = fabs(x[j] - cx), dy = fabs(y[j] - cy), box = (half - (dx > dy ? dx : dy)) * edge;
            double sides = (half - dx - dy) * (edge * diamond_slope);
            area[j] = ramp(box < sides ? box : sides);
        }
        break;
    default:
        for (int j = 0; j < width; j++) {
            double dx = fabs(x[j] - cx), dy = y[j] - cy, most = dx > fabs(dy) ? dx : fabs(dy);
            double box = (half - most) * edge, sides = (half - dy - 2 * dx) * (edge * triangle_slope);
            area[j] = ramp(box < sides ? box : sides);
        }
    }
}

INLINE int cell(double coordinate, int count)
{
    int found = (int)floor((coordinate + HALF_WIDTH) * (count / (2 * HALF_WIDTH)));
    return found < 0 ? 0 : found < count ? found : count - 1;
}

/* Where in the room the camera sees the pixels of a row from `begin` on. */
INLINE void trace_row(const double *look, int row, int begin, int width, double *x, double *y)
{
    double up = (HALF_WIDTH - (row + 0.5) / SCALE) - look[SHIFT_Y], cos = look[COS], sin = look[SIN];
    for (int j = 0; j < width; j++) {
        double across = ((begin + j + 0.5) / SCALE - HALF_WIDTH) - look[SHIFT_X];
        x[j] = cos * across + sin * up;
        y[j] = cos * up - sin * across;
    }
}

/* Blur with the weights (k, 1 − 2k, k). */
INLINE double blurred(double before, double here, double after, double k)
{
    return (1 - 2 * k) * here + k * (before + after);
}

VECTORISED static void paint_room(const double *look, uint64_t key, const uint8_t *walls, double *work,
                                  float *colour, float *light, float *open, uint8_t *background)
{
    double *painted = work, *filtered = work + FRAME, *lit = work + 2 * FRAME;
    double noise[NOISE_CELLS * NOISE_CELLS], x[SIZE], y[SIZE], added[SIZE], covered[SIZE];
    int kind = (int)look[TEXTURE], shape = (int)look[GOAL_SHAPE], wall[SIZE];
    if (kind == NOISE)
        for (int i = 0; i < NOISE_CELLS * NOISE_CELLS; i++)
            noise[i] = 2 * ((double)(word(key, 0, FLOOR_NOISE, i) >> 11) * 0x1p-53) - 1;
    for (int i = 0; i < SIZE; i++) {
        trace_row(look, i, 0, SIZE, x, y);
        for (int j = 0; j < SIZE; j++) {
            wall[j] = (fabs(x[j]) > HALF_WIDTH) | (fabs(y[j]) > HALF_WIDTH);
            lit[i * SIZE + j] = look[GAIN] * (1 + look[LIGHT_X] * x[j] + look[LIGHT_Y] * y[j]);
            added[j] = 0.0;
        }
        if (walls)
            for (int j = 0; j < SIZE; j++)
                wall[j] |= walls[cell(-y[j], SIZE) * SIZE + cell(x[j], SIZE)];
        for (int j = 0; j < SIZE; j++)
            if (kind == CHECKERED)
                added[j] = ((int)(floor(x[j] / CHECKER) + floor(y[j] / CHECKER)) & 1) ? -1.0 : 1.0;
            else if (kind == NOISE)
                added[j] = noise[cell(y[j], NOISE_CELLS) * NOISE_CELLS + cell(x[j], NOISE_CELLS)];
            else if (kind == GRADIENT)
                added[j] = (x[j] + y[j]) / 2;
        cover_row(shape, look[GOAL_HALF], SCALE, look + GOAL_X, x, y, SIZE, covered);
        for (int j = 0; j < SIZE; j++) {
            double *pixel = painted + i * ROW + 3 * j;
            for (int c = 0; c < 3; c++) {
                double ground = clip(look[FLOOR_RED + c] + look[CONTRAST] * added[j], 0, 255);
                ground = wall[j] ? look[WALL_RED + c] : ground;
                pixel[c] = ground + covered[j] * (look[GOAL_RED + c] - ground);
            }
            light[i * SIZE + j] = (float)lit[i * SIZE + j];
            open[i * SIZE + j] = (float)((1 - covered[j]) * !wall[j]);
        }
    }
    double k = look[WEIGHT];
    if (k != 0) {
        for (int i = 0; i < SIZE; i++) {
            const double *before = painted + (i ? i - 1 : i) * ROW, *here = painted + i * ROW;
            const double *after = painted + (i < SIZE - 1 ? i + 1 : i) * ROW;
            for (int j = 0; j < ROW; j++)
                filtered[i * ROW + j] = blurred(before[j], here[j], after[j], k);
        }
        for (int i = 0; i < SIZE; i++) {
            const double *here = filtered + i * ROW;
            double *out = painted + i * ROW;
            for (int j = 0; j < 3; j++) {
                out[j] = blurred(here[j], here[j], here[j + 3], k);
                out[ROW - 3 + j] = blurred(here[ROW - 6 + j], here[ROW - 3 + j], here[ROW - 3 + j], k);
            }
            for (int j = 3; j < ROW - 3; j++)
                out[j] = blurred(here[j - 3], here[j], here[j + 3], k);
        }
    }
    for (int i = 0; i < SIZE * SIZE; i++)
        for (int c = 0; c < 3; c++) {
            double seen = lit[i] * painted[3 * i + c];
            colour[3 * i + c] = (float)(seen < 255 ? seen : 255);
        }
    for (int i = 0; i < FRAME; i++)
        background[i] = (uint8_t)(int32_t)((double)colour[i] + 0.5);
}

static PyObject *paint(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { numbers, colour, light, open, key, walls, background, count };
    static const Wanted wanted[] = {
        {"numbers", 8, 0, 0}, {"colour", 4, 1, 0}, {"light", 4, 1, 0},
        {"open", 4, 1, 0},    {"key", 8, 0, 0},    {"walls", 1, 0, 1},
        {"background", 1, 1, 0},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[key].count, pixels = SIZE * SIZE;
    int good = a[numbers].count == NUMBERS * rooms && a[colour].count == FRAME * rooms &&
               a[light].count == pixels * rooms && a[open].count == pixels * rooms && a[background].count == FRAME * rooms &&
               (!a[walls].view.obj || a[walls].count == pixels * rooms);
    if (!require(good, "paint")) {
        release(a, count);
        return NULL;
    }
    double *work = PyMem_Malloc((2 * FRAME + pixels) * sizeof(double));
    if (!work) {
        release(a, count);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t n = 0; n < rooms; n++)
        paint_room((double *)a[numbers].view.buf + NUMBERS * n, ((uint64_t *)a[key].view.buf)[n],
                   a[walls].view.obj ? (uint8_t *)a[walls].view.buf + pixels * n : NULL, work,
                   (float *)a[colour].view.buf + FRAME * n, (float *)a[light].view.buf + pixels * n,
                   (float *)a[open].view.buf + pixels * n, (uint8_t *)a[background].view.buf + FRAME * n);
    PyMem_Free(work);
    release(a, count);
    Py_RETURN_NONE;
}

/* Blend a lit paint over the colours of a row of LANES pixels. */
INLINE void over_row(double value[3][LANES], const double *area, const float *light, const double *paint)
{
    for (int c = 0; c < 3; c++)
        for (int j = 0; j < LANES; j++) {
            double lit = light[j] * paint[c];
            lit = lit < 255 ? lit : 255;
            value[c][j] = value[c][j] + area[j] * (lit - value[c][j]);
        }
}

VECTORISED static void draw_shapes(uint8_t *frame, const double *look, const float *colour,
                                   const float *light, const float *open, const double *robot,
                                   const double *moving, int count, const double *colours,
                                   const uint8_t *keep, const uint8_t *stuck, int64_t *corners)
{
    for (int k = 0; k <= count; k++) { /* the robot's window comes last */
        const double *centre = k < count ? moving + 2 * k : robot;
        double half = k < count ? ROBOT_SIDE / 2 : look[HALF];
        double across = look[COS] * centre[0] - look[SIN] * centre[1] + look[SHIFT_X];
        double up = look[SIN] * centre[0] + look[COS] * centre[1] + look[SHIFT_Y];
        double row = (HALF_WIDTH - up) * SCALE, column = (across + HALF_WIDTH) * SCALE;
        int top = (int)floor(row) - REACH, left = (int)floor(column) - REACH;
        top = top < 0 ? 0 : top < SIZE - REACHED ? top : SIZE - REACHED;
        left = left < 0 ? 0 : left < SIZE - REACHED ? left : SIZE - REACHED;
        if (corners)
            corners[2 * k] = top, corners[2 * k + 1] = left;
        /* Of the window, the rows that the shape can touch: the rest is canvas. Each row is as long as
           vectors like it, and what is drawn beside the window is what is there already. */
        double reach = (half * (look[COS] + fabs(look[SIN])) + 0.5 / look[EDGE]) * SCALE + 1;
        int first = (int)floor(row - reach), last = (int)floor(row + reach) + 1;
        first = first > top ? first : top, last = last < top + REACHED ? last : top + REACHED;
        int begin = left < SIZE - LANES ? left : SIZE - LANES;
        for (int i = first; i < last; i++) {
            double value[3][LANES], x[LANES], y[LANES], area[LANES];
            int at = i * SIZE + begin;
            trace_row(look, i, begin, LANES, x, y);
            for (int j = 0; j < LANES; j++)
                for (int c = 0; c < 3; c++)
                    value[c][j] = colour[3 * (at + j) + c];
            for (int d = 0; d < count; d++) {
                cover_row(SQUARE, ROBOT_SIDE / 2, look[EDGE], moving + 2 * d, x, y, LANES, area);
                for (int j = 0; j < LANES; j++)
                    area[j] = open[at + j] * area[j];
                over_row(value, area, light + at, colours + 3 * d);
            }
            cover_row((int)look[SHAPE], look[HALF], look[EDGE], robot, x, y, LANES, area);
            over_row(value, area, light + at, look + ROBOT_RED);
            for (int j = 0; j < LANES; j++)
                for (int c = 0; c < 3; c++)
                    frame[3 * (at + j) + c] = (uint8_t)(int32_t)(value[c][j] + 0.5);
            if (keep)
                for (int j = 3 * at; j < 3 * (at + LANES); j++)
                    frame[j] = (frame[j] & keep[j]) | stuck[j];
        }
    }
}

static PyObject *draw_varied(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { frames, background, numbers, colour, light, open, robot, moving, colours, keep, stuck, dirty, count };
    static const Wanted wanted[] = {
        {"frames", 1, 1, 0}, {"background", 1, 0, 0}, {"numbers", 8, 0, 0}, {"colour", 4, 0, 0},
        {"light", 4, 0, 0},  {"open", 4, 0, 0},       {"robot", 8, 0, 0},   {"moving", 8, 0, 1},
        {"colours", 8, 0, 0}, {"keep", 1, 0, 1},      {"stuck", 1, 0, 1},   {"dirty", 8, 1, 1},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[frames].count / FRAME, pixels = SIZE * SIZE;
    Py_ssize_t squares = rooms ? a[moving].count / (2 * rooms) : 0;
    int good = a[frames].count == rooms * FRAME && a[background].count == rooms * FRAME &&
               a[numbers].count == NUMBERS * rooms && a[colour].count == FRAME * rooms &&
               a[light].count == pixels * rooms && a[open].count == pixels * rooms && a[robot].count == 2 * rooms &&
               squares <= MOST && a[moving].count == 2 * rooms * squares && a[colours].count >= 3 * squares &&
               (!a[keep].view.obj || (a[keep].count == rooms * FRAME && a[stuck].count == rooms * FRAME)) &&
               (!a[dirty].view.obj || a[dirty].count == 2 * rooms * (squares + 1));
    if (!require(good, "draw_varied")) {
        release(a, count);
        return NULL;
    }
    int64_t *windows = a[dirty].view.buf;
    for (Py_ssize_t n = 0; n < rooms; n++) {
        uint8_t *frame = (uint8_t *)a[frames].view.buf + n * FRAME;
        const uint8_t *ground = (uint8_t *)a[background].view.buf + n * FRAME;
        int64_t *corners = windows ? windows + 2 * n * (squares + 1) : NULL;
        if (corners && corners[0] >= 0)
            for (Py_ssize_t k = 0; k <= squares; k++)
                for (int i = 0; i < REACHED; i++) {
                    Py_ssize_t at = (corners[2 * k] + i) * ROW + 3 * corners[2 * k + 1];
                    memcpy(frame + at, ground + at, 3 * REACHED);
                }
        else
            memcpy(frame, ground, FRAME);
        draw_shapes(frame, (double *)a[numbers].view.buf + NUMBERS * n, (float *)a[colour].view.buf + FRAME * n,
                    (float *)a[light].view.buf + pixels * n, (float *)a[open].view.buf + pixels * n,
                    (double *)a[robot].view.buf + 2 * n,
                    squares ? (double *)a[moving].view.buf + 2 * n * squares : NULL, (int)squares,
                    a[colours].view.buf, a[keep].view.obj ? (uint8_t *)a[keep].view.buf + n * FRAME : NULL,
                    a[keep].view.obj ? (uint8_t *)a[stuck].view.buf + n * FRAME : NULL, corners);
    }
    release(a, count);
    Py_RETURN_NONE;
}

static PyObject *push(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { actions, pending, dynamics, key, step, quantiles, velocity, count };
    static const Wanted wanted[] = {
        {"actions", 8, 0, 0}, {"pending", 8, 1, 0},   {"dynamics", 8, 0, 0}, {"key", 8, 0, 0},
        {"step", 8, 0, 0},    {"quantiles", 8, 0, 0}, {"velocity", 8, 1, 0},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[key].count, waiting = rooms ? a[pending].count / (2 * rooms) : 0;
    int good = a[actions].count == 2 * rooms && a[pending].count == 2 * rooms * waiting &&
               a[dynamics].count == 4 * rooms && a[step].count == rooms && a[quantiles].count == 65536 &&
               a[velocity].count == 2 * rooms;
    for (Py_ssize_t n = 0; good && n < rooms; n++)
        good = ((double *)a[dynamics].view.buf)[4 * n + 2] <= waiting;
    if (!require(good, "push")) {
        release(a, count);
        return NULL;
    }
    const double *normal = a[quantiles].view.buf;
    for (Py_ssize_t n = 0; n < rooms; n++) {
        const double *given = (double *)a[actions].view.buf + 2 * n;
        const double *of = (double *)a[dynamics].view.buf + 4 * n; /* speed, friction, delay, noise */
        double *queue = (double *)a[pending].view.buf + 2 * waiting * n, newest[2], executed[2];
        uint64_t episode = ((uint64_t *)a[key].view.buf)[n], now = ((uint64_t *)a[step].view.buf)[n];
        Py_ssize_t delay = (Py_ssize_t)of[2];
        for (int i = 0; i < 2; i++) {
            newest[i] = clip(given[i], -1.0, 1.0);
            executed[i] = delay > 0 ? queue[2 * (delay - 1) + i] : newest[i];
            double noise = of[3] * normal[word(episode, now, ACTION_NOISE, i) >> 48];
            double pushed = clip(clip(executed[i], -1.0, 1.0) + noise, -1.0, 1.0);
            double left = fabs(pushed) - of[1];
            ((double *)a[velocity].view.buf)[2 * n + i] = copysign(left > 0.0 ? left : 0.0, pushed) * of[0];
        }
        if (waiting) {
            memmove(queue + 2, queue, 2 * (waiting - 1) * sizeof(double));
            queue[0] = newest[0], queue[1] = newest[1];
        }
    }
    release(a, count);
    Py_RETURN_NONE;
}

/* -------------------------------------------------------------------------------- sensors */

VECTORISED static void add_row(uint8_t *restrict row, const uint8_t *restrict plus,
                               const uint8_t *restrict minus)
{
    for (int i = 0; i < ROW; i++) {
        uint8_t room = (uint8_t)~plus[i]; /* 255 − plus: the sum cannot overflow */
        uint8_t x = (uint8_t)((row[i] < room ? row[i] : room) + plus[i]);
        row[i] = (uint8_t)((x > minus[i] ? x : minus[i]) - minus[i]);
    }
}

static PyObject *add_gaussian(PyObject *self, PyObject *const *args, Py_ssize_t got)
{
    enum { frames, plus, minus, key, step, count };
    static const Wanted wanted[] = {
        {"frames", 1, 1, 0}, {"plus", 1, 0, 0}, {"minus", 1, 0, 0}, {"key", 8, 0, 0}, {"step", 8, 0, 0}};
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[key].count;
    const uint64_t *keys = a[key].view.buf, *steps = a[step].view.buf;
    int good = a[frames].count == rooms * FRAME && a[step].count == rooms &&
               a[plus].count == BANK + ROW && a[minus].count == BANK + ROW;
    if (!require(good, "add_gaussian")) {
        release(a, count);
        return NULL;
    }
    for (Py_ssize_t n = 0; n < rooms; n++)
        for (int r = 0; r < SIZE; r++) {
            uint64_t first = word(keys[n], steps[n], GAUSSIAN, r) >> (64 - BANK_BITS);
            add_row((uint8_t *)a[frames].view.buf + n * FRAME + r * ROW,
                    (uint8_t *)a[plus].view.buf + first, (uint8_t *)a[minus].view.buf + first);
        }
    release(a, count);
    Py_RETURN_NONE;
}

/* -------------------------------------------------------------------------------- module */

#define KERNEL(name, doc) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, doc}

static PyMethodDef methods[] = {
    KERNEL(move, "Write `room.transition`, `room.distance` and `room.is_success` of rooms."),
    KERNEL(draw, "Copy `background` into `frames` and draw on it, as `rendering.draw` does."),
    KERNEL(push, "Write `room.velocity` of delayed and noisy actions into `velocity`, and queue new ones."),
    KERNEL(paint, "Write `appearance.paint` into the arrays of a `Look`, and `appearance.background`."),
    KERNEL(draw_varied, "Copy `background` into `frames` and draw on it, as `appearance.draw` does."),
    KERNEL(add_gaussian, "Write `sensors.add_gaussian` into `frames`."),
    {NULL, NULL, 0, NULL}};

/* A checksum of this file, so that `loops` can tell when it was changed after it was compiled. */
static int add_checksum(PyObject *module) { return PyModule_AddIntConstant(module, "SOURCE_CRC", SOURCE_CRC); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_checksum}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "robot_room._kernels", "The compiled inner loops of `loops.CompiledLoops`.",
    0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    diamond_slope = sqrt(0.5), triangle_slope = sqrt(0.2);
    return PyModuleDef_Init(&definition);
}
