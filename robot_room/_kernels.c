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
    enum { robot, action, noise, goal, x_edges, y_edges, x_intervals, y_intervals, distance, count };
    static const Wanted wanted[] = {
        {"robot", 8, 1, 0},       {"action", 8, 0, 0},  {"noise", 8, 0, 1},
        {"goal", 8, 0, 0},        {"x_edges", 8, 0, 1}, {"y_edges", 8, 0, 1},
        {"x_intervals", 8, 0, 1}, {"y_intervals", 8, 0, 1}, {"distance", 8, 1, 0},
    };
    Array a[count];
    if (acquire(args, got, wanted, a, count) < 0)
        return NULL;
    Py_ssize_t rooms = a[distance].count, X = 0, Y = 0, elements = 0;
    int good = a[robot].count == 2 * rooms && a[action].count == 2 * rooms && a[goal].count == 2 * rooms;
    good = good && (!a[noise].view.obj || a[noise].count == 2 * rooms);
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

/* Word `index` of the sequence of a key, as `randomness.words` */
INLINE uint64_t word(uint64_t key, uint64_t step, uint64_t stream, uint64_t index)
{
    uint64_t mixed = ((((step << 4) + stream) << 20) + index + 1) * 0x9E3779B97F4A7C15u + key;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
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
    KERNEL(move, "Write `room.transition` into `robot` and `room.distance` into `distance`."),
    KERNEL(draw, "Copy `background` into `frames` and draw on it, as `rendering.draw` does."),
    KERNEL(add_gaussian, "Write `sensors.add_gaussian` into `frames`."),
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "robot_room._kernels", "The compiled inner loops of `loops.CompiledLoops`.",
    0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
